"""What a worker holds and how it is spoken to: one JSON object a line, arrays in .npz files.

    {"do": "load", "arrays": PATH}       build the case                -> {"seconds", "versions"}
    {"do": "warm"}                       two untimed runs              -> {"first", "second"}
    {"do": "check", "to": PATH}          results of the last run       -> {"keys"}
    {"do": "time", "least": SECONDS}     runs until so long has passed -> {"seconds", "runs"}
    {"do": "memory"}                                                   -> {"before", "peak"}
    {"do": "quit"}

An answer with "error" in it says what went wrong; one with "missing" that there is no such library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def nothing() -> None:
    """What there is to do before a run that changes nothing."""


@dataclass
class Case:
    """One library on one task: `run` is timed; `reset`, before each run, and `results` are not.

    `results` reads named arrays off what `run` returned; they are compared between libraries.
    """

    run: Callable[[], Any]
    results: Callable[[Any], dict[str, Any]]
    reset: Callable[[], None] = nothing


Maker = Callable[[Arrays], Case]


class Stopwatch:
    """Runs of a case, each after its reset; keeps what the last run returned."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.outcome: Any = None

    def once(self) -> float:
        """The seconds one run takes."""
        self.outcome = None
        self.case.reset()
        start = time.perf_counter()
        self.outcome = self.case.run()
        return time.perf_counter() - start

    def turn(self, least: float) -> list[float]:
        """The seconds of as many runs as it takes to fill `least` seconds, one at least."""
        seconds = [self.once()]
        while sum(seconds) < least:
            seconds.append(self.once())
        return seconds

    def results(self) -> dict[str, NDArray[Any]]:
        """Named results of the last run."""
        found = self.case.results(self.outcome)
        return {name: numpy.asarray(value) for name, value in found.items()}
