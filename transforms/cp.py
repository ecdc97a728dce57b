"""CP ranks: how few products add up to a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy
import torch

from mixtures.errors import SizeError
from mixtures.importing import Later
from mixtures.treetensor import TreeTensor
from transforms.exact import Subject
from transforms.koszul import koszul_bound
from transforms.profiles import all_cuts
from transforms.ranks import LIMIT, Rank, rank
from transforms.shallow import clamping, separating_rows
from transforms.subjects import cp_terms, subject

if TYPE_CHECKING:
    import tensorly
else:
    tensorly = Later("tensorly")

ALL_CUTS = 8  # variables up to which every matricization is tried


@dataclass(frozen=True)
class Best:
    """What proves a lower and an upper bound."""

    below: Any = field(repr=False)
    above: Any = field(repr=False)


@dataclass(frozen=True)
class Approximation:
    """A factorisation found numerically, and the relative error it leaves: no certificate."""

    factors: list[numpy.ndarray] = field(repr=False)
    error: float

    @property
    def size(self) -> int:
        """The number of products."""
        return int(self.factors[0].shape[1])


def cp_rank(
    W: Any,
    *,
    limit: int = LIMIT,
    restarts: int = 0,
    generator: torch.Generator | None = None,
) -> Rank:
    """Bounds on the CP rank of this very tensor (signed factors allowed), each with a witness.

    Lower: the best matricization (all of them up to 8 variables; of a tree the one that separates
    disjoint leaf-to-leaf paths), and the Koszul flattening of tensors with three axes. Upper: the
    cheapest clamping of a latent tree, the terms of a CP tensor, the number of fibres. restarts >
    0: tensorly also looks for a smaller decomposition, of which `probable` tells the size; being
    rounded it proves nothing.

    >>> from mixtures import HMM
    >>> cp_rank(HMM(6, components=2, states=2)).exact
    8
    """
    exact = subject(W)
    above, proof, reason = upper_size(W, exact)
    best = Rank(0, above, "")
    for rows in cuts_to_try(W, exact):
        if best.lower < above:
            found = rank(exact, rows, limit=limit, generator=generator)
            best = max(best, found, key=lambda held: held.lower)
    below, how, lower = best.witness, f"matricization: {best.how}", best.lower
    if lower < above and len(exact.shape) == 3 and math.prod(exact.shape) <= 4096:
        koszul = koszul_bound(exact.integers())
        if koszul > lower:
            below, how, lower = koszul, "Koszul flattening", koszul
    lower = min(lower, above)
    probable, searched = None, None
    if restarts and lower < above:
        searched = search(exact, lower, above - 1, restarts, generator, nonnegative=False)
        probable = above if searched is None else searched.size
    witness = Best(below, proof if searched is None else searched)
    return Rank(lower, above, f"{how}; {reason}", witness, probable)


def cuts_to_try(W: Any, exact: Subject) -> list[tuple[int, ...]]:
    """Matricizations that may have the largest rank: balanced ones first."""
    d = len(exact.shape)
    some = _path_cuts(W, d)
    if d <= ALL_CUTS:
        some += sorted(all_cuts(d), key=lambda rows: abs(2 * len(rows) - d))
    return some


@singledispatch
def _path_cuts(W: Any, d: int) -> list[tuple[int, ...]]:
    return [tuple(range(0, d, 2)), tuple(range(d // 2))]


@_path_cuts.register
def _(W: TreeTensor, d: int) -> list[tuple[int, ...]]:
    return [separating_rows(W.tree), tuple(range(0, d, 2))]


def upper_size(W: Any, exact: Subject) -> tuple[int, Any, str]:
    """The smallest decomposition known to exist, what proves it, and why."""
    fibres = math.prod(exact.shape) // max(exact.shape)
    size, proof, reason = _construction(W)
    if size is None or fibres <= size:
        return fibres, None, f"{fibres} fibres"
    return size, proof, reason


@singledispatch
def _construction(W: Any) -> tuple[int | None, Any, str]:
    terms = cp_terms(W)
    return (None, None, "") if terms is None else (terms, W, f"{terms} terms are given")


@_construction.register
def _(W: TreeTensor) -> tuple[int | None, Any, str]:
    if W.joint:
        return None, None, ""
    found = clamping(W)
    return found.size, found, f"clamping {len(found.nodes)} nodes leaves {found.size} products"


def search(
    exact: Subject,
    least: int,
    most: int,
    restarts: int,
    generator: torch.Generator | None,
    *,
    nonnegative: bool,
    tolerance: float = 1e-9,
) -> Approximation | None:
    """The smallest decomposition with least..most terms that tensorly finds to within `tolerance`.

    An illustration: tensorly's alternating least squares, from random starts. None where there is
    none.
    """
    if math.prod(exact.shape) > 2**16:
        raise SizeError("tensorly looks for decompositions of tensors of at most 65536 entries")
    whole = exact.dense()
    whole = whole / (numpy.abs(whole).max() or 1.0)
    known = tensorly.decomposition
    method = known.non_negative_parafac_hals if nonnegative else known.parafac
    for terms in range(max(1, least), most + 1):
        for _ in range(restarts):
            seed = int(torch.randint(2**31 - 1, (), generator=generator))
            options = {"init": "random", "random_state": seed, "n_iter_max": 2000, "tol": 1e-14}
            found = method(tensorly.tensor(whole), terms, **options)
            rest = numpy.linalg.norm(tensorly.cp_to_tensor(found) - whole)
            error = float(rest / numpy.linalg.norm(whole))
            if error <= tolerance:
                weights = numpy.asarray(found.weights)
                factors: Sequence[Any] = [found.factors[0] * weights, *found.factors[1:]]
                return Approximation([numpy.asarray(factor) for factor in factors], error)
    return None
