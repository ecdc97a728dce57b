"""Mixtures to test on: every family under two classes of coefficients, every model of the zoo.

A `Case` holds a mixture, rows of its own with holes anywhere, and the truth by brute force:
every joint assignment of its coefficients, weighed by the densities of single components.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mixtures import HMM, HT, LTM, SPN, TMM, Dense, Mixture, Tree, inputs
from mixtures.coefficients import CoefficientTensor
from mixtures.components import (
    Bernoulli,
    Categorical,
    Components,
    Data,
    Exponential,
    Gaussian,
    Poisson,
)

import families
import zoo
from oracle_models import Listing, listing

Shape = Sequence[int]
Make = Callable[[Shape, torch.Generator, torch.dtype], CoefficientTensor]

ROWS = 6


def _network(shape: Shape, g: torch.Generator, t: torch.dtype) -> SPN:
    """Two terms, one of which splits the variables where the other does not."""
    ports = [zoo.mixed(g, row) for row in inputs(len(shape), list(shape))]
    more = [zoo.mixed(g, row) for row in inputs(len(shape), list(shape))]
    whole = functools.reduce(lambda a, b: a * b, ports)
    split = functools.reduce(lambda a, b: a * b, [ports[0], *more[1:]])
    return SPN(0.4 * whole + 0.6 * split, dtype=t)


MODELS: dict[str, Make] = {
    "TMM": lambda k, g, t: TMM(len(k), list(k), 3, generator=g, dtype=t),
    "deep TMM": lambda k, g, t: TMM(len(k), list(k), 2, arity=2, generator=g, dtype=t),
    "HMM": lambda k, g, t: HMM(len(k), list(k), 2, generator=g, dtype=t),
    "LTM": lambda k, g, t: LTM(Tree.balanced(len(k)), list(k), 2, generator=g, dtype=t),
    "HT": lambda k, g, t: HT(Tree.caterpillar(len(k)), list(k), 2, generator=g, dtype=t),
    "SPN": _network,
    "Dense": lambda k, g, t: Dense(zoo.rows(g, t, int(np.prod(k)), zeros=0.2).reshape(tuple(k))),
    "Combination": lambda k, g, t: (
        0.5 * HMM(len(k), list(k), 2, generator=g, dtype=t)
        + 0.5 * TMM(len(k), list(k), 2, generator=g, dtype=t)
    ),
}

KINDS = list(MODELS)

LEAVES: dict[str, Callable[[Shape, torch.Generator, torch.dtype], Components]] = {
    "Gaussian": lambda k, g, t: Gaussian(len(k), list(k), generator=g, dtype=t),
    "Categorical": lambda k, g, t: Categorical(len(k), list(k), 3, generator=g, dtype=t),
    "Poisson": lambda k, g, t: Poisson(len(k), list(k), generator=g, dtype=t),
    "Bernoulli": lambda k, g, t: Bernoulli(len(k), list(k), generator=g, dtype=t),
    "Exponential": lambda k, g, t: Exponential(len(k), list(k), generator=g, dtype=t),
}


def of_family(name: str, kind: str) -> Callable[[torch.Generator, torch.dtype], Mixture]:
    def make(g: torch.Generator, t: torch.dtype) -> Mixture:
        components = families.FAMILIES[name](g, t)
        return Mixture(MODELS[kind](components.shape, g, t), components)

    return make


def _of_model(name: str, leaf: str) -> Callable[[torch.Generator, torch.dtype], Mixture]:
    def make(g: torch.Generator, t: torch.dtype) -> Mixture:
        coefficients = zoo.ZOO[name](g, t)
        return Mixture(coefficients, LEAVES[leaf](coefficients.shape, g, t))

    return make


def _registry() -> dict[str, Callable[[torch.Generator, torch.dtype], Mixture]]:
    found = {}
    for place, name in enumerate(families.FAMILIES):
        for step in (0, 3):
            kind = KINDS[(place + step) % len(KINDS)]
            found[f"{kind} of {name}"] = of_family(name, kind)
    for place, name in enumerate(zoo.ZOO):
        leaf = list(LEAVES)[place % len(LEAVES)]
        found[f"{name} of {leaf}"] = _of_model(name, leaf)
    return found


MIXTURES = _registry()

# For laws whose check is dear: every family once and every kind of coefficients at least twice.
SOME = list(MIXTURES)[: 2 * len(families.FAMILIES) : 2]

every_mixture = pytest.mark.parametrize("name", MIXTURES)
some_mixtures = pytest.mark.parametrize("name", SOME)


def build(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> Mixture:
    """A mixture of one's own."""
    return MIXTURES[name](generator(seed + len(name)), dtype)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Case:
    """A mixture (leave it alone), rows, which entries were observed, and the truth."""

    mixture: Mixture
    x: Tensor
    observed: Tensor
    truth: Listing

    @property
    def data(self) -> Data:
        return self.mixture.encode(self.x, self.observed)

    @property
    def leaves(self) -> np.ndarray:
        """Log-densities of single components, (n, d, k)."""
        return self.mixture.components.log_prob(self.data).detach().numpy()

    def densities(self, evidence: dict[Hashable, Tensor] | None = None) -> np.ndarray:
        """log f(x), (n,)."""
        lines = (
            {key: logs[n].numpy() for key, logs in (evidence or {}).items()}
            for n in range(len(self.x))
        )
        return np.array(
            [self.truth.density(row, line) for row, line in zip(self.leaves, lines, strict=True)]
        )


@functools.cache
def case(name: str) -> Case:
    """Rows that the mixture itself drew: the first wholly missing, the second complete."""
    mixture = build(name)
    x = mixture.sample(ROWS, generator=generator(1))
    observed = families.holes(mixture.components, x, seed=2)
    return Case(mixture, x, observed, listing(mixture.coefficients))


def tensor_of(name: str) -> np.ndarray:
    """W, by brute force."""
    found = case(name)
    return found.truth.tensor(found.mixture.coefficients.shape)


def held(mixture: Mixture) -> dict[str, Tensor]:
    """A copy of everything a mixture holds, to compare with later."""
    return {key: value.clone() for key, value in mixture.state_dict().items()}


def assert_unchanged(mixture: Mixture, before: dict[str, Tensor]) -> None:
    """Bit for bit what `held` saw."""
    after = mixture.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
