"""What is timed: a task has sizes, data made from them, contestants, and figures to reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
from numpy.typing import NDArray

Sizes = Mapping[str, int]
Make = Callable[[Sizes, numpy.random.Generator], dict[str, NDArray[Any]]]

OURS, BARE = "mixtures", "bare"
FLOAT64 = {"*": (1e-6, 0.0)}
FLOAT32 = {"*": (1e-5, 0.0)}  # sums of some hundred float32 logarithms: 1e-6 is their last digit


@dataclass(frozen=True)
class Goal:
    """`entry` is to take at most 1/`factor` of what the best of `against` takes.

    of: "time" or "memory" (bytes above what was resident before). threads: 0 for any number.
    """

    factor: float
    against: tuple[str, ...]
    entry: str = OURS
    of: str = "time"
    threads: int = 0


@dataclass(frozen=True)
class Limit:
    """`entry` is to take at most so many seconds, or bytes above what was resident before."""

    most: float
    of: str = "time"
    entry: str = OURS


@dataclass(frozen=True)
class Task:
    """The same work for several libraries.

    entries: contestants as `library` or `library:variant`; a variant is other code of the same
    library for the same results. tolerance: {result: (relative, absolute)}, "*" for the others.
    fixed: sizes that `--jitter` leaves alone. least: seconds a turn is to fill with runs.
    """

    name: str
    title: str
    sizes: Sizes
    make: Make
    entries: tuple[str, ...]
    goals: tuple[Goal | Limit, ...] = ()
    tolerance: Mapping[str, tuple[float, float]] = field(default_factory=lambda: FLOAT64)
    fixed: frozenset[str] = frozenset()
    quick: Sizes = field(default_factory=dict)
    least: float = 0.05
    note: str = ""

    def varied(self, rng: numpy.random.Generator, share: float) -> Task:
        """The same task with every size changed at random by up to `share` of it."""
        sizes = {
            name: size
            if name in self.fixed
            else max(2, round(size * rng.uniform(1 - share, 1 + share)))
            for name, size in self.sizes.items()
        }
        return replace(self, sizes=sizes)

    def small(self) -> Task:
        """The same task at sizes that show that it works, not how fast it is."""
        return replace(self, sizes={**self.sizes, **self.quick}, goals=())

    def allowed(self, result: str) -> tuple[float, float]:
        """(relative, absolute) difference that is agreement."""
        return self.tolerance.get(result, self.tolerance.get("*", (1e-6, 0.0)))


def rows(rng: numpy.random.Generator, *shape: int) -> NDArray[Any]:
    """Random distributions over the last axis, none of their entries tiny."""
    found = rng.gamma(1.0, size=shape) + 0.05
    return found / found.sum(-1, keepdims=True)
