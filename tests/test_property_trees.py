"""Laws on random trees: any shape, any sizes, ties, zeros and identities, against the oracle."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mixtures import HT, LTM, Linear, Max, Modular, Tree, engine

from laws import close, tensor
from oracle_models import listing
from zoo import rows

MOST = 3000  # joint assignments the oracle may list


@st.composite
def trees(draw, most=5):
    """A tree over 1 to `most` variables whose nodes have 1 to 4 children, in any order."""
    d = draw(st.integers(1, most))
    left = list(range(d))
    children = {}
    while len(left) > 1 or not children or draw(st.integers(0, 4)) == 0:
        count = draw(st.integers(1 if draw(st.integers(0, 3)) == 0 else 2, 4))
        order = draw(st.permutations(left))
        children[f"z{len(children)}"] = order[:count]
        left = [*order[count:], f"z{len(children) - 1}"]
        assume(len(children) < 7)
    return Tree(children)


@st.composite
def latent_trees(draw):
    """A latent tree model with random sizes, some tables tied, some absent, some with zeros."""
    tree = draw(trees())
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    zeros = draw(st.sampled_from([0.0, 0.0, 0.4]))
    states, tables, known = {}, {}, {}
    for node in (*reversed(tree.inner), *range(tree.variables)):
        above = 1 if node == tree.root else states[tree.parent[node]]
        if node != tree.root and draw(st.integers(0, 5)) == 0:
            states[node] = above
            continue
        states[node] = draw(st.integers(1, 3))
        shape = (above, states[node])
        if shape not in known or draw(st.integers(0, 2)) > 0:
            known[shape] = rows(g, torch.float64, *shape, zeros=zeros)
        tables[node] = known[shape]
    model = LTM.from_tables(tree, tables)
    assume(np.prod([states[v] for v in tree.nodes]) <= MOST)
    return model


@st.composite
def tucker_trees(draw):
    tree = draw(trees(4))
    bonds = {v: draw(st.integers(1, 2)) for v in tree.nodes}
    k = [draw(st.integers(1, 3)) for _ in range(tree.variables)]
    assume(np.prod([*bonds.values(), *k]) <= MOST)
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    emission = draw(st.booleans())
    return HT(tree, k, bonds, emission=emission, generator=g, dtype=torch.float64)


def some_leaves(model, seed, n=3):
    rng = np.random.default_rng(seed)
    leaves = rng.normal(size=(n, model.variables, max(model.shape))) * 3
    leaves[rng.random(leaves.shape[:2]) < 0.3] = 0
    return leaves


def check(model, seed):
    """Every query against the list of all joint assignments."""
    listed, leaves = listing(model), some_leaves(model, seed)
    given_rows = tensor(leaves)
    W = listed.tensor(model.shape)
    close(model.dense(), W)
    close(model.contract(given_rows), [listed.density(row) for row in leaves], atol=1e-12)
    close(model.contract(given_rows, Max()), [listed.logs(row).max() for row in leaves], atol=1e-12)
    signed = (W * outer(leaves[0], model.shape)).sum()
    close(model.contract(given_rows[0], Linear()), signed, atol=1e-9)
    close(model.posterior(given_rows), np.stack([listed.posterior(row) for row in leaves]))
    check_counts(model, listed, leaves, seed)
    best = model.explain(given_rows)
    for n, row in enumerate(leaves):
        states = {v: int(s[n]) for v, s in best.states.items()}
        match = (listed.components == best.components[n].numpy()).all(1)
        for latent, state in states.items():
            match &= listed.states[latent] == state
        assert match.sum() == 1
        close(listed.logs(row)[match], listed.logs(row).max(), atol=1e-10)


def outer(leaves, shape):
    product = np.ones(())
    for line, k in zip(leaves, shape, strict=True):
        product = np.multiply.outer(product, line[:k])
    return product


def check_counts(model, listed, leaves, seed):
    seen = np.random.default_rng(seed + 1).random(leaves.shape[:2]) < 0.6
    leaves = leaves * seen[..., None]
    source = dataclasses.replace(
        engine.from_tensor(tensor(leaves)), observed=lambda a, b: torch.as_tensor(seen[a:b].T)
    )
    counts = [torch.zeros(array.shape, dtype=torch.float64) for array in model.arrays]
    with torch.no_grad():
        for chunk in engine.sweep(
            model.circuit, model.arrays, source, counts=counts, keep_states=True
        ):
            for latent, found in chunk.states.items():
                expected = [listed.latent_posterior(row, latent) for row in leaves]
                close(found.T, np.stack(expected))
    expected = [np.zeros(count.shape) for count in counts]
    for row, mask in zip(leaves, seen, strict=True):
        for (table, *entry), count in listed.counts(row, mask).items():
            expected[table][tuple(entry)] += count
    for found, true in zip(counts, expected, strict=True):
        close(found, true, atol=1e-13)


@given(latent_trees(), st.integers(0, 2**20))
def test_any_latent_tree_answers_as_the_list_of_its_joint_assignments(model, seed):
    check(model, seed)


@given(tucker_trees(), st.integers(0, 2**20))
def test_any_tucker_tree_answers_as_the_list_of_its_joint_assignments(model, seed):
    check(model, seed)


@given(latent_trees(), st.integers(0, 2**20), st.sampled_from([5, 134217689, 2**31 - 1]))
def test_any_latent_tree_is_exact_modulo_a_prime(model, seed, p):
    rng = np.random.default_rng(seed)
    leaves = rng.integers(0, 9, (model.variables, max(model.shape)))
    listed, value = listing(model, Fraction), Fraction(0)
    for weight, index in zip(listed.weight, listed.components, strict=True):
        value += weight * math.prod(int(leaves[j, i]) for j, i in enumerate(index))
    found = int(model.contract(torch.as_tensor(leaves), Modular(p)))
    assert found == value.numerator * pow(value.denominator, -1, p) % p


@given(trees())
def test_any_tree_survives_its_round_trips(tree):
    assert Tree.from_networkx(tree.to_networkx()) == tree
    assert Tree.from_parents(tree.parent).parent == tree.parent
    assert sorted(tree.leaves) == list(range(tree.variables))
