"""How many functions of a degree a self-attention network can compute on one side of its tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

from mixtures.errors import SizeError

MOST_DEGREES = 100_000  # degrees that are added up; depth 11 has 88 573
MOST_PARTITIONS = 50_000  # partitions that are listed for one bound


def half_degree(depth: int) -> int:
    """C = (3^L - 1) / 2: the read token enters linearly, S = sum_j x^j x^jT to the degree C."""
    return (3**depth - 1) // 2


def monomials(degree: int, variables: int) -> int:
    """The number of monomials of a degree: binom(degree + variables - 1, variables - 1).

    >>> monomials(2, 3)
    6
    """
    if variables == 0:
        return int(degree == 0)
    return math.comb(degree + variables - 1, variables - 1)


def free_counts(depth: int, rank: int) -> tuple[list[int], list[int]]:
    """Functions of degree c = 0 .. C in S, without and with the read token, from any number of
    tokens.

    Without: binom(c + D - 1, D - 1), D = rank (rank + 1) / 2; with it: that many times `rank`.
    Raises SizeError beyond depth 11.
    """
    top = half_degree(depth)
    if top > MOST_DEGREES:
        raise SizeError(f"expected a depth of at most 11, got {depth}: {top} degrees to add up")
    variables, count, without = rank * (rank + 1) // 2, 1, [1]
    for degree in range(1, top + 1):
        count = count * (degree + variables - 1) // degree
        without.append(count)
    return without, [rank * count for count in without]


def side_counts(
    depth: int, rank: int, tokens_without: int, tokens_with: int
) -> tuple[list[int], list[int]]:
    """The same counts from that many tokens a side.

    a tokens of rank s span S of rank at most min(a, s), so polynomials in S of degree c are the
    O(a)-invariants of degree 2c: the sum of dim S_{2 lambda}(s) over partitions lambda of c into at
    most min(a, s) parts. Linear in the read token they are the O(a)-equivariant maps to vectors:
    the sum of dim S_mu(s) over partitions mu of 2c + 1 with exactly one odd part (Cauchy, Pieri;
    first fundamental theorem for O(a)). With a >= s both are the free counts, which also stand in,
    as upper bounds, where there are too many partitions to list.
    """
    without, with_read = free_counts(depth, rank)
    top = half_degree(depth)
    if tokens_without < rank and _listable(top, tokens_without):
        without = [_invariants(c, tokens_without, rank) for c in range(top + 1)]
    if tokens_with < rank and _listable(2 * top + 1, tokens_with):
        with_read = [_equivariants(c, tokens_with, rank) for c in range(top + 1)]
    return without, with_read


def narrow_bound(degree: int, total: int, raw_limit: int, narrow: int, raw: int, read: int) -> int:
    """A bound on the rank of the part of f of a degree in the side without the read token.

    Let F_1 see `narrow` linear functionals of S only. Then the `raw` others enter through S_1 =
    F_1 S F_1^T alone, to the degree `raw_limit` in both sides together. Sorted by that degree, the
    coefficient matrix is a staircase; this is its cheapest cover by rows and columns. `read`: the
    number of functionals of the read token.
    """
    rows = _cumulated(degree, raw_limit, narrow, raw)
    columns = [read * count for count in _cumulated(total - degree, raw_limit, narrow, raw)]
    rows, columns = [0, *rows], [*columns[::-1], 0]
    return min(row + column for row, column in zip(rows, columns, strict=True))


def _cumulated(degree: int, limit: int, narrow: int, raw: int) -> list[int]:
    """Monomials of a degree that have degree at most 0, 1, .., limit in the raw variables."""
    counts, total = [], 0
    for j in range(limit + 1):
        if j <= degree:
            total += monomials(j, raw) * monomials(degree - j, narrow)
        counts.append(total)
    return counts


def _listable(size: int, parts: int) -> bool:
    """Whether partitions of 0 .. size into that few parts are few enough to list."""
    return math.comb(size + parts, parts) / math.factorial(parts) <= MOST_PARTITIONS


@cache
def _invariants(degree: int, parts: int, rank: int) -> int:
    doubled = ([2 * part for part in shape] for shape in _partitions(degree, parts, degree))
    return sum(_schur(shape, rank) for shape in doubled)


@cache
def _equivariants(degree: int, parts: int, rank: int) -> int:
    size = 2 * degree + 1
    shapes = (list(shape) for shape in _partitions(size, parts, size))
    return sum(_schur(shape, rank) for shape in shapes if sum(part % 2 for part in shape) == 1)


def _partitions(size: int, parts: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Partitions of a size into at most that many parts, none above `largest`, largest first."""
    if parts == 0 or size == 0:
        if size == 0:
            yield ()
        return
    for first in range(min(size, largest), (size - 1) // parts, -1):
        for rest in _partitions(size - first, parts - 1, first):
            yield (first, *rest)


def _schur(shape: list[int], rank: int) -> int:
    """The dimension of the irreducible representation of GL(rank) of that shape (Weyl)."""
    padded = shape + [0] * (rank - len(shape))
    pairs = [(i, j) for i in range(rank) for j in range(i + 1, rank)]
    above = math.prod(padded[i] - padded[j] + j - i for i, j in pairs)
    return above // math.prod(j - i for i, j in pairs)
