"""Down the hierarchy and across: exact, at a price that is known before anything is built."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixtures import (
    HMM,
    HT,
    LTM,
    SPN,
    TMM,
    ConversionError,
    Dense,
    SizeError,
    Tree,
)
from transforms.certificates import certificate
from transforms.convert import convert, converters
from transforms.separators import along, separating_all

from oracle_models import listing
from zoo import ZOO, fresh, rows

F64 = torch.float64
CLASSES = (TMM, HMM, LTM, HT, SPN)


def W(model) -> np.ndarray:
    return listing(model).tensor(model.shape)


def random_ltm(seed: int, variables: int = 5, states: int = 3, zeros: float = 0.3) -> LTM:
    """A random tree with unequal sizes, zeros, some identities and some ties."""
    g = torch.Generator().manual_seed(seed)

    def number(most: int) -> int:
        return int(torch.randint(1, most + 1, (), generator=g))

    tree = Tree.random(variables, arity=3, generator=g)
    size = {node: number(states) for node in tree.inner}
    tables, tied = {tree.root: rows(g, F64, 1, size[tree.root])}, {}
    for node in reversed(tree.inner):
        for child in tree.children[node]:
            if child in tree.children and number(5) == 1:
                size[child], tables[child] = size[node], None
                continue
            shape = (size[node], size[child] if child in tree.children else number(3))
            fresh_table = rows(g, F64, *shape, zeros=zeros)
            tables[child] = tied.setdefault(shape, fresh_table) if number(3) == 1 else fresh_table
    return LTM.from_tables(tree, tables)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("target", CLASSES, ids=lambda kind: kind.__name__)
def test_every_pair_keeps_the_tensor(name, target):
    source = fresh(name)
    if source.variables > 8 and target is TMM:
        pytest.skip("2^9 components and more")
    found = convert(source, target, budget=10**6)
    assert type(found) is target or found is source
    assert certificate(source, found).exact
    np.testing.assert_allclose(found.dense(), source.dense(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "pair", list(converters().edges), ids=lambda p: f"{p[0].__name__}-{p[1].__name__}"
)
def test_every_registered_pair_is_exact_by_the_oracle(pair):
    """Values from the target's own tables; residues modulo a prime agree exactly."""
    names = [name for name in ZOO if type(fresh(name)) is pair[0] and fresh(name).variables <= 5]
    assert names
    tried = 0
    for name in names:
        source = fresh(name, seed=5)
        try:
            found = convert(source, pair[1], budget=3000)
        except ConversionError:
            continue
        tried += 1
        np.testing.assert_allclose(W(found), W(source), rtol=1e-12, atol=1e-15)
        verdict = certificate(source, found)
        assert verdict.exact and verdict.difference < 1e-12
        assert verdict.edges[1] <= verdict.bound
    assert tried


@given(st.integers(0, 10**6))
def test_any_tree_becomes_any_other_class_exactly(seed):
    source = random_ltm(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed)).tolist()
    chain = convert(source, HMM, order=order)
    assert chain.tree.leaves == tuple(order)
    shallow = convert(source, TMM, budget=10**6)
    for found in (chain, shallow, convert(convert(source, SPN), LTM)):
        np.testing.assert_allclose(W(found), W(source), rtol=1e-12, atol=1e-15)
        assert certificate(source, found).difference < 1e-12


@given(st.integers(0, 10**6))
def test_a_chain_goes_onto_any_tree(seed):
    g = torch.Generator().manual_seed(seed)
    sizes = {5 + j: int(torch.randint(1, 4, (), generator=g)) for j in range(5)}
    source = HMM(5, [2, 1, 3, 2, 2], sizes, generator=g, dtype=F64)
    tree = Tree.random(5, arity=3, generator=g)
    found = convert(source, LTM, tree=tree, budget=10**6)
    assert found.tree == tree
    np.testing.assert_allclose(W(found), W(source), rtol=1e-12, atol=1e-15)
    assert certificate(source, found).exact


# ---------------------------------------------------------------- one latent


@given(st.integers(0, 10**6))
def test_the_separating_set_is_the_cheapest_of_all(seed):
    """Against all sets of latents and variables, for any numbers of states."""
    g = torch.Generator().manual_seed(seed)
    tree = Tree.random(int(torch.randint(2, 6, (), generator=g)), arity=3, generator=g)
    states = {node: int(torch.randint(1, 5, (), generator=g)) for node in tree.inner}
    shape = torch.randint(1, 5, (tree.variables,), generator=g).tolist()
    weight = states | dict(enumerate(shape))
    best = min(
        math.prod(weight[node] for node in held)
        for count in range(len(tree.nodes) + 1)
        for held in itertools.combinations(tree.nodes, count)
        if separates(tree, held)
    )
    found = separating_all(tree, states, shape)
    assert separates(tree, found)
    assert math.prod(weight[node] for node in found) == best


def separates(tree: Tree, held) -> bool:
    graph = tree.to_networkx().to_undirected()
    graph.remove_nodes_from(held)
    parts = networkx.connected_components(graph)
    return all(sum(node in range(tree.variables) for node in part) <= 1 for part in parts)


def disjoint_paths(tree: Tree) -> int:
    """The largest number of vertex-disjoint paths between leaves, bottom up."""
    found, open_ = 0, dict.fromkeys(range(tree.variables), 1)
    for node in tree.inner:
        ends = sum(open_[child] for child in tree.children[node])
        found += ends >= 2
        open_[node] = int(ends == 1)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_a_shallow_model_has_as_many_components_as_disjoint_paths_demand(seed):
    """r^nu components, and some matricization has that rank: it cannot be fewer."""
    g = torch.Generator().manual_seed(seed)
    tree = Tree.random(6, arity=3, generator=g)
    source = LTM(tree, 2, 2, generator=g, dtype=F64)
    shallow = convert(source, TMM, budget=10**5)
    assert len(shallow.weights) == 2 ** disjoint_paths(tree)
    cuts = [rows for count in (2, 3) for rows in itertools.combinations(range(6), count)]
    ranks = [np.linalg.matrix_rank(source.matricize(rows).numpy(), tol=1e-13) for rows in cuts]
    assert max(ranks) == len(shallow.weights)


@pytest.mark.parametrize(
    ("tree", "paths"),
    [(Tree.star(5), 1), (Tree.chain(7), 3), (Tree.balanced(8), 4), (Tree.balanced(9, 3), 3)],
)
def test_the_exponents_of_theory(tree, paths):
    source = LTM(tree, 3, 3, dtype=F64)
    assert len(convert(source, TMM, budget=10**6).weights) == 3**paths


def test_holding_variables_is_cheaper_where_they_have_few_components():
    """Balanced, d = 8, r = 3, k = 2: 54, not 81."""
    assert len(convert(LTM(Tree.balanced(8), 2, 3), TMM, budget=10**5).weights) == 54


# ---------------------------------------------------------------- chains


@pytest.mark.parametrize("levels", range(1, 8))
def test_a_balanced_tree_is_a_chain_of_the_states_of_grasedyck_and_hackbusch(levels):
    tree = Tree.balanced(2**levels)
    held = along(tree, dict.fromkeys(tree.inner, 2), range(2**levels))
    assert max(map(len, held)) == math.ceil(levels / 2)


@pytest.mark.parametrize(("d", "r"), [(8, 3), (16, 2), (32, 2)])
def test_the_chain_is_built_with_that_many_states(d, r):
    source = LTM(Tree.balanced(d), 2, r, dtype=F64)
    chain = convert(source, HMM)
    assert max(chain.states(node) for node in chain.tree.inner) == r ** math.ceil(math.log2(d) / 2)
    assert certificate(source, chain).difference < 1e-12


def test_a_caterpillar_is_a_chain_as_it_stands():
    source = fresh("LTM caterpillar")
    chain = convert(source, HMM)
    assert (chain.stored, chain.num_parameters) == (source.stored, source.num_parameters)
    exact = listing(source, Fraction).tensor(source.shape)
    assert (listing(chain, Fraction).tensor(chain.shape) == exact).all()


@pytest.mark.parametrize(("k", "r"), [(2, 3), (4, 2), (3, 3)])
def test_a_tensor_train_is_a_chain_of_min_rk_and_r_squared_states(k, r):
    """At every place; the last bond of the caterpillar is its last variable, of dimension k."""
    tree = Tree.caterpillar(5)
    source = HT(tree, k, dict.fromkeys(tree.inner, r), emission=False, dtype=F64)
    chain = convert(source, HMM)
    bonds = [1, r, r, r, k]
    for place in range(5):
        after = bonds[place + 1] if place < 4 else 1
        most = min(bonds[place] * k, bonds[place] * after) if place < 4 else k
        assert chain.states(5 + place) == most
    np.testing.assert_allclose(chain.dense(), source.dense(), atol=1e-14)


def test_a_chain_on_a_balanced_tree_has_cubes_of_states_inside_only():
    """r at the root, r^2 at the ends of the chain and for pairs, r^3 elsewhere."""
    r, d = 2, 16
    found = convert(HMM(d, 2, r, dtype=F64), LTM, tree=Tree.balanced(d))
    tree = found.tree
    assert found.states(tree.root) == r
    below: dict = {j: {j} for j in range(d)}
    for node in tree.inner:
        below[node] = set().union(*(below[child] for child in tree.children[node]))
        block = below[node]
        if node != tree.root:
            edge = 0 in block or d - 1 in block or len(block) == 2
            assert found.states(node) == (r**2 if edge else r**3)


def test_full_hierarchical_tucker_needs_pairs_of_bonds():
    source = HT(Tree.balanced(8), 2, 2, dtype=F64)
    found = convert(source, LTM)
    assert {found.states(node) for node in found.tree.inner} == {4}
    np.testing.assert_allclose(found.dense(), source.dense(), atol=1e-15)


# ---------------------------------------------------------------- dense


@pytest.mark.parametrize("shape", [(4,), (2, 3), (3, 1, 2, 2)])
@pytest.mark.parametrize("target", CLASSES, ids=lambda kind: kind.__name__)
def test_a_dense_tensor_becomes_anything(shape, target):
    tensor = rows(torch.Generator(), F64, math.prod(shape), zeros=0.4).reshape(shape)
    found = convert(Dense(tensor), target)
    np.testing.assert_allclose(W(found), tensor, rtol=1e-12, atol=1e-16)


def test_a_dense_tensor_goes_onto_a_given_tree():
    tensor = rows(torch.Generator(), F64, 16).reshape(2, 2, 2, 2)
    tree = Tree({"r": ("a", 3), "a": (2, "b"), "b": (1, 0)})
    found = convert(Dense(tensor), LTM, tree=tree)
    assert found.tree == tree
    np.testing.assert_allclose(W(found), tensor, atol=1e-16)


# ---------------------------------------------------------------- refusals and budgets


def test_exponential_maps_are_not_taken_unasked():
    source = LTM(Tree.balanced(8), 2, 2)
    with pytest.raises(ConversionError, match="exponential"):
        convert(source, TMM)
    with pytest.raises(SizeError, match="budget"):
        convert(source, TMM)


def test_sizes_are_known_before_anything_is_built():
    """About 2^6700 components: the number is named at once, and does not fill the screen."""
    source = LTM(Tree.balanced(20_000), 2, 2)
    with pytest.raises(SizeError, match="more than the budget of 1000") as refusal:
        convert(source, TMM, budget=1000)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("target", [HMM, LTM, TMM, SPN])
def test_no_target_is_larger_than_the_budget(target):
    source = HT(Tree.balanced(4), 2, 2)
    with pytest.raises(SizeError, match="more than the budget of 5"):
        convert(source, target, budget=5)


def test_a_bad_order_is_refused_by_its_size():
    d = 64
    odd_even = [*range(0, d, 2), *range(1, d, 2)]
    with pytest.raises(SizeError, match="would have up to"):
        convert(LTM(Tree.balanced(d), 2, 2), HMM, order=odd_even)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": [0, 1, 1]}, "permutation"),
        ({"tree": Tree.star(4)}, "4 variables"),
        ({"budget": 0}, "positive"),
    ],
)
def test_what_is_asked_for_must_fit_the_model(options, words):
    with pytest.raises(ValueError, match=words):
        convert(HMM(3, 2, 2), LTM, **options)


def test_something_else_than_a_model_or_a_class_is_refused():
    with pytest.raises(ValueError, match="expected a coefficient tensor or a Mixture, got Tensor"):
        convert(torch.ones(2), LTM)
    with pytest.raises(ValueError, match="expected a class"):
        convert(HMM(3, 2, 2), "LTM")
