"""Mixtures by name: the coefficients and components that a matrix of numbers calls for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from mixtures.choices import positive
from mixtures.coefficients import CoefficientTensor
from mixtures.components import FAMILIES, Components, Mixed
from mixtures.hmm import HMM
from mixtures.ht import HT
from mixtures.learn import chow_liu
from mixtures.ltm import LTM
from mixtures.mixture import Mixture
from mixtures.spn import SPN
from mixtures.tmm import TMM
from mixtures.tree import Tree

Matrix = NDArray[Any]

MOST_SYMBOLS = 32  # whole numbers from 0 up that "auto" takes for symbols
QUANTILES = 8  # into how many symbols a Chow-Liu tree cuts a column of numbers

OF_COLUMNS: dict[str, Callable[[Matrix], dict[str, Any]]] = {
    "bernoulli": lambda x: {},
    "binomial": lambda x: {"trials": [max(1, int(top)) for top in _largest(x)]},
    "categorical": lambda x: {"categories": [int(top) + 1 for top in _largest(x)]},
    "exponential": lambda x: {},
    "gamma": lambda x: {},
    "gaussian": lambda x: {},
    "histogram": lambda x: {},
    "lognormal": lambda x: {},
    "poisson": lambda x: {},
    "uniform": lambda x: {},
}
"""Families of numbers, and what they take from the columns they are for."""

TREES: dict[str, Callable[[Matrix, torch.Generator], Tree]] = {
    "balanced": lambda x, random: Tree.balanced(x.shape[1]),
    "chain": lambda x, random: Tree.chain(x.shape[1]),
    "chow_liu": lambda x, random: Tree.from_graph(chow_liu(symbols(x))),
    "random": lambda x, random: Tree.random(x.shape[1], generator=random),
}

MODELS = ("tmm", "deep", "hmm", "ltm", "ht", "spn")


@dataclass(frozen=True)
class Blueprint:
    """Names and sizes from which a mixture for given columns is made."""

    model: str
    families: Sequence[str]  # one per column
    states: int
    components: int
    tree: str | Tree | None
    dtype: torch.dtype
    device: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    names: Sequence[str] | None = None

    def build(self, x: Matrix, everything: Matrix, random: torch.Generator) -> Mixture:
        """A mixture for rows x (n, d), with components fit for all of `everything`."""
        drawn = {"generator": random, "dtype": self.dtype}
        leaves = self._leaves(everything, drawn)
        mixture = Mixture(self._coefficients(x, drawn), leaves)
        return mixture.to(self.device) if self.device is not None else mixture

    def _leaves(self, x: Matrix, drawn: dict[str, Any]) -> Components:
        parts = []
        for name in sorted(set(self.families)):
            columns = [j for j, family in enumerate(self.families) if family == name]
            given = {**OF_COLUMNS[name](x[:, columns]), **self.options}
            named = None if self.names is None else [self.names[j] for j in columns]
            make: Any = _by_name()[name]
            parts.append(
                (columns, make(len(columns), self.components, names=named, **given, **drawn))
            )
        return parts[0][1] if len(parts) == 1 else Mixed(parts, names=self.names)

    def _coefficients(self, x: Matrix, drawn: dict[str, Any]) -> CoefficientTensor:
        d, k, r = x.shape[1], self.components, self.states
        tied = {"emission": k != r, **drawn}
        if self.model == "tmm":
            return TMM(d, k, r, **tied)
        if self.model == "deep":
            return TMM(d, k, r, arity=2, **tied)
        if self.model == "hmm":
            return HMM(d, k, r, **tied)
        if self.model == "spn":
            depth = min(3, (d - 1).bit_length())
            return SPN.random(d, k, depth=depth, sums=r, repetitions=4, **drawn)
        default = "chow_liu" if self.model == "ltm" else "balanced"
        tree = default if self.tree is None else self.tree
        if not isinstance(tree, Tree):
            tree = TREES[tree](x, drawn["generator"])
        make: Any = LTM if self.model == "ltm" else HT
        return make(tree, k, r, **tied)


def checked(
    x: Matrix,
    discrete: Sequence[bool],
    *,
    model: str,
    components: str | Sequence[str],
    states: int,
    n_components: int | None,
    tree: str | Tree | None,
    dtype: str,
    device: str | None,
    options: Mapping[str, Any] | None,
    names: Sequence[str] | None,
) -> Blueprint:
    """The blueprint for columns x, of which some hold whole numbers by type; ValueError for names
    that mean nothing.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    if tree is not None and model not in ("ltm", "ht"):
        raise ValueError(f"tree= is for the models ltm and ht, got model={model!r}")
    if not (tree is None or isinstance(tree, Tree) or tree in TREES):
        raise ValueError(f"tree must be a Tree or one of {', '.join(TREES)}, got {tree!r}")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    states = positive(states, "states")
    return Blueprint(
        model,
        _families(x, discrete, components),
        states,
        states if n_components is None else positive(n_components, "n_components"),
        tree,
        getattr(torch, dtype),
        device,
        {} if options is None else options,
        names,
    )


def symbols(x: Matrix) -> numpy.ma.MaskedArray[Any, Any]:
    """Every column as symbols: small whole numbers as they are, others by their quantiles."""
    codes = numpy.zeros(x.shape, dtype=numpy.int64)
    for j, column in enumerate(x.T):
        seen = column[~numpy.isnan(column)]
        if not len(seen):
            continue
        if _are_symbols(seen, QUANTILES):
            codes[:, j] = numpy.where(numpy.isnan(column), 0, column)
        else:
            edges = numpy.quantile(seen, numpy.arange(1, QUANTILES) / QUANTILES)
            codes[:, j] = numpy.searchsorted(numpy.unique(edges), column)
    empty = numpy.isnan(x).all(0)
    return numpy.ma.MaskedArray(codes, numpy.isnan(x) & ~empty)


def _families(
    x: Matrix, discrete: Sequence[bool], components: str | Sequence[str]
) -> tuple[str, ...]:
    """The name of every column's family."""
    d = x.shape[1]
    if isinstance(components, str):
        if components == "auto":
            return tuple(
                _family(column, whole) for column, whole in zip(x.T, discrete, strict=True)
            )
        components = [components] * d
    if len(components) != d:
        raise ValueError(f"expected components for {d} columns, got {len(components)}")
    unknown = [name for name in components if name not in OF_COLUMNS]
    if unknown:
        known = ", ".join(["auto", *OF_COLUMNS])
        raise ValueError(
            f"components must be one of {known}, or one for each column, got {unknown[0]!r}"
        )
    return tuple(components)


def _family(column: Matrix, discrete: bool) -> str:
    seen = column[~numpy.isnan(column)]
    if len(seen) and _are_symbols(seen, 2):
        return "bernoulli"
    return "categorical" if discrete and _are_symbols(seen, MOST_SYMBOLS) else "gaussian"


def _are_symbols(seen: Matrix, most: int) -> bool:
    return bool((seen >= 0).all() and (seen < most).all() and (seen == numpy.floor(seen)).all())


def _largest(x: Matrix) -> Matrix:
    """The largest value of every column; zero where nothing was seen."""
    return numpy.where(numpy.isnan(x), 0, x).max(0).clip(min=0)


def _by_name() -> dict[str, type[Any]]:
    return {name.lower(): family for name, family in FAMILIES.items()}
