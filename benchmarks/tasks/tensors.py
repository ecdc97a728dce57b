"""Certified ranks, numerical ranks, CP fits; and what it takes to begin."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from benchmarks.task import BARE, OURS, Goal, Limit, Sizes, Task, rows

GIB = float(2**30)


def chain_tables(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """A HMM of random float64 tables, and the rows of a cut of rank states^crossings.

    The cut goes through `crossings` transitions: blocks of variables in turn belong to the rows.
    """
    d, r, crossings = sizes["variables"], sizes["states"], sizes["crossings"]
    edges = numpy.linspace(0, d, crossings + 2).round().astype(int)
    sides = numpy.zeros(d, dtype=numpy.int64)
    for place in range(1, crossings + 1, 2):
        sides[edges[place] : edges[place + 1]] = 1
    return {
        "initial": rows(rng, 1, r)[0],
        "transition": rows(rng, d - 1, r, r),
        "emission": rows(rng, d, r, sizes["components"]),
        "rows": sides.nonzero()[0],
    }


def train(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """A dense tensor (k, .., k) whose tensor train has ranks r: a random chain, written out."""
    d, k, r = sizes["variables"], sizes["components"], sizes["states"]
    tensor = rng.uniform(size=(1, r))
    for j in range(d):
        core = rng.uniform(size=(r, k, r if j < d - 1 else 1))
        tensor = numpy.tensordot(tensor, core, 1)
        tensor = tensor.reshape(-1, tensor.shape[-1])
    return {"tensor": (tensor / tensor.sum()).reshape((k,) * d), "states": numpy.array(r)}


def products(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """A dense tensor (k, .., k) that is a sum of r products of random vectors."""
    d, k, r = sizes["variables"], sizes["components"], sizes["states"]
    factors = [rng.normal(size=(r, k)) for _ in range(d)]
    tensor = factors[0]
    for factor in factors[1:]:
        tensor = (tensor[:, :, None] * factor[:, None]).reshape(r, -1)
    return {"tensor": tensor.sum(0).reshape((k,) * d), "terms": numpy.array(r)}


def nothing(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """No data."""
    return {}


FIXED = frozenset({"crossings"})
RANK_GOALS = (Limit(5.0), Limit(GIB, of="memory"))
TASKS = (
    Task(
        "rank",
        "certified rank 1024: two transitions of a HMM with 32 states",
        {"variables": 40, "states": 32, "components": 32, "crossings": 2},
        chain_tables,
        (OURS,),
        RANK_GOALS,
        fixed=FIXED,
        quick={"variables": 6, "states": 3, "components": 3},
    ),
    Task(
        "rank-interleaved",
        "certified rank 1024: ten transitions of a HMM with 2 states",
        {"variables": 40, "states": 2, "components": 2, "crossings": 10},
        chain_tables,
        (OURS,),
        RANK_GOALS,
        fixed=frozenset({"crossings", "states", "components"}),
        quick={"variables": 8, "crossings": 3},
    ),
    Task(
        "tt-ranks",
        "numerical ranks of all prefixes of a dense tensor (TT-SVD), float64",
        {"variables": 8, "components": 5, "states": 5},
        train,
        (OURS, "tensorly", "torchtt"),
        (Goal(1, ("tensorly", "torchtt")),),
        fixed=frozenset({"variables"}),
        quick={"variables": 4, "components": 3, "states": 2},
    ),
    Task(
        "cp-fit",
        "CP fit to 1e-6 of a dense tensor, by alternating least squares",
        {"variables": 4, "components": 6, "states": 4},
        products,
        (OURS, "tensorly"),
        (Goal(1, ("tensorly",)),),
        fixed=frozenset({"variables"}),
        quick={"variables": 3, "components": 3, "states": 2},
        note="this library calls tensorly: in one process the two differ by one per cent, which is "
        "what checks cost; the rest of the difference between processes is noise",
    ),
    Task(
        "import",
        "a process that imports the library, and torch",
        {},
        nothing,
        (OURS, "cirkit", "pomegranate", "spflow", BARE),
        (Goal(1, ("cirkit", "pomegranate", "spflow")),),
    ),
)
