"""Laws of tables: rows that sum to one, kept bit for bit, with zeros that stay zeros."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from mixtures import Table
from mixtures.tables import random_rows

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.5),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}


def sparse(dtype=torch.float64):
    values = torch.tensor(
        [[[0.25, 0.75, 0.0], [0.0, 1.0, 0.0]], [[0.1, 0.2, 0.7], [1 / 3, 0, 2 / 3]]]
    )
    return (values.to(dtype) / values.to(dtype).sum(-1, keepdim=True)).contiguous()


def learn(table, optimizer, steps=5):
    weights = torch.cos(torch.arange(table.logits.numel(), dtype=table.logits.dtype))

    def loss():
        optimizer.zero_grad()
        cost = -(table.log_values.exp().flatten() * weights).sum()
        cost.backward()
        return cost

    for _ in range(steps):
        optimizer.step(loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_bit_for_bit_what_was_given(dtype):
    values = random_rows((3, 4, 5), dtype=dtype, generator=torch.Generator().manual_seed(0))
    table = Table(values)
    assert torch.equal(table.values, values)
    other = random_rows((3, 4, 5), dtype=dtype, generator=torch.Generator().manual_seed(1))
    table.set(other)
    assert torch.equal(table.values, other)


def test_what_is_given_may_be_changed_afterwards():
    values = sparse()
    table = Table(values)
    values.zero_()
    assert torch.equal(table.values, sparse())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_structural_zeros_survive_every_optimizer(name):
    table = Table(sparse())
    learn(table, OPTIMIZERS[name](table.parameters()))
    assert torch.equal(table.values == 0, sparse() == 0)
    assert table.values.isfinite().all()
    torch.testing.assert_close(table.values.sum(-1), torch.ones(2, 2, dtype=torch.float64))
    assert not torch.equal(table.values, sparse())


def test_values_are_the_softmax_of_changed_logits():
    table = Table(sparse())
    with torch.no_grad():
        table.logits += torch.arange(12.0).reshape(2, 2, 3)
    torch.testing.assert_close(table.values, table.logits.detach().softmax(-1))
    table.logits.data = torch.zeros_like(table.logits)
    expected = (sparse() > 0).double()
    torch.testing.assert_close(table.values, expected / expected.sum(-1, keepdim=True))


def test_the_logits_are_defined_up_to_a_constant_per_row():
    table, moved = Table(sparse()), Table(sparse())
    with torch.no_grad():
        moved.logits += torch.tensor([3.0, -50.0])[:, None]
    torch.testing.assert_close(moved.values, table.values)


def test_setting_values_within_inference_mode_is_seen_outside():
    table = Table(sparse())
    other = sparse().flip(0).contiguous()
    with torch.inference_mode():
        table.set(other)
        assert torch.equal(table.values, other)
    assert torch.equal(table.values, other)
    with torch.no_grad():
        torch.testing.assert_close(table.log_values.exp(), other)


@pytest.mark.parametrize("changed", [False, True])
def test_saving_and_copying_keep_every_bit(changed):
    table = Table(sparse())
    if changed:
        learn(table, torch.optim.Adam(table.parameters(), lr=0.1))
    buffer = io.BytesIO()
    torch.save(table.state_dict(), buffer)
    buffer.seek(0)
    loaded = Table(torch.full((2, 2, 3), 1 / 3, dtype=torch.float64))
    loaded.load_state_dict(torch.load(buffer))
    for other in (loaded, copy.deepcopy(table)):
        assert torch.equal(other.values, table.values)
        assert torch.equal(other.logits, table.logits)
        learn(other, torch.optim.SGD(other.parameters(), lr=0.1))
        assert torch.equal(other.values == 0, sparse() == 0)


def test_casting_keeps_zeros_and_rounds_values():
    table = Table(sparse()).float()
    assert table.values.dtype == torch.float32
    assert torch.equal(table.values, sparse().float())
    again = table.double().values
    torch.testing.assert_close(again, sparse(), rtol=1e-6, atol=0)
    torch.testing.assert_close(again.sum(-1), torch.ones(2, 2, dtype=torch.float64))


BAD = {
    "negative": ([[[-0.5, 1.5]]], r"finite non-negative numbers, got -0.5 at \[0, 0, 0\]"),
    "NaN": ([[[float("nan"), 1.0]]], r"finite non-negative numbers, got nan at \[0, 0, 0\]"),
    "infinite": ([[[0.0, float("inf")]]], r"finite non-negative numbers, got inf at \[0, 0, 1\]"),
    "not normalised": (
        [[[0.5, 0.5], [0.5, 0.4]]],
        r"must sum to one, but row \[0, 1\] sums to 0.9",
    ),
    "slightly off": ([[[0.5, 0.5 + 1e-9]]], r"must sum to one"),
    "empty row": ([[[]]], r"at least one entry a row, got shape \(1, 1, 0\)"),
    "all zero": ([[[0.0, 0.0]]], r"must sum to one, but row \[0, 0\] sums to 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_and_nothing_is_changed(case):
    values, message = BAD[case]
    values = torch.tensor(values, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        Table(values)
    table = Table(torch.ones_like(values) / max(1, values.shape[-1])) if values.numel() else None
    if table is not None:
        before = {key: value.clone() for key, value in table.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            table.set(values)
        assert all(torch.equal(before[key], value) for key, value in table.state_dict().items())


def test_integers_are_no_probabilities():
    with pytest.raises(ValueError, match=r"floating-point numbers, got torch\.int64"):
        Table(torch.tensor([[[1, 0]]]))


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"values must have shape \(2, 2, 3\), got \(1, 2, 3\)"):
        Table(sparse()).set(sparse()[:1])


def test_random_rows_are_uniform_on_the_simplex():
    rows = random_rows((20_000, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(rows.sum(-1), torch.ones(20_000, dtype=torch.float64))
    torch.testing.assert_close(rows.mean(0), torch.full((3,), 1 / 3).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(rows.var(0), torch.full((3,), 1 / 18).double(), atol=0.003, rtol=0)
    assert (rows > 0).all()
