"""Every class of coefficient tensors with small random instances: what the laws run over.

`ZOO` maps a name to a function (generator, dtype) -> model, small enough that the oracle can list
every joint assignment of its states. A model class becomes part of the suite by one line here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mixtures import HMM, HT, LTM, SPN, TMM, Combination, Dense, Diagonal, Tree, inputs
from mixtures.coefficients import CoefficientTensor
from mixtures.polynomial import Expression

from custom_models import AgreeOrNot, TwoLevels

Build = Callable[[torch.Generator, torch.dtype], CoefficientTensor]


def rows(g: torch.Generator, t: torch.dtype, *shape: int, zeros: float = 0.0) -> Tensor:
    """Random distributions; about a share `zeros` of the entries is zero, never a whole row."""
    draws = torch.empty(shape, dtype=t).exponential_(generator=g) + 0.05
    kept = torch.rand(shape, generator=g) >= zeros
    kept.scatter_(-1, torch.randint(shape[-1], (*shape[:-1], 1), generator=g), True)
    draws = draws * kept
    return draws / draws.sum(-1, keepdim=True)


# ---------------------------------------------------------------- trees


def _deterministic(g: torch.Generator, t: torch.dtype) -> HMM:
    """A cycle through the states that never turns back, and emissions that exclude components."""
    step = torch.tensor([[0.25, 0.75, 0], [0, 0.5, 0.5], [1, 0, 0]], dtype=t)
    start = torch.tensor([0.5, 0.5, 0], dtype=t)
    return HMM.from_tables(start, step, rows(g, t, 4, 3, 3, zeros=0.5))


def _absorbing(g: torch.Generator, t: torch.dtype) -> HMM:
    step = torch.tensor([[0.5, 0.5, 0], [0, 0.75, 0.25], [0, 0, 1]], dtype=t)
    return HMM.from_tables(
        rows(g, t, 3), step, [rows(g, t, 3, 1 + (j % 4 == 0)) for j in range(12)]
    )


def _identities(g: torch.Generator, t: torch.dtype) -> LTM:
    """A latent ("copy") and three leaves without tables repeat their parent's state."""
    parents = {0: "left", 1: "left", 2: "copy", 3: "copy", "left": "top", "copy": "top"}
    tables = {"top": rows(g, t, 1, 3), "left": rows(g, t, 3, 2), "copy": None}
    return LTM.from_tables(Tree.from_parents(parents), tables | {0: None, 1: rows(g, t, 2, 3)})


def _tied(g: torch.Generator, t: torch.dtype) -> LTM:
    """One table at nodes of different levels, another at two leaves."""
    step, leaf = rows(g, t, 2, 2), rows(g, t, 2, 3)
    tree = Tree({7: (3, 2), 6: (4, 5), 8: (7, 6), 4: (0,), 5: (1,)})
    tables = dict.fromkeys((7, 6, 4, 5, 3), step) | {8: rows(g, t, 1, 2), 2: rows(g, t, 2, 2)}
    return LTM.from_tables(tree, tables | {0: leaf, 1: leaf})


def _spines(g: torch.Generator, t: torch.dtype) -> LTM:
    left = {3 + s: (2 + s if s else 0,) for s in range(10)}
    right = {13 + s: (12 + s if s else 1,) for s in range(10)}
    tree = Tree({**left, **right, "top": (12, 22, 2)})
    swap = torch.tensor([[0, 1], [1, 0]], dtype=t)
    tables = {node: swap if node % 5 else rows(g, t, 2, 2) for node in range(3, 23)}
    tables |= {"top": rows(g, t, 1, 2)} | {j: rows(g, t, 2, 2) for j in range(3)}
    return LTM.from_tables(tree, tables)


def _zeros(g: torch.Generator, t: torch.dtype) -> LTM:
    tree = Tree.balanced(4)
    shapes = {6: (1, 3), 4: (3, 3), 5: (3, 3)} | dict.fromkeys(range(4), (3, 3))
    return LTM.from_tables(tree, {v: rows(g, t, *s, zeros=0.5) for v, s in shapes.items()})


def _diagonal(g: torch.Generator, t: torch.dtype) -> HT:
    """Transfer tables that are zero off the diagonal, some stored so, one of them tied."""
    pair = Diagonal(rows(g, t, 2, 2))
    tables = {6: Diagonal(rows(g, t, 1, 2)), 4: pair, 5: rows(g, t, 2, 4)}
    return HT.from_tables(
        Tree.balanced(4), tables | {j: rows(g, t, 2, 2 + j % 2) for j in range(4)}
    )


def _tied_train(g: torch.Generator, t: torch.dtype) -> HT:
    """A long tensor train with one sparse core for all places, leaves without tables."""
    core = torch.zeros(2, 4, dtype=t)
    core[0, :3:2] = rows(g, t, 2)
    core[1, 1] = 1
    d = 11
    tables = {d: rows(g, t, 2, 4), 2 * d - 2: rows(g, t, 1, 4), d - 1: rows(g, t, 2, 2)}
    return HT.from_tables(
        Tree.caterpillar(d), dict.fromkeys(range(d + 1, 2 * d - 2), core) | tables
    )


PORTS = inputs(4, [2, 1, 3, 2])
HIDDEN = {4: 2, 5: 3, 6: 1, 7: 2}
BONDS = {0: 2, 1: 3, 2: 1, 3: 2, 4: 3, 5: 2}
SPINE = Tree({"a": ("b",), "b": ("c", 0), "c": ("e",), "e": (1, 2)})

TREES: dict[str, Build] = {
    "TMM": lambda g, t: TMM(3, 2, 3, generator=g, dtype=t),
    "TMM of one variable": lambda g, t: TMM(1, 3, 2, generator=g, dtype=t),
    "TMM shared": lambda g, t: TMM(4, 3, 2, shared=True, generator=g, dtype=t),
    "TMM latent class": lambda g, t: TMM(3, 3, 3, emission=False, generator=g, dtype=t),
    "TMM unequal": lambda g, t: TMM(3, [2, 3, 1], 2, generator=g, dtype=t),
    "TMM of six variables": lambda g, t: TMM(6, 2, 2, generator=g, dtype=t),
    "TMM from factors": lambda g, t: TMM.from_factors(
        rows(g, t, 3), [rows(g, t, 3, k, zeros=0.3) for k in (2, 4, 3)]
    ),
    "TMM deep": lambda g, t: TMM(5, 2, 2, arity=2, generator=g, dtype=t),
    "TMM deep ternary": lambda g, t: TMM(5, [2, 1, 2, 3, 2], 2, arity=3, generator=g, dtype=t),
    "TMM deep shared": lambda g, t: TMM(4, 2, 3, arity=2, shared=True, generator=g, dtype=t),
    "TMM deep latent class": lambda g, t: TMM(
        4, 2, 2, arity=2, emission=False, generator=g, dtype=t
    ),
    "HMM": lambda g, t: HMM(4, 3, 2, generator=g, dtype=t),
    "HMM of one variable": lambda g, t: HMM(1, 2, 3, generator=g, dtype=t),
    "HMM shared": lambda g, t: HMM(4, 2, 3, shared=True, generator=g, dtype=t),
    "HMM classical": lambda g, t: HMM(4, 3, 3, emission=False, generator=g, dtype=t),
    "HMM classical shared": lambda g, t: HMM(4, 2, 2, True, emission=False, generator=g, dtype=t),
    "HMM unequal": lambda g, t: HMM(4, [2, 3, 2, 1], HIDDEN, generator=g, dtype=t),
    "HMM deterministic": _deterministic,
    "HMM long": lambda g, t: HMM(10, 2, 2, emission=False, generator=g, dtype=t),
    "HMM long shared": lambda g, t: HMM(11, 1, 2, shared=True, generator=g, dtype=t),
    "HMM long with zeros": _absorbing,
    "LTM star": lambda g, t: LTM(Tree.star(4), 2, 3, generator=g, dtype=t),
    "LTM chain": lambda g, t: LTM(Tree.chain(4), 2, 2, generator=g, dtype=t),
    "LTM caterpillar": lambda g, t: LTM(
        Tree.caterpillar(5), [2, 3, 2, 1, 2], 2, generator=g, dtype=t
    ),
    "LTM balanced": lambda g, t: LTM(Tree.balanced(5), 2, 2, generator=g, dtype=t),
    "LTM ternary": lambda g, t: LTM(Tree.balanced(5, 3), 2, 2, generator=g, dtype=t),
    "LTM quad": lambda g, t: LTM(Tree.quad(2, 3), 2, 2, generator=g, dtype=t),
    "LTM random": lambda g, t: LTM(
        Tree.random(5, arity=3, generator=g), 2, 2, generator=g, dtype=t
    ),
    "LTM latent class": lambda g, t: LTM(
        Tree.balanced(4), 2, 2, emission=False, generator=g, dtype=t
    ),
    "LTM unequal": lambda g, t: LTM(
        Tree.balanced(4), [2, 3, 1, 2], {4: 3, 5: 2, 6: 4}, generator=g, dtype=t
    ),
    "LTM degree two": lambda g, t: LTM(
        SPINE, 2, {"a": 2, "b": 3, "c": 2, "e": 2}, generator=g, dtype=t
    ),
    "LTM of one variable": lambda g, t: LTM(Tree.star(1), 3, 2, generator=g, dtype=t),
    "LTM identities": _identities,
    "LTM tied": _tied,
    "LTM long spines": _spines,
    "LTM zeros": _zeros,
    "HT balanced": lambda g, t: HT(Tree.balanced(4), 2, 2, generator=g, dtype=t),
    "HT train": lambda g, t: HT(Tree.caterpillar(4), [2, 3, 2, 1], 2, generator=g, dtype=t),
    "HT star": lambda g, t: HT(Tree.star(3), 2, 2, generator=g, dtype=t),
    "HT wide star": lambda g, t: HT(Tree.star(6), [2, 1, 2, 1, 1, 2], 2, generator=g, dtype=t),
    "HT unequal": lambda g, t: HT(Tree.balanced(4), [2, 3, 1, 2], BONDS, generator=g, dtype=t),
    "HT of one variable": lambda g, t: HT(Tree.star(1), 3, 2, generator=g, dtype=t),
    "HT latent class": lambda g, t: HT(
        Tree.balanced(4), [2, 3, 2, 2], 2, emission=False, generator=g, dtype=t
    ),
    "HT degree two": lambda g, t: HT(
        SPINE, 2, {0: 1, 1: 2, 2: 2, "b": 2, "c": 2, "e": 3}, generator=g, dtype=t
    ),
    "HT diagonal": _diagonal,
    "HT long tied train": _tied_train,
}


# ---------------------------------------------------------------- networks, dense, combinations


def mixed(g: torch.Generator, terms: Sequence[Expression], zeros: float = 0.0) -> Expression:
    """A sum with random weights."""
    weights = rows(g, torch.float64, len(terms), zeros=zeros).tolist()
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))


def random_network(g: torch.Generator, variables: int, *, zeros: float = 0.0) -> Expression:
    """A random network: shared nodes, sums of 1 to 7 terms, scopes split in different ways."""

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=g))

    def some(pool: Sequence[Any], count: int) -> list[Any]:
        return [pool[place] for place in torch.randperm(len(pool), generator=g).tolist()[:count]]

    @functools.cache
    def region(scope: tuple[int, ...]) -> list[Expression]:
        if len(scope) == 1:
            leaves = ports[scope[0]]
            return [*leaves, mixed(g, leaves, zeros)]
        products = []
        for _ in range(number(1, 2)):
            order, cut = some(scope, len(scope)), number(1, len(scope) - 1)
            parts = [region(tuple(sorted(part))) for part in (order[:cut], order[cut:])]
            products += [some(parts[0], 1)[0] * some(parts[1], 1)[0] for _ in range(number(2, 4))]
        return [mixed(g, some(products, number(2, 7)), zeros) for _ in range(2)] + products[:1]

    sizes = [6, *(number(1, 3) for _ in range(variables - 1))]
    ports = inputs(variables, sizes)
    return mixed(g, region(tuple(range(variables))))


def _polynomial(t: torch.dtype) -> SPN:
    a = inputs(3, 2)
    shared = 0.25 * a[1][0] + 0.75 * a[1][1]
    left = 0.5 * a[0][0] * shared + 0.5 * a[0][1] * shared
    right = (0.1 * a[2][0] + 0.9 * a[2][1]) * a[0][0] * a[1][0]
    return SPN(0.3 * left * a[2][1] + 0.7 * right, dtype=t)


def _matchings(g: torch.Generator) -> Expression:
    """A mixture of three perfect matchings: cheap as a network, on no tree."""
    a = inputs(4, 2)

    def pair(x: int, y: int) -> Expression:
        return mixed(g, [a[x][i] * a[y][j] for i in range(2) for j in range(2)])

    return mixed(g, [pair(0, 1) * pair(2, 3), pair(0, 2) * pair(1, 3), pair(0, 3) * pair(1, 2)])


def _wide(g: torch.Generator) -> Expression:
    a = inputs(3, 5)
    some = mixed(g, a[2], zeros=0.4)
    pairs = [a[0][i] * a[1][(2 * i) % 5] for i in range(5)]
    few = mixed(g, pairs)
    return mixed(g, [few * some, few * a[2][3], *(pair * some for pair in pairs)])


def _dense(g: torch.Generator, t: torch.dtype, shape: tuple[int, ...], zeros: float = 0.0) -> Dense:
    return Dense(rows(g, t, math.prod(shape), zeros=zeros).reshape(shape))


def _nested(g: torch.Generator, t: torch.dtype) -> CoefficientTensor:
    tree, chain = (
        LTM(Tree.balanced(3), 2, 2, generator=g, dtype=t),
        HMM(3, 2, 2, generator=g, dtype=t),
    )
    inner = 0.25 * tree + 0.75 * _polynomial(t)
    return 0.5 * inner + 0.3 * chain + 0.2 * _dense(g, t, (2, 2, 2))


def _sharing(g: torch.Generator, t: torch.dtype) -> CoefficientTensor:
    same = HMM(3, 2, 2, shared=True, generator=g, dtype=t)
    return 0.4 * same + 0.6 * (0.5 * TMM(3, 2, 2, generator=g, dtype=t) + 0.5 * same)


NETWORKS: dict[str, Build] = {
    "SPN polynomial": lambda g, t: _polynomial(t),
    "SPN matchings": lambda g, t: SPN(_matchings(g), dtype=t),
    "SPN random": lambda g, t: SPN(random_network(g, 4), dtype=t),
    "SPN random with zeros": lambda g, t: SPN(random_network(g, 4, zeros=0.3), dtype=t),
    "SPN wide": lambda g, t: SPN(_wide(g), dtype=t),
    "SPN product": lambda g, t: SPN(PORTS[0][1] * PORTS[1][0] * PORTS[2][2] * PORTS[3][0], dtype=t),
    "SPN of one variable": lambda g, t: SPN(mixed(g, inputs(1, 3)[0]), dtype=t),
    "SPN input": lambda g, t: SPN(inputs(1, 2)[0][1], dtype=t),
    "Dense": lambda g, t: _dense(g, t, (2, 3, 2)),
    "Dense with zeros": lambda g, t: _dense(g, t, (3, 1, 2, 2), zeros=0.4),
    "Dense of six": lambda g, t: _dense(g, t, (2, 1, 3, 2, 1, 2)),
    "Dense of one variable": lambda g, t: _dense(g, t, (4,)),
    "Combination": lambda g, t: (
        0.3 * LTM(Tree.star(3), 2, 2, generator=g, dtype=t)
        + 0.7 * HMM(3, 2, 2, generator=g, dtype=t)
    ),
    "Combination nested": _nested,
    "Combination sharing tables": _sharing,
    "Combination side by side": lambda g, t: Combination(
        [0.25, 0.75],
        [HMM(3, [2, 3, 1], 2, generator=g, dtype=t), _polynomial(t)],
        side_by_side=True,
    ),
    "Combination with a weight of zero": lambda g, t: Combination(
        [0.0, 1.0], [_dense(g, t, (2, 3)), TMM(2, [2, 3], 2, generator=g, dtype=t)]
    ),
}

CUSTOM: dict[str, Build] = {
    "two levels": lambda g, t: TwoLevels([2, 1, 2], 2, 2, generator=g, dtype=t),
    "agree or not": lambda g, t: AgreeOrNot(3, 3, 2, generator=g, dtype=t),
}
ZOO: dict[str, Build] = TREES | NETWORKS | CUSTOM


@functools.cache
def made(name: str, dtype: torch.dtype = torch.float64) -> CoefficientTensor:
    """The instance of a name; the same object whenever it is asked for, so tests leave it alone."""
    return fresh(name, dtype)


def fresh(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> CoefficientTensor:
    """An instance of one's own."""
    return ZOO[name](torch.Generator().manual_seed(seed + len(name)), dtype)
