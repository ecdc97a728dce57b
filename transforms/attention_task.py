"""A task that mixes two halves of the tokens: iterating the composition of their permutations."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from mixtures.errors import SizeError
from transforms.elimination import exact_rank

MOST_POINTS = 5  # 120 x 120 permutations are written out; six points would be 720 x 720


@dataclass(frozen=True)
class CompositionTask:
    """Predict f(i), f^2(i), .. at every token i of the first half, f = b o a, halves a and b.

    The first half of the 2 m tokens is a permutation a of m points, the second half a permutation
    b: token i is a(i), token m + j is b(j), told apart by their symbols. For every `hops` h, the
    target at token i < m is f^h(i). One hop is one look into the other half; attention that has
    looked up f^h can look up f^(2h) in its next layer, so L layers can reach 2^(L-1) hops, given
    the width to keep points apart.

    Raises ValueError unless there are at least two points and hops are distinct positive integers.

    >>> task = CompositionTask(points=3, hops=(1, 2))
    >>> tokens, targets = task.draw(1, torch.Generator().manual_seed(0))
    >>> tokens.shape, targets.shape
    (torch.Size([1, 6]), torch.Size([1, 3, 2]))
    """

    points: int = 8
    hops: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        if type(self.points) is not int or self.points < 2:
            raise ValueError(f"expected points to be an integer above 1, got {self.points!r}")
        whole = all(type(hop) is int and hop >= 1 for hop in self.hops)
        if not (whole and self.hops and len(set(self.hops)) == len(self.hops)):
            raise ValueError(f"expected hops to be distinct positive integers, got {self.hops!r}")

    @property
    def tokens(self) -> int:
        """Tokens in a row: both halves; there are as many symbols."""
        return 2 * self.points

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n rows, uniform: tokens (n, 2 m), integers below 2 m; targets (n, m, hops), below m."""
        noise = torch.rand((2, n, self.points), generator=generator, device=generator.device)
        first, second = noise.argsort(-1)
        return self.rows(first, second)

    def rows(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and targets of given permutations, (n, m) each."""
        once = second.gather(1, first)
        reached, power = {1: once}, once
        for hop in range(2, max(self.hops) + 1):
            power = once.gather(1, power)
            reached[hop] = power
        targets = torch.stack([reached[hop] for hop in self.hops], -1)
        return torch.cat([first, second + self.points], 1), targets

    def separation_rank(self, hop: int) -> int:
        """The exact rank of the matrix 1[f^hop(0) = 0], a row for every a, a column for every b.

        So many products g(a) h(b), and no fewer, add up to the indicator. Raises SizeError for more
        than five points.

        >>> [CompositionTask(4).separation_rank(hop) for hop in (1, 2, 4)]
        [4, 20, 24]
        """
        m = self.points
        if m > MOST_POINTS:
            raise SizeError(f"expected at most {MOST_POINTS} points to write out, got {m}")
        every = torch.tensor(list(itertools.permutations(range(m))))
        n = len(every)
        pairs = every.repeat_interleave(n, 0), every.repeat(n, 1)
        _, targets = CompositionTask(m, (hop,)).rows(*pairs)
        hits = (targets[:, 0, 0] == 0).reshape(n, n)
        return exact_rank(hits.numpy().astype(numpy.int64))
