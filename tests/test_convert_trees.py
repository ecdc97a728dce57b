"""The same tensor on other trees: other roots, two children at most, nothing redundant."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixtures import HMM, HT, LTM, TMM, Tree
from transforms.certificates import certificate
from transforms.convert import convert
from transforms.trees import binary, reroot, suppress

from oracle_models import listing
from test_convert_down import W, random_ltm
from zoo import TREES, fresh, rows

F64 = torch.float64
LATENT = [name for name in TREES if not name.startswith("HT")]


@pytest.mark.parametrize("name", LATENT)
def test_any_latent_can_be_the_root(name):
    source = fresh(name)
    truth = W(source)
    for node in source.tree.inner[:: 1 + len(source.tree.inner) // 6]:
        found = reroot(source, node)
        np.testing.assert_allclose(W(found), truth, rtol=1e-12, atol=1e-16)
        assert certificate(source, found).exact


def test_tables_off_the_way_keep_every_bit():
    source = LTM(Tree.balanced(8), 2, 3, dtype=F64)
    found = reroot(source, 8)
    assert found.tree.root == 8
    away = [node for node in source.tree.nodes if node not in (8, 12, 14)]
    for node in away:
        assert torch.equal(found.table(node), source.table(node))


def test_a_root_is_a_latent():
    with pytest.raises(ValueError, match="expected one of the latents"):
        reroot(HMM(3, 2, 2), 0)
    with pytest.raises(ValueError, match="joint tables"):
        reroot(HT(Tree.balanced(4), 2, 2), 4)


@pytest.mark.parametrize("name", LATENT)
def test_binary_trees_have_copies_only(name):
    source = fresh(name)
    found = binary(source)
    assert max(len(below) for below in found.tree.children.values()) <= 2
    assert found.stored == source.stored
    assert (exact(found) == exact(source)).all()


def exact(model) -> np.ndarray:
    return listing(model, Fraction).tensor(model.shape)


def test_a_star_of_many_variables_becomes_as_shallow_as_can_be():
    source = TMM(64, 2, 2)
    found = binary(source)
    assert found.tree.depth == 6
    assert found.size == source.size + 62 * 3 * 2 - 62 * 2  # r for identities, 2 r - r for factors


@given(st.integers(0, 10**6))
def test_nothing_redundant_is_left_and_nothing_grows(seed):
    source = random_ltm(seed, variables=6, zeros=0.0)
    found = suppress(source)
    np.testing.assert_allclose(W(found), W(source), rtol=1e-12, atol=1e-16)
    assert certificate(source, found).exact
    assert (found.size, found.stored) <= (source.size, max(source.stored, found.stored))
    for node in found.tree.inner:
        neighbours = found.tree.children[node]
        if node == found.tree.root:
            continue
        assert found.table(node) is not None
        if len(neighbours) == 1:  # it bounds a rank
            assert found.states(node) < min(found.rows(node), found.states(neighbours[0]))


def test_a_star_written_as_a_chain_is_a_star_again():
    source = TMM(6, 3, 2, shared=True, dtype=F64)
    found = suppress(convert(source, HMM))
    assert len(found.tree.inner) == 1
    assert (found.stored, found.size) == (source.stored, source.size)


def test_the_root_of_a_binary_tree_is_redundant():
    source = LTM(Tree.balanced(8), 3, 2, dtype=F64)
    found = suppress(source)
    assert len(found.tree.inner) == len(source.tree.inner) - 1
    assert all(len(found.tree.children[node]) in (2, 3) for node in found.tree.inner)


def test_a_bottleneck_stays():
    """A latent of two neighbours with fewer states than both bounds the rank of W."""
    g = torch.Generator().manual_seed(0)
    tree = Tree({"top": (0, "neck"), "neck": ("low",), "low": (1, 2)})
    tables = {"top": rows(g, F64, 1, 4), "neck": rows(g, F64, 4, 2), "low": rows(g, F64, 2, 4)}
    tables |= {j: rows(g, F64, 4, 4) for j in range(3)}
    assert "neck" in suppress(LTM.from_tables(tree, tables)).tree.children
    wide = tables | {"neck": rows(g, F64, 4, 5), "low": rows(g, F64, 5, 4)}
    assert "neck" not in suppress(LTM.from_tables(tree, wide)).tree.children


def test_ten_thousand_variables():
    source = LTM(Tree.random(10_000, arity=4), 2, 2)
    for found in (suppress(source), binary(source), reroot(source, source.tree.inner[0])):
        assert found.variables == 10_000
