"""Ranks, fits, and the import."""

from __future__ import annotations

import torch

from benchmarks.protocol import Arrays, Case, imports
from mixtures import HMM
from transforms import rank
from transforms.cp import search
from transforms.profiles import numerical_tt_ranks
from transforms.subjects import subject


def certified(arrays: Arrays) -> Case:
    """`rank` of the cut, whose bounds must meet."""
    tables = [torch.as_tensor(arrays[name]) for name in ("initial", "transition", "emission")]
    chain, rows = HMM.from_tables(*tables), arrays["rows"].tolist()
    generator = torch.Generator().manual_seed(0)
    return Case(
        lambda: rank(chain, rows, generator=generator), lambda found: {"exact": found.exact}
    )


def prefixes(arrays: Arrays) -> Case:
    """`numerical_tt_ranks` of the dense tensor."""
    tensor = arrays["tensor"]
    return Case(lambda: numerical_tt_ranks(tensor, 1e-9), lambda found: {"ranks": found})


def fit(arrays: Arrays) -> Case:
    """The search of `cp_rank` for one number of terms."""
    tensor, terms = arrays["tensor"], int(arrays["terms"])
    exact = subject(tensor)

    def run() -> float:
        generator = torch.Generator().manual_seed(0)
        found = search(exact, terms, terms, 5, generator, nonnegative=False, tolerance=1e-6)
        assert found is not None
        return found.error

    return Case(run, lambda error: {"reached": error <= 1e-6})


CASES = {
    "rank": certified,
    "rank-interleaved": certified,
    "tt-ranks": prefixes,
    "cp-fit": fit,
    "import": imports("torch, mixtures"),
}
