"""Images with labels, cut into patches, and masks of the pixels that are left to see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

Array = NDArray[Any]


class Images(NamedTuple):
    """Grey images x (n, height, width) between 0 and 1, and their labels (n,)."""

    x: Array
    labels: Array

    def part(self, rows: slice) -> Images:
        """Some of the images."""
        return Images(self.x[rows], self.labels[rows])


def read(path: Path | None) -> Images:
    """`x` (n, height, width) and `y` (n,) of an .npz file; scikit-learn's digits without one."""
    if path is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Images(digits.images / 16.0, digits.target)
    with numpy.load(path) as held:
        x, y = held["x"], held["y"]
    if x.ndim != 3 or y.shape != (len(x),):
        raise ValueError(f"expected x (n, height, width) and y (n,), got {x.shape} and {y.shape}")
    return Images(x / float(x.max()), y.astype(numpy.int64))


def patches(x: Array, size: int) -> Array:
    """(n, height, width) as (n, patches, size * size), patches in reading order.

    >>> patches(numpy.arange(16).reshape(1, 4, 4), 2)[0].tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    """
    n, height, width = x.shape
    if height % size or width % size:
        raise ValueError(f"patches of {size} pixels do not fit images of {height} x {width}")
    cut = x.reshape(n, height // size, size, width // size, size).transpose(0, 1, 3, 2, 4)
    return cut.reshape(n, -1, size * size)


class Missing(NamedTuple):
    """A way of hiding pixels: "pixels" with a probability, or a "rectangle" of so many a side."""

    kind: str
    amount: float

    def seen(self, shape: Sequence[int], random: numpy.random.Generator) -> Array:
        """Which pixels of images of that shape (n, height, width) are left, bool."""
        n, height, width = shape
        if self.kind == "pixels":
            return random.random((n, height, width)) >= self.amount
        side = int(self.amount)
        top = random.integers(0, height - side + 1, (n, 1, 1))
        left = random.integers(0, width - side + 1, (n, 1, 1))
        rows, columns = numpy.arange(height)[:, None], numpy.arange(width)[None]
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        return ~inside


def protocol(height: int) -> list[Missing]:
    """Pixels missing with probability 0 to 0.9, and squares of up to six sevenths of a side."""
    shares = (0.0, 0.25, 0.5, 0.75, 0.9)
    sides = sorted({round(height * part / 7) for part in (1, 2, 3, 4, 5, 6)})
    return [Missing("pixels", share) for share in shares] + [
        Missing("rectangle", float(side)) for side in sides
    ]
