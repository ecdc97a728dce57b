"""Pictures; matplotlib is imported only here, and only when something is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from mixtures.errors import SizeError

MOST_IMAGES = 10_000


def images(rows: Any, size: tuple[int, int], *, columns: int = 10, ax: Any = None) -> Any:
    """Rows of pixels (n, height * width) as a grid of images; returns the axes.

    Raises ValueError where the rows are no images of that size.
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


def curves(series: dict[str, Sequence[float]], *, xlabel: str, ylabel: str, ax: Any = None) -> Any:
    """One line per name, over the number of its entries; returns the axes."""
    ax = axes() if ax is None else ax
    for name, values in series.items():
        ax.plot(range(1, len(values) + 1), values, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.legend()
    return ax


def axes(width: float = 6.0, height: float = 4.0) -> Any:
    """New axes to draw on."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "pictures need matplotlib: pip install 'homogeneous-mixtures[plot]'"
        ) from None
    return pyplot.figure(figsize=(width, height), layout="constrained").add_subplot()
