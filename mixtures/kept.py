"""What was worked out from tables, kept for as long as they do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from mixtures.tables import version

K = TypeVar("K")
T = TypeVar("T")


class Kept(Generic[K, T]):
    """make(owner, stacks), made again only when a stack is another tensor or was written to."""

    def __init__(self, make: Callable[[K, Sequence[Tensor]], T]) -> None:
        self.make = make
        self._known: WeakKeyDictionary[K, tuple[list[tuple[Tensor, int]], T]] = WeakKeyDictionary()

    def __call__(self, owner: K, stacks: Sequence[Tensor]) -> T:
        now = [(stack, version(stack)) for stack in stacks]
        known = self._known.get(owner)
        if known is not None and _same(known[0], now):
            return known[1]
        made = self.make(owner, stacks)
        self._known[owner] = (now, made)
        return made


def _same(before: Sequence[tuple[Tensor, int]], now: Sequence[tuple[Tensor, int]]) -> bool:
    """Whether these are the same tensors, unchanged; of inference tensors nobody knows."""
    return len(before) == len(now) and all(
        old is new and seen == count >= 0
        for (old, seen), (new, count) in zip(before, now, strict=True)
    )
