"""The oracle against itself: every truth is computed a second way, or by hand."""

import itertools
import math
from fractions import Fraction

import networkx
import numpy as np
import pytest
import tensorly

from oracle import (
    condition,
    contract,
    cp_tensor,
    hmm_tensor,
    ht_tensor,
    log_density,
    marginal,
    matricize,
    posterior,
    spn_tensor,
    tree_tensor,
)

BALANCED = {6: None, 4: 6, 5: 6, 0: 4, 1: 4, 2: 5, 3: 5}  # child -> parent; the root is 6
BALANCED_CHILDREN = {6: (4, 5), 4: (0, 1), 5: (2, 3)}


def random_rows(rng, *shape):
    """Rows on the simplex, as every table of the library has."""
    table = rng.exponential(size=shape)
    return table / table.sum(-1, keepdims=True)


def balanced_parents():
    return {child: parent for child, parent in BALANCED.items() if parent is not None}


def balanced_tables(rng, inner=(2, 3), k=(2, 3, 2, 4), root=3):
    tables = {6: random_rows(rng, 1, root)}
    tables |= {node: random_rows(rng, root, r) for node, r in zip((4, 5), inner, strict=True)}
    return tables | {j: random_rows(rng, inner[j // 2], k[j]) for j in range(4)}


def test_a_cp_tensor_is_tensorlys():
    rng = np.random.default_rng(1)
    weights = random_rows(rng, 3)
    factors = [random_rows(rng, 3, k) for k in (2, 4, 3)]
    theirs = tensorly.cp_to_tensor((weights, [factor.T for factor in factors]))
    np.testing.assert_allclose(cp_tensor(weights, factors), theirs, rtol=1e-13)


def test_a_star_is_a_cp_tensor():
    rng = np.random.default_rng(2)
    weights = random_rows(rng, 3)
    factors = [random_rows(rng, 3, k) for k in (2, 4, 3)]
    star = dict.fromkeys(range(3), "top")
    tables = {"top": weights[None], **dict(enumerate(factors))}
    np.testing.assert_allclose(
        tree_tensor(star, "top", 3, tables), cp_tensor(weights, factors), rtol=1e-13
    )


def test_a_hidden_markov_model_is_a_product_of_matrices():
    rng = np.random.default_rng(3)
    d, r, k = 4, 3, 2
    initial, transition = random_rows(rng, r), random_rows(rng, d - 1, r, r)
    emission = random_rows(rng, d, r, k)
    W = hmm_tensor(initial, transition, emission)
    assert W.shape == (k,) * d
    for i in np.ndindex(W.shape):
        vector = initial * emission[0][:, i[0]]
        for j in range(1, d):
            vector = (vector @ transition[j - 1]) * emission[j][:, i[j]]
        assert W[i] == pytest.approx(vector.sum(), rel=1e-13)


def test_a_hidden_markov_model_is_the_latent_tree_on_a_chain():
    rng = np.random.default_rng(4)
    d, r, sizes = 4, 3, (2, 4, 3, 2)
    initial, transition = random_rows(rng, r), random_rows(rng, d - 1, r, r)
    emission = [random_rows(rng, r, k) for k in sizes]
    parents = {j: d + j for j in range(d)} | {d + j + 1: d + j for j in range(d - 1)}
    tables = {d: initial[None]} | {d + j + 1: transition[j] for j in range(d - 1)}
    W = tree_tensor(parents, d, d, tables | dict(enumerate(emission)))
    np.testing.assert_allclose(hmm_tensor(initial, transition, emission), W, rtol=1e-13)


def test_shared_tables_of_a_hidden_markov_model_are_equal_tables_everywhere():
    rng = np.random.default_rng(5)
    initial, transition, emission = random_rows(rng, 2), random_rows(rng, 2, 2), np.eye(2)
    W = hmm_tensor(initial, [transition] * 2, [emission] * 3)
    np.testing.assert_array_equal(hmm_tensor(initial, transition, emission, variables=3), W)
    np.testing.assert_array_equal(hmm_tensor(initial, transition, variables=3), W)


def test_a_balanced_tree_is_an_einsum():
    tables = balanced_tables(np.random.default_rng(6))
    W = tree_tensor(balanced_parents(), 6, 4, tables)
    operands = [tables[6][0], tables[4], tables[5], *(tables[j] for j in range(4))]
    einsum = np.einsum("t,ta,tb,aw,ax,by,bz->wxyz", *operands)
    np.testing.assert_allclose(W, einsum, rtol=1e-13)
    assert W.sum() == pytest.approx(1)


def test_a_node_without_a_table_repeats_its_parents_state():
    rng = np.random.default_rng(7)
    tables = balanced_tables(rng, inner=(3, 3), k=(3, 3, 2, 2))
    del tables[4], tables[0]
    spelled_out = tables | {4: np.eye(3), 0: np.eye(3)}
    np.testing.assert_array_equal(
        tree_tensor(balanced_parents(), 6, 4, tables),
        tree_tensor(balanced_parents(), 6, 4, spelled_out),
    )


def test_a_single_variable_has_its_table_as_tensor():
    table = np.array([[0.25, 0.75]])
    assert tree_tensor({}, 0, 1, {0: table}).tolist() == [0.25, 0.75]
    assert ht_tensor({}, 0, 1, {0: table}).tolist() == [0.25, 0.75]


def test_a_hierarchical_tucker_caterpillar_is_tensorlys_tensor_train():
    """Below spine node v hang variable j and the rest; its table is the core, bond by bond."""
    rng = np.random.default_rng(8)
    d, k, r = 4, (2, 3, 2, 3), (1, 2, 3, 3)
    cores = [random_rows(rng, r[j], k[j] * r[j + 1]) for j in range(d - 1)]
    children = {"a": (0, "b"), "b": (1, "c"), "c": (2, 3)}
    W = ht_tensor(children, "a", d, dict(zip("abc", cores, strict=True)), components=k)
    shaped = [core.reshape(r[j], k[j], r[j + 1]) for j, core in enumerate(cores)]
    theirs = tensorly.tt_to_tensor([*shaped, np.eye(3)[:, :, None]])
    np.testing.assert_allclose(W, theirs, rtol=1e-13)


def test_hierarchical_tucker_with_diagonal_tables_is_the_latent_tree():
    """A latent that copies its state is a table over the joint state with a diagonal only."""
    tables = balanced_tables(np.random.default_rng(9))
    joint = {j: tables[j] for j in range(4)}
    for node in (4, 5):
        r = tables[node].shape[1]
        copies = np.array([np.kron(np.eye(r)[s], np.eye(r)[s]) for s in range(r)])
        joint[node] = tables[node] @ copies
    joint[6] = tables[6] @ np.array([np.kron(np.eye(3)[s], np.eye(3)[s]) for s in range(3)])
    np.testing.assert_allclose(
        ht_tensor(BALANCED_CHILDREN, 6, 4, joint),
        tree_tensor(balanced_parents(), 6, 4, tables),
        rtol=1e-13,
    )


def test_the_last_childs_state_runs_fastest():
    table = np.array([[Fraction(n, 21) for n in (1, 2, 3, 4, 5, 6)]])
    W = ht_tensor({"top": (1, 0)}, "top", 2, {"top": table}, components=(3, 2))
    assert W[2, 1] == Fraction(6, 21) and W[2, 0] == Fraction(3, 21) and W[0, 1] == Fraction(4, 21)


def polynomial_network():
    """0.3 a0 b1 + 0.7 (a0 (0.5 b0 + 0.5 b1)), with the input a0 shared."""
    graph = networkx.DiGraph()
    inputs = {"a0": (0, 0), "b0": (1, 0), "b1": (1, 1)}
    for name, (variable, component) in inputs.items():
        graph.add_node(name, kind="input", variable=variable, component=component)
    for name, kind in {"s": "sum", "p": "product", "q": "product", "t": "sum"}.items():
        graph.add_node(name, kind=kind)
    graph.add_edges_from([("p", "a0"), ("p", "b1"), ("q", "a0"), ("q", "t")])
    graph.add_weighted_edges_from([("s", "p", 0.3), ("s", "q", 0.7), ("t", "b0", 0.5)])
    graph.add_edge("t", "b1", weight=0.5)
    return graph


def test_a_network_is_its_polynomial():
    W = spn_tensor(polynomial_network())
    np.testing.assert_allclose(W, [[0.35, 0.65]], rtol=1e-15)
    assert spn_tensor(polynomial_network(), shape=(2, 2))[1].tolist() == [0, 0]


def test_a_latent_class_model_is_the_network_of_its_sums_and_products():
    rng = np.random.default_rng(10)
    weights, factors = random_rows(rng, 2), [random_rows(rng, 2, 3) for _ in range(3)]
    graph = networkx.DiGraph()
    graph.add_node("top", kind="sum")
    for j, i in itertools.product(range(3), range(3)):
        graph.add_node(("x", j, i), kind="input", variable=j, component=i)
    for s, j in itertools.product(range(2), range(3)):
        graph.add_node(("and", s), kind="product")
        graph.add_node(("or", s, j), kind="sum")
        graph.add_edge("top", ("and", s), weight=weights[s])
        graph.add_edge(("and", s), ("or", s, j))
        for i in range(3):
            graph.add_edge(("or", s, j), ("x", j, i), weight=factors[j][s, i])
    np.testing.assert_allclose(spn_tensor(graph), cp_tensor(weights, factors), rtol=1e-13)


def test_contraction_is_the_sum_over_all_indices_and_ignores_spare_columns():
    rng = np.random.default_rng(11)
    W, leaves = rng.random((2, 3, 2)), rng.normal(size=(3, 4))
    total = sum(
        W[i] * math.prod(leaves[j, i[j]] for j in range(3))
        for i in itertools.product(*map(range, W.shape))
    )
    assert contract(W, leaves) == pytest.approx(total, rel=1e-13)


def test_the_log_density_is_the_log_of_a_contraction_at_any_scale():
    rng = np.random.default_rng(12)
    W, logs = random_rows(rng, 8).reshape(2, 2, 2), rng.normal(size=(3, 2))
    assert log_density(W, logs) == pytest.approx(math.log(contract(W, np.exp(logs))), rel=1e-13)
    assert log_density(W, logs - 1e4) == pytest.approx(log_density(W, logs) - 3e4, rel=1e-13)
    assert log_density(W, np.full((3, 2), -np.inf)) == -np.inf


def test_a_posterior_is_the_share_of_one_component():
    rng = np.random.default_rng(13)
    W, leaves = random_rows(rng, 12).reshape(2, 3, 2), rng.random((3, 3))
    for j, shares in enumerate(posterior(W, np.log(leaves))):
        for i in range(W.shape[j]):
            only = leaves.copy()
            only[j, np.arange(3) != i] = 0
            assert shares[i] == pytest.approx(contract(W, only) / contract(W, leaves), rel=1e-12)


def test_a_row_of_probability_zero_has_no_posterior():
    with pytest.raises(AssertionError, match="probability zero"):
        posterior(np.array([[0.5, 0.5]]), [[-np.inf, 0], [0, 0]])


def test_a_marginal_keeps_the_axes_in_the_order_asked_for():
    W = np.random.default_rng(14).random((2, 3, 4))
    np.testing.assert_allclose(marginal(W, [2, 0]), np.einsum("abc->ca", W), rtol=1e-13)
    np.testing.assert_allclose(marginal(W, [1]), np.einsum("abc->b", W), rtol=1e-13)
    np.testing.assert_allclose(marginal(W, [1, 2, 0]), np.einsum("abc->bca", W), rtol=1e-13)


def test_conditioning_on_a_component_is_a_normalised_slice():
    W = np.random.default_rng(15).random((2, 3, 4))
    expected = W[:, 1, :] / W[:, 1, :].sum()
    np.testing.assert_allclose(condition(W, {1: [0, 1, 0]}), expected, rtol=1e-13)


def test_a_matricization_puts_each_entry_where_its_indices_say():
    W = np.arange(24).reshape(2, 3, 4)
    matrix = matricize(W, [2, 0])
    assert matrix.shape == (8, 3)
    assert all(matrix[2 * c + a, b] == W[a, b, c] for a, b, c in np.ndindex(W.shape))


def test_tables_of_fractions_give_exact_tensors():
    half, third = Fraction(1, 2), Fraction(1, 3)
    tables = {"top": np.array([[third, 2 * third]]), 0: np.array([[half, half], [0, 1]])}
    tables[1] = np.array([[1, 0], [third, 2 * third]])
    W = tree_tensor({0: "top", 1: "top"}, "top", 2, tables)
    by_hand = [[Fraction(1, 6), 0], [Fraction(1, 6) + Fraction(2, 9), Fraction(4, 9)]]
    assert W.tolist() == by_hand
    assert contract(W, np.ones((2, 2), dtype=int)) == 1
    assert condition(W, {0: [1, 0]}).tolist() == [1, 0]
