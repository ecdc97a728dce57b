"""Koszul flattenings: lower bounds on the CP rank of tensors with three axes beyond their
matricizations.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy
from numpy.typing import NDArray

from transforms.elimination import exact_rank

WIDEST = 5  # of the first axis, restricted to an odd number 2 p + 1


def koszul_bound(tensor: NDArray[Any]) -> int:
    """The best bound ceil(rank T^(p) / binom(2p, p)) over the axes and p, for integers, exact.

    T in A x B x C with dim A = 2p + 1 (a larger A is cut to its first slices) gives the map from B*
    x L^p A to L^(p+1) A x C, wedging with A; a product has rank binom(2p, p) there (Landsberg and
    Ottaviani).

    >>> koszul_bound(numpy.eye(3, dtype=int)[:, :, None] * numpy.eye(3, dtype=int)[:, None, :])
    3
    """
    best = 0
    for axis in range(3):
        turned = numpy.moveaxis(tensor, axis, 0)
        for p in range(1, (min(WIDEST, turned.shape[0]) - 1) // 2 + 1):
            part = exact_rank(_flattening(turned[: 2 * p + 1], p))
            best = max(best, -(-part // math.comb(2 * p, p)))
    return best


def _flattening(tensor: NDArray[Any], p: int) -> NDArray[Any]:
    """The matrix (L^(p+1) A x C) x (L^p A x B) of wedging with A."""
    a, b, c = tensor.shape
    smaller = list(itertools.combinations(range(a), p))
    larger = {face: n for n, face in enumerate(itertools.combinations(range(a), p + 1))}
    matrix = numpy.zeros((len(larger), c, len(smaller), b), dtype=object)
    for column, face in enumerate(smaller):
        for vertex in set(range(a)) - set(face):
            whole = tuple(sorted((*face, vertex)))
            sign = (-1) ** whole.index(vertex)
            matrix[larger[whole], :, column, :] += sign * tensor[vertex].T
    return matrix.reshape(len(larger) * c, len(smaller) * b)
