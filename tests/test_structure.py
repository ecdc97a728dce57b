"""Structure: trees of greatest mutual information, against every tree there is."""

from __future__ import annotations

import itertools
import time

import networkx
import numpy as np
import pytest
import torch
from mixture_cases import generator

from mixtures import LTM, Mixture, Tree
from mixtures.components import Data, Indicator
from mixtures.learn import chow_liu, chow_liu_model, em, fit, hidden_chow_liu
from mixtures.learn.symbols import Symbols, mutual_information

NAN = float("nan")


def symbols(n=60, sizes=(2, 3, 2, 4), seed=0):
    """Rows that depend on each other."""
    g = generator(seed)
    hidden = torch.randint(12, (n,), generator=g)
    noise = [torch.randint(3 * k, (n,), generator=g) for k in sizes]
    x = [
        torch.where(e < k, e, (hidden // (j + 1)) % k)
        for j, (k, e) in enumerate(zip(sizes, noise, strict=True))
    ]
    return torch.stack(x, 1)


def holes(x, share=0.2, seed=1):
    x = x.double().clone()
    x[torch.rand(x.shape, generator=generator(seed)) < share] = NAN
    return x


def by_hand(x, i, j, weights, pseudo_count):
    """I(x_i; x_j) from the definition, a row at a time."""
    sizes = [int(np.nanmax(x[:, v])) + 1 for v in (i, j)]
    table = np.full(sizes, pseudo_count / np.prod(sizes))
    for row, weight in zip(x, weights, strict=True):
        if not np.isnan(row[[i, j]]).any():
            table[int(row[i]), int(row[j])] += weight
    p = table / table.sum()
    product = p.sum(1, keepdims=True) * p.sum(0)
    return sum(a * np.log(a / b) for a, b in zip(p.flat, product.flat, strict=True) if a > 0)


def every_tree(d):
    for code in itertools.product(range(d), repeat=d - 2):
        yield networkx.from_prufer_sequence(list(code))


def total(graph):
    return sum(weight for *_, weight in graph.edges(data="weight"))


@pytest.mark.parametrize("pseudo_count", [0.0, 1.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 4), (1, 2, 3)])
def test_mutual_information_is_its_definition(sizes, missing, weighted, pseudo_count):
    x = symbols(sizes=sizes)
    x = holes(x) if missing else x
    weights = np.linspace(0, 2, len(x)) if weighted else np.ones(len(x))
    read = Symbols.read(x, None, weights if weighted else None)
    found = mutual_information(read, pseudo_count).numpy()
    for i, j in itertools.permutations(range(len(sizes)), 2):
        expected = by_hand(x.double().numpy(), i, j, weights, pseudo_count)
        assert found[i, j] == pytest.approx(expected, abs=1e-12)


def test_counts_do_not_depend_on_how_rows_are_cut(monkeypatch):
    x = holes(symbols())
    whole = mutual_information(Symbols.read(x))
    monkeypatch.setattr("mixtures.learn.symbols.CHUNK", 100)
    torch.testing.assert_close(mutual_information(Symbols.read(x)), whole, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_no_tree_has_more_mutual_information(seed):
    x = symbols(seed=seed, sizes=(2, 3, 2, 2, 3))
    found = chow_liu(x)
    information = mutual_information(Symbols.read(x)).numpy()
    best = max(sum(information[i, j] for i, j in tree.edges) for tree in every_tree(5))
    assert networkx.is_tree(found)
    assert total(found) == pytest.approx(best)
    assert all(weight == information[i, j] for i, j, weight in found.edges(data="weight"))


def test_the_model_is_the_markov_tree_of_greatest_likelihood():
    """Against the maximum-likelihood parameters of every other tree, from the frequencies."""
    x = symbols()
    rows = x.numpy()

    def frequency(*columns):
        _, inverse, count = np.unique(
            rows[:, columns], axis=0, return_inverse=True, return_counts=True
        )
        return np.log(count[inverse.ravel()] / len(rows))

    def likelihood(tree):
        pairs = sum(frequency(i, j) for i, j in tree.edges)
        return float((pairs - sum((n - 1) * frequency(v) for v, n in tree.degree)).mean())

    model = chow_liu_model(x, dtype=torch.float64)
    scores = [likelihood(tree) for tree in every_tree(4)]
    assert model.score(x) == pytest.approx(max(scores), rel=1e-12)
    assert min(scores) < max(scores) - 1e-3
    assert model.coefficients.is_normalised()
    first, second = itertools.islice(em(model, x), 2)
    assert second.objective == pytest.approx(first.objective, abs=1e-12)


def test_weights_count_rows_and_pseudo_counts_make_everything_possible():
    x = symbols(20)
    weights = torch.arange(20) % 3
    twice = x.repeat_interleave(weights, 0)
    one = chow_liu_model(x, weights=weights, pseudo_count=0.5, components=(2, 3, 2, 5))
    two = chow_liu_model(twice, pseudo_count=0.5, components=(2, 3, 2, 5))
    torch.testing.assert_close(one.coefficients.dense(), two.coefficients.dense())
    assert one.coefficients.shape == (2, 3, 2, 5)
    assert (one.coefficients.dense() > 0).all()
    rare = chow_liu_model(twice, components=(2, 3, 2, 5))
    assert rare.log_prob([[0, 0, 0, 4]]).item() == -torch.inf


def test_with_missing_values_em_goes_on_from_the_pairwise_frequencies():
    x = holes(symbols(200))
    model = chow_liu_model(x, pseudo_count=1.0, dtype=torch.float64)
    history = fit(model, x, start="model", max_iter=20, tol=0)
    assert history.best.objective >= history.steps[0].objective
    assert history.best.objective < history.steps[0].objective + 0.1


def test_constant_duplicate_and_unpaired_columns_are_no_trouble():
    x = torch.zeros(30, 5)
    x[:, 1] = x[:, 2] = torch.arange(30) % 2
    x[:15, 3], x[15:, 4] = NAN, NAN
    graph = chow_liu(x)
    assert networkx.is_tree(graph)
    assert graph.edges[1, 2]["weight"] == pytest.approx(np.log(2))
    assert total(graph) == pytest.approx(np.log(2))
    model = chow_liu_model(x)
    assert model.log_prob(x).isfinite().all()
    assert model.score(x[:, :]) == pytest.approx(-np.log(2), rel=1e-5)
    learned = Mixture(hidden_chow_liu(x, 3), Indicator(5, (1, 2, 2, 1, 1)))
    assert fit(learned, x, max_iter=3, pseudo_count=0.1).best.log_likelihood <= 0


@pytest.mark.parametrize("x", [[[0]], [[1], [0]], [[0, 2]], torch.ones(3, 2, dtype=torch.bool)])
def test_one_row_or_one_column_will_do(x):
    model = chow_liu_model(x)
    assert model.log_prob(x).isfinite().all()
    assert chow_liu(x).number_of_nodes() == model.variables


def test_every_container_gives_the_same_tree():
    x = symbols()
    last = np.broadcast_to(np.arange(4) == 3, (60, 4))
    masked = np.ma.MaskedArray(np.where(last, 9, x.numpy()), last)
    data = Data(x.mT.contiguous())
    expected = networkx.to_dict_of_dicts(chow_liu(x))
    for other in (x.numpy(), x.tolist(), x.double(), data, x.numpy().astype(np.uint8)):
        assert networkx.to_dict_of_dicts(chow_liu(other)) == expected
    seen = torch.ones(60, 4, dtype=torch.bool)
    seen[:, 3] = False
    hidden = chow_liu_model(x, observed=seen, components=(2, 3, 2, 4))
    same = chow_liu_model(masked, components=(2, 3, 2, 4))
    torch.testing.assert_close(hidden.coefficients.dense(), same.coefficients.dense())


def test_hidden_chow_liu_hangs_every_variable_from_a_latent_of_its_own():
    x = symbols(sizes=(2, 3, 2, 2, 3, 2))
    graph = chow_liu(x)
    model = hidden_chow_liu(x, 4, generator=generator())
    assert isinstance(model, LTM)
    assert model.shape == (2, 3, 2, 2, 3, 2)
    edges = {frozenset((a - 6, b - 6)) for a, b in model.tree.parent.items() if a >= 6}
    assert edges == {frozenset(edge) for edge in graph.edges}
    assert all(model.tree.parent[j] == 6 + j for j in range(6))
    assert model.tree == Tree.from_graph(graph)
    assert {model.states(node) for node in model.tree.inner} == {4}
    states = {j: j + 1 for j in range(6)}
    other = hidden_chow_liu(x, states)
    assert all(other.states(6 + j) == j + 1 for j in range(6))
    again = hidden_chow_liu(x, 4, generator=generator())
    assert torch.equal(model.arrays[0], again.arrays[0])


def test_a_hidden_tree_learns_more_than_the_visible_one():
    x = symbols(400)
    plain = chow_liu_model(x)
    hidden = Mixture(hidden_chow_liu(x, 6), Indicator(4, (2, 3, 2, 4)))
    fit(hidden, x, max_iter=100, generator=generator())
    assert hidden.score(x) > plain.score(x) + 0.01


@pytest.mark.parametrize(
    ("x", "options", "what"),
    [
        ([[0.5, 1.0]], {}, "column 0, row 0: expected a whole number"),
        ([[0, 1], [0, -1]], {}, "column 1, row 1: expected a whole number"),
        ([[0.0, float("inf")]], {}, "column 1, row 0"),
        ([[NAN, 1.0]], {}, "column 0 has no observed value"),
        (torch.zeros(0, 2), {}, "at least one row"),
        (torch.zeros(2, 0), {}, "one column"),
        (torch.zeros(2), {}, r"shape \(n, d\)"),
        ([[0, 1]], {"weights": [0.0]}, "not all zero"),
        ([[0, 1]], {"weights": [1.0, 1.0]}, r"weights of shape \(1,\)"),
        ([[0, 1]], {"pseudo_count": -1.0}, "pseudo_count"),
    ],
)
def test_bad_input_is_refused(x, options, what):
    for learn in (chow_liu, chow_liu_model, lambda x, **o: hidden_chow_liu(x, 2, **o)):
        with pytest.raises(ValueError, match=what):
            learn(x, **options)


def test_symbols_beyond_the_components_given_are_refused():
    with pytest.raises(ValueError, match="column 1, row 0: expected less"):
        chow_liu_model([[0, 2]], components=2)
    with pytest.raises(ValueError, match="one or 2"):
        chow_liu_model([[0, 1]], components=(2, 2, 2))


def test_a_thousand_and_five_hundred_columns_take_about_a_second():
    x = torch.randint(2, (3000, 1500), generator=generator())
    start = time.process_time()
    chow_liu(x)
    assert time.process_time() - start < 4


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_grouped_latents_are_the_chow_liu_tree_with_its_strongest_edges_contracted(group):
    g = generator(4)
    x = torch.randint(2, (400, 6), generator=g)
    flip = torch.rand(400, 6, generator=g)
    for j, noise in zip(range(1, 6), (0.05, 0.3, 0.1, 0.35, 0.02), strict=True):
        x[:, j] = torch.where(flip[:, j] < noise, 1 - x[:, j - 1], x[:, j - 1])  # a chain
    groups = {
        1: [[0], [1], [2], [3], [4], [5]],
        2: [[0, 1], [2, 3], [4, 5]],
        3: [[0, 1], [2, 3], [4, 5]],
        6: [[0, 1, 2, 3, 4, 5]],
    }[group]
    W = hidden_chow_liu(x, 3, group=group)
    below = {node: [c for c in W.tree.children[node] if c < 6] for node in W.tree.inner}
    assert sorted(below.values()) == groups
    assert set(below) == {6 + members[0] for members in groups}
    between = {frozenset((6 + a[0], 6 + b[0])) for a, b in itertools.pairwise(groups)}
    edges = {frozenset((n, W.tree.parent[n])) for n in W.tree.inner if n != W.tree.root}
    assert edges == between
    assert hidden_chow_liu(x, {members[0]: 2 for members in groups}, group=group).shape == W.shape


def test_groups_of_no_variables_are_refused():
    with pytest.raises(ValueError, match="group must be at least 1"):
        hidden_chow_liu([[0, 1], [1, 1]], 2, group=0)
