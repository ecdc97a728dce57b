"""Gradients of log-densities, in tables, components and data, with values missing anywhere."""

from __future__ import annotations

import pytest
import torch
from mixture_cases import MODELS, build, case, every_mixture, generator, some_mixtures

from mixtures import HMM, TMM, Mixture
from mixtures.components import Gaussian, Uniform

import families
from laws import close

NAN = float("nan")


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_are_those_of_differences(kind):
    components = Gaussian(3, [2, 1, 2], generator=generator()).double()
    model = Mixture(MODELS[kind](components.shape, generator(1), torch.float64), components)
    data = model.encode([[0.3, NAN, -1.0], [NAN] * 3, [0.1, 0.2, 0.3]])
    parameters = [p.clone().detach().requires_grad_() for p in model.parameters()]
    names = [name for name, _ in model.named_parameters()]
    support = [p.detach() > -torch.inf for p in model.parameters()]
    held = [p.detach()[s].requires_grad_() for p, s in zip(parameters, support, strict=True)]

    def density(*values):
        full = {
            name: p.detach().masked_scatter(s, v)
            for name, p, s, v in zip(names, parameters, support, values, strict=True)
        }
        return torch.func.functional_call(model, full, (data,))

    model.forward = model.log_prob
    assert torch.autograd.gradcheck(density, held, atol=1e-6)


@every_mixture
def test_gradients_are_finite_and_posteriors_are_the_gradients_in_the_leaves(name):
    found, model = case(name), build(name)
    value = model.log_prob(found.x, observed=found.observed)
    if value.requires_grad:
        value.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    leaves = torch.as_tensor(found.leaves).requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(leaves=leaves).sum(), leaves)
    close(gradient, model.posterior(found.data), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", MODELS)
def test_rows_of_probability_zero_have_finite_gradients(kind):
    components = Uniform(2, 2, low=0.0, high=1.0).double()
    other = Gaussian(2, 2).double()
    model = Mixture(MODELS[kind]((2, 2), generator(), torch.float64), components)
    leaves = torch.zeros(2, 2, 2, dtype=torch.float64)
    leaves[1] = -torch.inf
    leaves.requires_grad_()
    value = model.log_prob(leaves=leaves)
    assert value[1] == -torch.inf
    value.clamp(min=-100).sum().backward()
    assert leaves.grad.isfinite().all()
    for parameter in model.parameters():
        assert parameter.grad is None or not parameter.grad.isnan().any()
    rows = torch.tensor([[0.5, 0.5], [3.0, 0.5]], dtype=torch.float64)
    model.log_prob(rows).clamp(min=-100).sum().backward()
    assert not any(p.grad is not None and p.grad.isnan().any() for p in model.parameters())
    assert other.variables == model.variables


@some_mixtures
def test_a_few_steps_of_adam_raise_the_likelihood(name):
    model = build(name)
    x = model.sample(30, generator=generator(1))
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(2)))
        before = model.log_prob(x).mean()
        zeros = [array == 0 for array in model.coefficients.arrays]
    optimizer = torch.optim.Adam(parameters, lr=0.01) if parameters else None
    for _ in range(5 if parameters else 0):
        optimizer.zero_grad()
        (-model.log_prob(x).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        after = model.log_prob(x).mean()
    free = model.num_parameters > 0
    assert (after > before) if free else (after >= before - 1e-9)
    assert model.coefficients.is_normalised()
    for array, zero in zip(model.coefficients.arrays, zeros, strict=True):
        assert ((array == 0) >= zero).all()


def test_gradients_reach_rows_and_evidence_of_a_model_that_does_not_learn():
    model = Mixture(HMM(2, 2, 2, generator=generator()), Gaussian(2, 2, generator=generator(1)))
    model = model.double().requires_grad_(False)
    x = torch.tensor([[0.5, -0.25]], dtype=torch.float64, requires_grad=True)
    evidence = torch.tensor([[0.1, 0.7]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.log_prob, (x,))
    assert torch.autograd.gradcheck(
        lambda logs: model.log_prob(x.detach(), evidence={3: logs}), (evidence,)
    )
    (found,) = torch.autograd.grad(model.log_prob(x.detach(), evidence={3: evidence}), evidence)
    close(found, model.states(x.detach(), evidence={3: evidence.detach()})[:, 1])


@pytest.mark.parametrize("name", families.FAMILIES)
def test_open_ends_of_boxes_have_finite_gradients(name):
    components = families.build(name)
    x = families.rows(components, 4).double()
    low, high = x.amin(0) - 0.5, x.amax(0) + 0.25
    high[0], low[1], low[2] = torch.nan, torch.nan, torch.inf
    if "MultivariateGaussian" in name and name.split(", ")[-1] not in ("diag", "spherical"):
        with pytest.raises(ValueError, match="diag or spherical"):
            components.log_prob_box(low, high)
        return
    value = components.log_prob_box(low, high)
    assert not value.isnan().any()
    if value.requires_grad:
        value.masked_fill(value == -torch.inf, 0.0).sum().backward()
    for parameter in components.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_boxes_and_expectations_are_differentiable():
    model = Mixture(TMM(2, 2, 2, generator=generator()), Gaussian(2, 2, generator=generator(1)))
    for value in (
        model.log_prob_box([-1.0, 0.0], [1.0, NAN]).sum(),
        model.expectation({0: lambda v: v**2, 1: lambda v: v}),
    ):
        model.zero_grad()
        value.backward()
        for parameter in model.parameters():
            assert parameter.grad.isfinite().all()
            assert (parameter.grad != 0).any()


def test_queries_leave_no_tape():
    model = Mixture(HMM(3, 2, 2), Gaussian(3, 2))
    x = [[0.0, NAN, 1.0]]
    found = [
        model.posterior(x),
        model.states(x),
        model.complete(x),
        model.complete(x, how="mean"),
        model.sample(2),
        model.explain(x).log_weight,
        model.filter(x),
    ]
    assert not any(value.requires_grad for value in found)
    with torch.inference_mode():
        for query in (model.log_prob, model.posterior, model.states, model.complete, model.filter):
            assert query(x).isfinite().all()
        assert model.marginal([0, 2]).log_prob([[0.0, 1.0]]).isfinite()
        assert model.condition(x[0]).log_prob([[0.5]]).isfinite()
        assert model.sample(3).isfinite().all()
