"""The linear oracle over products of components: enumeration, or coordinate ascent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

SWEEPS = 50  # most walks over the variables of one coordinate ascent


class Vertex(NamedTuple):
    """One component per variable, `place` (d,), the value of the linear form there, and whether it
    is proven to be the largest.
    """

    place: Tensor
    value: float
    exact: bool


class LinearForm(ABC):
    """A multilinear form on products of simplices, largest at a vertex: one component a variable.

    shape: (k_1, .., k_d). Where prod_j k_j is at most `budget` all vertices are compared; otherwise
    coordinate ascent from `restarts` starting points finds a local maximum, which is a heuristic:
    the problem, that of the best rank-one approximation, is NP-hard.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def everywhere(self) -> Tensor:
        """The values at all vertices, of shape `shape`."""

    @abstractmethod
    def along(self, index: Tensor, variable: int) -> Tensor:
        """The values (R, k_j) where component j of each index (R, d) runs over all of them."""

    def enumerable(self, budget: int) -> bool:
        """Whether there are at most `budget` vertices."""
        entries = 1
        for k in self.shape:
            entries *= k
        return entries <= budget

    def largest(self, starts: Tensor, budget: int) -> Vertex:
        """The best vertex, or the best that coordinate ascent from indices (R, d) found."""
        if self.enumerable(budget):
            values = self.everywhere()
            best = int(values.argmax())
            index = torch.stack(torch.unravel_index(torch.tensor(best), self.shape))
            return Vertex(index, float(values.reshape(-1)[best]), True)
        index, values = self._ascend(starts.clone())
        best = int(values.argmax())
        return Vertex(index[best], float(values[best]), False)

    def _ascend(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinate ascent, all starting points at once, until no single change is better."""
        values = torch.full((len(index),), -torch.inf, dtype=torch.float64)
        for _ in range(SWEEPS):
            before = index.clone()
            for j in range(len(self.shape)):
                values, index[:, j] = self.along(index, j).max(1)
            if bool((index == before).all()):
                break
        return index, values
