"""Laws of strides: several steps at a time are single steps."""

from __future__ import annotations

import numpy as np
import pytest

from mixtures.strides import WINDOW, Strides


def given(symbols, steps=600, states=5, seed=0):
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.ones(states), states)
    return table, rng.random((symbols, states)), rng.integers(symbols, size=steps), rng


def one_by_one(table, leaves, symbols, value, every, down):
    """The values after (down: gradients before) every so many steps, summing to one."""
    found = []
    order = range(len(symbols))
    for step in reversed(order) if down else order:
        leaf = leaves[symbols[step]]
        value = leaf * (table.T @ value) if down else table @ (leaf * value)
        value = value / value.sum()
        if (step if down else step + 1) % every == 0:
            found.append(value)
    return found[::-1] if down else found


@pytest.mark.parametrize("every", [10, 24, 50])
@pytest.mark.parametrize("symbols", [1, 2, 3, 40])
@pytest.mark.parametrize("down", [False, True])
def test_strides_are_single_steps(down, symbols, every):
    table, leaves, chosen, rng = given(symbols)
    value = rng.random(5)
    strides = Strides(table, leaves, chosen)
    found = (strides.marks_down if down else strides.marks)(value, every)
    expected = one_by_one(table, leaves, chosen, value, every, down)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one / one.sum(), other, rtol=1e-12)


def test_few_symbols_make_long_strides_and_many_short_ones():
    lengths = [Strides(*given(symbols)[:3]).length for symbols in (2, 8, 40)]
    assert lengths == [6, 2, 1]


def test_a_symbol_that_does_not_occur_costs_nothing():
    table, leaves, chosen, _ = given(100)
    assert Strides(table, leaves, chosen % 2).length == 6


def test_strides_decline_where_underflow_cannot_be_excluded():
    """Each step the likelier state is the other one: 1e-9 is lost each time."""
    table = np.array([[1 - 1e-9, 1e-9], [1e-9, 1 - 1e-9]])
    leaves = np.array([[1.0, 0.0], [0.0, 1.0]])
    alternating = np.arange(2 * WINDOW) % 2
    strides = Strides(table, leaves, alternating)
    assert strides.marks(np.ones(2), WINDOW) is None
    assert strides.marks_down(np.ones(2), WINDOW) is None
    assert Strides(table, leaves, 0 * alternating).marks(np.ones(2), WINDOW) is not None
