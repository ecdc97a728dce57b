"""Upper bounds on ranks of matricizations that come from the structure of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from transforms.cuts import checked_rows, sides
from transforms.subjects import subject


class Bounded(Protocol):
    """What has a shape and bounds its ranks."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def bound(self, rows: Sequence[int]) -> tuple[int, str]: ...


def min_cut(W: Any, rows: Sequence[int]) -> int:
    """The cheapest product of dimensions that separates the variables `rows` from the others.

    Splitting a latent (a hyperedge) costs its number of states once, cutting an edge the exact rank
    of its table, separating a variable its number of components. rank <= min_cut always; equality
    is generic for uniform r and k >= r, not in general. On trees it is found by passing costs along
    the edges, with Python integers; for other circuits ranks are multiplied at products and added
    at sums. Linear in the size of the model.

    >>> from mixtures import HMM
    >>> min_cut(HMM(8, components=3, states=3), [0, 2, 4, 6])
    81
    """
    exact = subject(W)
    return exact.bound(checked_rows(exact.shape, rows))[0]


def upper_bound(exact: Bounded, rows: tuple[int, ...]) -> tuple[int, str]:
    """The better of the cut through the model and the size of the matrix, and what it is."""
    size = min(sides(exact.shape, rows))
    cut, reason = exact.bound(rows)
    return (cut, reason) if cut <= size else (size, "the size of the matrix")
