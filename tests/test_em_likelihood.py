"""EM of mixtures: what never falls, for every family and every model, in either precision."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from mixture_cases import (
    KINDS,
    SOME,
    build,
    every_mixture,
    generator,
    of_family,
    some_mixtures,
)

from mixtures import HMM, TMM, Mixture
from mixtures.components import Data, Gaussian
from mixtures.datasets import pad
from mixtures.learn import em

import families

ROWS = 25
STEPS = 15


def training(name, dtype=torch.float64):
    """A mixture, and rows that another of its shape drew; 10 % of their entries are missing."""
    model = build(name, dtype)
    x = model.sample(ROWS, generator=generator(1))
    with torch.no_grad():  # learning starts elsewhere than where the data come from
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator(2), dtype=dtype)
            parameter.add_(0.3 * noise)
    observed = torch.rand(x.shape[:2], generator=generator(3)) >= 0.1
    return model, model.encode(x, observed)


def objectives(steps, count=STEPS):
    return torch.tensor(
        [step.objective for step in itertools.islice(steps, count)], dtype=torch.float64
    )


def assert_never_falls(values, tolerance=1e-9):
    assert values.isfinite().all()
    falls = values[:-1] - values[1:]
    assert (falls <= tolerance * (1 + values[1:].abs())).all(), falls.max()


@every_mixture
def test_likelihood_plus_prior_never_falls(name):
    model, data = training(name)
    steps = 8 if name not in SOME else STEPS
    values = objectives(em(model, data), steps)
    assert_never_falls(values)
    assert model.coefficients.is_normalised()
    if any(p.requires_grad for p in model.parameters()) and model.num_parameters:
        assert values[-1] >= values[0]


@some_mixtures
def test_likelihood_plus_prior_never_falls_in_single_precision(name):
    model, data = training(name, torch.float32)
    assert_never_falls(objectives(em(model, data), 6), 2e-5)
    assert all(value.dtype != torch.float64 for value in model.parameters())


@some_mixtures
def test_steps_report_the_likelihood_of_the_parameters_they_began_with(name):
    model, data = training(name)
    weights = torch.arange(1.0, ROWS + 1, dtype=torch.float64)
    steps = em(model, data, weights=weights)
    for _ in range(2):
        with torch.no_grad():
            expected = (model.log_prob(data) * weights).sum() / weights.sum()
            prior = model.components.log_prior() / weights.sum()
        step = next(steps)
        assert step.log_likelihood == pytest.approx(float(expected), rel=1e-9, abs=1e-12)
        assert step.log_prior == pytest.approx(float(prior), rel=1e-9, abs=1e-12)
        assert step.objective == step.log_likelihood + step.log_prior


@some_mixtures
def test_with_weights_and_pseudo_counts_it_never_falls(name):
    model, data = training(name)
    weights = torch.rand(ROWS, generator=generator(4), dtype=torch.float64) * 3
    weights[0] = 0
    assert_never_falls(objectives(em(model, data, weights=weights, pseudo_count=0.7)))


def evidence_for(model, data):
    """Log-weights on every second latent, some states excluded."""
    found = {}
    for latent in list(model.coefficients.latents)[::2]:
        logs = torch.randn(len(data), model.coefficients.num_states(latent), generator=generator(5))
        logs[::3, 0] = -torch.inf if logs.shape[1] > 1 else 0.0
        found[latent] = logs.double()
    return found


@pytest.mark.parametrize("name", [n for n in SOME if n.split()[0] in ("HMM", "LTM", "HT", "deep")])
def test_with_evidence_on_states_it_never_falls(name):
    model, data = training(name)
    evidence = evidence_for(model, data)
    possible = model.log_prob(data, evidence=evidence) > -torch.inf
    data = data.rows(possible.nonzero().flatten())
    evidence = {latent: logs[possible] for latent, logs in evidence.items()}
    assert_never_falls(objectives(em(model, data, evidence=evidence)))


def test_ragged_rows_never_fall():
    model = Mixture(
        HMM(9, 3, 2, shared=True, generator=generator()),
        Gaussian(9, 3, shared=True, generator=generator(1)),
    ).double()
    x = torch.randn(30, generator=generator(2), dtype=torch.float64)
    assert_never_falls(objectives(em(model, pad(x, [9, 1, 5, 7, 8]))))


def ragged(x):
    """Which entries are there: rows of random lengths, and of what is left 10 % missing."""
    n, d = x.shape[:2]
    lengths = torch.randint(1, d + 1, (n, 1), generator=generator(6))
    there = torch.arange(d) < lengths
    return there & (torch.rand((n, d), generator=generator(7)) >= 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", families.FAMILIES)
def test_ragged_rows_never_fall_under_any_model_of_any_family(kind, family):
    model = of_family(family, kind)(generator(8), torch.float64)
    x = model.sample(ROWS, generator=generator(9))
    data = model.encode(x, ragged(x))
    for table in model.coefficients.tables:  # learning starts elsewhere
        table.set(table.values.sqrt() / table.values.sqrt().sum(-1, keepdim=True))
    frozen = list(model.coefficients.tables)[:1]
    assert_never_falls(objectives(em(model, data, pseudo_count=0.1), 6))
    assert_never_falls(objectives(em(model, data, frozen=frozen), 4))


def test_mixtures_of_mixtures_never_fall_and_reach_their_parts():
    first = Mixture(HMM(3, 2, 2, generator=generator()), Gaussian(3, 2, generator=generator(1)))
    second = Mixture(TMM(3, 3, 2, generator=generator(2)), Gaussian(3, 3, generator=generator(3)))
    first, second = first.double(), second.double()
    both = 0.3 * first + 0.7 * second
    x = both.sample(40, generator=generator(1))
    x[torch.rand(x.shape, generator=generator(2)) < 0.1] = torch.nan
    before = first.components.mean().detach().clone()
    assert_never_falls(objectives(em(both, x)))
    assert not torch.equal(before, first.components.mean())
    weights = both.coefficients.weights
    assert weights.tolist() != [0.3, 0.7]
    assert weights.sum().item() == pytest.approx(1)


def test_parts_with_the_same_components_learn_them_together():
    components = Gaussian(3, 2, generator=generator()).double()
    parts = [HMM(3, 2, 2, generator=generator(n), dtype=torch.float64) for n in range(3)]
    one, two = (Mixture(part, components) for part in parts[:2])
    other = Mixture(parts[2], Gaussian(3, 2, generator=generator(9)).double())
    x = torch.randn(40, 3, generator=generator(5), dtype=torch.float64) * 2
    shared = 0.4 * one + 0.6 * two
    assert shared.components is components
    assert_never_falls(objectives(em(shared, x)))
    mixed = 0.3 * one + 0.3 * two + 0.4 * other
    expected = sum(p.num_parameters for p in (components, other.components))
    assert mixed.components.num_parameters == expected
    pooled = copy.deepcopy(0.6 * (0.5 * one + 0.5 * two) + 0.4 * other)
    assert [part.largest for part in pooled.components.families] == [2, 2]
    next(em(mixed, x)), next(em(pooled, x))
    for part in (0, 1):
        here, there = (
            m.components.families[2 * part if m is mixed else part] for m in (mixed, pooled)
        )
        torch.testing.assert_close(here.mean(), there.mean())
        torch.testing.assert_close(here.variance(), there.variance())
    assert_never_falls(objectives(em(mixed, x)))


def test_a_wrong_e_step_is_noticed(monkeypatch):
    """Statistics that take the zero in a hole for an observation make it fall from the maximum."""
    x = torch.tensor([[9.0, 21.0], [11.0, 0.0], [0.0, 19.0], [10.0, 20.0]], dtype=torch.float64)
    model = Mixture(TMM(2, 1, 1), Gaussian(2, 1)).double()
    data = model.encode(x, x > 0)
    assert_never_falls(objectives(em(model, data), 3))
    assert model.components.mean().flatten().tolist() == pytest.approx([10.0, 20.0])
    honest = Gaussian._collect

    def wrong(self, data, weights):
        return honest(self, Data(data.values, None), weights)

    monkeypatch.setattr(Gaussian, "_collect", wrong)
    values = objectives(em(model, data), 3)
    assert values[1] < values[0] - 1
    with pytest.raises(AssertionError):
        assert_never_falls(values)
