"""Exact non-negative factorisations of matrices, by merging proportional rows and folding symmetric
ones.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy
from numpy.typing import NDArray

from transforms.elimination import as_integers, exact_rank

Matrix = NDArray[Any]  # Fractions
Pair = tuple[Matrix, Matrix]


def factorise(matrix: Matrix) -> Pair:
    """Non-negative (A, B) with A B = matrix exactly, as few columns of A as these steps give.

    Proportional rows and columns are merged; ranks one and two are met exactly (Thomas 1974); a
    matrix that is the same turned by 180 degrees is folded in half where the difference of its
    halves is non-negative: M = fold + 2 differences, which gives 2 ceil(log2 n) for (i - j)^2
    (Hrubes 2012).

    >>> A, B = factorise(numpy.array([[(i - j) ** 2 for j in range(8)] for i in range(8)]))
    >>> A.shape, bool((A @ B == [[(i - j) ** 2 for j in range(8)] for i in range(8)]).all())
    ((8, 6), True)
    """
    held = _fractions(matrix)
    if not (held != 0).any():
        return held[:, :0], held[:0]
    rows, of_row, row_scale = _merged(held)
    columns, of_column, column_scale = _merged(held[rows].T)
    core = held[numpy.ix_(rows, columns)]
    left, right = _core(core)
    left = left[of_row] * row_scale[:, None]
    right = right.T[of_column] * column_scale[:, None]
    return left, right.T


def _core(matrix: Matrix) -> Pair:
    """Factors of a matrix without proportional rows or columns."""
    height, width = matrix.shape
    whole = as_integers(matrix)
    rank = exact_rank(whole)
    options: list[Pair] = [(matrix, _eye(width)) if width <= height else (_eye(height), matrix)]
    if rank == 2:
        options.append(_rank_two(matrix))
    folded = _folded(matrix)
    if folded is not None:
        options.append(folded)
    return min(options, key=lambda pair: pair[0].shape[1])


def _rank_two(matrix: Matrix) -> Pair:
    """Rank two: the rows lie in a plane cone, whose two outermost rows generate all of them."""
    scaled = matrix / matrix.sum(1)[:, None]
    widest = int(numpy.argmax([row.max() - row.min() for row in scaled.T]))
    ends = [int(scaled[:, widest].argmin()), int(scaled[:, widest].argmax())]
    low, high = scaled[ends[0], widest], scaled[ends[1], widest]
    share = (scaled[:, widest] - low) / (high - low)
    total = matrix.sum(1)
    left = numpy.stack([(1 - share) * total, share * total], axis=1)
    return left, scaled[ends]


def _folded(matrix: Matrix) -> Pair | None:
    """Fold a square matrix equal to itself turned around; None where the halves do not allow it."""
    height, width = matrix.shape
    if height != width or height < 2 or (matrix != matrix[::-1, ::-1]).any():
        return None
    half = (height + 1) // 2
    upper = matrix[height - half :, height - half :]  # both signs plus
    across = matrix[:half, height - half :][::-1]  # one sign minus: row i stands for -row
    difference = across - upper
    if (difference < 0).any():
        return None
    near, far = factorise(upper), factorise(difference)
    sign = numpy.arange(height) >= height - half
    place = [abs(2 * i - height + 1) // 2 for i in range(height)]
    left = [near[0][place], numpy.where(sign[:, None], far[0][place], 0)]
    left.append(numpy.where(sign[:, None], 0, far[0][place]))
    right = [near[1][:, place], numpy.where(sign, 0, far[1][:, place])]
    right.append(numpy.where(sign, far[1][:, place], 0))
    return numpy.concatenate(left, axis=1), numpy.concatenate(right, axis=0)


def _merged(matrix: Matrix) -> tuple[list[int], NDArray[Any], Matrix]:
    """One row of each direction, which one every row is a multiple of, and the multiples (0
    too).
    """
    kept: dict[tuple[Fraction, ...], int] = {}
    first: list[int] = []
    of_row: list[int] = []
    scale: list[Fraction] = []
    for i, row in enumerate(matrix):
        total = row.sum()
        if not total:
            of_row.append(0)
            scale.append(Fraction(0))
            continue
        key = tuple(row / total)
        if key not in kept:
            kept[key] = len(first)
            first.append(i)
        of_row.append(kept[key])
        scale.append(total / matrix[first[kept[key]]].sum())
    return first, numpy.array(of_row), _fractions(numpy.array(scale, dtype=object))


def _eye(size: int) -> Matrix:
    return _fractions(numpy.eye(size, dtype=numpy.int64))


def _fractions(matrix: Matrix) -> Matrix:
    held = numpy.empty(matrix.shape, dtype=object)
    held.reshape(-1)[:] = [Fraction(entry) for entry in matrix.reshape(-1).tolist()]
    return held
