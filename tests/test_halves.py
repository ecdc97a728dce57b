"""Laws of halves: outer products contracted one factor at a time give what they give as a whole."""

from __future__ import annotations

import pytest
import torch

from mixtures import HT, Mixture, Tree, combining, halves
from mixtures.components import Bernoulli, Categorical

from test_patterns import (
    TYPES,
    close,
    compare,
    hidden,
    kronecker,
    plain,
    planned,
    seeded,
    tables,
    without_first_states,
)


def uneven(dtype):
    """A branch that grows leaf by leaf, over an even one: children with many and few patterns."""
    children = {20: [0, 1], 21: [2, 3], 22: [20, 21]}
    children |= {23 + j: [22 + j, 4 + j] if j % 2 else [4 + j, 22 + j] for j in range(8)}
    children |= {40: [12, 13], 41: [40, 14], 42: [30, 41]}
    tree = Tree(children)
    sizes = {node: 2 + node % 3 for node in tree.nodes}
    W = HT(tree, 2, sizes, **tables(0, dtype))
    x = torch.randint(0, 2, (400, 15), generator=seeded(4))
    x[:, 5:] *= torch.randint(0, 2, (400, 1), generator=seeded(5))  # patterns of many rows
    return Mixture(W, Bernoulli(15, 2, **tables(1, dtype))), x


def zeros(dtype):
    """Structural zeros: logarithms instead of mantissas."""
    model, x = kronecker(dtype)
    without_first_states(model)
    return model, x


def rare(dtype):
    """Patterns that underflow in float32, each in some rows."""
    model, x = kronecker(dtype)
    table = torch.full((12, 3, 3), 0.5, dtype=dtype)
    table[:, :, 2] = 1e-9 * torch.rand(12, 3, generator=seeded(1), dtype=dtype)
    table[:, :, :2] = (1 - table[:, :, 2:]) / 2
    return Mixture(model.coefficients, Categorical.from_parameters(table)), x


CASES = {case.__name__: case for case in (kronecker, uneven, zeros, rare)}


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Halves wherever they could be, in small pieces."""
    monkeypatch.setattr(halves, "WORTH", 1)
    monkeypatch.setattr(halves, "NUMBERS", 60)
    monkeypatch.setattr(halves, "LONGEST", 7)


def halved_nodes(model, data):
    return [group for plan in planned(model, data) for group in plan.groups if group.halves]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_values_and_expectations_are_those_of_outer_products(name, dtype, masked, monkeypatch):
    model, x = CASES[name](dtype)
    data = model.encode(x, hidden(x) if masked else None)
    found = halved_nodes(model, data)
    assert any(group.columns == len(x) for group in found)
    assert {own.near for group in found for own in group.halves} == {0, 1} or name != "uneven"
    weights = torch.rand(len(x), generator=seeded(7), dtype=dtype)
    compare(model, data, weights, monkeypatch, dtype)


@pytest.mark.parametrize("name", CASES)
def test_parts_of_rows_are_contracted_in_halves_too(name, monkeypatch):
    model, x = CASES[name](torch.float64)
    data = model.encode(x, hidden(x))
    planned(model, data)
    part = data.rows(torch.randint(0, len(x), (150,), generator=seeded(8)))
    assert halved_nodes(model, part)
    compare(model, part, torch.ones(150, dtype=torch.float64), monkeypatch, torch.float64)


def test_every_column_is_worked_out_once_and_many_at_a_time(monkeypatch):
    """Patterns with very different numbers of columns, and pieces of a few patterns."""
    counts = torch.tensor([1, 2, 40, 3, 1, 9, 5, 5, 100])
    near = torch.arange(len(counts)).repeat_interleave(counts)
    near = near[torch.randperm(len(near), generator=seeded())]
    far = torch.randint(0, 50, near.shape, generator=seeded(1))
    found = halves.halved((far, near), 1, 20)
    seen = torch.cat([own.columns for piece in found.pieces for own in piece.rounds])
    assert sorted(seen[seen < len(near)].tolist()) == list(range(len(near)))
    assert len(seen) < 2 * len(near)
    assert torch.equal(seen[found.places], torch.arange(len(near)))
    for piece in found.pieces:
        assert piece.rounds[0].patterns == len(piece.near) <= 3
        for own in piece.rounds:
            columns = own.columns.view(own.patterns, -1)
            for row, some in zip(piece.near.tolist(), columns, strict=False):
                assert (near[some[some < len(near)]] == row).all()
            real = own.columns < len(near)
            assert torch.equal(far[own.columns[real]], own.far[real])


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_few_values_are_mixed_without_outer_products(dtype, observed, monkeypatch):
    """A node of two states over nodes of eight: values, counts and posteriors."""
    children = {6: [0, 1], 7: [2, 3], 8: [4, 5], 9: [7, 8], 10: [6, 9]}
    W = HT(Tree(children), 8, {**dict.fromkeys(range(9), 8), 9: 2}, **tables(0, dtype))
    x = torch.randint(0, 2, (300, 6), generator=seeded(4))
    model = Mixture(W, Bernoulli(6, 8, **tables(1, dtype)))
    data = model.encode(x, hidden(x) if observed else None)
    sweep = lambda: plain(model, data, torch.ones(300, dtype=dtype), monkeypatch)  # noqa: E731
    asked, mix = [], combining._mix_narrow
    monkeypatch.setattr(combining, "_mix_narrow", lambda *a: (asked.append(1), mix(*a)))
    (values, found), narrow = sweep(), len(asked)
    monkeypatch.setattr(combining, "NARROW", 10**9)
    (logs, expected), wide = sweep(), len(asked) - narrow
    assert narrow > wide == 0
    close(values, logs, dtype)
    for count, other in zip(found.counts, expected.counts, strict=True):
        close(count / 300, other / 300, dtype)
    for name, value in expected.statistics.items():
        close(found.statistics[name] / 300, value / 300, dtype)
