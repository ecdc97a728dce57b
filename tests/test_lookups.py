"""Laws of look-ups: leaves of symbols whose nodes have no patterns are computed once per symbol."""

from __future__ import annotations

import itertools

import pytest
import torch

from mixtures import HT, LTM, Mixture, Tree, combining, folds, planner
from mixtures.components import Categorical, Gaussian, Mixed
from mixtures.learn import batches, stochastic_em
from mixtures.learn.em import expectations

from test_patterns import CASES as PATTERNED
from test_patterns import (
    TYPES,
    close,
    compare,
    hidden,
    planned,
    seeded,
    tables,
    without_first_states,
)

SYMBOLS = 40


def symbols(n, d, seed=4):
    return torch.randint(0, SYMBOLS, (n, d), generator=seeded(seed))


def many(dtype):
    """So many symbols that no two columns have few combinations."""
    W = LTM(Tree.balanced(12), 4, 4, emission=False, **tables(0, dtype))
    return Mixture(W, Categorical(12, 4, SYMBOLS, **tables(1, dtype))), symbols(700, 12)


def emitting(dtype):
    """Nodes of one leaf have patterns, those above have not."""
    tree = Tree.random(11, arity=4, generator=seeded(2))
    W = LTM(tree, 3, {node: 2 + node % 3 for node in tree.inner}, **tables(0, dtype))
    return Mixture(W, Categorical(11, 3, SYMBOLS, **tables(1, dtype))), symbols(700, 11)


def unequal(dtype):
    """Variables with different numbers of components, and symbols."""
    tree = Tree.random(11, arity=3, generator=seeded(2))
    k = [2 + j % 3 for j in range(11)]
    W = HT(tree, k, {node: 2 + node % 3 for node in tree.inner}, emission=False, **tables(0, dtype))
    sizes = [SYMBOLS - j for j in range(11)]
    x = symbols(700, 11) % torch.tensor(sizes)
    return Mixture(W, Categorical(11, k, sizes, **tables(1, dtype))), x


def kronecker(dtype):
    W = HT(Tree.balanced(9), 3, 2, emission=False, **tables(0, dtype))
    return Mixture(W, Categorical(9, 3, SYMBOLS, **tables(1, dtype))), symbols(700, 9)


def mixed(dtype):
    """Real numbers beside symbols, below nodes of their own: only symbols are looked up."""
    W = LTM(Tree.balanced(8), 3, 3, **tables(0, dtype))
    parts = [([0, 1, 2, 3, 6], Categorical(5, 3, SYMBOLS, **tables(1, dtype)))]
    parts += [([4, 5, 7], Gaussian(3, 3, **tables(2, dtype)))]
    x = symbols(700, 8).to(dtype)
    x[:, [4, 5, 7]] = torch.randn(700, 3, generator=seeded(5), dtype=dtype)
    return Mixture(W, Mixed(parts)), x


def rare(dtype):
    """Symbols of very small probability under every component: leaves with scales of their own."""
    model, x = many(dtype)
    table = torch.rand(12, 4, SYMBOLS, generator=seeded(3), dtype=dtype)
    table[:, :, ::3] *= 1e-12
    components = Categorical.from_parameters(table / table.sum(-1, keepdim=True))
    return Mixture(model.coefficients, components), x


def zeros(dtype):
    """Structural zeros: logarithms instead of mantissas."""
    model, x = many(dtype)
    without_first_states(model)
    return model, x


CASES = {case.__name__: case for case in (many, emitting, unequal, kronecker, mixed, rare, zeros)}


@pytest.fixture(params=["whole", "pieces"], autouse=True)
def pieces(request, monkeypatch):
    """All nodes at a time, and few; flows added up one by one, and sorted."""
    if request.param == "pieces":
        monkeypatch.setattr(combining, "PIECE", 1500)
        monkeypatch.setattr(folds, "SORTED_ROWS", 1)


def looked_up(model, data):
    """The plans, none of which has a pattern of more than one leaf."""
    found = planned(model, data)
    assert all(plan is not None for plan in found)
    return found


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_values_and_expectations_are_those_of_densities(name, dtype, monkeypatch):
    model, x = CASES[name](dtype)
    data = model.encode(x)
    assert name in ("emitting", "mixed") or not any(plan.groups for plan in looked_up(model, data))
    compare(model, data, torch.ones(len(x), dtype=dtype), monkeypatch, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_missing_entries_are_one_more_symbol(name, dtype, monkeypatch):
    model, x = CASES[name](dtype)
    data = model.encode(x, hidden(x))
    looked_up(model, data)
    weights = torch.rand(len(x), generator=seeded(7), dtype=dtype)
    compare(model, data, weights, monkeypatch, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", PATTERNED)
def test_where_there_are_patterns_leaves_can_still_be_looked_up(name, dtype, monkeypatch):
    monkeypatch.setattr(planner, "LEAVES", 1)
    model, x = PATTERNED[name](dtype)
    weights = torch.rand(len(x), generator=seeded(7), dtype=dtype)
    for data in (model.encode(x), model.encode(x, hidden(x))):
        for plan in looked_up(model, data):
            # of more than one leaf
            assert not any(len(group.layer.widths) > 1 for group in plan.groups)
        compare(model, data, weights, monkeypatch, dtype)


@pytest.mark.parametrize("name", CASES)
def test_evidence_on_latents_is_honoured(name):
    model, x = CASES[name](torch.float64)
    data, weights = model.encode(x, hidden(x)), torch.ones(len(x), dtype=torch.float64)
    latents = model.coefficients.latents
    evidence = {
        latent: torch.randn(
            len(x), model.coefficients.num_states(latent), generator=seeded(9), dtype=torch.float64
        )
        for latent in (latents[0], latents[-1])
    }
    with torch.no_grad():
        leaves = model.components.log_prob(data)
        expected = model.coefficients.contract(leaves, evidence=evidence)
        close(model.log_prob(data, evidence=evidence), expected, torch.float64)
    found = expectations(model, data, weights, evidence)
    counts = [torch.zeros_like(count) for count in found.counts]
    for _ in model.sweep(data, row_weights=weights, counts=counts, evidence=evidence):
        pass
    for count, other in zip(found.counts, counts, strict=True):
        close(count, other, torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_parts_of_data_look_up_the_leaves_of_the_whole(name, monkeypatch):
    model, x = CASES[name](torch.float64)
    data = model.encode(x, hidden(x))
    (whole,) = looked_up(model, data)
    for rows in (350, 30):  # many, and too few for so many symbols
        part = data.rows(torch.randint(0, len(x), (rows,), generator=seeded(8)))
        (plan,) = planned(model, part)
        assert (plan is None) == (rows == 30 and not whole.groups)
        compare(model, part, torch.ones(rows, dtype=torch.float64), monkeypatch, torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_stretches_and_chunks_of_rows_change_nothing(name, monkeypatch):
    monkeypatch.setattr(planner, "PART", 350)
    monkeypatch.setattr("mixtures.engine.rows_at_once", lambda circuit: 47)
    model, x = CASES[name](torch.float64)
    data = model.encode(x, hidden(x))
    plans = looked_up(model, data)
    assert len(plans) > 1
    compare(model, data, torch.ones(len(x), dtype=torch.float64), monkeypatch, torch.float64)
    assert not any(look.sorted for plan in plans for look in plan.given.values())  # memory


@pytest.mark.parametrize("kind", [LTM, HT])
def test_values_and_counts_are_the_sums_over_all_components(kind):
    """Against the dense tensor: sum over i of W[i] prod_j f_j(x_j), and its terms."""
    dtype, d, n = torch.float64, 5, 400
    W, k = kind(Tree.balanced(d), 2, 2, emission=False, **tables(0, dtype)), 2
    model = Mixture(W, Categorical(d, k, SYMBOLS, **tables(1, dtype)))
    x, dense = symbols(n, d), W.dense()
    densities = model.components.log_prob(x).exp().detach()
    total, flows = torch.zeros(n, dtype=dtype), torch.zeros(n, d, k, dtype=dtype)
    for index in itertools.product(range(k), repeat=d):
        term = dense[index] * densities[:, range(d), list(index)].prod(-1)
        total += term
        flows[:, range(d), list(index)] += term[:, None]
    data = model.encode(x)
    (plan,) = looked_up(model, data)
    assert not plan.groups
    with torch.no_grad():
        close(model.log_prob(data), total.log(), dtype)
    found = expectations(model, data, torch.ones(n, dtype=dtype)).statistics["count"]
    expected = torch.zeros_like(found)
    for j in range(d):
        expected[j].index_add_(1, x[:, j], (flows[:, j] / total[:, None]).T)
    close(found, expected, dtype)


def test_rows_that_underflow_are_evaluated_again(monkeypatch):
    """One row of symbols that are all but impossible together, in float32."""
    dtype = torch.float32
    table = torch.full((8, 4, SYMBOLS), 1.0 / SYMBOLS, dtype=dtype)
    for j in range(8):
        table[j, :, -1] = 1e-30
        table[j, j % 4, -1] = 1e-8  # each under another component
    W = LTM(Tree.balanced(8), 4, 4, emission=False, **tables(0, dtype))
    model = Mixture(W, Categorical.from_parameters(table / table.sum(-1, keepdim=True)))
    x = symbols(400, 8) % (SYMBOLS - 1)
    x[17] = SYMBOLS - 1
    data = model.encode(x)
    looked_up(model, data)
    compare(model, data, torch.ones(400, dtype=dtype), monkeypatch, dtype)
    double = Mixture(model.coefficients.double(), model.components.double())
    with torch.no_grad():
        close(model.log_prob(x)[17].double(), double.log_prob(x)[17], dtype)


def test_impossible_symbols_have_probability_zero():
    model, x = many(torch.float64)
    table = model.components.probabilities.detach().clone()
    table[3, :, 5] = 0
    components = Categorical.from_parameters(table / table.sum(-1, keepdim=True))
    model = Mixture(model.coefficients, components)
    with torch.no_grad():
        impossible = model.log_prob(x) == -torch.inf
    assert torch.equal(impossible, x[:, 3] == 5)
    with pytest.raises(ValueError, match=f"rows {int(impossible.nonzero()[0])}"):
        expectations(model, model.encode(x), torch.ones(len(x), dtype=torch.float64))


def test_columns_of_too_many_symbols_are_read_row_by_row(monkeypatch):
    """What tables of leaves may take decides, and whether most rows have a symbol of their own."""
    model, x = emitting(torch.float64)
    x[:, 0] = torch.arange(len(x)) % 500
    sizes = [500] + [SYMBOLS] * 10
    components = Categorical(11, 3, sizes, **tables(1, torch.float64))
    model = Mixture(model.coefficients, components)
    data, weights = model.encode(x), torch.ones(len(x), dtype=torch.float64)
    (plan,) = looked_up(model, data)
    assert plan.variables.tolist() == [0] and plan.symbols == SYMBOLS
    compare(model, data, weights, monkeypatch, torch.float64)
    monkeypatch.setattr(planner, "LOOKED_UP", 10)
    assert planned(model, model.encode(x)) == [None]


@pytest.mark.parametrize("dtype", TYPES)
def test_look_ups_that_do_not_pay_are_left(dtype, monkeypatch):
    """Few rows for so many symbols; one column of real numbers."""
    model, x = many(dtype)
    few = model.encode(x[:100])
    W, k = LTM(Tree.balanced(4), 3, 3, emission=False, **tables(0, dtype)), 3
    parts = [([0, 1, 2], Categorical(3, k, SYMBOLS, **tables(1, dtype)))]
    parts += [([3], Gaussian(1, k, **tables(2, dtype)))]
    beside = Mixture(W, Mixed(parts))
    some = torch.cat([x[:, :3], torch.randn(len(x), 1, generator=seeded(5))], 1)
    for own, data in ((model, few), (beside, beside.encode(some))):
        assert planned(own, data) == [None]
        compare(own, data, torch.ones(len(data), dtype=dtype), monkeypatch, dtype)


def test_learning_from_parts_is_learning_without_look_ups(monkeypatch):
    models = [many(torch.float64)[0] for _ in range(2)]
    x = many(torch.float64)[1]
    for model in models:
        with monkeypatch.context() as patch:
            if model is models[1]:
                patch.setattr("mixtures.components.encoding.coded", lambda *given: None)
            cut = batches(model.encode(x, hidden(x)), 350, generator=seeded(1))
            list(stochastic_em(model, cut, pseudo_count=0.1, epochs=2))
    for table, other in zip(*(model.coefficients.arrays for model in models), strict=True):
        torch.testing.assert_close(table, other, rtol=1e-6, atol=1e-9)
