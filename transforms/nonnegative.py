"""Non-negative ranks: how few non-negative products add up to a tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from transforms.cp import Best, cuts_to_try, search, upper_size
from transforms.elimination import as_integers
from transforms.exact import Subject
from transforms.folding import factorise
from transforms.ranks import LIMIT, Rank, rank, unfolded
from transforms.rectangles import antichain, cover_bound, fooling_set, sperner
from transforms.subjects import subject

SMALL = 2**12  # entries of a matrix whose zeros are looked at


@dataclass(frozen=True)
class Cover:
    """A lower bound from the zeros of a matricization: by fooling set, antichain or weighted
    rectangles.
    """

    rows: tuple[int, ...]
    kind: str
    bound: int
    proof: Any = field(repr=False)


@dataclass(frozen=True)
class Factorisation:
    """An exact non-negative factorisation M = left right, of Fractions."""

    left: numpy.ndarray = field(repr=False)
    right: numpy.ndarray = field(repr=False)

    def verify(self, matrix: Any) -> bool:
        """Whether the factors are non-negative and multiply to the matrix, up to a positive
        factor.
        """
        product = self.left @ self.right
        given = as_integers(numpy.asarray(matrix))
        place = numpy.unravel_index(int((given != 0).argmax()), given.shape)
        same = bool((product * given[place] == given * product[place]).all())
        return same and bool((self.left >= 0).all() and (self.right >= 0).all())


def nonnegative_rank(
    W: Any,
    *,
    limit: int = LIMIT,
    restarts: int = 0,
    generator: torch.Generator | None = None,
) -> Rank:
    """Bounds on the non-negative (CP) rank of this very tensor, each with a witness.

    Lower: the rank, and from the zeros fooling sets, antichains of supports (Sperner) and weighted
    rectangle covers, at the best of the matricizations. Upper: the cheapest clamping of a latent
    tree, fibres, and for matrices an exact factorisation by merging and folding. restarts > 0:
    tensorly looks for a smaller one; `probable` tells its size, being rounded it proves nothing.

    Raises ValueError for tensors with negative entries.

    >>> M = numpy.array([[(i - j) ** 2 for j in range(6)] for i in range(6)])
    >>> found = nonnegative_rank(M)
    >>> found.lower, found.upper
    (4, 5)
    """
    exact = subject(W)
    small = math.prod(exact.shape) <= SMALL
    if small and (exact.integers() < 0).any():
        raise ValueError("expected non-negative entries, got negative ones")
    above, proof, reason = upper_size(W, exact)
    if len(exact.shape) == 2 and small:
        left, right = factorise(exact.integers())
        if left.shape[1] <= above:
            above, proof = left.shape[1], Factorisation(left, right)
            reason = f"an exact non-negative factorisation with {above} terms"
    below, how, lower = _lower(W, exact, above, small, limit, generator)
    probable, searched = None, None
    if restarts and lower < above:
        searched = search(exact, lower, above - 1, restarts, generator, nonnegative=True)
        probable = above if searched is None else searched.size
    witness = Best(below, proof if searched is None else searched)
    return Rank(lower, above, f"{how}; {reason}", witness, probable)


def _lower(
    W: Any, exact: Subject, above: int, small: bool, limit: int, generator: torch.Generator | None
) -> tuple[Any, str, int]:
    """The best lower bound, its witness and its name."""
    best: tuple[Any, str, int] = (None, "no bound", 0)
    cuts = cuts_to_try(W, exact) if len(exact.shape) > 1 else [(0,)]
    for rows in cuts:
        if best[2] >= above:
            break
        found = rank(exact, rows, limit=limit, generator=generator)
        if found.lower > best[2]:
            best = found.witness, f"matricization: {found.how}", found.lower
    if small and best[2] < above:
        whole = exact.integers()
        for rows in cuts[:20]:
            cover = zeros_bound(unfolded(whole, rows) != 0, rows)
            if cover.bound > best[2]:
                best = cover, cover.kind, cover.bound
    return best


def zeros_bound(support: numpy.ndarray, rows: tuple[int, ...]) -> Cover:
    """The best bound that the zeros of one matricization give."""
    entries = fooling_set(support)
    most = max(antichain(support), antichain(support.T))
    covers, weights = cover_bound(numpy.unique(numpy.unique(support, axis=0), axis=1))
    options = [
        Cover(rows, f"a fooling set of {len(entries)} entries", len(entries), entries),
        Cover(rows, f"an antichain of {most} supports (Sperner)", sperner(most), most),
        Cover(rows, f"weights no rectangle has more than 1/{covers} of", covers, weights),
    ]
    return max(options, key=lambda cover: cover.bound)
