"""SparC: scalar circuits in compiled code; "compile once when topology is fixed", its docs say.

It works in float64 and takes whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy
from sparc import CategoricalInputNode, ProductNode, SumNode

from benchmarks.protocol import Arrays, Case


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


def gradients(arrays: Arrays) -> Case:
    """The log-likelihood with its gradient, of which a training pass is made."""
    compiled, x = nodes(arrays).compile(), numpy.ascontiguousarray(arrays["x"], numpy.int32)

    def run() -> Any:
        return compiled.mean_log_likelihood_and_grad(x)

    return Case(run, lambda found: {"mean": found[0]})


CASES = {"ltm": likelihood, "ltm-em": gradients}
DISTRIBUTIONS = ("sparc-pc", "numpy")
