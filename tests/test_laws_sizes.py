"""Laws of sizes: edges of the unrolled circuit, stored numbers, free parameters, depth."""

from __future__ import annotations

import functools

import networkx
import numpy as np
import pytest
import torch

from mixtures import HMM, HT, LTM, SPN, TMM, Combination, Dense, Diagonal, Tree
from mixtures.coefficients import CoefficientTensor
from mixtures.treetensor import TreeTensor

from custom_models import TwoLevels
from laws import every_model
from oracle_circuit import circuit_joint
from zoo import TREES, ZOO, made

GRID = [(4, 2, 2), (8, 2, 2), (8, 3, 2), (4, 1, 3), (2, 2, 4)]  # d, r, k


def unrolled(model: TreeTensor) -> networkx.MultiDiGraph:
    """A tree model's circuit as a graph of scalars: (node, row) sums of (node, column) products."""
    graph = networkx.MultiDiGraph()
    for node in model.tree.nodes:
        table, below = model.table(node), model.tree.children.get(node, ())
        if table is None and not below:
            continue
        entries = np.eye(model.rows(node)) if table is None else table.numpy()
        for row, column in zip(*np.nonzero(entries), strict=True):
            graph.add_edge(("sum", node, row), ("product", node, column))
        widths = [model.rows(child) for child in below]
        for column in set(np.nonzero(entries)[1]) if len(below) > 1 else ():
            states = [column] * len(below)
            if node in model.joint:
                states = np.unravel_index(column, widths)
            for child, state in zip(below, states, strict=True):
                graph.add_edge(("product", node, column), ("sum", child, int(state)))
    return graph


@functools.singledispatch
def edges(model: CoefficientTensor) -> int:
    """The size of a class of its own: the distinct edges on any way through its circuit."""
    return own_edges(model)


@edges.register
def _tree_edges(model: TreeTensor) -> int:
    return unrolled(model).number_of_edges()


@edges.register
def _network_edges(model: SPN) -> int:
    graph = model.to_networkx()
    kinds = {node: data["kind"] for node, data in graph.nodes(data=True)}
    sums = sum(weight > 0 for *_, weight in graph.edges(data="weight") if weight is not None)
    factors = [graph.out_degree(node) for node, kind in kinds.items() if kind == "product"]
    return sums + sum(count for count in factors if count > 1)


@edges.register
def _dense_edges(model: Dense) -> int:
    entries = int((model.dense() > 0).sum())
    return entries * (1 + (model.variables if model.variables > 1 else 0))


@edges.register
def _combination_edges(model: Combination) -> int:
    return int((model.weights > 0).sum()) + sum(edges(part) for part in model.parts)


def own_edges(model: CoefficientTensor) -> int:
    """`AgreeOrNot`: d tables (r, k), k + r weights, k + r products of d factors."""
    d, r, k = model.arrays[0].shape
    assert len(circuit_joint(model.circuit, [a.numpy() for a in model.arrays])) == k + r * k**d
    return d * r * k + (k + r) + d * (k + r)


@every_model
def test_the_size_is_the_number_of_edges_of_the_unrolled_circuit(name):
    assert made(name).size == edges(made(name))


@pytest.mark.parametrize("name", TREES)
def test_ties_are_stored_once_and_identities_not_at_all(name):
    model = made(name)
    places = {model.place(v): model.table(v) for v in model.tree.nodes if model.place(v)}
    assert model.stored == sum(table.numel() for table in places.values())
    free = sum(int((table > 0).sum() - table.shape[0]) for table in places.values())
    assert model.num_parameters == free


SHARED = {  # d = 4, r = 3, k = 2
    "HMM": (lambda: HMM(4, 2, 3, shared=True), 3 + 3 * 3 + 3 * 2),
    "HMM classical": (lambda: HMM(4, 3, 3, shared=True, emission=False), 3 + 3 * 3),
    "TMM": (lambda: TMM(4, 2, 3, shared=True), 3 + 3 * 2),
    "TMM deep": (lambda: TMM(4, 2, 3, arity=2, shared=True), 3 + 3 * 3 + 3 * 2),
    "two levels": (lambda: TwoLevels([2, 2], 2, 3), 3 + 2 * 3 * 3 + 3 * 2),
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_tables_are_stored_once(name):
    build, numbers = SHARED[name]
    assert build().stored == numbers


@pytest.mark.parametrize("name", [name for name in ZOO if name.startswith("SPN")])
def test_a_network_stores_the_weights_of_its_sums_and_no_padding(name):
    model = made(name)
    weights = [w for *_, w in model.to_networkx().edges(data="weight") if w is not None]
    sums = sum(kind == "sum" for *_, kind in model.to_networkx().nodes(data="kind"))
    assert model.stored == len(weights)
    assert model.num_parameters == sum(w > 0 for w in weights) - sums


@pytest.mark.parametrize("name", TREES)
def test_the_depth_is_that_of_the_tree(name):
    assert made(name).depth == made(name).tree.depth


@pytest.mark.parametrize(("d", "r", "k"), GRID)
def test_a_shallow_mixture_has_r_plus_dr_plus_drk_edges(d, r, k):
    assert TMM(d, k, r).size == r + d * r + d * r * k


@pytest.mark.parametrize(("d", "r", "k"), GRID)
def test_a_binary_latent_tree_has_the_edges_of_the_formula(d, r, k):
    """r + (I - 1 + d) r + (I - 1) r^2 + drk with I = d - 1 latents."""
    latents = d - 1
    expected = r + (latents - 1 + d) * r + (latents - 1) * r**2 + d * r * k
    trees = [Tree.balanced(d), Tree.caterpillar(d), Tree.random(d, generator=torch.Generator())]
    assert [LTM(tree, k, r).size for tree in trees] == [expected] * 3
    assert TMM(d, k, r, arity=2).size == expected


def test_the_sizes_worked_out_by_hand():
    assert LTM(Tree.balanced(4), 2, 2).size == 38
    assert LTM(Tree.balanced(8), 2, 2).size == 86
    assert HMM(4, 2, 2).size == 42


@pytest.mark.parametrize(("d", "r", "k"), GRID)
def test_a_hidden_markov_model_is_as_large_as_its_chain_of_tables(d, r, k):
    """r + (d - 1) r^2 + drk numbers, and d - 1 products of two factors for each state."""
    expected = r + (d - 1) * r**2 + d * r * k + 2 * (d - 1) * r
    assert HMM(d, k, r).size == HMM(d, k, r, shared=True).size == expected
    assert HMM(d, r, r, emission=False).size == r + (d - 1) * r**2 + 2 * (d - 1) * r
    assert HMM(d, k, r, shared=True).stored == r + r**2 + r * k
    assert HMM(d, k, r).stored == expected - 2 * (d - 1) * r


@pytest.mark.parametrize(("d", "r", "k"), GRID)
def test_a_chain_of_identities_is_linear_in_the_number_of_states(d, r, k):
    """What a shallow mixture becomes as a chain: r + (d - 1) r + 2 (d - 1) r + drk edges."""
    shallow = TMM(d, k, r)
    tables = {d: shallow.weights[None]} | dict(enumerate(shallow.factors))
    chain = LTM.from_tables(Tree.chain(d), tables)
    assert chain.size == r + (d - 1) * r + 2 * (d - 1) * r + d * r * k
    assert chain.stored == shallow.stored
    torch.testing.assert_close(chain.dense(), shallow.dense())


@pytest.mark.parametrize(("d", "r", "k"), GRID)
def test_a_binary_tucker_tree_has_r_cubed_numbers_and_two_r_squared_factors_a_node(d, r, k):
    expected = r**2 + (d - 2) * r**3 + (d - 1) * 2 * r**2 + d * r * k
    assert HT(Tree.balanced(d), k, r).size == HT(Tree.caterpillar(d), k, r).size == expected


def test_diagonal_tucker_tables_cost_what_a_latent_tree_costs():
    tree = LTM(Tree.balanced(8), 2, 3)
    tables = {v: Diagonal(tree.table(v)) for v in tree.tree.inner}
    tables |= {j: tree.table(j) for j in range(8)}
    same = HT.from_tables(tree.tree, tables)
    assert (same.size, same.stored) == (tree.size, tree.stored)
    torch.testing.assert_close(same.dense(), tree.dense())
