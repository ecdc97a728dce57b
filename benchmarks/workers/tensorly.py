"""tensorly, on its numpy backend, the default and the fastest on the CPU for small tensors."""

from __future__ import annotations

from typing import Any

import numpy
import tensorly
import torch
from tensorly.decomposition import parafac, tensor_train

from benchmarks.protocol import Arrays, Case


def ranks(arrays: Arrays) -> Case:
    """`tensor_train`; ranks that are not needed show as zero singular values of the cores.

    tensorly takes ranks, not tolerances, so it is told the ranks of the tensor.
    """
    tensor = arrays["tensor"]
    d = tensor.ndim
    rank = int(arrays["states"])
    most = [min(tensor.shape[0] ** min(q, d - q), rank) for q in range(d + 1)]

    def results(found: Any) -> dict[str, Any]:
        rest = numpy.linalg.norm(tensorly.tt_to_tensor(found) - tensor)
        if rest > 1e-6 * numpy.linalg.norm(tensor):
            raise ValueError("the train of these ranks is not the tensor")
        return {"ranks": found.rank[1:-1]}

    return Case(lambda: tensor_train(tensor, most), results)


def fit(arrays: Arrays) -> Case:
    """`parafac` as this library calls it: the same seeds, restarted until the error is 1e-6."""
    tensor, terms = arrays["tensor"], int(arrays["terms"])
    whole = tensor / numpy.abs(tensor).max()

    def run() -> float:
        generator, error = torch.Generator().manual_seed(0), 1.0
        for _ in range(5):
            seed = int(torch.randint(2**31 - 1, (), generator=generator))
            options = {"init": "random", "random_state": seed, "n_iter_max": 2000, "tol": 1e-14}
            found = parafac(whole, terms, **options)
            rest = numpy.linalg.norm(tensorly.cp_to_tensor(found) - whole)
            error = float(rest / numpy.linalg.norm(whole))
            if error <= 1e-6:
                break
        return error

    return Case(run, lambda error: {"reached": error <= 1e-6})


CASES = {"tt-ranks": ranks, "cp-fit": fit}
DISTRIBUTIONS = ("tensorly", "numpy")
