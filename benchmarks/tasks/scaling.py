"""Curves: one size of a task grows, the others stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy
from numpy.typing import NDArray

from benchmarks.task import OURS, Sizes, Task
from benchmarks.tasks.networks import network

SYMBOLS = {
    "variables": "d",
    "components": "k",
    "states": "r",
    "rows": "n",
    "edges": "edges",
}


@dataclass(frozen=True)
class Curve:
    """A task at several values of one of its sizes; `axis` is that size, or "edges".

    expected: the exponent that theory gives for time. Memory is the peak above what was resident
    before the first run.
    """

    task: Task
    axis: str
    values: tuple[int, ...]
    expected: str
    varies: str = ""  # the size that is varied, if it is not the axis itself

    @property
    def name(self) -> str:
        """tree-em against d."""
        return f"{self.task.name} against {SYMBOLS[self.axis]}"

    def at(self, value: int) -> Task:
        """The task at one point of the curve."""
        sizes = {**self.task.sizes, self.varies or self.axis: value}
        return replace(self.task, sizes=sizes)

    def place(self, task: Task) -> float:
        """Where a point lies on the axis."""
        if self.axis != "edges":
            return float(task.sizes[self.axis])
        return float(len(task.make(task.sizes, numpy.random.default_rng(0))["child"]))


def reals(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """Rows of real numbers, which have no patterns, and the sizes of the model."""
    found: dict[str, NDArray[Any]] = {name: numpy.array(size) for name, size in sizes.items()}
    return {**found, "x": rng.normal(size=(sizes["rows"], sizes["variables"]))}


def _task(name: str, title: str, make: Callable[..., Any], **sizes: int) -> Task:
    return Task(name, title, sizes, make, (OURS,), least=0.3)


TREE = _task("tree", "LTM log-likelihood", reals, rows=2000, variables=32, components=8, states=16)
TREE_EM = replace(TREE, name="tree-em", title="an EM pass of an LTM")
CHAIN_EM = _task(
    "chain-em", "an EM pass of a HMM", reals, rows=500, variables=100, components=4, states=8
)
KRONECKER = _task(
    "ht-growing", "HT log-likelihood", reals, rows=500, variables=32, components=4, states=8
)
SPN = _task("spn", "scalar SPN log-likelihood", network, rows=1000, variables=32, block=4)

CURVES = (
    Curve(TREE_EM, "variables", (16, 32, 64, 128, 256), "1"),
    Curve(CHAIN_EM, "variables", (50, 100, 200, 400, 800), "1"),
    Curve(TREE_EM, "rows", (1000, 2000, 4000, 8000, 16_000), "1"),
    Curve(CHAIN_EM, "rows", (500, 1000, 2000, 4000, 8000), "1"),
    Curve(TREE_EM, "components", (8, 16, 32, 64, 128), "1"),
    Curve(TREE, "states", (16, 32, 64, 128, 256), "2, below it while overheads show"),
    Curve(KRONECKER, "states", (4, 8, 16, 32), "3, below it while overheads show"),
    Curve(SPN, "edges", (16, 24, 32, 48, 64), "1", "variables"),
)
