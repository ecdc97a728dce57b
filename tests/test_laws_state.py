"""Laws of what a model holds: saved, copied, cast and moved without changing what it means."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from mixtures import Linear

from laws import close, every_model, leaves, tensor
from zoo import fresh, made


def same(one, other):
    """Whether two models hold the same numbers, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True)) and all(
        torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items()
    )


def learned(name):
    """An instance whose tables an optimizer has changed."""
    model = fresh(name)
    if list(model.parameters()):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        model.contract(tensor(leaves(name)).requires_grad_()).sum().backward()
        optimizer.step()
    return model


@every_model
def test_a_state_dict_round_trip_is_exact_bit_for_bit(name):
    model, other = learned(name), fresh(name, seed=1)
    if name.startswith(("LTM random", "SPN random")):
        other = fresh(name)  # another seed is another structure
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer))
    assert same(model, other)
    rows = tensor(leaves(name))
    assert torch.equal(model.contract(rows), other.contract(rows))


@every_model
@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_equal_and_independent(name, how):
    model = learned(name)
    other = how(model)
    assert same(model, other)
    rows = tensor(leaves(name))
    before = model.contract(rows).detach().clone()
    assert torch.equal(other.contract(rows), before)
    assert other.latents == model.latents and other.size == model.size
    for table in other.tables:
        table.set(table.values.square() / table.values.square().sum(-1, keepdim=True))
    assert torch.equal(model.contract(rows), before)
    shared = {id(parameter) for parameter in model.parameters()}
    assert not shared & {id(parameter) for parameter in other.parameters()}


@every_model
def test_ties_and_shared_parts_survive_a_copy(name):
    model, other = made(name), copy.deepcopy(made(name))
    ties = [[id(p) for p in m.parameters(recurse=True)] for m in (model, other)]
    assert len(ties[0]) == len(ties[1])
    assert (model.stored, model.num_parameters) == (other.stored, other.num_parameters)


@every_model
def test_tables_hold_bit_for_bit_what_they_are_given(name):
    model = fresh(name)
    for table in model.tables:
        values = table.values.square() / table.values.square().sum(-1, keepdim=True)
        table.set(values)
        assert torch.equal(table.values, values)
    rows = tensor(leaves(name))
    model.contract(rows)
    assert model.is_normalised()


@every_model
def test_float32_is_close_to_float64(name):
    model = made(name)
    small = copy.deepcopy(model).to(torch.float32)
    assert small.dtype == torch.float32
    rows = tensor(leaves(name))[:4]
    single = rows.float()
    close(small.contract(single).double(), model.contract(rows), rtol=2e-5, atol=2e-5)
    close(small.contract(single.exp(), Linear()).double(), model.contract(rows).exp(), rtol=2e-5)
    close(small.posterior(single).double(), model.posterior(rows), rtol=1e-4, atol=1e-5)
    close(small.explain(single).log_weight.double(), model.explain(rows).log_weight, rtol=2e-5)
    close(small.dense().double(), model.dense(), rtol=2e-5, atol=1e-7)
    assert small.contract(single).dtype == small.posterior(single).dtype == torch.float32
    assert small.is_normalised()


@every_model
def test_instances_of_both_types_are_built_in_their_type(name):
    for dtype in (torch.float32, torch.float64):
        model = fresh(name, dtype)
        assert model.dtype == dtype
        assert all(array.dtype == dtype for array in model.arrays)
        assert model.dense().dtype == model[np.zeros(model.variables, dtype=int)].dtype == dtype
        assert model.is_normalised()


@every_model
def test_leaves_of_another_type_are_refused_not_cast(name):
    with pytest.raises(ValueError, match=r"leaves must be torch.float64 .* got torch.float32"):
        made(name).contract(tensor(leaves(name)).float())


@every_model
def test_queries_change_nothing(name):
    model, rows = fresh(name), tensor(leaves(name))
    before, given = copy.deepcopy(model), rows.clone()
    model.contract(rows)
    model.contract(rows.exp(), Linear())
    model.posterior(rows)
    model.explain(rows)
    model.complete(rows, generator=torch.Generator())
    model.sample(3, generator=torch.Generator())
    model.dense()
    assert same(model, before)
    assert torch.equal(rows, given)


@every_model
def test_a_tensor_after_a_gradient_step_is_still_a_distribution_with_the_same_zeros(name):
    model, before = learned(name), made(name)
    assert model.is_normalised()
    for ours, old in zip(model.arrays, before.arrays, strict=True):
        assert torch.equal(ours == 0, old == 0)
        close(ours.sum(-1), torch.ones(ours.shape[:-1]), rtol=1e-12)
