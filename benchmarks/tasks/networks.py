"""Scalar sum-product networks, trees found in data, and mixtures without a tree."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from benchmarks.task import OURS, Goal, Sizes, Task, rows

INPUT, PRODUCT, SUM = range(3)
COMPILED = "mixtures:compiled"
SPN = {"rows": 10_000, "variables": 64, "block": 4}
TREE = {"rows": 3000, "variables": 1500}
GAUSSIANS = {"rows": 20_000, "variables": 16, "components": 32}
FEW = {"rows": 60, "variables": 9}


class Grower:
    """A network of the shape that LearnSPN gives: clusters of rows, halves of columns, leaves.

    A sum over 3 or 4 products; a product of two halves of its variables, down to blocks of which
    every variable has a leaf of its own: a sum over the symbols 0 and 1.
    """

    def __init__(self, variables: int, block: int, rng: numpy.random.Generator) -> None:
        self.rng, self.block = rng, block
        self.kind: list[int] = [INPUT] * (2 * variables)
        self.below: list[list[int]] = [[]] * (2 * variables)
        self.weight: list[list[float]] = [[]] * (2 * variables)
        self._sum(list(range(variables)))

    def _node(self, kind: int, below: list[int], weight: list[float]) -> int:
        self.kind.append(kind)
        self.below.append(below)
        self.weight.append(weight)
        return len(self.kind) - 1

    def _sum(self, scope: list[int]) -> int:
        clusters = int(self.rng.integers(3, 5))
        below = [self._product(scope) for _ in range(clusters)]
        return self._node(SUM, below, list(rows(self.rng, clusters)))

    def _product(self, scope: list[int]) -> int:
        if len(scope) <= self.block:
            below = [self._leaf(j) for j in scope]
        else:
            mixed = self.rng.permutation(scope).tolist()
            half = len(mixed) // 2
            below = [self._sum(mixed[:half]), self._sum(mixed[half:])]
        return self._node(PRODUCT, below, [1.0] * len(below))

    def _leaf(self, j: int) -> int:
        chance = float(self.rng.uniform(0.05, 0.95))
        return self._node(SUM, [2 * j, 2 * j + 1], [1 - chance, chance])


def network(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """Nodes, children first and the root last; 2 j + i is the input x_j = i. Edges as CSR."""
    grown = Grower(sizes["variables"], sizes["block"], rng)
    counts = [len(below) for below in grown.below]
    return {
        "kind": numpy.array(grown.kind),
        "start": numpy.concatenate([[0], numpy.cumsum(counts)]),
        "child": numpy.array([child for below in grown.below for child in below]),
        "weight": numpy.array([w for weights in grown.weight for w in weights]),
        "x": rng.integers(2, size=(sizes["rows"], sizes["variables"])),
    }


def binary(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """Columns of which each is a noisy copy of an earlier one, (n, d)."""
    n, d = sizes["rows"], sizes["variables"]
    x = numpy.empty((n, d), dtype=numpy.int64)
    x[:, 0] = rng.integers(2, size=n)
    for j in range(1, d):
        flipped = rng.random(n) < rng.uniform(0.05, 0.35)
        x[:, j] = x[:, rng.integers(max(0, j - 20), j)] ^ flipped
    return {"x": x}


def clouds(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """Weights (k,), means and variances (k, d), and rows drawn from that mixture, (n, d)."""
    n, d, k = sizes["rows"], sizes["variables"], sizes["components"]
    weights, mean = rows(rng, k), 2 * rng.normal(size=(k, d))
    variance = rng.uniform(0.5, 2, size=(k, d))
    chosen = rng.choice(k, size=n, p=weights)
    x = mean[chosen] + variance[chosen] ** 0.5 * rng.normal(size=(n, d))
    return {"weights": weights, "mean": mean, "variance": variance, "x": x}


SPN_NOTE = (
    "the node by node evaluation here looks leaves up and lets go of what is used, so that it "
    "stays in the cache: it takes a tenth of the 13 s that the figure was set against. "
    "`mixtures:compiled` is the extra `fast`, `mixtures` the same without it: half its time goes "
    "into looking up what patterns of eight columns give, a quarter into encoding the rows"
)
CHOW_LIU_NOTE = (
    "pgmpy takes milliseconds for each pair of columns, so about an hour for the 1500 columns of "
    "`chow-liu`, cirkit half a minute: they are raced on 40"
)
TASKS = (
    Task(
        "spn",
        "scalar SPN as of LearnSPN, 128 690 edges, 59 % to leaves, log-likelihood, float64",
        SPN,
        network,
        (OURS, COMPILED, "nodewise", "spflow", "sparc"),
        (
            Goal(25, ("nodewise",)),
            Goal(80, ("nodewise",), COMPILED),
            Goal(25, ("spflow",)),
            Goal(1, ("sparc",)),
        ),
        quick={"rows": 60, "variables": 9, "block": 2},
        least=0.2,
        note=SPN_NOTE,
    ),
    Task(
        "chow-liu",
        "Chow-Liu tree of 1500 binary columns",
        TREE,
        binary,
        (OURS, "spflow"),
        (Goal(1, ("spflow",)),),
        quick=FEW,
    ),
    Task(
        "chow-liu-40",
        "Chow-Liu tree of 40 binary columns",
        {**TREE, "variables": 40},
        binary,
        (OURS, "pgmpy", "cirkit", "spflow"),
        (Goal(20, ("pgmpy",)), Goal(1, ("cirkit", "spflow"))),
        quick=FEW,
        note=CHOW_LIU_NOTE,
    ),
    Task(
        "gaussians",
        "mixture of Gaussians (diagonal), log-likelihood, float64",
        GAUSSIANS,
        clouds,
        (OURS, "sklearn", "pomegranate"),
        (Goal(1, ("sklearn", "pomegranate")),),
        quick={"rows": 60, "variables": 3, "components": 2},
    ),
    Task(
        "gaussians-em",
        "mixture of Gaussians (diagonal), 10 EM iterations, float64",
        GAUSSIANS,
        clouds,
        (OURS, "sklearn"),
        (Goal(1, ("sklearn",)),),
        quick={"rows": 60, "variables": 3, "components": 2},
    ),
)
