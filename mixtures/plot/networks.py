"""Sum-product networks as graphs, inputs at the bottom, the root on top."""

from __future__ import annotations

from typing import Any

import numpy

from mixtures.errors import SizeError
from mixtures.network import INPUT, SUM, Network
from mixtures.plot.axes import LINE, PRODUCT, VARIABLE, axes
from mixtures.plot.axes import SUM as BLUE
from mixtures.plot.trees import _parts
from mixtures.spn import SPN

MOST_NODES = 1000
LABELS = 200  # with more nodes than that, symbols would be unreadable
SWEEPS = 12  # of the ordering within levels


def network(model: Any, *, ax: Any = None) -> Any:
    """A sum-product network or a mixture with one as coefficients; returns the axes.

    Sums are blue (+), products green (×), inputs orange with variable and component; edges below a
    sum are as thick as their weight. Readable up to about 200 nodes; SizeError beyond 1000.
    ValueError for other models: `convert(model, SPN)` makes networks of them.
    """
    tensor, _ = _parts(model, None)
    if not isinstance(tensor, SPN):
        raise ValueError(
            f"expected an SPN, got {type(tensor).__name__}; transforms.convert makes one"
        )
    graph = tensor.network
    if len(graph) > MOST_NODES:
        raise SizeError(f"expected at most {MOST_NODES} nodes in one picture, got {len(graph)}")
    up = _levels(graph)
    across = _ordered(graph, up)
    if ax is None:
        width = min(20.0, max(4.0, 0.42 * _widest(up)))
        ax = axes(width, max(0.35 * width, 1.0 + 0.85 * up.max()))
    weights = tensor.edge_weights()
    for node in range(len(graph)):
        for edge in range(graph.start[node], graph.start[node + 1]):
            child = graph.child[edge]
            width = 0.3 + 2.2 * float(weights[edge]) if graph.kind[node] == SUM else 0.8
            ends = [across[node], across[child]], [up[node], up[child]]
            ax.plot(*ends, color=LINE, linewidth=width, zorder=1, solid_capstyle="round")
    size = 15 if len(graph) > LABELS else 190
    colours = numpy.array([BLUE, PRODUCT, VARIABLE])[graph.kind]
    ax.scatter(across, up, s=size, c=colours, zorder=2)
    if len(graph) <= LABELS:
        for node in range(len(graph)):
            place = (across[node], up[node])
            ax.text(*place, _label(graph, node), ha="center", va="center", color="w", fontsize=6.5)
    ax.set_axis_off()
    ax.margins(0.06, 0.1)
    return ax


def _label(graph: Network, node: int) -> str:
    if graph.kind[node] == INPUT:
        return f"{graph.variable[node]},{graph.component[node]}"
    return "+" if graph.kind[node] == SUM else "×"


def _levels(graph: Network) -> Any:
    """The longest way from each node down to an input; inputs are all at the bottom."""
    up = numpy.zeros(len(graph), dtype=int)
    for node in range(len(graph)):
        below = graph.child[graph.start[node] : graph.start[node + 1]]
        up[node] = 1 + up[below].max() if below.size else 0
    return up


def _widest(up: Any) -> int:
    return int(numpy.bincount(up).max())


def _ordered(graph: Network, up: Any) -> Any:
    """Places across: levels are ordered by the mean of their neighbours, up and down in turn."""
    below = [graph.child[graph.start[v] : graph.start[v + 1]] for v in range(len(graph))]
    above: list[list[int]] = [[] for _ in range(len(graph))]
    for node, children in enumerate(below):
        for child in children.tolist():
            above[child].append(node)
    inputs = numpy.lexsort((graph.component, graph.variable, up))
    across = numpy.empty(len(graph))
    across[inputs] = _spread(inputs, up)
    for sweep in range(SWEEPS):
        near = below if sweep % 2 == 0 else above
        heights = range(up.max() + 1) if sweep % 2 == 0 else range(up.max(), -1, -1)
        for height in heights:
            level = numpy.flatnonzero(up == height)
            wish = [across[near[v]].mean() if len(near[v]) else across[v] for v in level]
            order = level[numpy.argsort(wish, kind="stable")]
            across[order] = _even(len(order))
    return across


def _spread(order: Any, up: Any) -> Any:
    """Even places within each level, for nodes in the given order (by level)."""
    counts = numpy.bincount(up[order])
    return numpy.concatenate([_even(count) for count in counts])


def _even(count: int) -> Any:
    """`count` places around zero."""
    return numpy.arange(count) - (count - 1) / 2
