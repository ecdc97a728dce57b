"""Encoding of users' data: what was observed, as tensors whose first axis is the variable."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtures.components.coding import FEWEST_ROWS, WHOLE_ROWS, Coding, coded
from mixtures.components.columns import BYTE, all_true, as_columns, turned

WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ARRAYS = frozenset((*WHOLE, torch.float16, torch.float32, torch.float64))
"""Types that numpy has, too."""


@dataclass(frozen=True, eq=False)
class Data:
    """Encoded rows: values (d, n, *event), and which of them were observed.

    `observed` is bool, (d, n) or (d, n, *event), or None if nothing is missing; what `values` holds
    where nothing was observed has no meaning.

    >>> data = Data(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> len(data), len(data.rows(slice(0, 2)))
    (3, 2)
    """

    values: Tensor
    observed: Tensor | None = None
    part_of: tuple[Data, slice | Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.values.shape[1]

    def rows(self, index: slice | Tensor) -> Data:
        """The rows of a slice (a view) or of a tensor of indices (a copy)."""
        observed = None if self.observed is None else self.observed[:, index]
        return Data(self.values[:, index], observed, (self, index))

    def columns(self, index: slice | Tensor) -> Data:
        """The variables of a slice (a view) or of a tensor of indices (a copy)."""
        observed = None if self.observed is None else self.observed[index]
        return Data(self.values[index], observed)

    @cached_property
    def coding(self) -> Coding | None:
        """The rows as symbols, where columns hold few whole numbers; worked out once."""
        if self.part_of is not None and len(self) >= FEWEST_ROWS:
            whole, index = self.part_of
            if len(self) < len(whole) <= WHOLE_ROWS:
                return None if whole.coding is None else whole.coding.rows(index)
        with torch.no_grad():
            return coded(self.values.detach(), self.observed)

    @cached_property
    def any_observed(self) -> Tensor | None:
        """(d, n) bool: some entry of the variable was observed; None if nothing is missing."""
        if self.observed is None or self.observed.ndim == 2:
            return self.observed
        return self.observed.flatten(2).any(-1)


def encode(
    x: Any,
    observed: Any = None,
    *,
    variables: int,
    event: Sequence[int] = (),
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Values (d, n, *event) and observed (None, (d, n) or (d, n, *event)) of rows x (n, d, *event).

    x is a tensor, an array, a masked array, a data frame or nested lists. NaN, None, NA and masked
    entries are missing; floating-point numbers become `dtype`, bool and integers stay as they are,
    but for integers that are all between 0 and 255: they are held in bytes.

    Raises ValueError for text, naming its column, and for any other shape than (n, d, *event).

    >>> values, observed = encode([[1.0, float("nan")]], variables=2, dtype=torch.float64)
    >>> values.shape, observed.tolist()
    (torch.Size([2, 1]), [[True], [False]])
    """
    values, seen = _as_rows(x, names)
    _check_shape(values.shape, variables, tuple(event))
    if observed is not None:
        seen = _both(seen, _as_mask(observed, torch.Size(values.shape)))
    moved, known = _moved(values, dtype, device)
    return moved, _compressed(_both(_turned(seen), known), moved.device)


def _moved(
    values: Tensor | np.ndarray[Any, Any], dtype: torch.dtype, device: torch.device | str | None
) -> tuple[Tensor, Tensor | None]:
    """(n, d, *event) to (d, n, *event), and what is no NaN, the same; None if nothing is NaN.

    Arrays may be mapped from a disk: no second copy is made. Tensors that others are derived from,
    or that are elsewhere, stay tensors.
    """
    if isinstance(values, Tensor):
        if values.device.type == "cpu" and values.dtype in ARRAYS and not values.requires_grad:
            values = values.numpy(force=True)
        else:
            return _moved_tensor(values.to(device), dtype)
    moved, known = as_columns(values, dtype)
    return moved.to(device), known


def _moved_tensor(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    known = None
    if values.is_floating_point():
        known = values.detach().isnan().logical_not_().movedim(1, 0)
        values = values.to(dtype)
    elif values.dtype.itemsize > 1 and values.numel() and _fits_bytes(values):
        values = values.to(torch.uint8)
    return values.movedim(1, 0).contiguous(), known


def _fits_bytes(values: Tensor) -> bool:
    return bool(values.min() >= 0) and bool(values.max() <= BYTE)


def unpacked(values: Tensor) -> Tensor:
    """Values as they are shown: bytes as int64."""
    return values.long() if values.dtype == torch.uint8 else values


def column(variable: int, names: Sequence[str] | None) -> str:
    """How messages call a variable: by its name if it has one."""
    return f"column {variable}" if names is None else f"column {names[variable]!r}"


def is_masked(x: Any) -> bool:
    """Whether x is a masked array; where numpy.ma was never imported there is none."""
    known = sys.modules.get("numpy.ma")
    return known is not None and isinstance(x, known.MaskedArray)


def _as_rows(
    x: Any, names: Sequence[str] | None
) -> tuple[Tensor | np.ndarray[Any, Any], Tensor | None]:
    """Any accepted container as a tensor, or an array as it is if it holds numbers; and the mask of
    what it says was observed.
    """
    if isinstance(x, Tensor):
        if x.is_complex():
            raise ValueError(f"expected real numbers, got a tensor of {x.dtype}")
        return x, None
    if is_masked(x):
        values, seen = _as_rows(x.data, names)
        return values, _both(seen, torch.from_numpy(~np.ma.getmaskarray(x)))
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"expected rows of equal length, got {type(x).__name__}: {error}"
        ) from None
    if array.dtype.kind in "biuf":
        return array, None
    return _from_objects(array.astype(object), names)


def _from_objects(
    array: np.ndarray[Any, Any], names: Sequence[str] | None
) -> tuple[Tensor, Tensor | None]:
    """Mixed Python objects: numbers, and None, NaN or NA for what is missing."""
    missing = _is_missing(array)
    integral = True
    for place, value in np.ndenumerate(array):
        if missing[place]:
            continue
        if not isinstance(value, (Real, np.bool_)):
            where = (
                f"{column(place[1], names)}, row {place[0]}" if array.ndim > 1 else f"row {place}"
            )
            raise ValueError(f"{where}: expected a number, got {value!r}")
        integral = integral and isinstance(value, (Integral, np.bool_))
    filled = np.where(missing, 0, array)
    try:
        numbers = filled.astype(np.int64 if integral else np.float64)
    except OverflowError as error:
        raise ValueError(f"expected integers below 2**63: {error}") from None
    seen = None if not missing.any() else torch.from_numpy(~missing)
    return torch.from_numpy(np.array(numbers, order="C")), seen


def _is_missing(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pandas = sys.modules.get("pandas")  # where pandas was never imported there is no NA
    if pandas is not None:
        return np.asarray(pandas.isna(array), dtype=bool)
    test = np.frompyfunc(lambda value: value is None or value != value, 1, 1)
    return np.asarray(test(array), dtype=bool)


def _check_shape(shape: Sequence[int], variables: int, event: tuple[int, ...]) -> None:
    row = (variables, *event)
    if tuple(shape) == row and len(shape) < len(row) + 1:
        raise ValueError(f"expected rows of shape {row}, got a single row: write x[None]")
    if len(shape) != len(row) + 1 or tuple(shape[1:]) != row:
        expected = ", ".join(["n", *map(str, row)])
        side = tuple(shape) == (variables, *shape[1:]) and len(shape) == len(row) + 1 and not event
        hint = ": rows are samples, is it on its side? x.T has the right width" if side else ""
        raise ValueError(f"expected x of shape ({expected}), got {tuple(shape)}{hint}")


def _as_mask(observed: Any, shape: torch.Size) -> Tensor:
    mask = observed if isinstance(observed, Tensor) else torch.from_numpy(np.array(observed))
    if mask.dtype != torch.bool:
        raise ValueError(f"expected observed of dtype bool, got {mask.dtype}")
    if mask.shape != shape and mask.shape != shape[:2]:
        raise ValueError(f"expected observed of shape {tuple(shape)}, got {tuple(mask.shape)}")
    return mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)).expand(shape)


def _both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """What both masks say was seen; the second one's device."""
    if first is None or second is None:
        return second if first is None else first
    return first.to(second.device) & second


def _turned(seen: Tensor | None) -> Tensor | None:
    """(n, d, *event) to (d, n, *event); None if everything was seen."""
    if seen is None or all_true(seen):
        return None
    if seen.device.type != "cpu":
        return seen.movedim(1, 0)
    return turned(seen.numpy(), np.dtype(np.bool_))


def _compressed(seen: Tensor | None, device: torch.device) -> Tensor | None:
    """Of what was seen (d, n, *event): (d, n) if vectors are missing whole."""
    if seen is None or all_true(seen):
        return None
    seen = seen.to(device).contiguous()
    if seen.ndim > 2:
        flat = seen.flatten(2)
        whole = flat.all(-1)
        return whole if torch.equal(whole, flat.any(-1)) else seen
    return seen
