"""The classes that atoms are taken from, and how one of them starts from weighted rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.components import Components, Data, Gaussian, Indicator
from mixtures.hmm import HMM
from mixtures.learn.atoms import Make
from mixtures.learn.initial import draw_tables
from mixtures.learn.structure import hidden_tree
from mixtures.learn.symbols import symbol_sizes
from mixtures.ltm import LTM
from mixtures.mixture import Mixture
from mixtures.tmm import TMM
from mixtures.tree import Tree
from mixtures.treetensor import TreeTensor

Atom = str | type | Callable[..., Any]

NAMES = ("product", "TMM", "HMM", "LTM")
SUBSAMPLE = 2000  # rows, drawn by weight, among which an atom's components start


def atom_name(atom: Atom) -> str | None:
    """The name of a class of atoms; None for a factory, ValueError for anything else."""
    classes: dict[Any, Any] = {TMM: "TMM", HMM: "HMM", LTM: "LTM"}
    named = classes.get(atom, atom)
    if named in NAMES:
        return str(named)
    if isinstance(named, str | type) or not callable(named):
        raise ValueError(
            f"atom must be one of {', '.join(NAMES)}, one of these classes or a function that "
            f"makes an atom, got {atom!r}"
        )
    return None


def default_components(x: Any, observed: Any, dtype: torch.dtype) -> Components:
    """`Indicator` for rows of symbols 0, 1, ..; one `Gaussian` per variable for other numbers."""
    sizes = symbol_sizes(x, observed)
    if sizes is not None:
        return Indicator(len(sizes), sizes, dtype=dtype)
    return Gaussian(torch.as_tensor(x).shape[1], 1, dtype=dtype)


def maker(
    atom: Atom, components: Components, states: int, *, fixed: bool, concentration: float = 0.1
) -> Make:
    """What makes a starting atom from rows, their weights and a generator.

    `fixed`: all atoms share the components as they are; those without parameters always do.
    """
    name = atom_name(atom)
    if name is None:
        return atom  # type: ignore[return-value]
    fixed = fixed or components.num_parameters == 0

    def make(x: Data, weights: Tensor, generator: torch.Generator | None) -> Mixture:
        own = components if fixed else copy.deepcopy(components)
        W = _coefficients(name, own, states, x, weights, generator)
        atom = Mixture(W.to(own.device), own)
        if not fixed:
            own.initialise(drawn(x, weights, generator), generator)
        draw_tables(W, concentration, generator)
        return atom

    return make


def tree_maker(
    atom: Atom, target: Mixture, states: int
) -> Callable[[torch.Generator | None], TreeTensor]:
    """What makes a random atom over the components of a target; LTMs are on the target's own tree
    if it has one, otherwise on a balanced one.
    """
    W, name = target.coefficients, atom_name(atom)
    if name is None:
        return lambda generator: atom(target, generator)  # type: ignore[operator, no-any-return]
    tree = W.tree if isinstance(W, TreeTensor) else Tree.balanced(W.variables)
    built: dict[str, Callable[[torch.Generator | None], TreeTensor]] = {
        "TMM": lambda g: TMM(W.variables, W.shape, states, generator=g),
        "HMM": lambda g: HMM(W.variables, W.shape, states, generator=g),
        "LTM": lambda g: LTM(tree, W.shape, states, generator=g),
    }
    return built[name]


def drawn(x: Data, weights: Tensor, generator: torch.Generator | None) -> Data:
    """Some rows, drawn in proportion to their weights."""
    size = min(len(x), SUBSAMPLE)
    return x.rows(torch.multinomial(weights, size, replacement=True, generator=generator))


def _coefficients(
    name: str,
    components: Components,
    states: int,
    x: Data,
    weights: Tensor,
    generator: torch.Generator | None,
) -> CoefficientTensor:
    d, k = components.variables, components.shape
    options: dict[str, Any] = {"generator": generator, "dtype": components.dtype}
    if name == "HMM":
        return HMM(d, k, states, **options)
    if name == "LTM":
        return LTM(hidden_tree(x, weights), k, states, **options)
    return TMM(d, k, 1 if name == "product" else states, **options)
