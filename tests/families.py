"""Every family of components with small random instances: what the conformance suite runs over."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mixtures.components import (
    Bernoulli,
    Binomial,
    Categorical,
    Components,
    Concatenated,
    Exponential,
    Gamma,
    Gaussian,
    Histogram,
    Indicator,
    LogNormal,
    Mixed,
    MultivariateGaussian,
    Poisson,
    Product,
    Uniform,
)

Build = Callable[[torch.Generator, torch.dtype], Components]

EDGES = [-1.0, 0.0, 0.5, 2.0]


def _mixed(g: torch.Generator, t: torch.dtype) -> Components:
    return Mixed(
        [
            ([2, 0], Gaussian(2, [3, 2], generator=g, dtype=t)),
            ([1], Categorical(1, 3, 4, generator=g, dtype=t)),
        ]
    )


def _concatenated(g: torch.Generator, t: torch.dtype) -> Components:
    return Concatenated(
        [Gaussian(3, [1, 3, 2], generator=g, dtype=t), Gaussian(3, 2, generator=g, dtype=t)]
    )


def _uniform(g: torch.Generator, t: torch.dtype) -> Components:
    low = torch.rand(3, 2, generator=g, dtype=t)
    return Uniform(3, 2, low=low - 1, high=low + 1, dtype=t)


def _normal(kind: str, shared: bool = False) -> Build:
    return lambda g, t: MultivariateGaussian(
        3, 2, 3, covariance=kind, shared=shared, generator=g, dtype=t
    )


FAMILIES: dict[str, Build] = {
    "Categorical": lambda g, t: Categorical(3, 2, 4, generator=g, dtype=t),
    "Categorical, own sizes": lambda g, t: Categorical(
        3, [2, 1, 3], [4, 2, 3], generator=g, dtype=t
    ),
    "Categorical, shared": lambda g, t: Categorical(3, 2, 4, shared=True, generator=g, dtype=t),
    "Bernoulli": lambda g, t: Bernoulli(3, 2, generator=g, dtype=t),
    "Binomial": lambda g, t: Binomial(3, 2, [4, 3, 6], generator=g, dtype=t),
    "Poisson": lambda g, t: Poisson(3, [2, 3, 1], generator=g, dtype=t),
    "Gaussian": lambda g, t: Gaussian(3, 2, generator=g, dtype=t),
    "Gaussian, own sizes": lambda g, t: Gaussian(3, [2, 3, 1], generator=g, dtype=t),
    "Gaussian, shared": lambda g, t: Gaussian(3, 2, shared=True, generator=g, dtype=t),
    "LogNormal": lambda g, t: LogNormal(3, 2, generator=g, dtype=t),
    "Exponential": lambda g, t: Exponential(3, 2, generator=g, dtype=t),
    "Gamma": lambda g, t: Gamma(3, 2, generator=g, dtype=t),
    "Uniform": _uniform,
    "Histogram": lambda g, t: Histogram(3, 2, EDGES, generator=g, dtype=t),
    "Histogram, shared": lambda g, t: Histogram(3, 2, EDGES, shared=True, generator=g, dtype=t),
    "Indicator": lambda g, t: Indicator(3, [2, 4, 3], dtype=t),
    "MultivariateGaussian": _normal("full"),
    "MultivariateGaussian, tied": _normal("tied"),
    "MultivariateGaussian, diag": _normal("diag"),
    "MultivariateGaussian, spherical": _normal("spherical"),
    "MultivariateGaussian, shared": _normal("full", shared=True),
    "Product": lambda g, t: Product(Bernoulli(3 * 4, 2, generator=g, dtype=t), (2, 2)),
    "Product, shared": lambda g, t: Product(Gaussian(2, 2, generator=g, dtype=t), 2, variables=3),
    "Product, one density": lambda g, t: Product(
        Poisson(6, 2, shared=True, generator=g, dtype=t), (2,)
    ),
    "Mixed": _mixed,
    "Concatenated": _concatenated,
    "Concatenated, shared": lambda g, t: Concatenated(
        [
            Poisson(3, 2, shared=True, generator=g, dtype=t),
            Poisson(3, 1, shared=True, generator=g, dtype=t),
        ]
    ),
}


def build(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> Components:
    """A small random instance."""
    return FAMILIES[name](torch.Generator().manual_seed(seed), dtype)


def indices(components: Components, n: int, seed: int = 1) -> torch.Tensor:
    """Random component numbers (n, d)."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(n, components.variables, generator=generator)
    return (draws * torch.tensor(components.shape)).long()


def rows(components: Components, n: int, seed: int = 1) -> torch.Tensor:
    """Random rows (n, d, *event)."""
    generator = torch.Generator().manual_seed(seed)
    return components.sample(indices(components, n, seed), generator)


def holes(components: Components, x: torch.Tensor, seed: int = 2) -> torch.Tensor:
    """A mask of what is observed: some entries are not, in row 0 no variable, in row 1 all."""
    generator = torch.Generator().manual_seed(seed)
    shape = x.shape if components._partial else x.shape[:2]
    observed = torch.rand(shape, generator=generator) < 0.7
    observed[:1] = False
    observed[1:2] = True
    return observed


def weights(components: Components, n: int, seed: int = 3) -> torch.Tensor:
    """Random weights (d, k, n)."""
    generator = torch.Generator().manual_seed(seed)
    size = (components.variables, components.largest, n)
    return torch.rand(size, generator=generator, dtype=torch.float64)
