"""Which rows of a buffer the nodes of a layer read: views where they are evenly spaced."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[numpy.int64]


class Block:
    """Which rows of a buffer L steps of N nodes of width w read: a view where they are evenly
    spaced.
    """

    def __init__(self, rows: Integers, width: int) -> None:
        self.rows = rows
        self.steps, self.nodes = rows.shape
        self.width = width
        self.even = _even_spacing(rows, width)

    def read(self, buffer: Tensor) -> list[Tensor]:
        """The values of each step, (N, w, B) each."""
        if self.steps == 1:
            return [self.whole(buffer)[0]]
        whole = self.whole(buffer).unbind(0)
        return list(whole if self.even is None or self.even[1] >= 0 else whole[::-1])

    def write(self, buffer: Tensor, step: int, values: Tensor, *, add: bool) -> None:
        """Put or add values (N, w, B) where step `step` reads."""
        if self.even is None:
            rows = self._index(buffer.device, step)
            flat = values.reshape(-1, values.shape[-1])
            if flat.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr():
                flat = (
                    flat.clone()
                )  # torch refuses to scatter a buffer's part into the buffer itself
            if add:
                buffer.index_add_(0, rows, flat)
            else:
                buffer.index_copy_(0, rows, flat)
            return
        start, stride, spacing = self.even
        place = buffer[start + step * stride :].as_strided(
            (self.nodes, self.width, buffer.shape[1]),
            (spacing * buffer.stride(0), buffer.stride(0), buffer.stride(1)),
        )
        place.add_(values) if add else place.copy_(values)

    def whole(self, buffer: Tensor) -> Tensor:
        """All steps as one tensor (L, N, w, B), the last step first if the rows run backwards."""
        shape = (self.steps, self.nodes, self.width, buffer.shape[1])
        if self.even is None:
            return buffer.index_select(0, self._index(buffer.device)).view(shape)
        start, stride, spacing = self.even
        first = start + min(0, stride * (self.steps - 1))
        unit = buffer.stride(0)
        strides = (abs(stride) * unit, spacing * unit, unit, buffer.stride(1))
        return buffer[first:].as_strided(shape, strides)

    def _index(self, device: torch.device, step: int | None = None) -> Tensor:
        key = (str(device), step)
        if key not in self._indices:
            rows = self.rows if step is None else self.rows[step]
            spread = rows.reshape(-1, 1) + numpy.arange(self.width)
            index = torch.as_tensor(spread.reshape(-1), device=device)
            if self.steps > 64 and step is not None:
                return index
            self._indices[key] = index
        return self._indices[key]

    @cached_property
    def _indices(self) -> dict[Any, Tensor]:
        return {}


def _even_spacing(rows: Integers, width: int) -> tuple[int, int, int] | None:
    """(first, step stride, node spacing) if rows[l, n] = first + l stride + n spacing, spacing >=
    width.
    """
    steps, nodes = rows.shape
    if rows.size == 0:
        return None
    first = int(rows[0, 0])
    spacing = int(rows[0, 1] - first) if nodes > 1 else width
    stride = int(rows[1, 0] - first) if steps > 1 else width * nodes
    if spacing < width or (steps > 1 and stride == 0):
        return None
    ideal = first + stride * numpy.arange(steps)[:, None] + spacing * numpy.arange(nodes)
    return (first, stride, spacing) if numpy.array_equal(rows, ideal) else None
