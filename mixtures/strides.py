"""One column walked along a long chain of few symbols, several steps at a time.

A step whose leaf is the symbol s multiplies by M_s = A diag(b_s). The products of a few such
matrices, for every sequence of so many symbols, are worked out beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

Array = NDArray[Any]
Step = Callable[[Array], Array]

WINDOW = 48  # steps between two renormalisations
MOST = 2**20  # numbers that the products may hold
LONGEST = 12  # steps that make a stride
WORTH = 8  # they pay if there are so many steps for each of them


class Strides:
    """A (r, r), b (V, r) with entries of at most one, symbols (L,) of all steps; in float64."""

    def __init__(self, table: Array, leaves: Array, symbols: Array) -> None:
        kinds, symbols = numpy.unique(symbols, return_inverse=True)
        self.table, self.symbols = table.astype(float), symbols
        self.single = self.table * leaves[kinds].astype(float)[:, None, :]
        size, most = len(kinds), min(MOST // self.table.size, len(symbols) // WORTH)
        self.length = 1
        while self.length < LONGEST and size ** (self.length + 1) <= most:
            self.length += 1
        self.products = self.single
        for _ in range(1, self.length):
            longer = self.single[None] @ self.products[:, None]
            self.products = longer.reshape(-1, *self.table.shape)
        info = numpy.finfo(float)
        self.least = WINDOW * self.table.size * info.tiny / (self.table.min() * info.eps)

    def marks(self, below: Array, every: int) -> list[Array] | None:
        """Values (r,) after every so many steps, given those before the first, each up to a
        factor; None where underflow cannot be excluded.
        """
        steps = [matrix.dot for matrix in (*self.products, *self.single)]
        return self._along(below.astype(float), steps, self._places(every))

    def marks_down(self, flow: Array, every: int) -> list[Array] | None:
        """Gradients before every so many steps, given that after the last."""
        steps = [matrix.T.dot for matrix in (*self.products, *self.single)]
        places = [block[::-1] for block in reversed(self._places(every))]
        found = self._along(flow.astype(float), steps, places)
        return None if found is None else found[::-1]

    def _places(self, every: int) -> list[list[int]]:
        """Of each `every` steps, which products and, for what is left, which single steps."""
        blocks = self.symbols.reshape(-1, every)
        rest = every % self.length
        parted = blocks[:, : every - rest].reshape(len(blocks), -1, self.length)
        powers = len(self.single) ** numpy.arange(self.length)[::-1]
        single = blocks[:, every - rest :] + len(self.products)
        found: list[list[int]] = numpy.concatenate([parted @ powers, single], 1).tolist()
        return found

    def _along(
        self, value: Array, steps: Sequence[Step], places: Sequence[Sequence[int]]
    ) -> list[Array] | None:
        found = []
        run = max(1, WINDOW // self.length)
        for block in places:
            for start in range(0, len(block), run):
                for place in block[start : start + run]:
                    value = steps[place](value)
                total = value.sum()
                if not total >= self.least:
                    return None
                value = value / total
            found.append(value)
        return found
