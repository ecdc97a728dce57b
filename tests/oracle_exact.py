"""The truth about latent trees of any size and at any scale: exact passes in 40 digits.

mpmath numbers have unbounded exponents, so nothing is ever lost to underflow. Only tables and the
tree of a model are read; nothing of the library's evaluator is used.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import mpmath
import numpy as np

from mixtures.treetensor import TreeTensor

DIGITS = 40


class Exact(NamedTuple):
    """The log of the value, posteriors (d, max k), and expected counts {node: (rows, columns)}."""

    log_value: float
    posterior: np.ndarray
    counts: dict[Any, np.ndarray]


def exact(model: TreeTensor, leaves: np.ndarray) -> Exact:
    """One row of log-leaves (d, max k) through a latent tree (no joint nodes), exactly."""
    with mpmath.workdps(DIGITS):
        return _passes(model, leaves)


def _number(value: float) -> Any:
    return mpmath.mpf(float(value))


def _passes(model: TreeTensor, leaves: np.ndarray) -> Exact:
    tree, zero = model.tree, mpmath.mpf(0)
    tables = {v: _table(model, v) for v in tree.nodes}
    inside: dict[Any, list] = {
        j: [_power(leaves[j, i]) for i in range(model.shape[j])] for j in range(tree.variables)
    }
    up: dict[Any, list] = {}
    for node in tree.nodes:
        if node in tree.children:
            below = [up[child] for child in tree.children[node]]
            inside[node] = [mpmath.fprod(column) for column in zip(*below, strict=True)]
        up[node] = [
            sum((w * inside[node][c] for c, w in line), zero) for line in _sparse(tables[node])
        ]
    value, counts = up[tree.root][0], {}
    above = {tree.root: [mpmath.mpf(1)]}
    for node in reversed(tree.nodes):
        flow = [zero] * len(inside[node])
        counted = np.zeros((len(up[node]), len(flow)))
        for row, line in enumerate(_sparse(tables[node])):
            for column, weight in line:
                part = above[node][row] * weight
                flow[column] += part
                if value:
                    counted[row, column] = float(part * inside[node][column] / value)
        counts[node] = counted
        for child in tree.children.get(node, ()):
            others = [up[c] for c in tree.children[node] if c != child]
            above[child] = [
                part * mpmath.fprod(other[c] for other in others) for c, part in enumerate(flow)
            ]
    posterior = np.zeros(leaves.shape)
    for j, k in enumerate(model.shape):
        posterior[j, :k] = counts[j].sum(0)
    return Exact(float(mpmath.log(value)) if value else -math.inf, posterior, counts)


def _power(logarithm: float) -> Any:
    return mpmath.mpf(0) if logarithm == -math.inf else mpmath.exp(_number(logarithm))


def _table(model: TreeTensor, node: Any) -> np.ndarray:
    table = model.table(node)
    return np.eye(model.rows(node)) if table is None else table.detach().double().numpy()


def _sparse(table: np.ndarray) -> list[list[tuple[int, Any]]]:
    return [[(c, _number(w)) for c, w in enumerate(row) if w > 0] for row in table]
