"""Laws of patterns: nodes evaluated once per distinct pattern give what rows one by one give."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mixtures import HMM, HT, LTM, Mixture, Tree, combining, engine, passes
from mixtures.components import (
    Bernoulli,
    Binomial,
    Categorical,
    Gaussian,
    Indicator,
    Mixed,
    Poisson,
    coding,
)
from mixtures.learn import batches, em, stochastic_em
from mixtures.learn.em import expectations
from mixtures.planner import plans

TYPES = [torch.float64, torch.float32]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tables(seed, dtype):
    return {"generator": seeded(seed), "dtype": dtype}


def binary(n, d, seed=3):
    return torch.randint(0, 2, (n, d), generator=seeded(seed))


def balanced(dtype):
    model = Mixture(
        LTM(Tree.balanced(16), 3, 4, **tables(0, dtype)), Bernoulli(16, 3, **tables(1, dtype))
    )
    return model, binary(500, 16)


def ragged(dtype):
    """A tree of many shapes, states of many sizes, variables with two, three and four symbols."""
    tree = Tree.random(14, arity=4, generator=seeded(2))
    sizes = {node: 2 + number % 3 for number, node in enumerate(tree.inner)}
    k = [2 + j % 3 for j in range(14)]
    model = Mixture(LTM(tree, k, sizes, **tables(0, dtype)), Indicator(14, k, dtype=dtype))
    x = torch.stack(
        [torch.randint(0, size, (400,), generator=seeded(j)) for j, size in enumerate(k)]
    )
    return model, x.T % torch.tensor([2, 2, *k[2:]])


def kronecker(dtype):
    sizes = {node: 2 + node % 2 for node in Tree.balanced(12).nodes}
    W = HT(Tree.balanced(12), 3, sizes, **tables(0, dtype))
    x = torch.randint(0, 3, (400, 12), generator=seeded(4))
    return Mixture(W, Categorical(12, 3, 3, **tables(1, dtype))), x


def shared(dtype):
    W = LTM(Tree.balanced(8), 3, 3, **tables(0, dtype))
    x = torch.randint(0, 4, (300, 8), generator=seeded(4))
    return Mixture(W, Binomial(8, 3, 3, shared=True, **tables(1, dtype))), x


def unbounded(dtype):
    """Counts have no largest value, but in the data they are few."""
    W = LTM(Tree.balanced(8), 2, 3, **tables(0, dtype))
    x = torch.randint(0, 5, (300, 8), generator=seeded(4)).to(dtype)
    return Mixture(W, Poisson(8, 2, **tables(1, dtype))), x


def mixed(dtype):
    """Real numbers beside symbols: only the symbols have patterns."""
    W = LTM(Tree.balanced(8), 2, 3, **tables(0, dtype))
    parts = [([0, 1, 2, 3, 6], Bernoulli(5, 2, **tables(1, dtype)))]
    parts += [([4, 5, 7], Gaussian(3, 2, **tables(2, dtype)))]
    x = binary(300, 8).to(dtype)
    x[:, [4, 5, 7]] = torch.randn(300, 3, generator=seeded(5), dtype=dtype)
    return Mixture(W, Mixed(parts)), x


def without_first_states(model):
    """Make the first entry of every row of a table a structural zero."""
    for table in model.coefficients.tables:
        values = table.values.clone()
        values[..., 0] = 0
        table.set(values / values.sum(-1, keepdim=True))


def zeros(dtype):
    """Structural zeros: logarithms instead of mantissas."""
    tree, g = Tree.balanced(8), seeded(0)
    made = {}
    for node in tree.nodes:
        table = torch.rand(1 if node == tree.root else 3, 3, generator=g, dtype=dtype)
        table[:, 0] *= torch.rand(len(table), generator=g) < 0.5
        made[node] = table / table.sum(-1, keepdim=True)
    x = torch.randint(0, 3, (300, 8), generator=g)
    return Mixture(LTM.from_tables(tree, made), Categorical(8, 3, 3, **tables(1, dtype))), x


def copies(dtype):
    """Latents of one child, and leaves without tables."""
    tree = Tree({8: [0, 1], 9: [8], 10: [2, 3], 11: [9, 10, 4]} | {12: [11, 5, 6, 7]})
    W = LTM(tree, 3, 3, emission=False, **tables(0, dtype))
    return Mixture(W, Categorical(8, 3, 2, **tables(1, dtype))), binary(300, 8)


def wide(dtype):
    """More factors than mantissas serve."""
    W = LTM(Tree.star(70), 2, 3, **tables(0, dtype))
    return Mixture(W, Bernoulli(70, 2, **tables(1, dtype))), binary(40, 70)[torch.arange(300) % 40]


CASES = {
    f.__name__: f
    for f in (balanced, ragged, kronecker, shared, unbounded, mixed, zeros, copies, wide)
}


def plain(model, data, weights, monkeypatch):
    """Log-values and expectations without patterns."""
    honest = engine.stretches
    with monkeypatch.context() as patch:
        patch.setattr(
            "mixtures.engine.stretches",
            lambda *given, **options: honest(*given, **options | {"patterns": False}),
        )
        with torch.no_grad():
            return model.log_prob(data), expectations(model, data, weights)


def close(found, expected, dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 3e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def compare(model, data, weights, monkeypatch, dtype):
    with torch.no_grad():
        values = model.log_prob(data)
    found = expectations(model, data, weights)
    logs, expected = plain(model, data, weights, monkeypatch)
    close(values, logs, dtype)
    assert math.isclose(found.log_likelihood, expected.log_likelihood, rel_tol=1e-6)
    for count, other in zip(found.counts, expected.counts, strict=True):
        close(count / len(data), other / len(data), dtype)
    for name, value in expected.statistics.items():
        close(found.statistics[name] / len(data), value / len(data), dtype)


def planned(model, data):
    return [plan for _, _, plan in plans(model.coefficients.circuit, data.coding, None, len(data))]


def hidden(x, seed=6):
    """A mask under which about a third of the entries, and some rows as a whole, are missing."""
    seen = torch.rand(x.shape, generator=seeded(seed)) > 0.3
    seen[::50] = False
    return seen


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_values_and_expectations_are_those_of_the_rows_one_by_one(name, dtype, monkeypatch):
    model, x = CASES[name](dtype)
    data = model.encode(x)
    assert all(plan is not None for plan in planned(model, data))
    compare(model, data, torch.ones(len(x), dtype=dtype), monkeypatch, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_missing_entries_and_row_weights_change_nothing_in_that(name, dtype, monkeypatch):
    model, x = CASES[name](dtype)
    data = model.encode(x, hidden(x))
    weights = torch.rand(len(x), generator=seeded(7), dtype=dtype)
    compare(model, data, weights, monkeypatch, dtype)


@pytest.mark.parametrize("name", CASES)
def test_parts_of_data_use_the_patterns_of_the_whole(name, monkeypatch):
    model, x = CASES[name](torch.float64)
    data = model.encode(x, hidden(x))
    planned(model, data)
    part = data.rows(torch.randint(0, len(x), (120,), generator=seeded(8)))
    assert part.coding.part_of[0] is data.coding
    compare(model, part, torch.ones(120, dtype=torch.float64), monkeypatch, torch.float64)
    (some,), (all_of,) = planned(model, part), planned(model, data)
    assert some.columns <= all_of.columns
    part = part.rows(slice(10, 100))
    compare(model, part, torch.ones(90, dtype=torch.float64), monkeypatch, torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_stretches_of_rows_have_plans_of_their_own(name, monkeypatch):
    monkeypatch.setattr("mixtures.planner.PART", 130)
    monkeypatch.setattr("mixtures.engine.rows_at_once", lambda circuit: 47)
    model, x = CASES[name](torch.float64)
    data = model.encode(x, hidden(x))
    assert len(planned(model, data)) > 1
    compare(model, data, torch.ones(len(x), dtype=torch.float64), monkeypatch, torch.float64)


@pytest.mark.parametrize("name", ["balanced", "ragged", "zeros"])
def test_densities_are_the_sums_over_all_latent_states(name):
    """Against the dense tensor: sum over i of W[i] prod_j f_j(x_j)."""
    dtype = torch.float64
    tree = Tree.random(5, generator=seeded(2)) if name == "ragged" else Tree.balanced(5)
    model = Mixture(LTM(tree, 2, 3, **tables(0, dtype)), Bernoulli(5, 2, **tables(1, dtype)))
    x = binary(400, 5)
    dense, densities = model.coefficients.dense(), model.components.log_prob(x).exp().detach()
    total = torch.zeros(len(x), dtype=dtype)
    for index in itertools.product(range(2), repeat=5):
        total += dense[index] * densities[:, range(5), list(index)].prod(-1)
    with torch.no_grad():
        close(model.log_prob(x), total.log(), dtype)


@pytest.mark.parametrize("name", ["balanced", "ragged", "kronecker", "mixed"])
def test_evidence_on_latents_is_honoured(name, monkeypatch):
    model, x = CASES[name](torch.float64)
    data = model.encode(x)
    latent = model.coefficients.latents[len(model.coefficients.latents) // 2]
    states = model.coefficients.num_states(latent)
    logs = torch.randn(len(x), states, generator=seeded(9), dtype=torch.float64)
    weights = torch.ones(len(x), dtype=torch.float64)
    with torch.no_grad():
        values = model.log_prob(data, evidence={latent: logs})
        leaves = model.components.log_prob(data)
        close(values, model.coefficients.contract(leaves, evidence={latent: logs}), torch.float64)
    found = expectations(model, data, weights, {latent: logs})
    counts = [torch.zeros_like(count) for count in found.counts]
    for _ in model.sweep(data, row_weights=weights, counts=counts, evidence={latent: logs}):
        pass
    for count, other in zip(found.counts, counts, strict=True):
        close(count, other, torch.float64)


def test_rows_that_underflow_are_evaluated_again(monkeypatch):
    """A pattern of probability 1e-60 in float32, in one row of many."""
    dtype = torch.float32
    rare = torch.full((8, 2, 2), 0.5, dtype=dtype)
    rare[:4, :, 1] = torch.tensor([1e-15, 2e-15])
    rare[:4, :, 0] = 1
    W = LTM(Tree.balanced(8), 2, 2, **tables(0, dtype))
    model = Mixture(W, Categorical.from_parameters(rare))
    x = binary(200, 8)
    x[:, :4] = 0
    x[17, :4] = 1
    compare(model, model.encode(x), torch.ones(200, dtype=dtype), monkeypatch, dtype)
    with torch.no_grad():
        assert model.log_prob(x)[17] < -120


def test_a_row_that_is_impossible_is_named():
    half = torch.tensor([[0.5, 0.5]])
    leaf = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    model = Mixture(
        LTM.from_tables(Tree.star(3), {3: half, 0: leaf, 1: leaf, 2: leaf}), Indicator(3, 2)
    )
    x = torch.zeros(100, 3, dtype=torch.int64)
    x[41] = 1
    with torch.no_grad():
        assert model.log_prob(x)[41] == -torch.inf
    with pytest.raises(ValueError, match="row 41"):
        next(em(model, x))


def test_a_node_is_evaluated_once_per_pattern():
    """Sixteen binary columns in 4000 rows: 2, 4, 16, 256 patterns, and rows at the top."""
    model = Mixture(LTM(Tree.balanced(16), 2, 3), Bernoulli(16, 2))
    data = model.encode(binary(4000, 16))
    (plan,) = planned(model, data)
    assert plan.columns == 16 * 2 + 8 * 4 + 4 * 16 + 2 * 256
    assert len(plan.above.layers) == 1
    repeated = model.encode(binary(4000, 16)[torch.arange(4000) % 100])
    (plan,) = planned(model, repeated)
    assert not plan.above.layers
    assert plan.columns <= 15 * 100 + 16 * 2


def test_the_work_on_patterns_does_not_grow_with_the_rows():
    model = Mixture(LTM(Tree.balanced(8), 2, 3), Bernoulli(8, 2))
    few, many = (planned(model, model.encode(binary(n, 8)))[0].columns for n in (2000, 20000))
    assert few == many


def test_real_numbers_and_chains_have_no_patterns():
    real = Mixture(LTM(Tree.balanced(4), 2, 2), Gaussian(4, 2))
    assert real.encode(torch.randn(100, 4, generator=seeded())).coding is None
    chain = Mixture(HMM(30, 2, 2), Bernoulli(30, 2))
    assert planned(chain, chain.encode(binary(100, 30))) == [None]


@pytest.mark.parametrize("dtype", TYPES)
def test_learning_with_patterns_is_learning_without(dtype, monkeypatch):
    models = [ragged(dtype)[0] for _ in range(2)]
    x = ragged(dtype)[1]
    for model in models:
        with monkeypatch.context() as patch:
            if model is models[1]:
                patch.setattr("mixtures.components.encoding.coded", lambda *given: None)
            data = model.encode(x, hidden(x))
            steps = em(model, data, pseudo_count=0.1)
            for _ in range(3):
                next(steps)
            cut = batches(data, 100, generator=seeded(1))
            list(stochastic_em(model, cut, pseudo_count=0.1, epochs=2))
    first, second = (model.coefficients.arrays for model in models)
    for table, other in zip(first, second, strict=True):
        torch.testing.assert_close(
            table, other, rtol=1e-3, atol=1e-4 if dtype == torch.float32 else 1e-9
        )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("observed", [False, True])
def test_symbols_in_bytes_count_as_whole_numbers_of_any_width(dtype, observed):
    """uint8, int16, int64 and floats: one set of codes, values and densities; 255 has a place."""
    generator = seeded(5)
    x = torch.randint(0, 4, (300, 8), generator=generator)
    x[3, 2], seen = 255, torch.rand(x.shape, generator=generator) < 0.7
    seen[3, 2] = True
    W = LTM(Tree.balanced(8), 2, 3, **tables(0, dtype))
    model = Mixture(W, Poisson(8, 2, **tables(1, dtype)))
    mask = seen if observed else None
    expected = model.log_prob(x.double(), observed=mask)
    for kind in (torch.uint8, torch.int16, torch.int32, torch.int64):
        for rows in (x.to(kind), x.to(kind).numpy()):
            data = model.encode(rows, mask)
            assert data.values.dtype == torch.uint8
            torch.testing.assert_close(model.log_prob(data), expected)
            found = data.coding
            values = found.values.gather(1, found.codes.long())
            known = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
            assert torch.equal(values[known.T].long(), x.T[known.T])
    assert model.encode(x + 1).values.dtype == torch.int64  # 256 does not fit


@pytest.mark.parametrize("dtype", TYPES)
def test_outer_products_in_pieces_are_those_of_all_nodes_at_once(dtype, monkeypatch):
    """Values, counts and statistics do not depend on how many nodes are combined at a time."""
    model, x = kronecker(dtype)
    data = model.encode(x)
    weights = torch.ones(len(x), dtype=dtype)
    monkeypatch.setattr(combining, "PIECE", 2**40)
    whole, value = expectations(model, data, weights), model.log_prob(data)
    asked = []
    original = combining.mix_pieces
    monkeypatch.setattr(passes, "mix_pieces", lambda *a, **k: (asked.append(1), original(*a, **k)))
    monkeypatch.setattr(combining, "PIECE", 1)
    monkeypatch.setattr(coding, "FEWEST_ROWS", 10**9)
    data = model.encode(x)
    parts = expectations(model, data, weights)
    assert asked
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(model.log_prob(data), value, **tolerance)
    torch.testing.assert_close(parts.counts, whole.counts, **tolerance)
    torch.testing.assert_close(parts.statistics, whole.statistics, **tolerance)
