"""This library, as its README says to use it: raw rows in, no cache filled beforehand."""

from benchmarks.workers.mixtures import chains, trees

CASES = {**chains.CASES, **trees.CASES}
DISTRIBUTIONS = ("torch",)
