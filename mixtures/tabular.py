"""Rows as tables hold them: columns of whole numbers by type, columns of text, rows given twice."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

Matrix = NDArray[Any]

MOST_ROWS = 200_000  # among which equal ones are looked for


def whole_by_type(x: Any, columns: int) -> list[bool]:
    """Which columns hold integers, bools or categories by type, whatever their values.

    >>> whole_by_type(numpy.array([[1, 2]]), 2), whole_by_type(numpy.array([[1.0, 2.0]]), 2)
    ([True, True], [False, False])
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(x, pandas.DataFrame):
        types = pandas.api.types
        return [
            types.is_integer_dtype(dtype)
            or types.is_bool_dtype(dtype)
            or isinstance(dtype, pandas.CategoricalDtype)
            for dtype in x.dtypes
        ]
    return [numpy.asarray(x).dtype.kind in "iub"] * columns


def column_of_text(x: Any, names: Sequence[str] | None = None) -> str | None:
    """A sentence about the first entry that is text, None if there is none.

    >>> column_of_text([[1, "red"]])
    "column 1, row 0 holds the text 'red'"
    """
    entries = numpy.asarray(x, dtype=object)
    if entries.ndim != 2:
        return None
    for place, value in numpy.ndenumerate(entries):
        if isinstance(value, str):
            row, column = place
            called = column if names is None else repr(names[column])
            return f"column {called}, row {row} holds the text {value!r}"
    return None


def distinct(x: Matrix, weights: Matrix) -> tuple[Matrix, Matrix]:
    """The distinct rows of float64 x in an order of their own, and their total weights, none zero.

    So rows given twice, or in another order, and rows of weight two come out the same bit for bit.
    Beyond MOST_ROWS rows, where that costs time and copies, only those without weight are left out.

    >>> distinct(numpy.array([[2.0], [1.0], [2.0], [3.0]]), numpy.array([1.0, 1.0, 0.5, 0.0]))
    (array([[1.],
           [2.]]), array([1. , 1.5]))
    """
    kept = weights > 0
    if len(x) > MOST_ROWS:
        return (x, weights) if kept.all() else (x[kept], weights[kept])
    x = numpy.where(numpy.isnan(x), numpy.nan, x + 0.0)[kept]  # one NaN, one zero
    order = numpy.lexsort(x.T[::-1])
    x, weights = x[order], weights[kept][order]
    bits = x.view(numpy.int64)
    first = numpy.ones(len(x), dtype=bool)
    first[1:] = (bits[1:] != bits[:-1]).any(1)
    starts = first.nonzero()[0]
    return x[starts], numpy.add.reduceat(weights, starts) if len(starts) else weights
