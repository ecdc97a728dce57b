"""A self-attention network on a grid of random tokens, split by its degree in one side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from flint import fmpz
from torch import Tensor

from transforms.attention_weights import AttentionArchitecture, AttentionWeights
from transforms.elimination import random_residues

CHUNK = 2**18  # residues in one intermediate result
GRID_PRIMES = 13_561_907  # the number of primes between 2^28 and 2^29


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

    def parts(self, n: int) -> Tensor:
        """f = sum_c f_c by the degree 2c in the right side, on all pairs: (n, m, m).

        f(left, t right) = sum_c t^(2c) f_c(left, right), at t = 1, .., n, if there are n degrees;
        n = 1 is f itself.
        """
        left, right = self.weights.embedded(self.left), self.weights.embedded(self.right)
        first, *maps = self._maps()
        here, there = (self._linear(side, first) for side in (left, right))
        rows = max(1, CHUNK // (len(right) * left.shape[-1] ** 2))
        squares = [t**2 % self.prime for t in range(1, n + 1)]
        grids = torch.empty((n, len(left), len(right)), dtype=torch.int64)
        for place, square in enumerate(squares):
            scaled = (there * square).remainder_(self.prime)
            for start in range(0, len(left), rows):
                part = slice(start, start + rows)
                values = self._values(maps, left[part, 0], here[part], scaled)
                grids[place, part] = values.reshape(-1, len(right))
        return degree_parts(grids, squares, self.prime)

    def _maps(self) -> list[Tensor]:
        """F of every layer as a linear map of the entries of S; of the last layer only the row of
        the coordinate that is read.
        """
        last = len(self.weights.queries) - 1
        read = slice(self.coordinate, self.coordinate + 1)
        return [*(self._map(layer, slice(None)) for layer in range(last)), self._map(last, read)]

    def _map(self, layer: int, rows: slice) -> Tensor:
        """F(S) = sum_h (O_h V_h) S (K_h^T Q_h), as (d^2, rows * d): a sum of Kronecker products."""
        weights, product = self.weights, self.weights.product
        left = product(weights.outputs[layer, :, rows], weights.values[layer])  # (heads, rows, d)
        right = product(weights.keys[layer].mT, weights.queries[layer])  # (heads, d, d)
        heads, count, d = left.shape
        entries = product(left.reshape(heads, -1).mT, right.reshape(heads, -1))
        return entries.reshape(count, d, d, d).permute(1, 2, 0, 3).reshape(d * d, -1)

    def _linear(self, tokens: Tensor, first: Tensor) -> Tensor:
        """What adds up over the two sides: the entries of S, then those of F_1(S); (m, entries)."""
        second = self.weights.product(tokens.mT, tokens).flatten(1)
        return torch.cat([second, self.weights.product(second, first)], 1)

    def _values(self, maps: list[Tensor], read: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """f for every pair of a read token and what its side adds with what the other side adds."""
        product, d = self.weights.product, read.shape[-1]
        both = (here[:, None] + there).remainder_(self.prime).flatten(0, 1)
        second, step = (
            both[:, : d * d].reshape(-1, d, d),
            both[:, d * d :].reshape(len(both), -1, d),
        )
        x = read.repeat_interleave(len(there), 0)[:, :, None]
        for following in maps:
            x = product(step, x)
            second = product(product(step, second), step.mT)
            step = product(second.reshape(-1, d * d), following).reshape(len(x), -1, d)
        return product(step, x)[:, 0, 0]


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


def work(plan: AttentionArchitecture, parts: int) -> int:
    """Multiplications for one entry of a grid of that many parts, roughly.

    The first layer is a sum of what the two sides give, each computed once for all entries; of the
    last layer only one row is computed.
    """
    d, after = plan.width, plan.depth - 1
    layers = max(0, after - 1) * d**4 + after * (2 * d**3 + d**2) + (d**3 if after else 2 * d)
    return parts * (layers + 2 * d**2 + 2 * parts)


def grid_prime(rng: numpy.random.Generator) -> int:
    """A prime drawn uniformly from those between 2^28 and 2^29: 32 products add up in 63 bits.

    >>> grid_prime(numpy.random.default_rng(0)).bit_length()
    29
    """
    while True:
        number = int(rng.integers(2**28, 2**29))
        if fmpz(number).is_prime():
            return number


def miss_risk(ranks: Sequence[int], degree: int, height: float | None) -> float:
    """The probability that a random grid misses a larger rank in one of the parts of f.

    A larger regular minor of the coefficients does not vanish modulo the prime, unless the prime
    divides it: by Hadamard at most (bits / 28) of the GRID_PRIMES primes do. height: bits of the
    coefficients, None where weights are drawn too. The grid's minor is then a polynomial of that
    `degree` times its size in what is drawn (Schwartz, Zippel).
    """
    risk = 0.0
    for size in (rank + 1 for rank in ranks):
        risk += size * degree / 2**28
        if height is not None:
            risk += size * (height + math.log2(size) / 2) / 28 / GRID_PRIMES
    return min(1.0, risk)
