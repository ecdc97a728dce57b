"""The lists of joint assignments against the tensors, against slices of them, and by hand."""

import itertools
import math

import networkx
import numpy as np
import pytest
from hmmlearn.hmm import CategoricalHMM

from oracle import hmm_tensor, ht_tensor, log_density, posterior, spn_tensor, tree_tensor
from oracle_joint import (
    best_joint,
    component_posterior,
    count_table,
    expected_counts,
    ht_joint,
    joint_log_density,
    latent_posterior,
    spn_joint,
    tree_joint,
)

D = 3
CHAIN = {0: 3, 4: 3, 1: 4, 5: 4, 2: 5}  # child -> parent of a hidden Markov model; the root is 3


def random_rows(rng, *shape):
    table = rng.exponential(size=shape)
    return table / table.sum(-1, keepdims=True)


def chain_tables(rng, r=2, k=3):
    shapes = {3: (1, r), 4: (r, r), 5: (r, r)} | dict.fromkeys(range(D), (r, k))
    return {node: random_rows(rng, *shape) for node, shape in shapes.items()}


def chain_joint(tables):
    return tree_joint(CHAIN, 3, D, tables)


def tucker(rng):
    children = {"top": (0, "pair"), "pair": (1, 2)}
    tables = {"top": random_rows(rng, 1, 6), "pair": random_rows(rng, 3, 4)}
    tables |= {1: random_rows(rng, 2, 3), 2: random_rows(rng, 2, 2)}
    return children, "top", D, tables


def network():
    """A sum of two products that share a sum: 0.3 a0 t + 0.7 a1 t, t = 0.2 b0 + 0.8 b1."""
    graph = networkx.DiGraph()
    for name in ("a0", "a1", "b0", "b1"):
        graph.add_node(name, kind="input", variable="ab".index(name[0]), component=int(name[1]))
    for name, kind in {"s": "sum", "t": "sum", "p": "product", "q": "product"}.items():
        graph.add_node(name, kind=kind)
    graph.add_edges_from([("p", "a0"), ("p", "t"), ("q", "a1"), ("q", "t")])
    edges = [("s", "p", 0.3), ("s", "q", 0.7), ("t", "b0", 0.2), ("t", "b1", 0.8)]
    graph.add_weighted_edges_from(edges)
    return graph


def weights_by_components(joint, shape):
    """The total weight of all assignments with the same components: W again."""
    W = np.zeros(shape)
    for assignment in joint.assignments:
        W[assignment.components] += assignment.weight
    return W


def test_the_assignments_of_a_latent_tree_add_up_to_its_tensor():
    tables = chain_tables(np.random.default_rng(1))
    W = tree_tensor(CHAIN, 3, D, tables)
    np.testing.assert_allclose(weights_by_components(chain_joint(tables), W.shape), W, rtol=1e-13)


def test_the_assignments_of_a_tucker_tree_add_up_to_its_tensor():
    model = tucker(np.random.default_rng(2))
    W = ht_tensor(*model)
    assert W.shape == (2, 3, 2)
    np.testing.assert_allclose(weights_by_components(ht_joint(*model), W.shape), W, rtol=1e-13)


def test_the_assignments_of_a_network_add_up_to_its_tensor():
    W = spn_tensor(network())
    np.testing.assert_allclose(weights_by_components(spn_joint(network()), W.shape), W, rtol=1e-13)
    np.testing.assert_allclose(W, np.outer([0.3, 0.7], [0.2, 0.8]), rtol=1e-13)


def test_the_weights_of_the_numbers_used_multiply_to_the_weight():
    tables = chain_tables(np.random.default_rng(3))
    for assignment in chain_joint(tables).assignments:
        product = math.prod(tables[node][row, column] for node, row, column in assignment.uses)
        assert product == pytest.approx(assignment.weight, rel=1e-13)
    model = tucker(np.random.default_rng(4))
    for assignment in ht_joint(*model).assignments:
        product = math.prod(model[3][node][row, column] for node, row, column in assignment.uses)
        assert product == pytest.approx(assignment.weight, rel=1e-13)


def test_densities_and_component_posteriors_are_those_of_the_tensor():
    rng = np.random.default_rng(5)
    tables, logs = chain_tables(rng), rng.normal(size=(D, 3))
    W, joint = tree_tensor(CHAIN, 3, D, tables), chain_joint(tables)
    assert joint_log_density(joint, logs) == pytest.approx(log_density(W, logs), rel=1e-13)
    for j, shares in enumerate(posterior(W, logs)):
        np.testing.assert_allclose(component_posterior(joint, logs, j, 3), shares, rtol=1e-12)


@pytest.mark.parametrize("node", [3, 4, 5])
def test_a_latent_posterior_is_the_share_of_the_model_with_that_state_fixed(node):
    rng = np.random.default_rng(6)
    tables, logs = chain_tables(rng), rng.normal(size=(D, 3))
    total = log_density(tree_tensor(CHAIN, 3, D, tables), logs)
    shares = latent_posterior(chain_joint(tables), logs, node, 2)
    for state in range(2):
        only = tables | {node: tables[node] * (np.arange(2) == state)}
        share = math.exp(log_density(tree_tensor(CHAIN, 3, D, only), logs) - total)
        assert shares[state] == pytest.approx(share, rel=1e-12)


def test_evidence_on_a_latent_weighs_its_states():
    rng = np.random.default_rng(7)
    tables, logs, evidence = chain_tables(rng), rng.normal(size=(D, 3)), rng.normal(size=2)
    weighed = tables | {4: tables[4] * np.exp(evidence)}
    expected = log_density(tree_tensor(CHAIN, 3, D, weighed), logs)
    joint = chain_joint(tables)
    assert joint_log_density(joint, logs, {4: evidence}) == pytest.approx(expected, rel=1e-12)


def test_smoothing_viterbi_and_likelihood_are_hmmlearns():
    rng = np.random.default_rng(8)
    tables = chain_tables(rng)
    transition, emission = tables[4], tables[0]
    theirs = CategoricalHMM(n_components=2, n_features=3)
    theirs.startprob_, theirs.transmat_, theirs.emissionprob_ = tables[3][0], transition, emission
    joint = chain_joint(tables | {5: transition, 1: emission, 2: emission})
    W = hmm_tensor(tables[3][0], transition, emission, variables=D)
    for symbols in itertools.product(range(3), repeat=D):
        logs = np.where(np.eye(3)[list(symbols)] > 0, 0.0, -np.inf)
        x = np.array(symbols)[:, None]
        assert log_density(W, logs) == pytest.approx(theirs.score(x), rel=1e-12)
        smoothed = [latent_posterior(joint, logs, node, 2) for node in (3, 4, 5)]
        np.testing.assert_allclose(smoothed, theirs.predict_proba(x), rtol=1e-10)
        score, path = theirs.decode(x)
        best, ((states, components),) = best_joint(joint, logs)
        assert best == pytest.approx(score, rel=1e-12)
        assert ([states[n] for n in (3, 4, 5)], components) == (path.tolist(), symbols)


def test_all_best_explanations_are_listed():
    tables = {"top": np.array([[0.5, 0.5]]), 0: np.eye(2), 1: np.array([[0.5, 0.5], [0.2, 0.8]])}
    joint = tree_joint({0: "top", 1: "top"}, "top", 2, tables)
    best, ties = best_joint(joint, np.array([[0.0, math.log(0.625)], [0.0, 0.0]]))
    assert best == pytest.approx(math.log(0.25))
    assert ties == [({"top": 0}, (0, 0)), ({"top": 0}, (0, 1)), ({"top": 1}, (1, 1))]


def test_the_best_explanation_need_not_be_the_best_coefficient():
    """Two weak states agree on a component which no single best state chooses."""
    tables = {"top": np.array([[0.4, 0.3, 0.3]]), 0: np.array([[1.0, 0], [0, 1], [0, 1]])}
    joint = tree_joint({0: "top"}, "top", 1, tables)
    assert tree_tensor({0: "top"}, "top", 1, tables).argmax() == 1
    assert best_joint(joint, np.zeros((1, 2)))[1] == [({"top": 0}, (0,))]


def test_each_row_of_an_observed_table_is_counted_once():
    rng = np.random.default_rng(9)
    tables, logs = chain_tables(rng), rng.normal(size=(D, 3))
    counts = expected_counts(chain_joint(tables), logs, [True] * D)
    for node, table in tables.items():
        assert count_table(counts, node, table.shape).sum() == pytest.approx(1)
    columns = count_table(counts, 4, (2, 2)).sum(0)
    np.testing.assert_allclose(columns, latent_posterior(chain_joint(tables), logs, 4, 2))


def test_expected_counts_are_the_derivative_of_the_log_density_in_the_log_table():
    rng = np.random.default_rng(10)
    tables, logs, step = chain_tables(rng), rng.normal(size=(D, 3)), 1e-6
    counts = expected_counts(chain_joint(tables), logs, [True] * D)
    for node, table in tables.items():
        for index in np.ndindex(table.shape):
            around = []
            for sign in (1, -1):
                moved = table.copy()
                moved[index] *= math.exp(sign * step)
                around.append(log_density(tree_tensor(CHAIN, 3, D, tables | {node: moved}), logs))
            slope = (around[0] - around[1]) / (2 * step)
            assert counts[(node, *index)] == pytest.approx(slope, abs=1e-8)


def test_padding_with_missing_values_leaves_the_counts_of_the_shorter_chain():
    rng = np.random.default_rng(11)
    tables, logs = chain_tables(rng), rng.normal(size=(D, 3))
    logs[2] = 0
    padded = expected_counts(chain_joint(tables), logs, [True, True, False])
    short = {node: table for node, table in tables.items() if node not in (2, 5)}
    parents = {child: parent for child, parent in CHAIN.items() if child in short}
    alone = expected_counts(tree_joint(parents, 3, 2, short), logs[:2], [True, True])
    assert padded.keys() == alone.keys()
    assert all(padded[use] == pytest.approx(alone[use], rel=1e-12) for use in alone)


def test_a_missing_value_above_observed_ones_stops_only_its_own_leaf():
    tables = chain_tables(np.random.default_rng(12))
    counts = expected_counts(chain_joint(tables), np.zeros((D, 3)), [False, False, True])
    assert {use[0] for use in counts} == {2, 3, 4, 5}
    assert expected_counts(chain_joint(tables), np.zeros((D, 3)), [False] * D) == {}


def test_counts_of_tucker_tables_are_over_the_joint_states_of_children():
    rng = np.random.default_rng(13)
    model = tucker(rng)
    logs = rng.normal(size=(D, 3))
    joint = ht_joint(*model)
    counts = expected_counts(joint, logs, [True] * D)
    top = count_table(counts, "top", (1, 6)).reshape(2, 3)
    np.testing.assert_allclose(top.sum(1), latent_posterior(joint, logs, 0, 2))
    np.testing.assert_allclose(top.sum(0), latent_posterior(joint, logs, "pair", 3))
    half = expected_counts(joint, logs * [[1], [0], [0]], [True, False, False])
    assert {use[0] for use in half} == {"top"}


def test_counts_of_a_network_are_expected_uses_of_its_edges():
    logs = np.log([[0.5, 0.25], [1.0, 1.0]])
    counts = expected_counts(spn_joint(network()), logs, [True, False])
    assert counts.keys() == {("s", "p"), ("s", "q")}
    assert counts["s", "p"] == pytest.approx(0.3 * 0.5 / (0.3 * 0.5 + 0.7 * 0.25))
    both = expected_counts(spn_joint(network()), logs, [True, True])
    assert both["t", "b1"] == pytest.approx(0.8)
