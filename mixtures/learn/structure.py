"""Trees found in data: maximum spanning trees of mutual information, and models on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.components import Data, Indicator
from mixtures.importing import Later
from mixtures.learn.em import check_pseudo_count
from mixtures.learn.symbols import Symbols, correlations, mutual_information, symbol_sizes
from mixtures.ltm import LTM
from mixtures.mixture import Mixture
from mixtures.tree import Node, Tree

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")


def chow_liu(
    x: Any, *, observed: Any = None, weights: Any = None, pseudo_count: float = 0.0
) -> networkx.Graph:
    """The Chow-Liu tree: a spanning tree of greatest total mutual information (`weight`, nats).

    x: rows (n, d) of symbols 0, 1, ..; missing values are left out pair by pair. weights: (n,) of
    the rows. pseudo_count: as if so many more rows had been seen, spread evenly over all joint
    symbols. Raises ValueError for anything but symbols. Costs one
    product of matrices for binary columns (1500 of them by 3000 rows: about a second).

    Source: Chow and Liu, Approximating discrete probability distributions with dependence trees,
    1968.

    >>> sorted(chow_liu([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]]).edges)
    [(0, 1), (0, 2)]
    """
    check_pseudo_count(pseudo_count)
    return _graph(Symbols.read(x, observed, weights), pseudo_count)


def chow_liu_model(
    x: Any,
    *,
    observed: Any = None,
    weights: Any = None,
    pseudo_count: float = 0.0,
    components: int | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
) -> Mixture:
    """The Markov tree of greatest likelihood: the Chow-Liu tree with the frequencies of the data.

    Its latents are copies of the variables (identity emissions) over `Indicator` components, so it
    is conditioned, sampled, converted and learned on like any other LTM. With missing values the
    frequencies are those of pairs observed together, a start for `em`. components: k_j, by default
    one more than the largest symbol. A symbol never seen makes rows impossible unless pseudo_count
    is positive. Options and errors are those of `chow_liu`.

    >>> model = chow_liu_model([[0, 0], [1, 1], [1, 1], [0, 1]])
    >>> model.score([[1, 1]])  # log 2 / 4
    -0.6931
    """
    check_pseudo_count(pseudo_count)
    symbols = Symbols.read(x, observed, weights, components)
    graph = _graph(symbols, pseudo_count)
    tree = Tree.from_graph(graph, centre(graph))
    d = symbols.variables
    dtype = torch.get_default_dtype() if dtype is None else dtype
    tables: dict[Node, Tensor] = {}
    for node in tree.inner:
        variable, parent = int(str(node)) - d, tree.parent.get(node)
        if parent is None:
            counts = symbols.alone(variable)[None]
        else:
            counts = symbols.together(int(str(parent)) - d, variable)
        tables[node] = _conditional(counts + pseudo_count / counts.numel()).to(dtype)
    return Mixture(LTM.from_tables(tree, tables), Indicator(d, symbols.sizes, dtype=dtype))


def hidden_chow_liu(
    x: Any,
    states: int | Mapping[int, int],
    *,
    observed: Any = None,
    weights: Any = None,
    pseudo_count: float = 0.0,
    components: int | Sequence[int] | None = None,
    group: int = 1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> LTM:
    """A hidden Chow-Liu tree: each variable hangs from a latent, latents are joined as `chow_liu`
    joins the variables.

    Latent d + j belongs to variable j; the root is a centre of the tree, so that the model is as
    shallow as can be. states: r, or {variable: r}. group: up to so many variables share a latent,
    named after the first of them: edges of the Chow-Liu tree are contracted, those of greatest
    mutual information first. A few variables per latent make large states cheap. Tables are
    random, as of `LTM`: `fit` learns them. Over `Indicator(d, W.shape)` it is a model of the
    symbols. Options and errors are those of `chow_liu_model`; ValueError unless group >= 1.

    Source: Liu and Van den Broeck, Tractable regularization of probabilistic circuits, 2021.

    >>> W = hidden_chow_liu([[0, 0], [1, 1], [1, 1]], states=3)
    >>> W.shape, len(W.latents)
    ((2, 2), 2)
    """
    check_pseudo_count(pseudo_count)
    symbols = Symbols.read(x, observed, weights, components)
    if group < 1:
        raise ValueError(f"group must be at least 1, got {group}")
    d = symbols.variables
    graph = _graph(symbols, pseudo_count)
    owner = _owners(graph, group)
    tree = _hung(graph, owner)
    each = dict.fromkeys(set(owner), states) if isinstance(states, int) else states
    latents: dict[Node, int] = {d + j: r for j, r in each.items()}
    return LTM(tree, symbols.sizes, latents, generator=generator, dtype=dtype)


def hidden_tree(x: Data, weights: Tensor) -> Tree:
    """A tree for latents over rows of any kind: of mutual information where they are symbols, of
    absolute correlations where they are other numbers; balanced for vectors.
    """
    d = len(x.values)
    if x.values.ndim > 2:
        return Tree.balanced(d)
    if symbol_sizes(x) is not None:
        graph = _graph(Symbols.read(x, weights=weights), 0.0)
    else:
        graph = networkx.Graph()
        graph.add_nodes_from(range(d))
        graph.add_edges_from(_spanning_tree(correlations(x, weights).abs().numpy()))
    return Tree.from_graph(graph, centre(graph))


def _owners(graph: networkx.Graph, group: int) -> list[int]:
    """The first of the variables that share a latent with each variable, at most `group` of them.

    The strongest edges are contracted first, as far as the groups they join fit together.
    """
    groups = [[j] for j in range(len(graph))]
    for i, j, _ in sorted(graph.edges(data="weight"), key=lambda edge: -edge[2]):
        if len(groups[i]) + len(groups[j]) <= group:  # a tree's edge never joins a group to itself
            joined = sorted(groups[i] + groups[j])
            for member in joined:
                groups[member] = joined
    return [members[0] for members in groups]


def _hung(graph: networkx.Graph, owner: Sequence[int]) -> Tree:
    """The tree of latents d + owner, joined as their groups are, each variable below its own."""
    d = len(graph)
    groups = networkx.Graph()
    groups.add_nodes_from(sorted(set(owner)))
    groups.add_edges_from((owner[i], owner[j]) for i, j in graph.edges if owner[i] != owner[j])
    parents: dict[Node, Node] = {j: d + first for j, first in enumerate(owner)}
    for parent, child in networkx.bfs_edges(groups, centre(groups)):
        parents[d + child] = d + parent
    return Tree.from_parents(parents)


def _graph(symbols: Symbols, pseudo_count: float) -> networkx.Graph:
    information = mutual_information(symbols, pseudo_count).numpy()
    graph = networkx.Graph()
    graph.add_nodes_from(range(symbols.variables))
    for i, j in _spanning_tree(information):
        graph.add_edge(i, j, weight=float(information[i, j]))
    return graph


def _spanning_tree(weights: NDArray[Any]) -> list[tuple[int, int]]:
    """The edges of a maximum spanning tree (Prim's algorithm on a dense matrix, d^2)."""
    gain, near = weights[0].copy(), numpy.zeros(len(weights), dtype=numpy.int64)
    outside = numpy.ones(len(weights), dtype=bool)
    outside[0] = False
    edges = []
    for _ in range(len(weights) - 1):
        new = int(numpy.where(outside, gain, -numpy.inf).argmax())
        edges.append((int(near[new]), new))
        outside[new] = False
        closer = weights[new] > gain
        gain[closer], near[closer] = weights[new][closer], new
    return edges


def centre(graph: networkx.Graph) -> int:
    """A node from which the farthest one is as near as can be: the middle of a longest path."""
    first = next(iter(graph))
    end = list(networkx.single_source_shortest_path_length(graph, first))[-1]
    other = list(networkx.single_source_shortest_path_length(graph, end))[-1]
    path = networkx.shortest_path(graph, end, other)
    return int(min(path[(len(path) - 1) // 2 : len(path) // 2 + 1]))


def _conditional(counts: Tensor) -> Tensor:
    """Rows in proportion to counts; uniform where there are none."""
    total = counts.sum(-1, keepdim=True)
    return torch.where(total > 0, counts / total, 1 / counts.shape[-1])
