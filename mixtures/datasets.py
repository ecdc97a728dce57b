"""Data in the form the queries take: ragged sequences padded, and sets that other packages ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray


class Images(NamedTuple):
    """Images as rows of pixels: x (n, height * width), labels (n,), and (height, width)."""

    x: NDArray[Any]
    labels: NDArray[Any]
    size: tuple[int, int]


def pad(x: Any, lengths: Sequence[int]) -> numpy.ma.MaskedArray[Any, Any]:
    """Rows out of sequences that follow each other in x, as hmmlearn takes them.

    x: (sum of lengths, *event), or (sum of lengths, 1) for scalar events. Returns a masked array
    (n, longest, *event), which every query takes as it is: what is beyond the end of a sequence is
    masked and counts as missing. Raises ValueError where the lengths do not add up.

    >>> print(pad([5, 6, 7], [1, 2]))
    [[5 --]
     [6 7]]
    """
    values = numpy.asarray(x)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    sizes = numpy.array([int(length) for length in lengths], dtype=numpy.int64)
    if not sizes.size or sizes.min() < 1 or sizes.sum() != len(values):
        raise ValueError(
            f"lengths must be positive and sum to {len(values)}, the rows of x, got "
            f"{sizes.size} lengths that sum to {sizes.sum()}"
        )
    inside = numpy.arange(sizes.max()) < sizes[:, None]
    rows = numpy.zeros((*inside.shape, *values.shape[1:]), dtype=values.dtype)
    rows[inside] = values
    mask = numpy.broadcast_to(~inside.reshape(*inside.shape, *[1] * (values.ndim - 1)), rows.shape)
    return numpy.ma.MaskedArray(rows, mask)


def digits() -> Images:
    """The 1797 handwritten digits, 8 x 8 pixels of 0..16, that scikit-learn ships."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "the digits come with scikit-learn: pip install 'homogeneous-mixtures[sklearn]'"
        ) from None
    found = load_digits()
    return Images(found.data.astype(numpy.int64), found.target, (8, 8))
