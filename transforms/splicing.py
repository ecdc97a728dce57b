"""Clean-up of networks: only what the root reaches, products of products as one product."""

from __future__ import annotations

from dataclasses import replace

import numpy
from numpy.typing import NDArray

from mixtures.circuit import Integers
from mixtures.network import PRODUCT, Network


def reached(network: Network, root: int) -> Network:
    """The nodes below `root`, which becomes the last one.

    One pass over the edges, from the root down.
    """
    keep = numpy.zeros(len(network), dtype=bool)
    keep[root] = True
    start, child = network.start.tolist(), network.child.tolist()
    seen = keep.tolist()
    for node in range(root, -1, -1):
        if seen[node]:
            for edge in range(start[node], start[node + 1]):
                seen[child[edge]] = True
    return _kept(network, numpy.array(seen), numpy.repeat(seen, numpy.diff(network.start)))


def spliced(network: Network) -> Network:
    """A product that is a factor of one product only is replaced by its own factors.

    Identity tables make such products; without them a star written as a chain is a star again.
    """
    fan_in = numpy.diff(network.start)
    above = numpy.repeat(numpy.arange(len(network)), fan_in)
    parents = numpy.bincount(network.child, minlength=len(network))
    product = network.kind == PRODUCT
    nested = product[above] & product[network.child] & (parents[network.child] == 1)
    if not nested.any():
        return network
    top = numpy.arange(len(network))
    top[network.child[nested]] = above[nested]
    while (top[top] != top).any():
        top = top[top]
    owner = top[above[~nested]]
    order = numpy.argsort(owner, kind="stable")
    count = numpy.bincount(owner, minlength=len(network))
    edges = replace(
        network,
        start=numpy.concatenate([[0], numpy.cumsum(count)]),
        child=network.child[~nested][order],
        weight=network.weight[~nested][order],
    )
    keep = top == numpy.arange(len(network))
    return _kept(edges, keep, numpy.ones(len(edges.child), dtype=bool))


def _kept(network: Network, nodes: NDArray, edges: NDArray) -> Network:
    """Some nodes, with some edges among them, renumbered in the same order."""
    number: Integers = numpy.cumsum(nodes) - 1
    count = numpy.diff(network.start)[nodes]
    return replace(
        network,
        kind=network.kind[nodes],
        start=numpy.concatenate([[0], numpy.cumsum(count)]),
        child=number[network.child[edges]],
        weight=network.weight[edges],
        variable=network.variable[nodes],
        component=network.component[nodes],
    )
