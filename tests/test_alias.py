"""Laws of alias tables: what they draw has exactly the probabilities of the rows."""

from __future__ import annotations

import pytest
import torch

from mixtures import HMM, SPN
from mixtures.alias import MOST, Alternatives, alias_tables

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
