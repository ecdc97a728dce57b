"""What `fit` builds for a table: components by column, coefficients by the name of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from mixtures import HMM, HT, LTM, SPN, TMM, CoefficientTensor, Tree
from mixtures.cli.frames import Column
from mixtures.components import Categorical, Components, Gaussian, Mixed, Poisson
from mixtures.learn import chow_liu

MODELS = {
    "tmm": "a mixture of products: one latent above all columns (CP)",
    "deep": "the deep tensorial mixture: a balanced tree of latents over the columns in order",
    "hmm": "a hidden Markov model along the columns in order",
    "ltm": "a latent tree: one latent a column, joined as a Chow-Liu tree of the data",
    "ht": "full hierarchical Tucker on a balanced tree",
    "spn": "a random sum-product network",
}
BINS = 6  # quantiles that numbers are cut into where only a tree is sought
MOST_ROWS = 20_000  # rows that a tree is sought on
PSEUDO_COUNT = 0.1  # of categories


def components_for(
    columns: Sequence[Column], k: int, generator: torch.Generator, dtype: torch.dtype
) -> Components:
    """k components for every column, each of the column's family."""
    draw: dict[str, Any] = {"generator": generator, "dtype": dtype}
    places: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        places.setdefault(column.kind, []).append(place)
    made: list[Components] = []
    names = [column.name for column in columns]
    for kind, which in places.items():
        own = {**draw, "names": names} if len(places) == 1 else draw
        if kind == "categorical":
            sizes = [len(columns[place].categories) for place in which]
            made.append(Categorical(len(which), k, sizes, pseudo_count=PSEUDO_COUNT, **own))
        elif kind == "poisson":
            made.append(Poisson(len(which), k, **own))
        else:
            made.append(Gaussian(len(which), k, **own))
    if len(made) == 1:
        return made[0]
    return Mixed(list(zip(places.values(), made, strict=True)), names=names)


def coefficients_for(
    model: str,
    x: NDArray[Any],
    k: int,
    states: int,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> CoefficientTensor:
    """The coefficients of one class for rows x (n, d), tables drawn at random."""
    d = x.shape[1]
    draw: dict[str, Any] = {"generator": generator, "dtype": dtype}
    build: dict[str, Callable[[], CoefficientTensor]] = {
        "tmm": lambda: TMM(d, k, states, **draw),
        "deep": lambda: TMM(d, k, states, arity=2, **draw),
        "hmm": lambda: HMM(d, k, states, **draw),
        "ltm": lambda: LTM(dependence_tree(x), k, states, **draw),
        "ht": lambda: HT(Tree.balanced(d), k, states, **draw),
        "spn": lambda: SPN.random(d, k, depth=max(0, min(4, d.bit_length() - 1)), **draw),
    }
    return build[model]()


def dependence_tree(x: NDArray[Any]) -> Tree:
    """A latent for each column, joined by the Chow-Liu tree of the columns in quantiles."""
    if x.shape[1] == 1:
        return Tree.star(1)
    step = max(1, len(x) // MOST_ROWS)
    return Tree.from_graph(chow_liu(symbols(x[::step])))


def symbols(x: NDArray[Any]) -> NDArray[Any]:
    """Rows (n, d) as symbols 0, 1, .. (NaN stays): columns with many values in quantiles."""
    found = numpy.full(x.shape, numpy.nan)
    for j, column in enumerate(x.T):
        seen = ~numpy.isnan(column)
        values = numpy.unique(column[seen])
        if len(values) > BINS:
            values = numpy.unique(numpy.quantile(column[seen], numpy.arange(1, BINS) / BINS))
            found[seen, j] = numpy.searchsorted(values, column[seen], side="right")
        else:
            found[seen, j] = numpy.searchsorted(values, column[seen])
    return found
