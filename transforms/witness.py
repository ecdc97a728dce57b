"""Witnesses of astronomically large ranks: tables for which a matricization is a Kronecker
product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy
import torch

from mixtures.coefficients import pinned
from mixtures.semiring import Modular
from mixtures.tree import Node
from mixtures.treetensor import TreeTensor
from transforms.cuts import checked_rows
from transforms.elimination import dice, exact_rank, random_prime, random_residues, reduced
from transforms.packing import disjoint_paths

Fractions = Any  # object arrays of Fraction


@dataclass(frozen=True)
class Factor:
    """One factor of a Kronecker product: a tensor over a few variables, from states they share.

    The factor is sum over s < states of (1/states) prod_j e_{maps[j][s]}: `maps` {variable:
    component in each state}. Its matricization has a one for every pair of images that occurs:
    `rank` is exact.
    """

    states: int
    maps: dict[int, tuple[int, ...]]
    rows: frozenset[int]

    @property
    def rank(self) -> int:
        """The exact rank of the factor's own matricization."""
        above, below = [], []
        for s in range(self.states):
            above.append(tuple(image[s] for j, image in self.maps.items() if j in self.rows))
            below.append(tuple(image[s] for j, image in self.maps.items() if j not in self.rows))
        height, width = sorted(set(above)), sorted(set(below))
        matrix = numpy.zeros((len(height), len(width)), dtype=numpy.int64)
        for one, two in zip(above, below, strict=True):
            matrix[height.index(one), width.index(two)] += 1
        return exact_rank(matrix)


@dataclass(frozen=True)
class Witness:
    """Explicit tables, the Kronecker factors of their matricization, and its rank, a Python
    integer.

    `tables` {node: (rows, columns)} are non-negative with rows summing to one; variables in no
    factor contribute the uniform vector. By lower semicontinuity almost all parameters of the
    architecture have at least this rank. `verify(model)` checks everything anew.
    """

    rows: tuple[int, ...]
    tables: dict[Node, Fractions] = field(repr=False)
    factors: tuple[Factor, ...] = field(repr=False)

    @cached_property
    def rank(self) -> int:
        """The product of the ranks of the factors."""
        return math.prod(factor.rank for factor in self.factors)

    def __str__(self) -> str:
        ranks = [factor.rank for factor in self.factors if factor.rank > 1]
        powers = [f"{r}^{ranks.count(r)}" for r in sorted(set(ranks))]
        return (
            f"rank {' x '.join(powers) or '1'}: a Kronecker product of {len(self.factors)} factors"
        )

    def verify(self, model: TreeTensor, generator: torch.Generator | None = None) -> bool:
        """Whether the tables fit the architecture and give the tensor that the factors say.

        Tables: rows sum to one, equal where the model ties them, shapes of the model. The tensor:
        its contraction with random residues modulo a random prime, evaluated by the model's own
        circuit, equals the product of the factors' (two tensors that differ agree with a
        probability below d / 2^30).
        """
        stacks = _stacked(model, self.tables)
        if stacks is None:
            return False
        rng = dice(generator)
        p = random_prime(rng)
        leaves = random_residues(rng, (1, model.variables, max(model.shape)), p)
        with pinned(model, [reduced(stack, p) for stack in stacks]):
            value = int(model.contract(leaves.to(model.device), Modular(p)))
        return value == self._product(model.shape, leaves[0].tolist(), p)

    def _product(self, shape: Sequence[int], leaves: list[list[int]], p: int) -> int:
        """The contraction modulo p, factor by factor."""
        total, covered = 1, {j for factor in self.factors for j in factor.maps}
        for factor in self.factors:
            value = sum(
                math.prod(leaves[j][image[s]] for j, image in factor.maps.items())
                for s in range(factor.states)
            )
            total = total * value * pow(factor.states, -1, p) % p
        for j in set(range(len(shape))) - covered:
            total = total * sum(leaves[j][: shape[j]]) * pow(shape[j], -1, p) % p
        return total


def witness(W: TreeTensor, rows: Sequence[int]) -> Witness:
    """Tables for the architecture of an LTM (TMM, HMM, ..) whose matricization is a Kronecker
    product.

    As many disjoint paths between the variables `rows` and the others as the tree holds (weighed by
    the states they pass) carry identities, all other tables are uniform: each path is a factor. For
    an untied model with uniform r <= k this is the cheapest cut (Menger), so the generic rank
    exactly. Tied tables are uniform or identities together; if so the rank may be smaller than it
    could be. Linear in d.

    Raises ValueError for models that are not latent trees.

    >>> from mixtures import LTM, Tree
    >>> print(witness(LTM(Tree.balanced(1024), components=2, states=2), range(0, 1024, 2)))
    rank 2^512: a Kronecker product of 512 factors
    """
    if W.joint:
        raise ValueError(
            f"expected a latent tree model, got {type(W).__name__} with tables over joint states"
        )
    chosen = checked_rows(W.shape, rows)
    best: Witness | None = None
    for carrying in _choices(W, set(chosen)):
        found = _built(W, chosen, carrying)
        if best is None or found.rank > best.rank:
            best = found
    assert best is not None
    return best


def _choices(W: TreeTensor, rows: set[int]) -> list[set[Node]]:
    """Sets of nodes whose tables are identities: packed paths, made to respect ties in two ways;
    leaves.
    """
    packed = disjoint_paths(W, rows)
    places: dict[Any, list[Node]] = {}
    for node in W.tree.nodes:
        if node != W.tree.root:
            places.setdefault(W.place(node) or ("alone", node), []).append(node)
    whole = [nodes for nodes in places.values() if all(node in packed for node in nodes)]
    touched = [nodes for nodes in places.values() if any(node in packed for node in nodes)]
    candidates: list[list[list[Node]]] = [whole, touched, [list(range(W.variables))]]
    forced = {n for n in W.tree.nodes if W.place(n) is None}
    return [{node for nodes in some for node in nodes} | forced for some in candidates]


def _built(W: TreeTensor, rows: tuple[int, ...], carrying: set[Node]) -> Witness:
    """Identities at the nodes `carrying`, uniform tables elsewhere, and the factors they make."""
    tree = W.tree
    inner = {node: node in carrying and node != tree.root for node in tree.inner}
    sizes = {node: (W.rows(node), W.states(node)) for node in tree.nodes}
    tables = {
        node: (_identity if inner.get(node, node in carrying) else _uniform)(*sizes[node])
        for node in tree.nodes
        if W.place(node) is not None
    }
    image: dict[Node, tuple[int, tuple[int, ...]]] = {}  # inner node -> component, its map
    states: list[int] = []
    maps: list[dict[int, tuple[int, ...]]] = []
    for node in reversed(tree.inner):
        width = sizes[node][1]
        if inner[node]:
            number, above = image[tree.parent[node]]
            image[node] = number, tuple(min(s, width - 1) for s in above)
        else:
            image[node] = len(states), tuple(range(width))
            states.append(width)
            maps.append({})
    for leaf in range(W.variables):
        if leaf in carrying:
            number, above = image[tree.parent[leaf]]
            maps[number][leaf] = tuple(min(s, W.shape[leaf] - 1) for s in above)
    factors = [
        Factor(r, held, frozenset(rows)) for r, held in zip(states, maps, strict=True) if held
    ]
    return Witness(rows, tables, tuple(factors))


@lru_cache(maxsize=256)
def _uniform(height: int, width: int) -> Fractions:
    return numpy.full((height, width), Fraction(1, width), dtype=object)


@lru_cache(maxsize=256)
def _identity(height: int, width: int) -> Fractions:
    """State s goes to state s, as far as there are states."""
    table = numpy.full((height, width), Fraction(0), dtype=object)
    table[numpy.arange(height), numpy.arange(height).clip(max=width - 1)] = Fraction(1)
    return table


def _stacked(model: TreeTensor, tables: dict[Node, Fractions]) -> list[Fractions] | None:
    """The tables as stacks in the model's own layout; None where they do not fit it."""
    stacks: list[Fractions] = [
        numpy.full(tuple(array.shape), None, dtype=object) for array in model.arrays
    ]
    for node in model.tree.nodes:
        place = model.place(node)
        if place is None:
            continue
        stack, table = stacks[place[0]], tables.get(node)
        if table is None or table.shape != stack.shape[1:] or not _is_stochastic(table):
            return None
        if stack[place[1]][0, 0] is not None and (stack[place[1]] != table).any():
            return None
        stack[place[1]] = table
    return stacks


def _is_stochastic(table: Fractions) -> bool:
    return bool((table >= 0).all() and (table.sum(1) == 1).all())
