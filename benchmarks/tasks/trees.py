"""Latent tree models and hierarchical Tucker tensors over binary variables."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from benchmarks.task import BARE, FLOAT32, OURS, Goal, Sizes, Task, rows

LTM = {"rows": 16_000, "variables": 64, "states": 32}
HT = {"rows": 4_000, "variables": 64, "states": 32}
FEW = {"rows": 50, "variables": 8, "states": 3}
PATTERNLESS = f"{OURS}:rows"  # leaves are looked up row by row
DENSITIES = f"{OURS}:densities"  # and if every entry had a density of its own
ENCODED = f"{OURS}:encoded"  # the rows were encoded before, once
LTM_NOTE = (
    "raw rows: encoding and planning, half of it small calls, are a quarter of the time, and gain "
    "nothing by a second thread; row by row: matrix products, as fast as bare ones, take half, "
    "looking leaves up and multiplying children a quarter"
)
EM_NOTE = (
    "profiled, row by row: the matrix products of both passes, at the speed of bare ones, take "
    "40 %; products of children, once on each way, 12 %, look-ups 9 %, divisions and copies of "
    "flows, which memory bounds, 14 %"
)
HT_NOTE = (
    "profiled: nodes whose children have no patterns are bound by their matrix products, which run "
    "at the speed of bare ones (a third of the time; row by row two thirds); raw rows: encoding "
    "and planning are a quarter"
)


def balanced(d: int) -> NDArray[Any]:
    """(d - 1, 2): the children of inner nodes d, d + 1, .. of a balanced tree, the root last."""
    below = [[*range(d)]]  # of every inner node, from the root down, the leaves below it
    for block in below:
        half = (len(block) + 1) // 2
        below += [part for part in (block[:half], block[half:]) if len(part) > 1]
    below.reverse()
    name = {tuple(block): d + place for place, block in enumerate(below)}
    name.update(((j,), j) for j in range(d))
    halves = [(block[: (len(block) + 1) // 2], block[(len(block) + 1) // 2 :]) for block in below]
    return numpy.array([[name[tuple(part)] for part in pair] for pair in halves])


def leaves(sizes: Sizes, rng: numpy.random.Generator, kind: type) -> dict[str, NDArray[Any]]:
    """A tree, P(x_j = 1 | state) of its leaves, (d, r), and rows of fair coins, (n, d)."""
    n, d, r = sizes["rows"], sizes["variables"], sizes["states"]
    return {
        "children": balanced(d),
        "on": rng.uniform(0.05, 0.95, size=(d, r)).astype(kind),
        "x": rng.integers(2, size=(n, d)),
    }


def latent_tree(
    sizes: Sizes, rng: numpy.random.Generator, kind: type = numpy.float32
) -> dict[str, NDArray[Any]]:
    """A latent tree: the root's distribution (r,), tables (d - 2, r, r) of the other nodes."""
    d, r = sizes["variables"], sizes["states"]
    found = leaves(sizes, rng, kind)
    found["root"] = rows(rng, r).astype(kind)
    found["tables"] = rows(rng, d - 2, r, r).astype(kind)
    return found


def with_gaps(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """As `latent_tree`, 30 % of the entries missing; `observed` says which are not."""
    found = latent_tree(sizes, rng)
    return {**found, "observed": rng.random(found["x"].shape) > 0.3}


def double(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """As `latent_tree`, in float64."""
    return latent_tree(sizes, rng, numpy.float64)


def tucker(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """A tree of Kronecker layers: root (r * r,), tables (d - 2, r, r * r) of the other nodes."""
    d, r = sizes["variables"], sizes["states"]
    found = leaves(sizes, rng, numpy.float32)
    found["root"] = rows(rng, r * r).astype(numpy.float32)
    found["tables"] = rows(rng, d - 2, r, r * r).astype(numpy.float32)
    return found


TASKS = (
    Task(
        "ltm",
        "LTM (CP layers) log-likelihood, binary, float32",
        LTM,
        latent_tree,
        (OURS, ENCODED, PATTERNLESS, DENSITIES, "cirkit", "spflow", "sparc", BARE),
        (
            Goal(30, ("cirkit",)),
            Goal(30, ("cirkit",), ENCODED),
            Goal(1, (BARE,)),
            Goal(1, (BARE,), ENCODED),
            Goal(5, ("cirkit",), PATTERNLESS),
            Goal(300, ("spflow",)),
            Goal(1, ("cirkit",), of="memory"),
        ),
        FLOAT32,
        quick=FEW,
        note=LTM_NOTE,
    ),
    Task(
        "ltm-64",
        "LTM (CP layers) log-likelihood, binary, float64",
        LTM,
        double,
        (OURS, ENCODED, PATTERNLESS, DENSITIES, "cirkit", BARE),
        (Goal(20, ("cirkit",)), Goal(20, ("cirkit",), ENCODED), Goal(4, ("cirkit",), PATTERNLESS)),
        quick=FEW,
        note=LTM_NOTE,
    ),
    Task(
        "ltm-em",
        "LTM (CP layers), one training pass over the rows, float32",
        LTM,
        latent_tree,
        (OURS, PATTERNLESS, DENSITIES, "cirkit", "cirkit:em"),
        (
            Goal(30, ("cirkit", "cirkit:em")),
            Goal(5, ("cirkit", "cirkit:em"), PATTERNLESS),
        ),
        FLOAT32,
        quick=FEW,
        note=EM_NOTE,
    ),
    Task(
        "ltm-missing",
        "LTM (CP layers) log-likelihood, 30 % missing, float32",
        LTM,
        with_gaps,
        (OURS, ENCODED, PATTERNLESS, DENSITIES, "cirkit", "spflow"),
        (Goal(15, ("cirkit",)), Goal(15, ("cirkit",), ENCODED), Goal(5, ("cirkit",), PATTERNLESS)),
        FLOAT32,
        quick=FEW,
        note=LTM_NOTE,
    ),
    Task(
        "ht",
        "HT (Kronecker layers) log-likelihood, binary, float32",
        HT,
        tucker,
        (OURS, ENCODED, PATTERNLESS, DENSITIES, "cirkit", "spflow", BARE),
        (Goal(15, ("cirkit",)), Goal(15, ("cirkit",), ENCODED), Goal(2, ("cirkit",), PATTERNLESS)),
        FLOAT32,
        quick=FEW,
        note=HT_NOTE,
    ),
    Task(
        "ht-em",
        "HT (Kronecker layers), one training pass over the rows, float32",
        HT,
        tucker,
        (OURS, PATTERNLESS, DENSITIES, "cirkit"),
        (Goal(15, ("cirkit",)), Goal(2, ("cirkit",), PATTERNLESS)),
        FLOAT32,
        quick=FEW,
        note=HT_NOTE,
    ),
)
