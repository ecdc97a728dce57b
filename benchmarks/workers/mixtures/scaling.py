"""Models of real numbers at any size."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.protocol import Arrays, Case, Maker
from mixtures import HMM, HT, LTM, Mixture, Tree
from mixtures.components import Gaussian
from mixtures.learn import em

BUILDERS: dict[str, Any] = {
    "tree": lambda d, k, r, **options: LTM(Tree.balanced(d), k, r, **options),
    "chain": lambda d, k, r, **options: HMM(d, k, r, **options),
    "ht": lambda d, k, r, **options: HT(Tree.balanced(d), k, r, **options),
}


def model_of(kind: str, arrays: Arrays) -> Mixture:
    """A random model."""
    d, k, r = (int(arrays[name]) for name in ("variables", "components", "states"))
    generator = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    return Mixture(BUILDERS[kind](d, k, r, **options), Gaussian(d, k, **options))


def likelihood(kind: str) -> Maker:
    """log f(x) of encoded rows."""

    def make(arrays: Arrays) -> Case:
        model = model_of(kind, arrays)
        data = model.encode(arrays["x"])

        def run() -> Any:
            with torch.no_grad():
                return model.log_prob(data)

        return Case(run, lambda found: {"rows": found})

    return make


def learning(kind: str) -> Maker:
    """One iteration of EM on encoded rows."""

    def make(arrays: Arrays) -> Case:
        model = model_of(kind, arrays)
        data = model.encode(arrays["x"])
        return Case(lambda: next(em(model, data)), lambda step: {"mean": step.log_likelihood})

    return make


CASES = {
    "tree": likelihood("tree"),
    "ht-growing": likelihood("ht"),
    "tree-em": learning("tree"),
    "chain-em": learning("chain"),
}
