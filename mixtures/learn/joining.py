"""Latent trees recovered from additive distances by neighbour joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.importing import Later
from mixtures.learn.em import check_pseudo_count
from mixtures.learn.structure import centre
from mixtures.learn.symbols import Symbols, joint_tables
from mixtures.tree import Tree

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")


def log_det_distances(
    x: Any,
    *,
    observed: Any = None,
    weights: Any = None,
    pseudo_count: float = 0.0,
    components: int | None = None,
) -> Tensor:
    """Log-determinant distances of all pairs of variables, (d, d) float64.

        D[i, j] = - log |det P_ij| + (log det diag P_i + log det diag P_j) / 2

    P_ij is the k x k table of frequencies of the pair, where both are observed, P_i its margins.
    On a latent tree whose latents have k states, as the variables have, they add up along paths.
    pseudo_count: as if so many more rows had been seen, spread evenly. Raises ValueError naming two
    variables whose table is singular: their distance is infinite.

    Source: Steel, Recovering a tree from the leaf colourations it generates under a Markov model,
    1994.

    >>> log_det_distances([[0, 0], [1, 1], [0, 1], [1, 0], [0, 0], [1, 1]])
    tensor([[0.0000, 1.0986],
            [1.0986, 0.0000]], dtype=torch.float64)
    """
    check_pseudo_count(pseudo_count)
    found = Symbols.read(x, observed, weights, components)
    k = max(found.sizes)
    same = Symbols(found.codes, found.observed, (k,) * found.variables, found.weights)
    counts = joint_tables(same, pseudo_count)  # (d, d, k, k)
    logs = torch.linalg.slogdet(counts / counts.sum((-1, -2), keepdim=True).clamp(min=1e-300))[1]
    rows = (counts.sum(-1) / counts.sum((-1, -2)).unsqueeze(-1)).log().sum(-1)
    distances = (rows + rows.mT) / 2 - (logs + logs.mT) / 2
    distances.fill_diagonal_(0.0)
    if not bool(distances.isfinite().all()):
        i, j = (~distances.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"the table of variables {i} and {j} is singular, so that their distance is infinite: "
            f"they look independent, or one lacks a symbol (then pseudo_count helps)"
        )
    return distances


def neighbour_joining(distances: Any) -> networkx.Graph:
    """The unrooted tree that distances (d, d) between its leaves 0..d-1 are those of.

    Inner nodes d, d + 1, .. have degree three; edges carry their `length`. From distances that add
    up along a binary tree it finds that tree and its lengths; from others an approximation, whose
    lengths may be negative. Costs d^3. Raises ValueError unless distances are finite and symmetric.

    Source: Saitou and Nei, The neighbor-joining method, 1987.

    >>> graph = neighbour_joining([[0, 3, 7, 8], [3, 0, 8, 9], [7, 8, 0, 9], [8, 9, 9, 0]])
    >>> sorted(graph[0].items())
    [(4, {'length': 1.0})]
    """
    D = _checked(distances)
    d = len(D)
    graph = networkx.Graph()
    graph.add_nodes_from(range(d))
    names = list(range(d))
    new = d
    while len(names) > 3:
        total = D.sum(1)
        joined = (len(names) - 2) * D - total[:, None] - total
        numpy.fill_diagonal(joined, numpy.inf)
        i, j = sorted(int(place) for place in numpy.unravel_index(joined.argmin(), joined.shape))
        up = D[i, j] / 2 + (total[i] - total[j]) / (2 * (len(names) - 2))
        graph.add_edge(names[i], new, length=float(up))
        graph.add_edge(names[j], new, length=float(D[i, j] - up))
        D[i] = D[:, i] = (D[i] + D[j] - D[i, j]) / 2
        D[i, i] = 0
        D = numpy.delete(numpy.delete(D, j, 0), j, 1)
        names[i] = new
        del names[j]
        new += 1
    _close(graph, names, D, new)
    return graph


def latent_tree(
    x: Any,
    *,
    observed: Any = None,
    weights: Any = None,
    pseudo_count: float = 0.0,
    components: int | None = None,
) -> Tree:
    """The tree of a latent tree model, recovered from rows (n, d) of symbols.

    Neighbour joining on log-determinant distances, rooted at a centre; right once n is large where
    every latent has as many states as the variables have symbols, and three neighbours. Options and
    errors are those of `log_det_distances`. `LTM(tree, k, k)` and `fit` learn its tables.

    >>> x = torch.randint(2, (99, 4), generator=torch.Generator().manual_seed(0))
    >>> x[:, 1], x[:, 3] = x[:, 0], x[:, 2]
    >>> tree = latent_tree(x)
    >>> tree.parent[0] == tree.parent[1] or tree.parent[2] == tree.parent[3]
    True
    """
    distances = log_det_distances(
        x, observed=observed, weights=weights, pseudo_count=pseudo_count, components=components
    )
    d = len(distances)
    if d < 3:
        return Tree.star(d)
    graph = neighbour_joining(distances)
    below: dict[Any, list[Any]] = {}
    for parent, child in networkx.bfs_edges(graph, centre(graph)):
        below.setdefault(parent, []).append(child)
    return Tree(below)


def _close(graph: networkx.Graph, names: Sequence[int], D: NDArray[Any], new: int) -> None:
    """Join what is left: three at a node, or two with each other."""
    if len(names) == 3:
        for a, b, c in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            graph.add_edge(names[a], new, length=float(D[a, b] + D[a, c] - D[b, c]) / 2)
    if len(names) == 2:
        graph.add_edge(*names, length=float(D[0, 1]))


def _checked(distances: Any) -> NDArray[Any]:
    D = torch.as_tensor(distances, dtype=torch.float64).detach().cpu().clone().numpy()
    if D.ndim != 2 or D.shape[0] != D.shape[1] or not len(D):
        raise ValueError(f"expected distances of shape (d, d), got {D.shape}")
    if not numpy.isfinite(D).all() or not numpy.allclose(D, D.T):
        raise ValueError("expected finite, symmetric distances")
    return D
