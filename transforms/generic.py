"""Generic ranks: what almost all parameters of an architecture give, its ties and its zeros
kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor, pinned
from mixtures.combination import Combination
from mixtures.dimension import random_tables
from mixtures.mixture import Mixture
from mixtures.treetensor import TreeTensor
from transforms.bounds import upper_bound
from transforms.contraction import Contraction
from transforms.cuts import Separation, capacities, checked_rows
from transforms.elimination import dice, random_prime
from transforms.minors import Minor
from transforms.ranks import LIMIT, RISK, Rank
from transforms.subjects import CircuitSubject, verify_minor
from transforms.tensortree import from_model


@dataclass(frozen=True)
class GenericWitness:
    """Residues for the tables of a model (rows summing to one) and a minor that does not vanish for
    them.
    """

    minor: Minor
    tables: list[Tensor] = field(repr=False)

    def verify(self, model: CoefficientTensor) -> bool:
        """Whether the minor is regular, evaluated from scratch; it proves the lower bound."""
        p = self.minor.prime
        sums_to_one = all(bool((table.sum(-1) % p == 1).all()) for table in self.tables)
        with pinned(model, self.tables):
            return sums_to_one and verify_minor(model, self.minor)


class Architecture(ABC):
    """A model of which only structure, ties and zeros count; numbers are drawn modulo a prime."""

    def __init__(self, model: CoefficientTensor) -> None:
        self.model, self.shape = model, model.shape

    @abstractmethod
    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        """An upper bound for all parameters, and what proves it."""

    @abstractmethod
    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        """A largest regular minor for the tables that stand in at present."""

    def draw(
        self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int
    ) -> GenericWitness:
        """Random tables modulo p and the minor they give."""
        tables = random_tables(self.model.arrays, p, rng)
        with pinned(self.model, tables):
            return GenericWitness(self.minor(rows, p, rng, limit), tables)


class TreeArchitecture(Architecture):
    """A tree model."""

    def __init__(self, model: TreeTensor) -> None:
        super().__init__(model)
        self.tree_model = model
        self.network = from_model(model)
        self.capacities = capacities(self.network, generic=True)

    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        cut = Separation(self.network, self.capacities, rows).total()
        return cut, f"the cheapest cut has dimension {cut}"

    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        network = from_model(self.tree_model)
        separation = Separation(network, self.capacities, rows)
        found = Contraction(network, separation, p, rng, limit).minor()
        return Minor(p, found[0][:limit], found[1][:limit])


class CircuitArchitecture(Architecture):
    """Any other circuit; a combination also knows what its parts can do."""

    def __init__(self, model: CoefficientTensor, parts: Sequence[Architecture] = ()) -> None:
        super().__init__(model)
        self.subject = CircuitSubject(model)
        self.parts = parts

    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        whole, reason = self.subject.bound(rows)
        if not self.parts:
            return whole, reason
        added = sum(part.bound(rows)[0] for part in self.parts)
        return min(whole, added), f"the parts of the combination have ranks of {added} in all"

    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        return self.subject.minor(rows, p, rng, limit)


@singledispatch
def architecture(W: Any) -> Architecture:
    """The architecture of a model; ValueError for what has none."""
    raise ValueError(f"expected a model of the zoo, got {type(W).__name__}: it has no architecture")


@architecture.register
def _(W: Architecture) -> Architecture:
    return W


@architecture.register
def _(W: Mixture) -> Architecture:
    return architecture(W.coefficients)


@architecture.register
def _(W: CoefficientTensor) -> Architecture:
    return CircuitArchitecture(W)


@architecture.register
def _(W: TreeTensor) -> Architecture:
    return TreeArchitecture(W)


@architecture.register
def _(W: Combination) -> Architecture:
    return CircuitArchitecture(W, [architecture(part) for part in W.parts])


def generic_rank(
    W: Any,
    rows: Sequence[int],
    *,
    limit: int = LIMIT,
    generator: torch.Generator | None = None,
) -> Rank:
    """The rank of a matricization for almost all parameters of W's architecture (ties and zeros
    kept).

    Lower bound: tables of random residues whose rows sum to one, tied where W's are, and a minor
    that does not vanish for them; the minor is then no zero polynomial in the parameters. Upper
    bound: the cheapest cut with tables of full rank, tied subtrees on one side spanning symmetric
    tensors only. With unequal numbers of states the two need not meet; `probable` is then right but
    for the probability `error` (Schwartz, Zippel). The witness is a `GenericWitness`.

    >>> from mixtures import LTM, Tree
    >>> generic_rank(LTM(Tree.balanced(8), components=3, states=3), [0, 2, 4, 6]).exact
    81
    """
    plan = architecture(W)
    chosen = checked_rows(plan.shape, rows)
    upper, reason = upper_bound(plan, chosen)
    rng = dice(generator)
    best: GenericWitness | None = None
    risk = 1.0
    while (best is None or best.minor.size < min(upper, limit)) and risk > RISK:
        p = random_prime(rng)
        found = plan.draw(chosen, p, rng, min(limit, upper))
        best = found if best is None or found.minor.size > best.minor.size else best
        risk *= _risk(plan.model, best.minor.size)
    assert best is not None
    size = best.minor.size
    how = f"a minor regular for random tables modulo {best.minor.prime}; {reason}"
    if size == upper:
        return Rank(size, upper, how, best, size, 0.0)
    if size >= limit:
        return Rank(size, upper, f"{how}; minors above {limit} were not looked for", best)
    return Rank(size, upper, how, best, size, risk)


def _risk(model: CoefficientTensor, size: int) -> float:
    """A larger minor is a polynomial of degree (size + 1) times the tables of one product (and of
    the random combinations that look for it); residues are below 2^31, primes above 2^30.
    """
    steps = sum(layer.steps * layer.nodes for layer in model.circuit.layers)
    return min(1.0, (size + 1) * 3 * (steps + 1) / 2**30)


def architecture_bound(W: Any, rows: Sequence[int]) -> int:
    """The cheapest cut for almost all parameters."""
    plan = architecture(W)
    return upper_bound(plan, checked_rows(plan.shape, rows))[0]
