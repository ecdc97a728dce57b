"""A self-attention network on a grid of random tokens, split by its degree in one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from transforms.attention_counts import half_degree
from transforms.attention_weights import AttentionArchitecture, AttentionWeights
from transforms.elimination import random_residues

CHUNK = 2**19  # residues in one intermediate result


@dataclass(frozen=True)
class Points:
    """Random tokens modulo p on both sides; `left` is the side that is read, its first token.

    left: (m, a, coordinates), right: (m, b, coordinates).
    """

    weights: AttentionWeights
    coordinate: int
    left: Tensor
    right: Tensor

    @classmethod
    def none(cls, weights: AttentionWeights, coordinate: int) -> Points:
        """No points yet."""
        return cls(weights, coordinate, torch.zeros(0, 1, 1), torch.zeros(0, 1, 1))

    def extended(
        self, size: int, sides: tuple[int, int], coordinates: int, rng: numpy.random.Generator
    ) -> Points:
        """As many new points a side."""
        left, right = (
            random_residues(rng, (size, side, coordinates), self.prime) for side in sides
        )
        return Points(self.weights, self.coordinate, left, right)

    @property
    def prime(self) -> int:
        """The prime."""
        assert self.weights.prime is not None
        return self.weights.prime

    def parts(self, top: int) -> Tensor:
        """f = sum_c f_c by the degree 2c in the right side, on all pairs: (top + 1, m, m).

        f(left, t right) = sum_c t^(2c) f_c(left, right), at t^2 = 0, 1, 4, .., top^2.
        """
        left, right = self.weights.embedded(self.left), self.weights.embedded(self.right)
        read = left[:, 0]
        here = self.weights.product(left.mT, left)
        there = self.weights.product(right.mT, right)
        rows = max(1, CHUNK // (len(right) * here.shape[-1] ** 2))
        squares = [t**2 % self.prime for t in range(top + 1)]
        grids = torch.empty((top + 1, len(left), len(right)), dtype=torch.int64)
        for place, square in enumerate(squares):
            scaled = (there * square).remainder(self.prime)
            for start in range(0, len(left), rows):
                part = slice(start, start + rows)
                grids[place, part] = self._values(read[part], here[part], scaled)
        return degree_parts(grids, squares, self.prime)

    def _values(self, read: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """f for every pair of a read token with S on its side and S on the other."""
        weights, last = self.weights, len(self.weights.queries) - 1
        step = weights.step(0, here).unsqueeze(1) + weights.step(0, there)
        step = step.remainder_(self.prime)
        x, second = read[:, None, :, None], here.unsqueeze(1) + there
        second = second.remainder_(self.prime)
        for layer in range(last + 1):
            if layer > 0:
                step = weights.step(layer, second)
            if layer == last:
                step = step[..., self.coordinate, :].unsqueeze(-2)
            x = weights.product(step, x)
            if layer < last:
                second = weights.product(weights.product(step, second), step.mT)
        return x[..., 0, 0]


def degree_parts(grids: Tensor, places: Sequence[int], p: int) -> Tensor:
    """The coefficients of polynomials modulo p from their values at distinct places (Newton).

    grids: (n, ...), the values at n places -> (n, ...), the coefficients of degree 0 .. n - 1.

    >>> degree_parts(torch.tensor([[1], [6], [17]]), [0, 1, 2], 101).tolist()
    [[1], [2], [3]]
    """
    n, table = len(places), [grid.remainder(p) for grid in grids]
    for width in range(1, n):  # divided differences, in place
        for k in range(n - 1, width - 1, -1):
            inverse = pow(places[k] - places[k - width], -1, p)
            table[k] = ((table[k] - table[k - 1]).remainder(p) * inverse).remainder(p)
    for k in range(n - 2, -1, -1):  # sum_k table[k] prod_{i<k} (s - place_i), multiplied out
        for degree in range(k, n - 1):
            table[degree] = (table[degree] - table[degree + 1] * places[k]).remainder(p)
    return torch.stack(table)


def work(plan: AttentionArchitecture) -> int:
    """Multiplications for one row and one column of a grid, over all degrees, roughly."""
    heads = min(plan.heads * (3 * plan.head_size), 3 * plan.width**2)
    layers = max(1, plan.depth - 1)
    return (half_degree(plan.depth) + 1) * layers * plan.width**2 * (heads + 2 * plan.width)
