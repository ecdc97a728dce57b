"""Columns of few whole numbers as symbols: a code for every entry, and a row for every symbol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtures.components.columns import BYTE, Array

MOST_SYMBOLS = 1024  # a column with more whole numbers than that is looked at row by row
EXACT = 2**24  # whole numbers below it are exact in float32
MANY = 2**31  # whole numbers
FEWEST_ROWS = 16  # of which the distinct ones are worth looking for
WHOLE_ROWS = 2**15  # parts of a data set of so many rows at most are coded with the whole set


@dataclass(frozen=True, eq=False)
class Coding:
    """Rows (d, n) as symbols 0 .. sizes[j] - 1 of column j; sizes[j] = 0 where there are none.

    Symbol s of column j stands for `values`[j, s], or for nothing where `observed`[j, s] is False.
    `plans` holds what was worked out about these rows, by structure.
    `part_of`: the rows of another coding that these are.
    """

    codes: Tensor  # (d, n) whole numbers
    sizes: tuple[int, ...]
    values: Tensor  # (d, max size)
    observed: Tensor | None  # (d, max size) bool, None if everything is
    plans: dict[Any, Any] = field(default_factory=dict)
    part_of: tuple[Coding, Tensor] | None = None

    def rows(self, index: slice | Tensor) -> Coding:
        """The coding of some of the rows, which remembers where they come from."""
        if isinstance(index, slice):
            index = torch.arange(*index.indices(self.codes.shape[1]), device=self.codes.device)
        part = self.codes.index_select(1, index)
        return Coding(part, self.sizes, self.values, self.observed, part_of=(self, index))


def coded(values: Tensor, observed: Tensor | None) -> Coding | None:
    """The coding of encoded columns (d, n); None where no column is one of few whole numbers."""
    if values.ndim != 2 or values.shape[1] < FEWEST_ROWS or _plainly_real(values, observed):
        return None
    entries = _array(values)
    seen = None if observed is None else observed.numpy(force=True)
    small = _bytes(entries, seen)
    low, spread = _of_bytes(small, seen) if small is not None else _of_numbers(entries, seen)
    taken = (spread >= 0) & (spread <= min(MOST_SYMBOLS, len(entries[0])))
    if not taken.any():
        return None
    missing = False if seen is None else seen.view(np.uint8).min(1) == 0
    ranges = np.where(taken, spread, 0)
    sizes = np.where(taken, ranges + missing, 0)
    if small is not None and ranges.max() <= BYTE:
        codes = _small_codes(small, seen, low, ranges)
    else:
        codes = _codes(entries if small is None else small, seen, low, ranges)
    most = int(sizes.max())
    number = np.arange(most)
    held = low[:, None] + np.minimum(number, np.maximum(ranges - 1, 0)[:, None])
    stands = number < ranges[:, None] if np.any(missing) or not taken.all() else None
    return Coding(
        torch.from_numpy(codes.astype(np.uint8 if most <= BYTE + 1 else np.int32, copy=False))
        .to(values.device),
        tuple(sizes.tolist()),
        torch.from_numpy(held).to(values.device, values.dtype),
        None if stands is None else torch.from_numpy(stands).to(values.device),
    )  # fmt: skip


def _array(values: Tensor) -> Array:
    found: Array = (values.float() if values.dtype == torch.bfloat16 else values).numpy(force=True)
    return found


def _plainly_real(values: Tensor, observed: Tensor | None) -> bool:
    """Whether a few rows suffice to see that no column is one of whole numbers."""
    if not values.is_floating_point():
        return False
    some = _array(values[:, :FEWEST_ROWS])
    fractional = some != np.floor(some)
    if observed is not None:
        fractional &= observed[:, :FEWEST_ROWS].numpy(force=True)
    return bool(fractional.any(1).all())


def _bytes(entries: Array, seen: Array | None) -> Array | None:
    """All entries as bytes, if those that were seen are whole numbers between 0 and 255."""
    if entries.dtype.itemsize == 1 and entries.dtype.kind in "bu":
        return entries.view(np.uint8)
    with np.errstate(invalid="ignore"):  # what is none becomes any number, but another one
        small = entries.astype(np.uint8)
    other = small != entries
    if seen is not None:
        other &= seen
    return None if other.any() else small


def _of_bytes(small: Array, seen: Array | None) -> tuple[Array, Array]:
    """The least entry of each column that was seen, and how many whole numbers there are from it to
    the largest one.
    """
    if seen is None:
        low, high = small.min(1).astype(np.int64), small.max(1)
        return low, high - low + 1
    hidden = _hidden(seen)
    low = (small | hidden).min(1).astype(np.int64)
    high = (small & ~hidden).max(1)
    empty = seen.view(np.uint8).max(1) == 0
    return np.where(empty, 0, low), np.where(empty, 0, high - low + 1)


def _of_numbers(entries: Array, seen: Array | None) -> tuple[Array, Array]:
    """The same of any numbers; -1 for columns of too many whole numbers, or of others, too."""
    floating = entries.dtype.kind == "f"
    whole = np.ones(len(entries), dtype=np.bool_)
    if floating:
        fractional = entries != np.floor(entries)
        whole = ~(fractional if seen is None else fractional & seen).any(1)
    info: Any = np.finfo(entries.dtype) if floating else np.iinfo(entries.dtype)
    low = (entries if seen is None else np.where(seen, entries, info.max)).min(1)
    high = (entries if seen is None else np.where(seen, entries, info.min)).max(1)
    empty = np.zeros(len(entries), dtype=np.bool_) if seen is None else ~seen.any(1)
    with np.errstate(over="ignore", invalid="ignore"):
        whole &= high.astype(np.float64) - low < MANY
        if floating:
            whole &= (np.abs(low) < EXACT) & (np.abs(high) < EXACT)
    low, high = (np.where(whole & ~empty, end, 0).astype(np.int64) for end in (low, high))
    return low, np.where(empty, 0, np.where(whole, high - low + 1, -1))


def _small_codes(small: Array, seen: Array | None, low: Array, ranges: Array) -> Array:
    """How far bytes are above the least one, as bytes; what was not seen is beyond all others."""
    codes = small - low[:, None].astype(np.uint8) if low.any() else small
    if seen is None:
        return codes
    return np.minimum(codes | _hidden(seen), ranges[:, None].astype(np.uint8))


def _codes(entries: Array, seen: Array | None, low: Array, ranges: Array) -> Array:
    """The same of any numbers; columns that are not coded hold anything."""
    with np.errstate(over="ignore", invalid="ignore"):
        codes = (entries - low[:, None]).astype(np.int32)
    return codes if seen is None else np.where(seen, codes, ranges[:, None].astype(np.int32))


def _hidden(seen: Array) -> Array:
    """Bytes of ones where nothing was observed, of zeros elsewhere: much faster than filling."""
    return seen.view(np.uint8) - np.uint8(1)
