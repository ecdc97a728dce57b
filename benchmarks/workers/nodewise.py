"""Evaluation node by node: what a library does that has an object for every node.

Every node's logarithms for all rows are one numpy array, computed from its children's.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy

from benchmarks.protocol import Arrays, Case
from benchmarks.tasks.networks import INPUT, SUM


def network(arrays: Arrays) -> Case:
    """Leaves are looked up, products add, sums are sums of exponentials above their largest term.

    The network is a tree: a node's array is let go once its parent has its own.
    """
    kind, start, child = arrays["kind"].tolist(), arrays["start"].tolist(), arrays["child"].tolist()
    below = [child[a:b] for a, b in itertools.pairwise(start)]
    logs = numpy.log(arrays["weight"])[:, None]
    weights = [logs[a:b] for a, b in itertools.pairwise(start)]
    x = numpy.ascontiguousarray(arrays["x"].T)

    def value(node: int, values: dict[int, Any]) -> Any:
        first = below[node][0]
        if kind[node] == SUM and kind[first] == INPUT:
            return weights[node][x[first // 2], 0]
        parts = numpy.stack([values.pop(i) for i in below[node]])
        if kind[node] != SUM:
            return parts.sum(0)
        parts += weights[node]
        largest = parts.max(0)
        return numpy.log(numpy.exp(parts - largest).sum(0)) + largest

    def run() -> Any:
        values: dict[int, Any] = {}
        for node, code in enumerate(kind):
            if code != INPUT:
                values[node] = value(node, values)
        return values[len(kind) - 1]

    return Case(run, lambda found: {"rows": found})


CASES = {"spn": network}
DISTRIBUTIONS = ("numpy",)
