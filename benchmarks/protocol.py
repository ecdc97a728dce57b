"""What a worker holds and how it is spoken to: one JSON object a line, arrays in .npz files.

    {"do": "load", "arrays": PATH}       build the case                -> {"seconds", "versions"}
    {"do": "warm"}                       untimed runs, two if fast      -> {"first", "second"}
    {"do": "check", "to": PATH}          results of the last run       -> {"keys"}
    {"do": "time", "least": SECONDS}     runs until so long has passed -> {"seconds", "runs"}
    {"do": "memory"}                                                   -> {"before", "peak"}
    {"do": "quit"}

An answer with "error" in it says what went wrong; one with "missing" that there is no such library.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
LONG = 1.0  # seconds of a run that needs none before it


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
        self.seconds = 0.0  # what the last run took

    def once(self) -> float:
        """The seconds one run takes."""
        self.outcome = None
        self.case.reset()
        start = time.perf_counter()
        self.outcome = self.case.run()
        self.seconds = time.perf_counter() - start
        return self.seconds

    def turn(self, least: float) -> list[float]:
        """The seconds of as many runs as it takes to fill `least` seconds, one at least.

        One that is not timed comes first, unless it is long: while others had their turn, what this
        process needs has left the caches.
        """
        if self.seconds < LONG:
            self.once()
        seconds = [self.once()]
        while sum(seconds) < least:
            seconds.append(self.once())
        return seconds

    def results(self) -> dict[str, NDArray[Any]]:
        """Named results of the last run."""
        found = self.case.results(self.outcome)
        return {name: numpy.asarray(value) for name, value in found.items()}


def imports(modules: str) -> Maker:
    """A new process that imports some modules."""

    def make(_: Arrays) -> Case:
        command = [sys.executable, "-W", "ignore", "-c", f"import {modules}"]
        return Case(
            lambda: subprocess.run(command, check=True, capture_output=True),
            lambda done: {"code": done.returncode},
        )

    return make


def frequencies(drawn: Any) -> dict[str, Any]:
    """How often x_j = 1, and how often x_j = x_{j+1}: what samples can be held against."""
    x = numpy.asarray(drawn).round()
    return {"on": x.mean(0), "alike": (x[:, 1:] == x[:, :-1]).mean(0)}


def information(x: NDArray[Any], edges: Any) -> float:
    """The mutual information of pairs of binary columns, summed over the edges of a tree.

    Trees of greatest information may differ where pairs tie; their information does not.
    """
    total = 0.0
    pairs = {frozenset((int(a), int(b))) for a, b in (edge[:2] for edge in edges)}
    if len(pairs) != x.shape[1] - 1:
        raise ValueError(f"a tree of {x.shape[1]} columns has one edge less, got {len(pairs)}")
    for a, b in pairs:
        joint = numpy.bincount(2 * x[:, a] + x[:, b], minlength=4).reshape(2, 2) / len(x)
        alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        seen = joint > 0
        total += float((joint[seen] * numpy.log(joint[seen] / alone[seen])).sum())
    return total
