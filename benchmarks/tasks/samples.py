"""Samples of a latent tree model.

cirkit is not among the peers: its query holds samples of every unit of every layer, tens of
gigabytes for 10 000 of them, and takes seconds for a hundred.
"""

from __future__ import annotations

from benchmarks.task import OURS, Goal, Task
from benchmarks.tasks.trees import latent_tree

SIZES = {"rows": 10_000, "variables": 64, "states": 32}
PEERS = ("sparc", "spflow")
CLOSE = {"*": (0.0, 0.035)}  # five standard errors of a frequency among 10 000 and its peer's
NOTE = (
    "SparC's compiled circuit draws in about a quarter of the time that its uncompiled nodes take, "
    "which the figure was set against; of ours the generator is a fifth, look-ups and copies half; "
    "a first call fills alias tables and sums states out, three quarters of it"
)
WIDE = {"rows": 10_000, "variables": 8, "states": 3}

TASKS = (
    Task(
        "samples",
        "10 000 samples of the LTM, repeated calls",
        SIZES,
        latent_tree,
        (OURS, *PEERS),
        (Goal(6, ("sparc",)), Goal(20, ("spflow",)), Goal(1, PEERS)),
        CLOSE,
        quick=WIDE,
        note=NOTE,
    ),
    Task(
        "samples-first",
        "10 000 samples of the LTM, first call of a new model",
        SIZES,
        latent_tree,
        (OURS, *PEERS),
        (Goal(3, ("sparc",)), Goal(8, ("spflow",)), Goal(1, PEERS)),
        CLOSE,
        quick=WIDE,
        note=NOTE,
    ),
)
