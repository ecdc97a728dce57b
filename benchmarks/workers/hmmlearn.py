"""hmmlearn: its C++ recursions, with scaling, the faster of its two implementations.

https://hmmlearn.readthedocs.io/en/latest/api.html: `implementation="scaling"` "is generally faster
than log-space"; sequences of one length are passed as one array with `lengths=`.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy
from hmmlearn import hmm

from benchmarks.protocol import Arrays, Case

logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # it warns of what it was told not to learn


def symbols(arrays: Arrays, iterations: int) -> Any:
    """Maximum likelihood, from the tables given."""
    r, size = arrays["emission"].shape
    model = hmm.CategoricalHMM(
        r,
        n_features=size,
        n_iter=iterations,
        tol=-numpy.inf,
        params="ste",
        init_params="",
        implementation="scaling",
    )
    model.emissionprob_ = arrays["emission"]
    return model


def gaussians(arrays: Arrays, iterations: int) -> Any:
    """Maximum likelihood: the priors that it has by default are taken away."""
    model = hmm.GaussianHMM(
        len(arrays["mean"]),
        "diag",
        min_covar=0,
        n_iter=iterations,
        tol=-numpy.inf,
        params="stmc",
        init_params="",
        implementation="scaling",
    )
    model.covars_prior, model.covars_weight, model.means_weight = 0.0, 1.0, 0.0
    model.n_features = 1
    model.means_, model.covars_ = arrays["mean"][:, None], arrays["variance"][:, None]
    return model


def _prepared(build: Any, arrays: Arrays, iterations: int = 1) -> tuple[Any, Any, list[int]]:
    model = build(arrays, iterations)
    model.startprob_, model.transmat_ = arrays["initial"].copy(), arrays["transition"].copy()
    n, d = arrays["x"].shape
    return model, arrays["x"].reshape(-1, 1), [d] * n


def likelihood(build: Any) -> Any:
    """`score` gives the sum over sequences."""

    def make(arrays: Arrays) -> Case:
        model, x, lengths = _prepared(build, arrays)
        return Case(lambda: model.score(x, lengths), lambda found: {"total": found})

    return make


def learning(build: Any, iterations: int) -> Any:
    """`fit` with so many iterations and no test of convergence."""

    def make(arrays: Arrays) -> Case:
        held: dict[str, Any] = {}

        def reset() -> None:
            held["model"], held["x"], held["lengths"] = _prepared(build, arrays, iterations)

        def results(model: Any) -> dict[str, Any]:
            history = list(model.monitor_.history)
            return {
                "history": history,
                "initial": model.startprob_,
                "transition": model.transmat_,
                "total": model.score(held["x"], held["lengths"]),
            }

        return Case(lambda: held["model"].fit(held["x"], held["lengths"]), results, reset)

    return make


CASES = {
    "hmm": likelihood(symbols),
    "hmm-gaussian": likelihood(gaussians),
    "hmm-em": learning(symbols, 10),
    "hmm-gaussian-em": learning(gaussians, 10),
    "sequence": likelihood(symbols),
    "sequence-slow": likelihood(symbols),
    "sequence-em": learning(symbols, 1),
    "sequence-em-slow": learning(symbols, 1),
}
DISTRIBUTIONS = ("hmmlearn", "numpy")
