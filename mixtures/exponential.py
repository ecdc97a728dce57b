"""Leaves of a chain that are exponentials of a few functions of the data: one product, one exp.

What all variables share is divided out once: the largest value that a leaf can have. Rows that are
far from every component then underflow; the walk finds that out and takes logarithms instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mixtures.kernels import Native
from mixtures.scaled import LOG2_E
from mixtures.sides import Evaluated

AHEAD = 2**17  # numbers that are worked out at once


class Exponential(Evaluated):
    """exp <a, basis>, a (k, s) of any variable; basis(variables, out) gives (m, s, B), in the
    memory of out (s, m B).

    `summed`: posteriors times functions are added up in `sums`, (k, s) float64.
    """

    def __init__(
        self,
        exponents: Tensor,
        top: float,
        basis: Callable[[Tensor, Tensor], Tensor],
        *rest: Any,
        summed: bool,
        **options: Any,
    ) -> None:
        super().__init__(*rest, **options)
        self.exponents = exponents.clone()
        self.exponents[:, -1] -= top
        self.exponents *= LOG2_E  # powers of two are quicker
        self.top, self.basis = top, basis
        self.sums = torch.zeros_like(exponents, dtype=torch.float64) if summed else None
        self.takes = self.takes or summed
        self.bases: dict[int, Native] = {}
        self._memory: Tensor | None = None
        self._ahead: tuple[int, Native] | None = None
        self._exponents = self.kernels.native(self.exponents)

    def reset(self) -> None:
        super().reset()
        if self.sums is not None:
            self.sums.zero_()

    def _components(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        if start in self.kept:
            return self.kept[start]
        basis = self._functions(start, stop)
        shape = (*basis.shape[:2], self._exponents.shape[0], basis.shape[-1])
        found = self._room(start, stop, shape)
        mantissas = self.kernels.native(found)
        self.kernels.matmul(self._exponents, basis, out=mantissas)
        self.kernels.exp2(mantissas, out=mantissas)
        tops = self.kernels.tensor(basis[:, :, -1:].sum(0)) * self.top
        if self.keep:
            self.kept[start] = found, tops
            self.bases[start] = basis
        return found, tops

    def _functions(self, start: int, stop: int) -> Native:
        """The basis (m, G, s, M) at some steps, and at the ones to come."""
        if self._ahead is not None:
            first, ready = self._ahead
            if first <= start and stop <= first + ready.shape[0]:
                return ready[start - first : stop - first]
        arrangement, functions = self.arrangement, self._exponents.shape[1]
        columns = arrangement.blocks * arrangement.rows
        last = min(arrangement.length, max(stop, start + AHEAD // (columns * functions)))
        if self.keep or self._memory is None:
            self._memory = self.rooms.take((functions, (last - start) * columns))
        out = self._memory[:, : (last - start) * columns]
        basis = self.basis(self.variables[start:last].reshape(-1), out)
        basis = arrangement.together(basis.unflatten(0, (last - start, arrangement.blocks)))
        self._ahead = start, self.kernels.native(basis)
        return self._ahead[1][: stop - start]

    def take(self, start: int, stop: int, weights: Tensor) -> None:
        super().take(start, stop, weights)
        if self.sums is not None:
            back = self.bases[start].swapaxes(-1, -2)
            found = self.kernels.matmul(self.kernels.native(weights), back)
            self.sums += self.kernels.tensor(found).sum((0, 1), dtype=torch.float64)
