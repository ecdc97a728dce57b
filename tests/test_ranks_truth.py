"""The truth about ranks by brute force: dense tensors of Fractions, eliminated exactly."""

import itertools
from fractions import Fraction

import networkx
import numpy as np
import torch

from mixtures import HMM, TMM

import oracle


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def exact_tensor(W):
    """The dense tensor of a tree model, in Fractions, from its stored numbers."""
    tree = W.tree
    tables = {
        v: fractions(W.table(v).double().numpy()) for v in tree.nodes if W.table(v) is not None
    }
    if W.joint:
        return oracle.ht_tensor(tree.children, tree.root, W.variables, tables, W.shape)
    return oracle.tree_tensor(tree.parent, tree.root, W.variables, tables)


def fractions(array):
    out = np.empty(array.shape, dtype=object)
    out.reshape(-1)[:] = [Fraction(x) for x in array.reshape(-1).tolist()]
    return out


def unfolded(T, rows):
    columns = [j for j in range(T.ndim) if j not in rows]
    height = int(np.prod([T.shape[j] for j in rows], dtype=int))
    return T.transpose([*rows, *columns]).reshape(height, -1)


def rank_of(matrix):
    """Gaussian elimination over Fractions."""
    rows = [[Fraction(x) for x in row] for row in matrix.tolist()]
    rank = 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        for i in range(rank + 1, len(rows)):
            if rows[i][column]:
                factor = rows[i][column] / rows[rank][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


def cuts(d):
    return [c for n in range(1, d) for c in itertools.combinations(range(d - 1), n)]


def flow_cut(W, rows):
    """The cheapest cut of an LTM by a maximum flow: latents are split at the price of log r."""
    graph = networkx.DiGraph()
    tree = W.tree

    def join(a, b, cost):
        graph.add_edge((a, "out"), (b, "in"), capacity=cost)
        graph.add_edge((b, "out"), (a, "in"), capacity=cost)

    for v in tree.nodes:
        graph.add_edge((v, "in"), (v, "out"), capacity=float(np.log(W.states(v))))
        if v != tree.root:
            table = W.table(v)
            full = W.rows(v) if table is None else rank_of(table.double().numpy())
            join(tree.parent[v], v, float(np.log(full)))
    for j in range(W.variables):
        if j in rows:
            graph.add_edge("source", (j, "in"))
        else:
            graph.add_edge((j, "out"), "sink")
    return round(float(np.exp(networkx.maximum_flow_value(graph, "source", "sink"))))


# ---------------------------------------------------------------- the truth against itself


def test_elimination_over_fractions_is_the_rank():
    rng = np.random.default_rng(0)
    for r in range(4):
        M = rng.integers(-9, 9, (5, r)) @ rng.integers(-9, 9, (r, 6))
        assert rank_of(M) == np.linalg.matrix_rank(M) == r
    T = np.arange(24).reshape(2, 3, 4)
    assert unfolded(T, (1,)).tolist() == T.transpose(1, 0, 2).reshape(3, 8).tolist()


def test_flows_of_a_star_and_a_chain_are_known():
    assert flow_cut(TMM(4, 3, 2), (0, 1)) == 2
    assert flow_cut(TMM(4, 2, 5), (0,)) == 2
    assert flow_cut(HMM(6, 2, 2), (0, 2, 4)) == 8
    assert len(cuts(4)) == 7
