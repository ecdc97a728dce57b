"""Shallow sizes: how many products a latent tree model is a mixture of, by clamping latents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mixtures.errors import SizeError
from mixtures.tmm import TMM
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor
from transforms.packing import leaf_paths
from transforms.ranks import Rank
from transforms.witness import witness

BUDGET = 2**20  # numbers in a construction


@dataclass(frozen=True)
class Clamping:
    """Latents and variables of a latent tree model whose clamping separates all other variables.

    Given their states the variables are independent, so W is a mixture of `size` products: a
    non-negative CP decomposition, which `construct` writes out.
    """

    nodes: tuple[Node, ...]
    size: int

    def verify(self, tree: Tree) -> bool:
        """Whether clamping separates the variables: every component keeps at most one of them."""
        held = set(self.nodes)
        reach: dict[Node, int] = {j: int(j not in held) for j in range(tree.variables)}
        for node in tree.inner:
            count = sum(reach[child] for child in tree.children[node])
            if count > 1 and node not in held:
                return False
            reach[node] = 0 if node in held else count
        return True

    def construct(self, W: TreeTensor, budget: int = BUDGET) -> TMM:
        """The mixture of products itself: weights P(states), factors P(component | states).

        Raises SizeError where it would hold more than `budget` numbers. States of probability zero
        are left out.
        """
        numbers = self.size * W.variables * max(W.shape)
        if numbers > budget:
            raise SizeError(f"the mixture would hold {numbers:.4g} numbers, the budget is {budget}")
        choices = torch.cartesian_prod(
            *(torch.arange(W.states(node)) for node in self.nodes), torch.arange(1)
        ).reshape(-1, len(self.nodes) + 1)
        leaves = torch.zeros((len(choices), W.variables, max(W.shape)), dtype=W.dtype)
        logs = {
            node: torch.nn.functional.one_hot(choices[:, place], W.states(node)).to(W.dtype).log()
            for place, node in enumerate(self.nodes)
        }
        evidence: dict[Any, Tensor] = {v: logs[v] for v in self.nodes if v in W.tree.children}
        for j, k in enumerate(W.shape):
            if j in logs:
                leaves[:, j, :k] = logs[j]
        with torch.no_grad():
            weights = W.contract(leaves, evidence=evidence).exp()
            alive = weights > 0
            some = {node: held[alive] for node, held in evidence.items()}
            factors = W.posterior(leaves[alive], some)
        weights = weights[alive] / weights[alive].sum()
        parts = [factors[:, j, :k] for j, k in enumerate(W.shape)]
        return TMM.from_factors(weights, [part / part.sum(1, keepdim=True) for part in parts])


def clamping(W: TreeTensor) -> Clamping:
    """The cheapest clamping: the least product of states of latents and components of variables.

    Bottom up, every node keeps the cheapest choice below it with no, and with one variable still
    open. For uniform r <= k the size is r^nu, nu the largest number of vertex-disjoint leaf-to-leaf
    paths.

    >>> from mixtures import LTM
    >>> clamping(LTM(Tree.balanced(8), components=3, states=3)).size
    81
    """
    if W.joint:
        raise ValueError("expected a latent tree model, got tables over joint states")
    Choice = tuple[int, tuple[Node, ...]]
    best: dict[Node, tuple[Choice, Choice]] = {}  # closed, open
    for leaf, k in enumerate(W.shape):
        best[leaf] = (k, (leaf,)), (1, ())
    for node in W.tree.inner:
        below = [best[child] for child in W.tree.children[node]]
        shut = _joined([closed for closed, _ in below])
        free = _joined([min(pair) for pair in below])
        clamped = free[0] * W.states(node), (*free[1], node)
        one = min(
            _joined([pair[1] if place == here else pair[0] for place, pair in enumerate(below)])
            for here in _candidates(below)
        )
        best[node] = min(shut, clamped, key=_price), one
    size, nodes = min(best[W.tree.root], key=_price)
    return Clamping(nodes, size)


def _candidates(below: Sequence[Any]) -> list[int]:
    """The child to leave open: the one that saves most."""
    ratios = [(pair[1][0] / pair[0][0], place) for place, pair in enumerate(below)]
    return [min(ratios)[1]]


def _joined(choices: Sequence[tuple[int, tuple[Node, ...]]]) -> tuple[int, tuple[Node, ...]]:
    nodes = tuple(itertools.chain.from_iterable(nodes for _, nodes in choices))
    return math.prod(size for size, _ in choices), nodes


def _price(choice: tuple[int, tuple[Node, ...]]) -> int:
    return choice[0]


@dataclass(frozen=True)
class Shallow:
    """Both sides of a shallow size: a witness of a matricization's rank, and a clamping."""

    below: Any = field(repr=False)
    above: Any = field(repr=False)


def generic_cp_rank(W: TreeTensor) -> Rank:
    """The CP rank, and the non-negative CP rank, of almost all models of a latent tree's
    architecture.

    Lower bound: a witness of the matricization that separates the ends of disjoint leaf-to-leaf
    paths; upper bound: the cheapest clamping. They meet at r^nu for uniform r <= k, however large d
    is.

    >>> from mixtures import LTM
    >>> generic_cp_rank(LTM(Tree.balanced(64), components=2, states=2)).exact == 2**32
    True
    """
    above = clamping(W)
    below = witness(W, separating_rows(W.tree))
    how = f"a Kronecker witness; clamping {len(above.nodes)} nodes leaves products"
    return Rank(below.rank, above.size, how, Shallow(below, above))


def separating_rows(tree: Tree) -> tuple[int, ...]:
    """One end of each path of a largest set of disjoint leaf-to-leaf paths."""
    return tuple(sorted(one for one, _ in leaf_paths(tree)))
