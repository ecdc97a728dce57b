"""Hidden Markov models."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.protocol import Arrays, Case
from mixtures import HMM, Mixture
from mixtures.components import Categorical, Gaussian
from mixtures.learn import em

ITERATIONS = 10


def symbols(arrays: Arrays) -> Mixture:
    """A stationary chain with symbols."""
    d = arrays["x"].shape[1]
    emission = torch.as_tensor(arrays["emission"])[None]
    family = Categorical.from_parameters(emission, pseudo_count=0.0, shared=True, variables=d)
    return Mixture(_chain(arrays), family)


def gaussians(arrays: Arrays) -> Mixture:
    """A stationary chain with Gaussian emissions, without a prior."""
    mean, variance = (torch.as_tensor(arrays[name])[None] for name in ("mean", "variance"))
    family = Gaussian.from_parameters(
        mean, variance, pseudo_scatter=0.0, shared=True, variables=arrays["x"].shape[1]
    )
    return Mixture(_chain(arrays), family)


def _chain(arrays: Arrays) -> HMM:
    initial, transition = (torch.as_tensor(arrays[name]) for name in ("initial", "transition"))
    return HMM.from_tables(initial, transition, variables=arrays["x"].shape[1])


def likelihood(build: Any) -> Any:
    """log f(x) of all rows."""

    def make(arrays: Arrays) -> Case:
        model, x = build(arrays), arrays["x"]

        def run() -> Any:
            with torch.no_grad():
                return model.log_prob(x)

        return Case(run, lambda found: {"rows": found, "total": found.sum()})

    return make


def learning(build: Any, iterations: int = ITERATIONS) -> Any:
    """EM from the model given, and the log-likelihoods of all its iterations."""

    def make(arrays: Arrays) -> Case:
        held: dict[str, Mixture] = {}

        def reset() -> None:
            held["model"] = build(arrays)

        def run() -> list[float]:
            steps = em(held["model"], arrays["x"])
            return [next(steps).log_likelihood for _ in range(iterations)]

        def results(history: list[float]) -> dict[str, Any]:
            chain = held["model"].coefficients
            assert isinstance(chain, HMM)
            n = len(arrays["x"])
            return {
                "total": n * held["model"].score(arrays["x"]),
                "history": [n * value for value in history],
                "initial": chain.initial.detach(),
                "transition": chain.transition[0].detach(),
            }

        return Case(run, results, reset)

    return make


CASES = {
    "hmm": likelihood(symbols),
    "hmm-gaussian": likelihood(gaussians),
    "hmm-em": learning(symbols),
    "hmm-gaussian-em": learning(gaussians),
    "sequence": likelihood(symbols),
    "sequence-slow": likelihood(symbols),
    "sequence-em": learning(symbols, 1),
    "sequence-em-slow": learning(symbols, 1),
}
