"""pomegranate: its dense HMM, a matrix product per step in torch, without checks of the data.

`check_data=False` "can slightly speed up computation" (its docstring). Its models end with uniform
probability in every state, a factor 1/r that is taken out of what it returns. Its `fit` does not
maximise the likelihood without it, so it takes part in likelihoods only.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pomegranate.distributions import Categorical, Normal
from pomegranate.gmm import GeneralMixtureModel
from pomegranate.hmm import DenseHMM

from benchmarks.protocol import Arrays, Case, imports


def symbols(arrays: Arrays) -> list[Any]:
    """A distribution for each state."""
    return [Categorical(row[None], check_data=False) for row in torch.as_tensor(arrays["emission"])]


def gaussians(arrays: Arrays) -> list[Any]:
    """The same with densities."""
    pairs = zip(arrays["mean"], arrays["variance"], strict=True)
    return [
        Normal(
            torch.tensor([mean], dtype=torch.float64),
            torch.tensor([variance], dtype=torch.float64),
            covariance_type="diag",
            check_data=False,
        )
        for mean, variance in pairs
    ]


def likelihood(build: Any) -> Any:
    """`log_probability` of all rows at once."""

    def make(arrays: Arrays) -> Case:
        torch.set_default_dtype(torch.float64)
        states = build(arrays)
        model = DenseHMM(
            states,
            edges=arrays["transition"],
            starts=arrays["initial"],
            ends=[1 / len(states)] * len(states),
            check_data=False,
        )
        x = torch.as_tensor(arrays["x"])[..., None]

        def run() -> Any:
            with torch.inference_mode():
                return model.log_probability(x)

        return Case(run, lambda found: {"rows": found + math.log(len(states))})

    return make


def clouds(arrays: Arrays) -> Case:
    """A mixture of diagonal Gaussians."""
    torch.set_default_dtype(torch.float64)
    mean, variance = torch.as_tensor(arrays["mean"]), torch.as_tensor(arrays["variance"])
    parts = [
        Normal(m, v, covariance_type="diag", check_data=False)
        for m, v in zip(mean, variance, strict=True)
    ]
    weights = torch.as_tensor(arrays["weights"])
    model = GeneralMixtureModel(parts, priors=weights, check_data=False)
    x = torch.as_tensor(arrays["x"])

    def run() -> Any:
        with torch.inference_mode():
            return model.log_probability(x)

    return Case(run, lambda found: {"rows": found})


CASES = {
    "hmm": likelihood(symbols),
    "hmm-gaussian": likelihood(gaussians),
    "gaussians": clouds,
    "import": imports("torch, pomegranate"),
}
DISTRIBUTIONS = ("pomegranate", "torch")
