"""Ranks over many cuts: profiles, and the ranks of tensor trains, trees and Tucker formats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
import torch

from mixtures.errors import SizeError
from mixtures.tree import Node, Tree
from transforms.generic import architecture, generic_rank
from transforms.ranks import Rank, rank, spectrum
from transforms.subjects import subject

Ranker = Callable[[Any, Sequence[int]], Rank]
EPS = torch.finfo(torch.float64).eps
MOST = 12  # variables for which all cuts are gone through


def rank_profile(
    W: Any, cuts: Iterable[Sequence[int]] | None = None, *, of: Ranker = rank
) -> dict[tuple[int, ...], Rank]:
    """The rank at every cut, {rows: Rank}; `cuts` lists the rows, default: all bipartitions.

    of: `rank` for this very tensor, `generic_rank` for its architecture. Of the two sides of a
    bipartition the one without the last variable stands for it. Raises SizeError for all cuts of
    more than 12 variables.

    >>> from mixtures import TMM
    >>> [r.exact for r in rank_profile(TMM(3, components=2, states=2)).values()]
    [2, 2, 2]
    """
    W = _prepared(W, of)
    if cuts is None:
        cuts = all_cuts(len(W.shape))
    return {tuple(rows): of(W, tuple(rows)) for rows in cuts}


def _prepared(W: Any, of: Ranker) -> Any:
    """What all cuts share, worked out once."""
    return architecture(W) if of is generic_rank else subject(W)


def all_cuts(variables: int) -> list[tuple[int, ...]]:
    """All bipartitions, by the side without the last variable, small ones first."""
    if variables > MOST:
        raise SizeError(
            f"{variables} variables have {2 ** (variables - 1) - 1} cuts, more than those "
            f"of {MOST} variables: list some with cuts="
        )
    others = range(variables - 1)
    return [c for size in range(1, variables) for c in itertools.combinations(others, size)]


def tt_ranks(W: Any, order: Sequence[int] | None = None, *, of: Ranker = rank) -> list[Rank]:
    """The ranks of a tensor train: of the cuts after 1, 2, .., d - 1 variables of an order.

    order: a permutation of the variables, default 0..d-1; `best_order` finds a good one. For a
    balanced binary tree with k >= r and d = 2^L they are r^min(w(q), w(d - q)), w the weight of the
    non-adjacent form.
    """
    W = _prepared(W, of)
    order = _checked_order(len(W.shape), order)
    return [of(W, tuple(order[:q])) for q in range(1, len(order))]


def _checked_order(variables: int, order: Sequence[int] | None) -> list[int]:
    order = list(range(variables)) if order is None else [int(j) for j in order]
    if sorted(order) != list(range(variables)):
        raise ValueError(f"order must be a permutation of 0..{variables - 1}, got {order}")
    return order


def numerical_tt_ranks(W: Any, tolerance: float, order: Sequence[int] | None = None) -> list[int]:
    """`numerical_rank` of the cuts after 1, 2, .., d - 1 variables of an order, in one sweep.

    How many singular values exceed tolerance times the largest: an illustration, no certificate.

    >>> from mixtures import HMM
    >>> numerical_tt_ranks(HMM(4, components=2, states=2).double(), 1e-9)
    [2, 2, 2]
    """
    return [int((values > tolerance * values[0]).sum()) for values in spectra(W, order)]


def spectra(W: Any, order: Sequence[int] | None = None) -> list[numpy.ndarray]:
    """The singular values of the cuts after 1, 2, .., d - 1 variables of an order, in float64.

    TT-SVD: a factor with orthonormal columns on the left does not change singular values, so that
    each cut goes on with what the last one left. What is left out is at most rounding, about
    2e-16 times the larger side of the cut times the largest value: such values become zero.

    Source: Oseledets, Tensor-train decomposition, 2011. Raises SizeError where the tensor cannot be
    written out.
    """
    exact = subject(W)
    order = _checked_order(len(exact.shape), order)
    rest, found = torch.from_numpy(exact.dense()).permute(order), []
    sizes = rest.shape
    for q in range(1, len(sizes)):
        rest = rest.reshape(-1, math.prod(sizes[q:]))
        wide = rest.shape[0] < rest.shape[1]
        small = torch.linalg.qr(rest.mT, mode="r").R.mT if wide else rest
        left, values, _ = torch.linalg.svd(small, full_matrices=False)
        sides = (math.prod(sizes[:q]), rest.shape[1])
        kept = max(1, int((values > max(sides) * EPS * values[0]).sum()))
        found.append(numpy.zeros(min(sides)))
        found[-1][:kept] = values[:kept].numpy()
        rest = left[:, :kept].mT @ rest
    return found


def best_order(W: Any, *, of: Ranker = rank) -> tuple[int, ...]:
    """An order of the variables whose largest train rank is least, then the sum of its ranks.

    Upper bounds stand for ranks that are not exact. Goes through all cuts, at most 12 variables.
    """
    W = _prepared(W, of)
    d = len(W.shape)
    upper = {frozenset(rows): of(W, rows).upper for rows in all_cuts(d)}
    everything = frozenset(range(d))
    upper |= {everything - rows: value for rows, value in upper.items()}
    upper[everything] = upper[frozenset()] = 1
    most = _cheapest(upper, d, lambda so_far, more: max(so_far, more), None)[0]
    return _cheapest(upper, d, lambda so_far, more: so_far + more, most)[1]


def _cheapest(
    upper: dict[frozenset[int], int],
    variables: int,
    add: Callable[[int, int], int],
    most: int | None,
) -> tuple[int, tuple[int, ...]]:
    """The cheapest way to take up the variables one by one, through sets of rank at most `most`."""
    held: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {frozenset(): (0, ())}
    for _ in range(variables):
        grown: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {}
        for taken, (cost, order) in held.items():
            for j in set(range(variables)) - taken:
                more = taken | {j}
                if most is not None and upper[more] > most:
                    continue
                offer = (add(cost, upper[more]), (*order, j))
                if more not in grown or offer < grown[more]:
                    grown[more] = offer
        held = grown
    return held[frozenset(range(variables))]


def ht_ranks(W: Any, tree: Tree, *, of: Ranker = rank) -> dict[Node, Rank]:
    """The ranks of a hierarchical Tucker format on a tree: of the cut above every node but the
    root.
    """
    W = _prepared(W, of)
    d = len(W.shape)
    if tree.variables != d:
        raise ValueError(f"expected a tree over {d} variables, got {tree.variables}")
    below: dict[Node, tuple[int, ...]] = {j: (j,) for j in range(d)}
    for node in tree.inner:
        below[node] = tuple(j for child in tree.children[node] for j in below[child])
    return {node: of(W, below[node]) for node in tree.nodes if node != tree.root}


def multilinear_ranks(W: Any, *, of: Ranker = rank) -> list[Rank]:
    """The Tucker ranks: of every variable against all others."""
    W = _prepared(W, of)
    return [of(W, (j,)) for j in range(len(W.shape))]


def entanglement(W: Any, rows: Sequence[int]) -> tuple[numpy.ndarray, float]:
    """The squared singular values of a cut, normalised to one, and their entropy in nats: for
    teaching.

    W is read as the amplitudes of a quantum state; floating point, no certificate. A rank R bounds
    the entropy by log R.
    """
    squares = spectrum(W, rows) ** 2
    weights = squares / squares.sum()
    positive = weights[weights > 0]
    return weights, float(-(positive * numpy.log(positive)).sum())
