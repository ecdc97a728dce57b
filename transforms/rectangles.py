"""Lower bounds on non-negative ranks that see only where a matrix is zero: fooling sets,
antichains, covers.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray

from mixtures.importing import Later

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")

Support = NDArray[numpy.bool_]
ENUMERATED = 16  # rows (or columns) whose subsets are gone through
ROUNDS = 40


def fooling_set(support: Support) -> list[tuple[int, int]]:
    """Entries no two of which lie in a common rectangle of the support: each needs a term of its
    own.

    Greedy, entries with few partners first, improved by exchange with networkx on small supports:
    any such set is a certificate.
    """
    entries = [(int(i), int(j)) for i, j in zip(*support.nonzero(), strict=True)]
    graph = networkx.Graph()
    graph.add_nodes_from(entries)
    for n, (i, j) in enumerate(entries):
        for k, m in entries[:n]:
            if not (support[i, m] and support[k, j]):
                graph.add_edge((i, j), (k, m))
    if len(entries) <= 40:
        return list(networkx.max_weight_clique(graph, weight=None)[0])
    found: list[tuple[int, int]] = []
    for entry in sorted(entries, key=lambda e: -graph.degree(e)):
        if all(graph.has_edge(entry, other) for other in found):
            found.append(entry)
    return found


def antichain(support: Support) -> int:
    """The most rows whose supports are pairwise not contained in one another (Dilworth, by
    matching).
    """
    rows = numpy.unique(support, axis=0)
    count = len(rows)
    graph = networkx.Graph()
    graph.add_nodes_from(("above", i) for i in range(count))
    for i in range(count):
        for j in range(count):
            if i != j and not (rows[i] & ~rows[j]).any():
                graph.add_edge(("above", i), ("below", j))
    top = [node for node in graph if node[0] == "above"]
    matching = networkx.bipartite.hopcroft_karp_matching(graph, top_nodes=top)
    return count - len(matching) // 2


def sperner(members: int) -> int:
    """The least t with binom(t, floor(t/2)) >= members: t sets that tell an antichain apart."""
    t = 0
    while math.comb(t, t // 2) < members:
        t += 1
    return t


def cover_bound(support: Support, weights: NDArray[Any] | None = None) -> tuple[int, NDArray[Any]]:
    """A bound on the rectangles that cover a support, from weights of its entries, which are
    returned.

    If no rectangle inside the support weighs more than m, at least (total weight)/m are needed.
    Weights: those given, or found by multiplicative updates (whatever they are, the bound is exact
    arithmetic). The heaviest rectangle is found by going through all sets of rows: (0, weights)
    where there are more than 2^16.
    """
    if support.shape[0] > support.shape[1]:
        bound, found = cover_bound(support.T, None if weights is None else weights.T)
        return bound, found.T
    if support.shape[0] > ENUMERATED:
        return 0, numpy.zeros(support.shape, dtype=object)
    sets, inside = _rectangles(support)
    if weights is not None:
        return _bound(weights, sets, inside), weights
    held = support.astype(numpy.float64)
    best, kept = 0, support.astype(object)
    for _ in range(ROUNDS):
        whole = numpy.array(
            [[Fraction(round(x * 720), 720) for x in row] for row in held], dtype=object
        )
        bound = _bound(whole, sets, inside)
        if bound > best:
            best, kept = bound, whole
        heaviest = int(((sets @ held) * inside).sum(1).argmax())
        held[numpy.ix_(sets[heaviest] > 0, inside[heaviest] > 0)] *= 0.8
        held *= support.sum() / max(held.sum(), 1e-300)
    return best, kept


def _rounded(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights as multiples of 1/720."""
    whole = [[Fraction(round(x * 720), 720) for x in row] for row in weights]
    return numpy.array(whole, dtype=object)


def _rectangles(support: Support) -> tuple[NDArray[Any], NDArray[Any]]:
    """All sets of rows, and the columns in which the support contains each."""
    height = support.shape[0]
    sets = (numpy.arange(1, 2**height)[:, None] >> numpy.arange(height) & 1).astype(numpy.float64)
    inside = (sets @ (~support) == 0).astype(numpy.float64)
    return sets, inside


def _bound(weights: NDArray[Any], sets: NDArray[Any], inside: NDArray[Any]) -> int:
    """ceil(total / heaviest rectangle), with whole numbers below 2^53."""
    whole = (weights * 720).astype(numpy.float64)
    if (whole != numpy.rint(whole)).any() or whole.sum() >= 2**52:
        raise ValueError("expected weights that are multiples of 1/720")
    heaviest = int(((sets @ whole) * inside).sum(1).max())
    return -(-int(whole.sum()) // heaviest) if heaviest else 0
