"""Columns of few whole numbers as symbols: a code for every entry, and a row for every symbol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MOST_SYMBOLS = 1024  # a column with more whole numbers than that is looked at row by row
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
    low, spread, whole = _ranges(values, observed)
    taken = (whole & (spread <= min(MOST_SYMBOLS, values.shape[1]))).tolist()
    if not any(taken):
        return None
    missing = [False] * len(values) if observed is None else (~observed).any(1).tolist()
    ranges = [int(s) if t else 0 for s, t in zip(spread.tolist(), taken, strict=True)]
    counts = zip(ranges, missing, taken, strict=True)
    sizes = tuple(s + m if t else 0 for s, m, t in counts)
    low = low.where(whole, 0)
    codes = _above(values, low, spread)
    if observed is not None:
        gap = torch.tensor(ranges, device=values.device)[:, None].to(codes.dtype)
        if codes.dtype == torch.uint8:
            hidden = _hidden(observed)
            codes = (codes & ~hidden) | (gap & hidden)
        else:
            codes = torch.where(observed, codes, gap)
    codes = codes.to(torch.uint8 if max(sizes) <= 256 else torch.int32)
    gaps = any(missing) or not all(taken)
    return Coding(codes, sizes, *_symbols(values, low, ranges, max(sizes), gaps))


def _plainly_real(values: Tensor, observed: Tensor | None) -> bool:
    """Whether a few rows suffice to see that no column is one of whole numbers."""
    if not values.is_floating_point():
        return False
    some = values[:, :FEWEST_ROWS]
    fractional = some != some.floor()
    seen = fractional if observed is None else fractional & observed[:, :FEWEST_ROWS]
    return bool(seen.any(1).all())


def _above(values: Tensor, low: Tensor, spread: Tensor) -> Tensor:
    """How far above the least value entries are; columns that are not coded hold anything."""
    small = bool(((low >= 0) & (low + spread < 256)).all())
    if small and not values.is_floating_point():
        values = values.to(torch.uint8)
        return values if not bool(low.any()) else values - low[:, None].to(torch.uint8)
    return values - low[:, None]


def _ranges(values: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The least observed entry of each column, how many whole numbers there are from it to the
    largest one, and whether all entries are whole.
    """
    empty = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    values = values.to(torch.uint8) if values.dtype == torch.bool else values
    whole = torch.ones(len(values), dtype=torch.bool, device=values.device)
    floating = values.is_floating_point()
    if floating:
        fractional = values != values.floor()
        whole = ~(fractional if observed is None else fractional & observed).any(1)
    if observed is None:
        low, high = values.amin(1), values.amax(1)
    elif values.dtype == torch.uint8:
        hidden, empty = _hidden(observed), ~observed.any(1)
        low, high = (values | hidden).amin(1), (values & ~hidden).amax(1)
        low, high = low.masked_fill(empty, 0), high.masked_fill(empty, 0)
    else:
        info = torch.finfo(values.dtype) if floating else torch.iinfo(values.dtype)
        low = values.masked_fill(~observed, info.max).amin(1)
        high = values.masked_fill(~observed, info.min).amax(1)
        empty = ~observed.any(1)
        low, high = low.masked_fill(empty, 0), high.masked_fill(empty, 0)
    if floating:
        whole &= (low.abs() < 2**24) & (high.abs() < 2**24)
        low, high = low.where(whole, 0), high.where(whole, 0)
    low, high = low.long(), high.long()
    return low, (high - low + 1).masked_fill(empty, 0), whole


def _hidden(observed: Tensor) -> Tensor:
    """Bytes of ones where nothing was observed, of zeros elsewhere: much faster than filling."""
    return observed.view(torch.uint8) - 1


def _symbols(
    values: Tensor, low: Tensor, ranges: list[int], width: int, gaps: bool
) -> tuple[Tensor, Tensor | None]:
    """The value that each symbol stands for, (d, max size), and which stand for one."""
    number = torch.arange(width, device=values.device)
    sizes = torch.tensor(ranges, device=values.device)[:, None]
    held = low[:, None] + torch.minimum(number, (sizes - 1).clamp(min=0))
    if not gaps:
        return held.to(values.dtype), None
    return held.to(values.dtype), number < sizes
