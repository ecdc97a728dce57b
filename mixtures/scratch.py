"""Memory that walks use again and again: fresh memory often costs more than what is done in it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

MOST = 2**24  # numbers that are held ready


class Scratch:
    """Flat tensors that are not in use at present, by size and kind.

    Taking and giving back are single operations on lists, so that threads do not share a tensor.
    """

    def __init__(self) -> None:
        self._free: dict[Any, list[Tensor]] = {}
        self.held = 0  # numbers

    def take(self, size: int, like: Tensor) -> Tensor:
        """A tensor of `size` numbers, with anything in it."""
        key = (size, like.dtype, like.device, torch.is_inference_mode_enabled())
        try:
            found = self._free[key].pop()
        except LookupError:
            return like.new_empty(size)
        self.held -= size
        return found

    def give(self, flat: Tensor) -> None:
        """Give back what nobody looks at any more."""
        if self.held + len(flat) > MOST:
            self._free, self.held = {}, 0
        key = (len(flat), flat.dtype, flat.device, flat.is_inference())
        self._free.setdefault(key, []).append(flat)
        self.held += len(flat)


class Rooms:
    """What one walk has taken."""

    def __init__(self, scratch: Scratch, like: Tensor) -> None:
        self.scratch, self.like = scratch, like
        self._taken: list[Tensor] = []

    def take(self, shape: Sequence[int]) -> Tensor:
        """Memory for values of a shape."""
        flat = self.scratch.take(prod(shape), self.like)
        self._taken.append(flat)
        return flat.view(tuple(shape))

    def release(self) -> None:
        """Give everything back."""
        for flat in self._taken:
            self.scratch.give(flat)
        self._taken = []


def hold_freed_memory() -> None:
    """Have the C library keep what is freed, instead of giving it back between two chunks of rows.

    glibc returns blocks larger than any of at most 32 MiB that was freed before; this frees one,
    which nothing was ever written to. Other C libraries are not affected.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


hold_freed_memory()
