"""Laws of alias tables: what they draw has exactly the probabilities of the rows."""

from __future__ import annotations

import pytest
import torch

from mixtures import HMM, LTM, SPN, Mixture, Tree, alias, chosen
from mixtures.alias import MOST, Alternatives, alias_tables, packed_cells
from mixtures.components import Categorical

from laws import close


def shares(rows, terms, seed=0):
    found = torch.rand(rows, terms, generator=torch.Generator().manual_seed(seed)).double() ** 4
    found[torch.rand(found.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = 0
    found[:, 0] += 1e-9
    found[0] = 0
    found[0, -1] = 1
    return found / found.sum(1, keepdim=True)


@pytest.mark.parametrize("terms", [3, 4, 7, 32, 100])
def test_the_probabilities_of_an_alias_table_are_those_of_its_row(terms):
    rows = shares(50, terms)
    keep, other = alias_tables(rows)
    found = keep.clone().scatter_add_(1, other, 1 - keep) / terms
    close(found, rows.numpy(), rtol=1e-9, atol=1e-14)
    assert bool((found[rows == 0] == 0).all())
    assert bool(((keep >= 0) & (keep <= 1)).all())


@pytest.mark.parametrize("terms", [1, 2, 5, MOST + 1])
def test_frequencies_are_those_of_the_rows_and_zeros_are_never_drawn(terms):
    rows = shares(6, terms)
    table = Alternatives(rows[:, None])
    n = 20_000
    asked = torch.arange(6).repeat_interleave(n)
    drawn = table.draw(asked, torch.Generator().manual_seed(2)).view(6, n)
    found = torch.stack([torch.bincount(row, minlength=terms) for row in drawn]) / n
    assert bool((found[rows == 0] == 0).all())
    error = (found - rows).abs() / (rows * (1 - rows) / n).sqrt().clamp(min=1e-3)
    assert float(error.max()) < 5


@pytest.mark.parametrize("make", [lambda g: HMM(3, 2, 4, generator=g), lambda g: SPN.random(3, 2)])
def test_draws_follow_tables_that_change_in_place_or_are_replaced(make):
    W = make(torch.Generator().manual_seed(0))
    W.sample(5)
    for change in ("set", "write"):
        for table in W.tables:
            if change == "set":
                values = torch.zeros_like(table.values)
                values[..., 0] = 1
                table.set(values)
            else:
                hot = torch.nn.functional.one_hot(table.values.argmin(-1), table.values.shape[-1])
                with torch.no_grad():
                    table.logits.copy_(hot.log())
                table._support = None
        drawn = W.sample(200)
        assert bool((W[drawn[:1]] > 0).all()) and bool((drawn == drawn[0]).all())


def test_the_cells_of_a_row_have_its_probabilities_to_32_bits():
    for terms in (3, 5, 32, 256):
        rows, bits = shares(20, terms), (terms - 1).bit_length()
        cells = packed_cells(rows, bits).view(20, -1).long()
        low = cells & ((1 << bits) - 1)
        kept = (cells - low).double() / 2**32 + 0.5  # how many levels lie below
        term = torch.arange(1 << bits).expand_as(cells)
        found = kept.clone().scatter_add_(1, term ^ low, 1 - kept) / (1 << bits)
        close(found[:, :terms], rows.numpy(), rtol=0, atol=terms * 2.0**-32)
        assert bool((found[:, :terms][rows == 0] == 0).all()) and not bool(found[:, terms:].any())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_certain_term_is_drawn_at_every_level(share, monkeypatch):
    ends = torch.tensor([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 2, 2**31 - 1]).int()
    monkeypatch.setattr(alias, "levels", lambda count, *_: ends.clone())
    for others in (1, 2, 6):
        row = torch.tensor([[[share, *[(1 - share) / others] * others]]])
        drawn = Alternatives(row).draw(torch.zeros(len(ends), dtype=torch.int64))
        assert bool(((drawn == 0) == (share == 1)).all())


@pytest.mark.parametrize("n", [0, 1, 37, 100])
@pytest.mark.parametrize("kind", ["tree", "network"])
def test_samples_come_in_parts_that_follow_one_another(n, kind, monkeypatch):
    g = torch.Generator().manual_seed(0)
    monkeypatch.setattr(chosen, "STEP_DRAWS", 4 * 36)
    W = LTM(Tree.balanced(4), 3, 2, generator=g) if kind == "tree" else SPN.random(4, 3)
    parts = list(W.draws(n, torch.Generator().manual_seed(1)))
    together = W.sample(n, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.cat(parts, 1).T, together) and together.shape == (n, 4)
    assert together.dtype == torch.int64 and together.is_contiguous()
    assert Mixture(W, Categorical(4, 3, 5)).sample(n).shape == (n, 4)
    if kind == "tree":
        assert len(parts) == max(1, -(-n // 36))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("categories", [1, 2, 3, [2, 4, 1], MOST + 1])
def test_symbols_follow_the_components_that_are_named(shared, categories):
    if shared and isinstance(categories, list):
        return
    family = Categorical(3, 2, categories, shared=shared, generator=torch.manual_seed(0))
    indices = torch.tensor([[0, 1, 0], [1, 1, 0]]).repeat_interleave(10_000, 0)
    drawn = family.sample(indices, torch.Generator().manual_seed(3)).view(2, 10_000, 3)
    p = family.probabilities.expand(3, -1, -1)
    for row, states in enumerate([[0, 1, 0], [1, 1, 0]]):
        for j, state in enumerate(states):
            found = torch.bincount(drawn[row, :, j], minlength=p.shape[-1]) / 10_000
            error = (found - p[j, state]).abs() / (p[j, state] / 10_000).sqrt().clamp(min=1e-3)
            assert float(error.detach().max()) < 5
    before = family.sample(indices)
    family.table.set(
        torch.nn.functional.one_hot(p[:1].argmax(-1), p.shape[-1])
        .float()
        .expand_as(family.table.values)
    )
    assert before.dtype == torch.int64 and len(family.sample(indices)[:10_000].unique(dim=0)) == 1
