"""SparC: scalar circuits in compiled code; "compile once when topology is fixed", its docs say.

It works in float64 and takes whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy
from sparc import CategoricalInputNode, ProductNode, SumNode

from benchmarks.protocol import Arrays, Case, frequencies
from benchmarks.tasks.networks import INPUT, SUM


def nodes(arrays: Arrays) -> Any:
    """The root of the latent tree: a sum for every node and state, products it shares."""
    on = arrays["on"].astype(float)
    values: list[list[Any]] = [
        [CategoricalInputNode(j, [1 - p, p]) for p in chances] for j, chances in enumerate(on)
    ]
    tables = [*arrays["tables"].astype(float), arrays["root"][None].astype(float)]
    for pair, table in zip(arrays["children"], tables, strict=True):
        below = [values[child] for child in pair]
        products = [ProductNode(list(both)) for both in zip(*below, strict=True)]
        values.append([SumNode(products, list(row / row.sum())) for row in table])
    return values[-1][0]


def likelihood(arrays: Arrays) -> Case:
    """`log_likelihood` of the compiled circuit."""
    compiled, x = nodes(arrays).compile(), numpy.ascontiguousarray(arrays["x"], numpy.int32)
    return Case(lambda: compiled.log_likelihood(x), lambda found: {"rows": found})


def network(arrays: Arrays) -> Case:
    """A scalar network; a sum over the symbols of one variable is a leaf of SparC's own."""
    values: list[Any] = []
    kind, start, child = arrays["kind"], arrays["start"].tolist(), arrays["child"]
    for node, code in enumerate(kind.tolist()):
        edges = slice(start[node], start[node + 1])
        below, weights = child[edges].tolist(), arrays["weight"][edges]
        if code == INPUT:
            values.append(None)
        elif code == SUM and kind[below[0]] == INPUT:
            values.append(CategoricalInputNode(below[0] // 2, list(weights)))
        elif code == SUM:
            values.append(SumNode([values[i] for i in below], list(weights / weights.sum())))
        else:
            values.append(ProductNode([values[i] for i in below]))
    compiled, x = values[-1].compile(), numpy.ascontiguousarray(arrays["x"], numpy.int32)
    return Case(lambda: compiled.log_likelihood(x), lambda found: {"rows": found})


def repeated(arrays: Arrays) -> Case:
    """Samples of the compiled circuit."""
    compiled, n, seeds = nodes(arrays).compile(), len(arrays["x"]), iter(range(10**9))
    return Case(lambda: compiled.sample(n, next(seeds)), frequencies)


def first(arrays: Arrays) -> Case:
    """The first samples of a circuit that has just been compiled."""
    held: dict[str, Any] = {}
    root, n, seeds = nodes(arrays), len(arrays["x"]), iter(range(10**9))

    def reset() -> None:
        held["compiled"] = root.compile()

    return Case(lambda: held["compiled"].sample(n, next(seeds)), frequencies, reset)


CASES = {
    "ltm": likelihood,
    "spn": network,
    "samples": repeated,
    "samples-first": first,
}
DISTRIBUTIONS = ("sparc-pc", "numpy")
