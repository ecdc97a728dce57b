"""Rows of pixels as images: data, samples, completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from mixtures.errors import SizeError
from mixtures.plot.axes import axes

MOST_IMAGES = 10_000


def images(rows: Any, size: tuple[int, int], *, columns: int = 10, ax: Any = None) -> Any:
    """Rows of pixels (n, height * width) as a grid of images; returns the axes.

    NaN stays blank. Raises ValueError where the rows are no images of that size.
    """
    pixels = numpy.asarray(rows, dtype=float)
    height, width = size
    if pixels.ndim != 2 or pixels.shape[1] != height * width:
        raise ValueError(f"expected rows of {height} x {width} pixels, got shape {pixels.shape}")
    if len(pixels) > MOST_IMAGES:
        raise SizeError(f"expected at most {MOST_IMAGES} images in one picture, got {len(pixels)}")
    lines = -(-len(pixels) // columns)
    sheet = numpy.full((lines * (height + 1) - 1, columns * (width + 1) - 1), numpy.nan)
    for place, image in enumerate(pixels):
        top, left = (place // columns) * (height + 1), (place % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = image.reshape(height, width)
    ax = axes() if ax is None else ax
    ax.imshow(sheet, cmap="gray_r", interpolation="nearest")
    ax.set_axis_off()
    return ax


def sheet(lines: Mapping[str, Any], size: tuple[int, int], *, ax: Any = None) -> Any:
    """One line of images per name, as many in each: {name: (columns, height * width)}.

    Originals, what was seen of them and completions, say. Returns the axes; raises ValueError where
    lines differ in length.
    """
    counts = {name: len(rows) for name, rows in lines.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"expected as many images in every line, got {counts}")
    columns = next(iter(counts.values()))
    if ax is None:
        ax = axes(1.5 + 0.55 * columns, 0.6 * len(lines) + 0.2)
    pixels = numpy.concatenate([numpy.asarray(rows, dtype=float) for rows in lines.values()])
    images(pixels, size, columns=columns, ax=ax)
    for line, name in enumerate(lines):
        ax.text(-1, line * (size[0] + 1) + size[0] / 2, name, ha="right", va="center", fontsize=8)
    return ax
