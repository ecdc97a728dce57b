"""What the M-step of every family of components must satisfy."""

from __future__ import annotations

import pytest
import torch

from mixtures.components import Components, Data

from families import FAMILIES, build, holes, rows, weights

every = pytest.mark.parametrize("name", list(FAMILIES))


@every
def test_statistics_of_chunks_add_up(name):
    components = build(name)
    x = rows(components, 20)
    data, mass = components.encode(x, holes(components, x)), weights(components, 20)
    whole = components.statistics(data, mass)
    first = components.statistics(data.rows(slice(0, 7)), mass[..., :7])
    second = components.statistics(data.rows(slice(7, 20)), mass[..., 7:])
    for key, value in whole.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(first[key] + second[key], value)


def objective(components: Components, data: Data, mass: torch.Tensor) -> torch.Tensor:
    """Expected log-likelihood + log prior."""
    return (components.log_prob_encoded(data) * mass).sum() + components.log_prior()


@every
def test_the_m_step_of_complete_vectors_is_the_maximum(name):
    components = build(name)
    if not list(components.parameters()):
        return
    x = rows(components, 30)
    observed = holes(components, x)
    if observed.ndim > 2 and "Gaussian" in name:
        observed = observed.all(-1)
    data, mass = components.encode(x, observed), weights(components, 30)
    for _ in range(2):
        components.maximise(components.statistics(data, mass))
    best = objective(components, data, mass)
    gradients = torch.autograd.grad(best, list(components.parameters()), allow_unused=True)
    for gradient in gradients:
        assert gradient is None or gradient.abs().max() < 1e-6
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in components.parameters():
            kept = parameter.clone()
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator).double()
            assert objective(components, data, mass) <= best + 1e-9
            parameter.copy_(kept)


@every
def test_em_never_lowers_the_likelihood_of_what_was_observed(name):
    components = build(name)
    x = rows(components, 40)
    data = components.encode(x, holes(components, x))
    before = -torch.inf
    with torch.no_grad():
        for _ in range(8):
            logs = components.log_prob_encoded(data)
            for j, k in enumerate(components.shape):
                logs[j, k:] = -torch.inf
            now = logs.logsumexp(1).sum() + components.log_prior()
            assert now >= before - 1e-9
            before = now
            components.maximise(components.statistics(data, logs.softmax(1)))


@every
def test_a_component_without_weight_keeps_its_parameters(name):
    components = build(name)
    x = rows(components, 10)
    data, mass = components.encode(x), weights(components, 10)
    mass[:, 0] = 0
    before = components.log_prob(x)[..., 0].clone()
    components.maximise(components.statistics(data, mass))
    if "tied" not in name:
        torch.testing.assert_close(components.log_prob(x)[..., 0], before, rtol=0, atol=0)
    mass[:] = 0
    before = components.log_prob(x).clone()
    components.maximise(components.statistics(data, mass))
    torch.testing.assert_close(components.log_prob(x), before, rtol=0, atol=0)


@every
@pytest.mark.parametrize("kind", ["constant", "one row", "missing column"])
def test_degenerate_data_start_and_learn_without_nan(name, kind):
    for dtype in (torch.float32, torch.float64):
        components = build(name, dtype)
        x = rows(components, 1 if kind == "one row" else 12)
        if kind == "constant":
            x = x[:1].expand_as(x)
        observed = torch.ones(x.shape[:2], dtype=torch.bool)
        if kind == "missing column":
            observed[:, 1] = False
        data = components.encode(x, observed)
        components.initialise(data, torch.Generator().manual_seed(0))
        for _ in range(3):
            mass = components.log_prob_encoded(data).detach()
            mass = mass.masked_fill(mass == -torch.inf, -1e3).softmax(1)
            components.maximise(components.statistics(data, mass))
        assert not components.log_prob_encoded(data).isnan().any()
        assert not components.log_prior().isnan()
        assert all(
            value.isfinite().all() or "logits" in key
            for key, value in components.state_dict().items()
        )
