"""Networks as trees where they are self-similar, and certified refusals where they are not."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from math import prod

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixtures import HT, LTM, SPN, TMM, ConversionError, Tree, inputs
from transforms.centroids import balanced_cuts, least_rank, states_needed
from transforms.certificates import certificate
from transforms.convert import convert
from transforms.elimination import exact_rank
from transforms.induced import induced_trees

from oracle_models import listing
from zoo import TREES, fresh, mixed, random_network

F64 = torch.float64


def exact(model) -> np.ndarray:
    return listing(model, Fraction).tensor(model.shape)


def matchings(d: int, seed: int, k: int = 2, count: int = 3) -> SPN:
    """A mixture of products of pairs, one product for each random perfect matching."""
    g = torch.Generator().manual_seed(seed)
    a = inputs(d, k)
    terms = []
    for _ in range(count):
        order = torch.randperm(d, generator=g).tolist()
        pairs = zip(order[::2], order[1::2], strict=True)
        terms.append(
            prod(
                (
                    mixed(g, [a[x][i] * a[y][j] for i in range(k) for j in range(k)])
                    for x, y in pairs
                ),
                start=1,
            )
        )
    return SPN(mixed(g, terms), dtype=F64)


def states_of_any_tree(W: np.ndarray) -> int:
    """The least exact rank over all balanced cuts, by brute force over the rationals."""
    d = W.ndim
    scaled = np.array([int(entry * 2**2000) for entry in W.ravel()], dtype=object).reshape(W.shape)
    found = []
    for size in range(1, d):
        for rows in itertools.combinations(range(d), size):
            if 3 * size >= d and 3 * (d - size) >= d:
                columns = [j for j in range(d) if j not in rows]
                height = prod(W.shape[j] for j in rows)
                found.append(exact_rank(scaled.transpose(*rows, *columns).reshape(height, -1)))
    return min(found)


@pytest.mark.parametrize("name", [n for n in TREES if not n.startswith("HT")])
def test_a_tree_is_read_back_from_its_network(name):
    """Number for number where products have two factors; never more than thrice the edges."""
    source = fresh(name)
    network = convert(source, SPN)
    tree = convert(network, LTM)
    assert certificate(network, tree).exact
    if min(map(len, source.tree.children.values())) > 1:  # else there are sums of sums
        assert (exact(tree) == exact(source)).all()
    assert tree.size <= 3 * network.size + 3


def test_a_random_tree_comes_back_as_it_was():
    source = LTM(Tree.random(40, arity=3), 2, 3, dtype=F64)
    found = convert(convert(source, SPN), LTM)
    assert (found.size, found.stored) == (source.size, source.stored)


@pytest.mark.parametrize("d", [4, 8, 16])
def test_shared_sums_stay_latents_of_their_own(d):
    """A full HT has r^3 edges a node; so has the tree, not r^4."""
    r = 6
    source = HT(Tree.balanced(d), 2, r, dtype=F64)
    network = convert(source, SPN)
    tree = convert(network, LTM)
    assert tree.size <= 2 * network.size
    assert certificate(source, tree).exact


def test_sums_of_sums_are_written_out():
    a = inputs(3, 2)
    pair = 0.5 * a[0][0] * a[1][0] + 0.5 * a[0][1] * a[1][1]
    other = 0.25 * a[0][0] * a[1][1] + 0.75 * pair
    last = 0.5 * a[2][0] + 0.5 * (0.5 * a[2][0] + 0.5 * a[2][1])
    source = SPN(0.5 * pair * a[2][1] + 0.5 * other * last, dtype=F64)
    found = convert(source, LTM)
    np.testing.assert_allclose(found.dense(), source.dense(), atol=1e-16)
    assert certificate(source, found).exact


def test_a_product_of_one_factor_is_that_factor():
    graph = networkx.DiGraph()
    graph.add_node("a", kind="input", variable=0, component=0)
    graph.add_node("b", kind="input", variable=0, component=1)
    graph.add_node("c", kind="input", variable=1, component=0)
    graph.add_node("one", kind="product")
    graph.add_edge("one", "b")
    graph.add_node("sum", kind="sum")
    graph.add_edge("sum", "a", weight=0.25)
    graph.add_edge("sum", "one", weight=0.75)
    graph.add_node("top", kind="product")
    graph.add_edges_from([("top", "sum"), ("top", "c")])
    source = SPN.from_networkx(graph, dtype=F64)
    assert (exact(convert(source, LTM)) == exact(source)).all()


@pytest.mark.parametrize("seed", range(6))
def test_matchings_are_refused_with_two_products_and_a_bound(seed):
    source = matchings(6, seed)
    with pytest.raises(ConversionError, match="not self-similar") as refusal:
        convert(source, LTM)
    text = str(refusal.value)
    names = {
        source.network.name(v) for v in range(len(source.network)) if source.network.kind[v] == 1
    }
    assert sum(name in text for name in names) >= 2
    bound = int(re.search(r"at least (\d+)", text).group(1))
    assert bound == states_needed(source).states
    assert 1 < bound == states_of_any_tree(exact(source))


@given(st.integers(0, 10**6))
def test_random_networks_are_read_exactly_or_refused_with_a_true_bound(seed):
    g = torch.Generator().manual_seed(seed)
    source = SPN(random_network(g, 4, zeros=0.2), dtype=F64)
    try:
        found = convert(source, LTM)
    except ConversionError as refusal:
        assert "product nodes" in str(refusal)
        assert 1 <= states_needed(source).states <= states_of_any_tree(exact(source))
    else:
        assert (exact(found) == exact(source)).all() or certificate(source, found).exact
        np.testing.assert_allclose(found.dense(), source.dense(), atol=1e-15)


def test_the_two_products_have_one_scope_and_split_it_differently():
    a = inputs(4, 2)
    one = (0.5 * a[0][0] * a[1][0] + 0.5 * a[0][1] * a[1][1]) * a[2][0] * a[3][0]
    other = a[0][1] * a[1][1] * a[2][1] * a[3][1]
    with pytest.raises(ConversionError, match=r"over \{0, 1, 2, 3\}.*over \{0, 1\}.*over \{0\}"):
        convert(SPN(0.5 * one + 0.5 * other), LTM)


@pytest.mark.parametrize("d", [12, 40, 400])
def test_the_bound_is_certified_for_many_variables_too(d):
    """Any tree for these matchings has a latent with more than two states."""
    needed = states_needed(matchings(d, d))
    assert needed.states >= 3
    assert 3 <= len(needed.variables) <= d


def test_a_tree_never_needs_more_states_than_it_has():
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        source = LTM(Tree.random(6, arity=3, generator=g), 3, 2, generator=g, dtype=F64)
        assert states_needed(source).states <= 2


def test_balanced_cuts_leave_a_third_on_either_side():
    for m in range(3, 9):
        cuts = list(balanced_cuts(m))
        wanted = {
            frozenset([frozenset(rows), frozenset(range(m)) - frozenset(rows)])
            for size in range(m + 1)
            for rows in itertools.combinations(range(m), size)
            if 3 * size >= m and 3 * (m - size) >= m
        }
        assert len(cuts) == len(wanted)
        assert {
            frozenset([frozenset(c), frozenset(range(m)) - frozenset(c)]) for c in cuts
        } == wanted


def test_the_least_rank_of_a_product_is_one():
    tensor = torch.einsum("a,b,c,d->abcd", *torch.randint(1, 9, (4, 3)))
    assert least_rank(tensor) == (1, len(list(balanced_cuts(4))))


def test_induced_trees_are_multiplied_out():
    source = matchings(6, 1)
    assert induced_trees(source.network) == 3 * 4**3
    found = convert(source, TMM, budget=10**5)
    assert len(found.weights) == 3 * 4**3
    np.testing.assert_allclose(listing(found).tensor(found.shape), source.dense(), atol=1e-15)
    assert certificate(source, found).exact


def test_univariate_mixtures_are_not_multiplied_out():
    source = convert(TMM(5, 3, 4, dtype=F64), SPN)
    assert induced_trees(source.network) == 4
    assert len(convert(source, TMM, budget=1000).weights) == 4
