"""Separation ranks of self-attention networks, between a grid modulo p and counted monomials."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy
import torch
from torch import Tensor

from transforms.attention_counts import half_degree, narrow_bound, side_counts
from transforms.attention_grid import Points, degree_parts, grid_prime, miss_risk, work
from transforms.attention_weights import AttentionArchitecture, AttentionWeights
from transforms.elimination import dice, rank_modulo
from transforms.ranks import RISK, Rank

BUDGET = 2**32  # multiplications of residues in one grid; about half a minute
LARGEST = 2048  # rows of a grid that is eliminated
FIRST, GROWTH, SPARE = 40, 3, 5
NARROW_DEPTH = 7  # the deepest network whose narrow heads are counted
SPLIT_DEPTH = 6  # the deepest network whose polynomial is split by degree
ROUNDS = 3


class Attending(Protocol):
    """A network, or an architecture whose weights are drawn."""

    @property
    def architecture(self) -> AttentionArchitecture: ...
    @property
    def rank(self) -> int: ...
    @property
    def height(self) -> float | None: ...
    def weights_modulo(self, p: int, rng: numpy.random.Generator) -> AttentionWeights: ...


@dataclass(frozen=True)
class AttentionWitness:
    """Weights and tokens modulo a prime; the parts of f on their grid have these ranks.

    left: tokens of the side that is read, (m, a, coordinates), the read one first; right: tokens of
    the other side, (m, b, coordinates); ranks: those of the parts of degree 2c in the right side, c
    = 0 .. C, or of f itself, if it was not split. They add up to the lower bound.
    """

    weights: AttentionWeights = field(repr=False)
    left: Tensor = field(repr=False)
    right: Tensor = field(repr=False)
    coordinate: int
    ranks: tuple[int, ...]

    def verify(self) -> bool:
        """Whether the ranks come out again, every grid entry being evaluated by the definition.

        All tokens go through all layers, m^2 (C + 1) times: slow, and independent of the recursion.
        """
        p = self.weights.prime
        assert p is not None
        grids = []
        scalars = range(1, len(self.ranks) + 1)
        for scalar in scalars:
            right = (self.right * scalar).remainder(p)
            pairs = [torch.cat(pair) for pair in itertools.product(self.left, right)]
            outputs = self.weights.literal(torch.stack(pairs))[:, 0, self.coordinate]
            grids.append(outputs.reshape(len(self.left), len(right)))
        parts = degree_parts(torch.stack(grids), [scalar**2 for scalar in scalars], p)
        found = [rank_modulo(part, p) for part in parts]
        return all(r >= rank for r, rank in zip(found, self.ranks, strict=True))


def separation_rank(
    network: Attending,
    partition: Sequence[int] | None = None,
    tokens: int | None = None,
    *,
    position: int = 0,
    coordinate: int = 0,
    budget: int = BUDGET,
    generator: torch.Generator | None = None,
) -> Rank:
    """The separation rank of one output of self-attention with respect to a bipartition of tokens.

        f(x^1 .. x^n) = sum_{rho <= R} g_rho(tokens of the partition) g'_rho(the others), least R,

    where f is a coordinate of the output at `position`. network: a `SelfAttention` (its stored
    weights are rationals), or an `AttentionArchitecture`: then the rank of almost all weights.
    partition: the positions on one side, the first half if not given. tokens: how many there are in
    all; if not given, so many that both sides have at least as many as tokens have independent
    coordinates (more never raise the rank).

    f splits into parts by its degree in the side that is not read, whose ranks add up. Lower bound:
    the ranks of random grids of every part modulo a random prime, grown until they stop growing.
    Upper bound: `separation_bound`. In every case computed so far they met where both sides had as
    many tokens as tokens have coordinates, narrow heads or not; a read token alone on its side can
    fall short (width 3, depth 2, one head: 39 of 41). Where they do not meet and the grids stopped
    growing, `probable` is right but for a probability
    `error`. Above `budget` multiplications (or 2048 rows) a grid is not grown, and the rank may be
    anywhere between the bounds. The witness is an `AttentionWitness`.

    Raises ValueError for a partition that is none, and positions and coordinates that do not exist.

    >>> print(separation_rank(AttentionArchitecture(width=2, depth=2)).exact)
    18
    """
    plan = network.architecture
    sides = _sides(network, partition, tokens, position)
    if not 0 <= coordinate < plan.width:
        raise ValueError(f"expected a coordinate from 0 to {plan.width - 1}, got {coordinate}")
    bounds = _degree_bounds(plan, network.rank, *sides)
    rng, upper, risk = dice(generator), sum(bounds), 1.0
    bounds = bounds if plan.depth <= SPLIT_DEPTH else [upper]
    best: _Found | None = None
    for _ in range(ROUNDS):
        p = grid_prime(rng)
        found = _search(network, p, bounds, sides, coordinate, budget, rng)
        best = found if best is None or found.total > best.total else best
        risk *= miss_risk(best.witness.ranks, _degree(network), network.height)
        if best.total == upper or not found.settled or risk <= RISK:
            break
    assert best is not None
    return _ranked(best, upper, risk)


def separation_bound(
    architecture: AttentionArchitecture,
    partition: Sequence[int] | None = None,
    tokens: int | None = None,
    *,
    position: int = 0,
) -> int:
    """No weights give a larger separation rank: an upper bound by counting monomials.

        sum_{c=0..C} min( binom(c+D-1, D-1), d binom(C-c+D-1, D-1) ),  D = d(d+1)/2, C = (3^L - 1)/2

    with heads of full width and at least d tokens a side, where d is the width, or the embedding's
    rank if that is smaller. With narrow heads or fewer tokens there are fewer functions of a
    degree; `attention_counts` says how many. A Python integer; raises as `separation_rank` does,
    and SizeError beyond depth 11.

    >>> separation_bound(AttentionArchitecture(width=3, depth=3))
    3102
    """
    plan = architecture.architecture
    return sum(_degree_bounds(plan, plan.rank, *_sides(plan, partition, tokens, position)))


@dataclass(frozen=True)
class _Found:
    witness: AttentionWitness
    settled: bool

    @property
    def total(self) -> int:
        return sum(self.witness.ranks)


def _sides(
    network: Attending, partition: Sequence[int] | None, tokens: int | None, position: int
) -> tuple[int, int]:
    """The numbers of tokens on the side that is read and on the other one."""
    plenty = max(network.rank, 1)
    if partition is None:
        tokens = 2 * plenty if tokens is None else tokens
        chosen = set(range(tokens // 2))
    else:
        chosen = set(partition)
        if tokens is None:
            tokens = max([len(chosen) + plenty, *(j + 1 for j in chosen)])
        if len(chosen) != len(partition) or not chosen <= set(range(tokens)):
            raise ValueError(
                f"expected distinct positions from 0 to {tokens - 1}, got {list(partition)}"
            )
    if not 0 < len(chosen) < tokens:
        raise ValueError(
            f"expected a partition with tokens on both sides, got {len(chosen)} of {tokens} tokens"
        )
    if not 0 <= position < tokens:
        raise ValueError(f"expected a position from 0 to {tokens - 1}, got {position}")
    here, there = len(chosen), tokens - len(chosen)
    return (here, there) if position in chosen else (there, here)


def _degree_bounds(
    plan: AttentionArchitecture, rank: int, tokens_read: int, tokens_other: int
) -> list[int]:
    """For c = 0 .. C a bound on the rank of the part of degree 2c in the side that is not read."""
    top = half_degree(plan.depth)
    rows, columns = side_counts(plan.depth, rank, tokens_other, tokens_read)
    bounds = [min(rows[c], columns[top - c]) for c in range(top + 1)]
    # Heads see the tokens through few functionals: <Q_h x, .> and the entries of V_h S K_h^T.
    read = min(rank, plan.heads * plan.head_size)
    variables = rank * (rank + 1) // 2
    narrow = min(variables, plan.heads * min(plan.head_size, rank) ** 2)
    raw = min(variables - narrow, read * (read + 1) // 2)
    if (read < rank or narrow < variables) and plan.depth <= NARROW_DEPTH:
        limit = half_degree(plan.depth - 1)
        few = [narrow_bound(c, top, limit, narrow, raw, read) for c in range(top + 1)]
        bounds = [min(pair) for pair in zip(bounds, few, strict=True)]
    return bounds


def _search(
    network: Attending,
    p: int,
    bounds: list[int],
    sides: tuple[int, int],
    coordinate: int,
    budget: int,
    rng: numpy.random.Generator,
) -> _Found:
    """Grids modulo p, grown until every part has its bound or is well below the grid's size."""
    plan = network.architecture
    weights = network.weights_modulo(p, rng)
    size, most = FIRST, min(max(bounds), _affordable(plan, len(bounds), budget))
    points = Points.none(weights, coordinate)
    while True:
        size = min(size, most)
        points = points.extended(size, sides, plan.coordinates, rng)
        parts, sizes = points.parts(len(bounds)), [min(size, bound) for bound in bounds]
        blocks = [part[:n, :n] for part, n in zip(parts, sizes, strict=True)]
        ranks = [rank_modulo(block, p) for block in blocks]
        pairs = list(zip(ranks, bounds, strict=True))
        open_bounds = [bound for r, bound in pairs if r < bound and r > size - SPARE]
        if not open_bounds or size == most:
            witness = AttentionWitness(weights, points.left, points.right, coordinate, tuple(ranks))
            return _Found(witness, all(size >= bound for bound in open_bounds))
        goal = max(open_bounds)
        size = goal if goal <= 2 * GROWTH * size else GROWTH * size


def _affordable(plan: AttentionArchitecture, parts: int, budget: int) -> int:
    """The largest grid within the budget, at least one row and column."""
    return max(1, min(LARGEST, int((budget / work(plan, parts)) ** 0.5)))


def _degree(network: Attending) -> int:
    """The degree of f in what is drawn: tokens, weights, and an embedding for each token."""
    tokens = 3**network.architecture.depth
    weights = 4 * half_degree(network.architecture.depth) + tokens
    return tokens if network.height is not None else tokens + weights


def _ranked(best: _Found, upper: int, risk: float) -> Rank:
    grids = "a grid" if len(best.witness.ranks) == 1 else "grids of every degree"
    how = f"{grids} modulo {best.witness.weights.prime}; monomials that heads and tokens allow"
    if best.total == upper:
        return Rank(upper, upper, how, best.witness, upper, 0.0)
    if not best.settled:
        return Rank(best.total, upper, f"{how}; the grid was not grown further", best.witness)
    return Rank(best.total, upper, how, best.witness, best.total, risk)
