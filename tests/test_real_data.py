"""Published numbers on real data: exact maxima, reached from few restarts.

The data are looked for in the folder that the environment variable MIXTURES_DATA names, or in
`../shared/data`; without it these tests skip.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mixtures import HMM, TMM, Mixture
from mixtures.components import Bernoulli, Indicator, Poisson
from mixtures.learn import fit

FOLDER = Path(os.environ.get("MIXTURES_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))


def load(name: str):
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not there; MIXTURES_DATA names the folder")
    return np.load(path)


def best(model: Mixture, x, restarts: int, **options) -> float:
    """The greatest log-likelihood that `restarts` starting points lead to."""
    g = torch.Generator().manual_seed(0)
    history = fit(
        model.double(), x, restarts=restarts, tol=1e-9, max_iter=5000, generator=g, **options
    )
    return history.best.log_likelihood * len(x)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "maximum"), [(2, -317.2568), (3, -293.7050), (4, -289.2858)])
def test_latent_class_models_of_carcinoma_reach_their_maxima(classes, maximum):
    x = load("carcinoma.npz")["x"].astype(np.int64)
    found = best(Mixture(TMM(7, 2, classes), Indicator(7, 2)), x, restarts=10)
    assert found == pytest.approx(maximum, abs=1e-3)
    model = Mixture(
        TMM(7, classes, classes, emission=False), Bernoulli(7, classes, pseudo_count=0.0)
    )
    assert best(model, x, restarts=10) == pytest.approx(maximum, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("states", "maximum"), [(1, -391.9189), (2, -341.8787)])
def test_poisson_models_of_earthquakes_reach_their_maxima(states, maximum):
    x = load("series.npz")["earthquakes"].astype(np.int64)[None]
    d = x.shape[1]
    model = Mixture(
        HMM(d, states, states, shared=True, emission=False), Poisson(d, states, shared=True)
    )
    assert best(model, x, restarts=8) == pytest.approx(maximum, abs=1e-3)
