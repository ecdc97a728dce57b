"""Laws of gradients: of leaves, evidence and logits, against finite differences and posteriors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixtures import Linear, Log, Max

from laws import close, every_model, evidence, leaves, tensor
from zoo import fresh, made

RINGS = {"Log": Log(), "Linear": Linear()}


def some(name, rows=2):
    """Leaves and evidence of moderate size, with nothing impossible."""
    model = made(name)
    given = {v: tensor(np.nan_to_num(x[:rows], neginf=-1)) for v, x in evidence(name).items()}
    row = torch.linspace(-1, 1, rows * model.variables * max(model.shape), dtype=torch.float64)
    return row.sin().reshape(rows, model.variables, -1), given


@every_model
@pytest.mark.parametrize("ring", RINGS)
def test_gradients_of_leaves_and_evidence_are_finite_differences(name, ring):
    model, (rows, given) = made(name), some(name)

    def value(rows, *logs):
        return model.contract(rows, RINGS[ring], dict(zip(given, logs, strict=True)))

    inputs = [part.clone().requires_grad_() for part in (rows, *given.values())]
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True)


@every_model
@pytest.mark.parametrize("ring", RINGS)
def test_gradients_of_logits_are_finite_differences(name, ring):
    model, (rows, given) = fresh(name), some(name)
    for table in model.tables:
        check_logits(table, lambda: model.contract(rows, RINGS[ring], given))


def check_logits(table, value):
    """The directional derivative of the sum of values, by autograd and by central differences."""
    direction = torch.cos(torch.arange(table.logits.numel(), dtype=torch.float64))
    direction = direction.reshape(table.logits.shape) * (table.values > 0)
    (gradient,) = torch.autograd.grad(value().sum(), table.logits)
    step = 1e-6
    with torch.no_grad():
        table.logits += step * direction
        ahead = value().sum()
        table.logits -= 2 * step * direction
        behind = value().sum()
        table.logits += step * direction
    close((gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@every_model
def test_the_gradient_of_the_log_density_is_the_posterior(name):
    model, rows = made(name), tensor(leaves(name)).requires_grad_()
    (gradient,) = torch.autograd.grad(model.contract(rows).sum(), rows)
    close(gradient, model.posterior(rows.detach()), rtol=1e-12)


@every_model
def test_the_gradient_of_a_structural_zero_is_zero(name):
    model = fresh(name)
    model.contract(tensor(leaves(name)).requires_grad_()).sum().backward()
    for table in model.tables:
        if table.logits.grad is not None:
            assert table.logits.grad.isfinite().all()
            assert not table.logits.grad[table.values == 0].any()


@every_model
def test_gradients_with_respect_to_logits_leave_the_rows_sums_alone(name):
    """Logits are defined up to a constant per row, so the gradient of each row sums to zero."""
    model = fresh(name)
    model.contract(tensor(leaves(name)).requires_grad_()).sum().backward()
    for table in model.tables:
        if table.logits.grad is not None:
            close(table.logits.grad.sum(-1), torch.zeros(table.logits.shape[:-1]), atol=1e-11)


@every_model
def test_rows_of_probability_zero_have_finite_gradients(name):
    model, rows = fresh(name), tensor(leaves(name))
    rows[2, 0] = -torch.inf
    rows.requires_grad_()
    values = model.contract(rows)
    values[torch.tensor([0, 1, 3, 4])].sum().backward()
    assert rows.grad.isfinite().all()
    assert not rows.grad[2].any()
    rows.grad = None
    model.contract(rows).clamp(min=-1e6).sum().backward()
    assert rows.grad.isfinite().all()
    assert all(
        table.logits.grad is None or table.logits.grad.isfinite().all() for table in model.tables
    )


@every_model
def test_no_tape_is_kept_where_nothing_asks_for_one(name):
    model, rows = made(name), tensor(leaves(name))
    with torch.no_grad():
        assert not model.contract(rows).requires_grad
    for found in (model.posterior(rows), model.explain(rows).log_weight, model.dense()):
        assert not found.requires_grad


@every_model
def test_best_values_are_constants_also_for_leaves_that_ask_for_gradients(name):
    rows = tensor(leaves(name))
    best = made(name).contract(rows.clone().requires_grad_(), Max())
    assert not best.requires_grad and torch.equal(best, made(name).contract(rows, Max()))


@every_model
def test_values_are_the_same_in_every_grad_mode(name):
    model, rows = made(name), tensor(leaves(name))
    expected = model.contract(rows), model.posterior(rows), model.explain(rows).log_weight
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = model.contract(rows), model.posterior(rows), model.explain(rows).log_weight
            drawn = model.sample(3, generator=torch.Generator()), model.dense()
            assert model[drawn[0]].shape == (3,)
        for one, other in zip(found, expected, strict=True):
            close(one.clone(), other, rtol=1e-14)


@every_model
def test_models_built_within_inference_mode_answer_inside_and_outside(name):
    with torch.inference_mode():
        model = fresh(name)
        inside = model.contract(tensor(leaves(name))).clone()
    expected = fresh(name)
    rows = tensor(leaves(name))
    with torch.no_grad():
        close(model.contract(rows), expected.contract(rows), rtol=1e-14)
    close(inside, expected.contract(rows), rtol=1e-14)
    close(model.posterior(rows), expected.posterior(rows), rtol=1e-14)
    assert model.sample(3, generator=torch.Generator()).shape == (3, model.variables)
