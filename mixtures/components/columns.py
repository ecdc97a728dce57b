"""Rows of numbers turned into columns, in few passes over memory, in numbers as small as they fit.

Comparisons, and masks, are left to numpy, which is several times faster at them; what a block of
rows goes through, it goes through while it is in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

BYTE = 255  # the largest whole number that is held in a byte
BLOCK = 2**21
"""About so many numbers are worked on at a time where all of them would be too many."""
CACHED = 2**15  # numbers that stay in the cache
LONGEST = 64  # rows a block has in any case: columns are written so many numbers at a time

Array = np.ndarray[Any, Any]
KINDS = {torch.float16: "f2", torch.float32: "f4", torch.float64: "f8"}


def blocks(rows: int, numbers: int, most: int | None = None) -> Iterator[slice]:
    """Slices of rows of so many numbers each, a few megabytes at a time.

    >>> list(blocks(3, BLOCK // 2))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    step = max(1, (BLOCK if most is None else most) // max(1, numbers))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def as_columns(array: Array, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """(n, d, *event) to (d, n, *event), and what is no NaN, the same; None if nothing is NaN.

    Floating-point numbers become `dtype`; whole numbers that are all between 0 and 255 bytes.
    """
    if array.dtype.kind in "iu" and array.dtype.itemsize > 1 and array.size:
        small = _bytes(array)
        if small is not None:
            return small, None
    if array.dtype.kind == "f":
        return _floats(array, dtype)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"expected integers below 2**63, got {array.max()}")
        return turned(array, np.dtype(np.int64)), None
    return turned(array, array.dtype.newbyteorder("=")), None


def turned(array: Array, kind: np.dtype[Any]) -> Tensor:
    """(n, d, *event) to (d, n, *event), in numbers of some kind."""
    moved = _room(array, kind)
    for rows in _cached(array):
        moved[:, rows] = _turn(array[rows].astype(kind, copy=False))
    return torch.from_numpy(moved)


def all_true(mask: Tensor) -> bool:
    """Whether a mask is true throughout; numpy stops where it is not."""
    return bool(mask.numpy().all() if mask.device.type == "cpu" else mask.all())


def _bytes(array: Array) -> Tensor | None:
    """Whole numbers as bytes; None if they do not fit, which shows in all bits taken together."""
    moved = _room(array, np.dtype(np.uint8))
    for rows in _cached(array):
        block = array[rows]
        if not 0 <= int(np.bitwise_or.reduce(block, axis=None)) <= BYTE:
            return None
        moved[:, rows] = _turn(block.astype(np.uint8))
    return torch.from_numpy(moved)


def _floats(array: Array, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    kind = KINDS.get(dtype, "f8" if array.dtype.itemsize > 4 else "f4")
    moved, known = _room(array, np.dtype(kind)), None
    for rows in _cached(array):
        with np.errstate(over="ignore", invalid="ignore"):
            block = array[rows].astype(kind, copy=False)
            missing = np.isnan(block) if np.isnan(block.sum()) else None  # infinities may be, too
        moved[:, rows] = _turn(block)
        if missing is not None:
            if known is None:
                known = np.ones(moved.shape, dtype=np.bool_)
            known[:, rows] = _turn(~missing)
    values = torch.from_numpy(moved).to(dtype)
    return values, None if known is None or known.all() else torch.from_numpy(known)


def _room(array: Array, kind: np.dtype[Any]) -> Array:
    n, d, *event = array.shape
    return np.empty((d, n, *event), dtype=kind)


def _turn(block: Array) -> Array:
    return np.moveaxis(block, 1, 0)


def _cached(array: Array) -> Iterator[slice]:
    """Blocks of rows; where columns are contiguous already, as in data frames, they may be long."""
    numbers = math.prod(array.shape[1:])
    by_columns = array.strides[0] == array.dtype.itemsize
    return blocks(len(array), numbers, BLOCK if by_columns else max(CACHED, LONGEST * numbers))
