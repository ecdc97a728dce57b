"""Hidden Markov models: many sequences, and one long one."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.typing import NDArray

from benchmarks.task import BARE, OURS, Goal, Sizes, Task, rows

GAUSSIAN_NOTE = (
    "dynamax, compiled, takes a third or less of hmmlearn's time here, which the figure was set "
    "against; products, exp and rescaling alone take 40 % of dynamax's time in a bare loop"
)
GAUSSIAN_EM_NOTE = (
    "profiled: products, powers and multiplications of a pass are three quarters; to work values "
    "or leaves out anew on the way down, or to keep fewer rows, costs what it saves; chains are "
    "walked on one thread, dynamax uses both"
)
SYMBOLS_NOTE = (
    "profiled: products, look-ups and rescaling of 200 steps are two thirds, encoding and checks "
    "of raw rows and the calls themselves the rest; chains are walked on one thread"
)
MANY = {"rows": 1000, "steps": 200, "states": 16, "symbols": 8}
FEW = {"rows": 20, "steps": 12, "states": 3}
LEARNERS = ("hmmlearn", "dynamax")
PEERS = (*LEARNERS, "pomegranate")


def chain(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """Initial distribution (r,) and transition table (r, r)."""
    r = sizes["states"]
    return {"initial": rows(rng, 1, r)[0], "transition": rows(rng, r, r)}


def path(found: dict[str, NDArray[Any]], n: int, d: int, rng: numpy.random.Generator) -> Any:
    """States (n, d) drawn from a chain."""
    moves = found["transition"].cumsum(-1)
    states = numpy.empty((n, d), dtype=numpy.int64)
    states[:, 0] = rng.choice(len(moves), size=n, p=found["initial"])
    for j in range(1, d):
        drawn = (rng.random((n, 1)) > moves[states[:, j - 1]]).sum(-1)
        states[:, j] = drawn.clip(max=len(moves) - 1)
    return states


def categorical(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """A chain, emission table (r, symbols) and rows x drawn from it, (n, d)."""
    found = chain(sizes, rng)
    found["emission"] = rows(rng, sizes["states"], sizes["symbols"])
    states = path(found, sizes["rows"], sizes["steps"], rng)
    edges = found["emission"].cumsum(-1)[states]
    drawn = (rng.random((*states.shape, 1)) > edges).sum(-1)
    return {**found, "x": drawn.clip(max=sizes["symbols"] - 1)}


def gaussian(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """A chain, means and variances (r,) and rows x drawn from it, (n, d)."""
    found, r = chain(sizes, rng), sizes["states"]
    found["mean"], found["variance"] = 2 * rng.normal(size=r), rng.uniform(0.5, 2, size=r)
    states = path(found, sizes["rows"], sizes["steps"], rng)
    noise = rng.normal(size=states.shape) * found["variance"][states] ** 0.5
    return {**found, "x": found["mean"][states] + noise}


def slow(sizes: Sizes, rng: numpy.random.Generator) -> dict[str, NDArray[Any]]:
    """As `categorical`, with a chain that leaves its state once in ten thousand steps."""
    found, r = categorical(sizes, rng), sizes["states"]
    stay = 1 - 1e-4
    found["transition"] = stay * numpy.eye(r) + (1 - stay) * found["transition"]
    found["emission"] = 0.97 / sizes["symbols"] + 0.03 * found["emission"]
    return found


ONE = {"rows": 1, "steps": 100_000, "states": 32, "symbols": 8}

TASKS = (
    Task(
        "hmm",
        "HMM log-likelihood, symbols, float64",
        MANY,
        categorical,
        (OURS, *PEERS, BARE),
        (Goal(7, ("hmmlearn",)), Goal(1 / 6, (BARE,), threads=1), Goal(1, PEERS)),
        quick=FEW,
        note=SYMBOLS_NOTE,
    ),
    Task(
        "hmm-em",
        "10 EM iterations of the HMM, symbols, float64",
        MANY,
        categorical,
        (OURS, *LEARNERS),
        (Goal(7, ("hmmlearn",)), Goal(4, ("dynamax",)), Goal(1, LEARNERS)),
        quick=FEW,
        note="chains are walked on one thread: a second one would mostly wait",
    ),
    Task(
        "hmm-gaussian",
        "HMM log-likelihood, Gaussian emissions, float64",
        {name: size for name, size in MANY.items() if name != "symbols"},
        gaussian,
        (OURS, *PEERS, BARE),
        (Goal(5, PEERS), Goal(5, ("hmmlearn",))),
        quick=FEW,
        note=GAUSSIAN_NOTE,
    ),
    Task(
        "hmm-gaussian-em",
        "10 EM iterations of the HMM, Gaussian emissions, float64",
        {name: size for name, size in MANY.items() if name != "symbols"},
        gaussian,
        (OURS, *LEARNERS),
        (Goal(5, LEARNERS), Goal(5, ("hmmlearn",))),
        quick=FEW,
        note=GAUSSIAN_EM_NOTE,
    ),
    *(
        Task(
            f"sequence{suffix}{pace}",
            f"one sequence, {mixing} chain, {title}, float64",
            ONE,
            make,
            (OURS, "hmmlearn"),
            (Goal(factor, ("hmmlearn",)),),
            fixed=frozenset({"rows"}),
            quick={"steps": 300, "states": 3},
        )
        for pace, mixing, make, factor in (
            ("", "fast-mixing", categorical, 5),
            ("-slow", "slow-mixing", slow, 0.5),
        )
        for suffix, title in (("", "log-likelihood"), ("-em", "posteriors and counts"))
    ),
)
