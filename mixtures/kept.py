"""What was worked out from the tables of a circuit, kept for as long as they do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.tables import version

T = TypeVar("T")


class Kept(Generic[T]):
    """make(circuit, stacks), made again only when a stack is another tensor or was written to."""

    def __init__(self, make: Callable[[Circuit, Sequence[Tensor]], T]) -> None:
        self.make = make
        self._known: WeakKeyDictionary[Circuit, tuple[list[tuple[Tensor, int]], T]] = (
            WeakKeyDictionary()
        )

    def __call__(self, circuit: Circuit, stacks: Sequence[Tensor]) -> T:
        now = [(stack, version(stack)) for stack in stacks]
        known = self._known.get(circuit)
        if known is not None and _same(known[0], now):
            return known[1]
        made = self.make(circuit, stacks)
        self._known[circuit] = (now, made)
        return made


def _same(before: Sequence[tuple[Tensor, int]], now: Sequence[tuple[Tensor, int]]) -> bool:
    """Whether these are the same tensors, unchanged; of inference tensors nobody knows."""
    return len(before) == len(now) and all(
        old is new and seen == count >= 0
        for (old, seen), (new, count) in zip(before, now, strict=True)
    )
