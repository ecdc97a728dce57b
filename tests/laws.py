"""What the laws speak about: every model of the zoo, its truth, rows of leaves and evidence."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor

from oracle_models import Listing, listing
from zoo import ZOO, made

every_model = pytest.mark.parametrize("name", ZOO)

ROWS = 5  # of `leaves`: anything, some missing, some impossible, all missing, far below the others


@functools.cache
def truth(name: str) -> Listing:
    """Every joint assignment of the model of that name."""
    return listing(made(name))


def coefficients(name: str) -> np.ndarray:
    """W, by brute force."""
    return truth(name).tensor(made(name).shape)


def numbers(name: str) -> np.random.Generator:
    """Random numbers that depend on the name alone."""
    return np.random.default_rng([ord(letter) for letter in name])


def possible(name: str, rng: np.random.Generator) -> tuple[np.ndarray, dict[Hashable, int]]:
    """Components and states that the model can be in."""
    listed = truth(name)
    line = listed.lines[rng.integers(len(listed.lines))]
    return np.array(line.components), line.states


def leaves(name: str) -> np.ndarray:
    """Five rows of log-leaves (5, d, max k): every kind of row that has positive probability."""
    model, rng = made(name), numbers(name)
    d, k = model.variables, max(model.shape)
    rows = rng.normal(size=(ROWS, d, k))
    rows[1, ~observed(name)[1]] = 0
    excluded = rng.random((d, k)) < 0.5
    excluded[np.arange(d), possible(name, rng)[0]] = False
    rows[2][excluded] = -np.inf
    rows[3] = 0
    rows[4] = 100 * rows[4] - 1e4
    return rows


def observed(name: str) -> np.ndarray:
    """Which variables are observed in the rows of `leaves`, (5, d)."""
    seen = np.ones((ROWS, made(name).variables), dtype=bool)
    seen[1] = numbers(name).random(seen.shape[1]) < 0.4
    seen[3] = False
    return seen


def evidence(name: str) -> dict[Hashable, np.ndarray]:
    """Log-weights of the states of about every second latent, (5, r), some of them impossible."""
    model, rng = made(name), numbers(name)
    states = possible(name, rng)[1]
    found = {}
    for place, latent in enumerate(model.latents):
        if place % 2:
            continue
        logs = rng.normal(size=(ROWS, model.num_states(latent)))
        excluded = rng.random(logs.shape[1]) < 0.3
        excluded[states.get(latent, 0)] = False
        logs[0, excluded] = -np.inf
        found[latent] = logs
    return found


def with_evidence(name: str) -> Iterator[tuple[Tensor, dict[Hashable, Tensor]]]:
    """Rows of leaves without evidence, and those rows which are possible with it."""
    rows, given = leaves(name), evidence(name)
    yield tensor(rows), {}
    kept = [n for n in range(ROWS) if np.isfinite(truth(name).density(rows[n], line(given, n)))]
    yield tensor(rows[kept]), {latent: tensor(logs[kept]) for latent, logs in given.items()}


def line(given: dict[Hashable, np.ndarray], n: int) -> dict[Hashable, np.ndarray]:
    """The evidence of one row."""
    return {latent: np.asarray(logs[n]) for latent, logs in given.items()}


def tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(array)


def close(found: Any, expected: Any, rtol: float = 1e-10, atol: float | None = None) -> None:
    """Assert equality up to rounding, of values of any size, -inf included."""
    pair = [v.detach().numpy() if isinstance(v, Tensor) else v for v in (found, expected)]
    np.testing.assert_allclose(*pair, rtol=rtol, atol=rtol * 1e-4 if atol is None else atol)


def held(model: CoefficientTensor) -> dict[str, Tensor]:
    """A copy of everything a model holds, to compare with later."""
    return {key: value.clone() for key, value in model.state_dict().items()}
