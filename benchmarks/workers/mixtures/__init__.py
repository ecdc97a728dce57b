"""This library, as its README says to use it: raw rows in, no cache filled beforehand."""

from benchmarks.workers.mixtures import chains, networks, samples, scaling, tensors, trees

CASES = {
    **chains.CASES,
    **trees.CASES,
    **samples.CASES,
    **networks.CASES,
    **tensors.CASES,
    **scaling.CASES,
}
DISTRIBUTIONS = ("torch",)
