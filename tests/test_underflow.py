"""Laws at extreme scales: nothing is lost to underflow, in either type, with or without zeros."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from mixtures import HMM, HT, LTM, SPN, Diagonal, Linear, Tree, engine, inputs

from laws import ROWS, close, every_model, numbers, observed, tensor, truth
from oracle_exact import exact
from zoo import made, rows

TYPES = [torch.float32, torch.float64]
LEAK = {torch.float32: 1e-30, torch.float64: 1e-200}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def absorbing(dtype, d=64):
    """Two states that are never left: the chain is one of two constant paths."""
    eye = torch.eye(2, dtype=dtype)
    return HMM.from_tables(torch.tensor([0.5, 0.5], dtype=dtype), eye, eye, variables=d)


def leaking(dtype, d=64):
    """Two states that are almost never left."""
    leak = LEAK[dtype]
    step = torch.tensor([[1.0, leak], [leak, 1.0]], dtype=dtype)
    return HMM.from_tables(torch.tensor([0.5, 0.5], dtype=dtype), step, step, variables=d)


def forward_only(dtype, d=64):
    """Three states passed through in one direction, with emissions that exclude components."""
    step = torch.tensor([[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0, 1]], dtype=dtype)
    emission = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 0.25, 0.75]], dtype=dtype)
    start = torch.tensor([1.0, 0, 0], dtype=dtype)
    return HMM.from_tables(start, step, emission, variables=d)


def ordinary(dtype, d=64):
    return HMM(d, 3, 4, generator=generator(), dtype=dtype)


def copied(dtype, d=64):
    """A balanced tree whose latents all repeat the root's state, stored as tables."""
    tree, eye = Tree.balanced(d), torch.eye(2, dtype=dtype)
    tables = dict.fromkeys(tree.nodes, eye) | {tree.root: torch.tensor([[0.5, 0.5]], dtype=dtype)}
    return LTM.from_tables(tree, tables)


def sparse_tree(dtype, d=32):
    g, tree = generator(1), Tree.random(d, arity=3, generator=generator(2))
    tables = {v: rows(g, dtype, 3, 3, zeros=0.5) for v in tree.nodes}
    return LTM.from_tables(tree, tables | {tree.root: rows(g, dtype, 1, 3)})


def star(dtype, d=64):
    return LTM(Tree.star(d), 2, 3, generator=generator(), dtype=dtype)


MODELS = {
    f.__name__: f for f in (absorbing, leaking, forward_only, ordinary, copied, sparse_tree, star)
}


def late_winner(d, k):
    """The first component is better by 8 nats in the first half, the second by 9 in the second."""
    leaves = np.full((d, k), -4.0)
    leaves[: d // 2, 0], leaves[d // 2 :, 1] = 4, 5
    return leaves


def spread(d, k):
    """Differences of thousands of nats, in both directions, that nearly cancel."""
    return 1024.0 * np.random.default_rng(3).integers(-12, 13, (d, k))


def tiny(d, k):
    """Every value far below the smallest number."""
    return -700.0 - np.random.default_rng(4).integers(0, 100, (d, k))


def excluded(d, k):
    """Many components are impossible, and of the possible ones most are unlikely."""
    leaves = spread(d, k) / 8
    leaves[np.random.default_rng(5).random((d, k)) < 0.15] = -np.inf
    return leaves


DATA = {f.__name__: f for f in (late_winner, spread, tiny, excluded)}


def case(model, data, dtype):
    """A model and three rows of leaves: a pattern, it from right to left, nothing observed."""
    built = MODELS[model](dtype)
    one = DATA[data](built.variables, max(built.shape))
    return built, torch.as_tensor(np.stack([one, one[::-1], np.zeros_like(one)]), dtype=dtype)


def swept(model, leaves):
    counts = [torch.zeros(array.shape, dtype=torch.float64) for array in model.arrays]
    with torch.no_grad():
        (chunk,) = engine.sweep(
            model.circuit, model.arrays, engine.from_tensor(leaves), counts=counts
        )
    return chunk, counts


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_values_posteriors_and_counts_are_exact_at_any_scale(model, data, dtype):
    model, leaves = case(model, data, dtype)
    rtol, atol = (1e-5, 2e-2) if dtype == torch.float32 else (1e-11, 1e-9)
    true = [exact(model, row) for row in leaves.double().numpy()]
    values = model.contract(leaves).detach().double().numpy()
    close(values, [row.log_value for row in true], rtol=rtol, atol=rtol)
    possible = [n for n, row in enumerate(true) if row.log_value > -np.inf]
    found = model.posterior(leaves[possible]).double().numpy()
    close(found, np.stack([true[n].posterior for n in possible]), rtol=rtol, atol=atol)
    _, counts = swept(model, leaves)
    expected = [np.zeros(count.shape) for count in counts]
    for n in possible:
        for node in model.tree.nodes:
            table, slot = model.place(node)
            expected[table][slot] += true[n].counts[node]
    for count, expect in zip(counts, expected, strict=True):
        close(count.numpy(), expect, rtol=1e-3 if dtype == torch.float32 else rtol, atol=10 * atol)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_finite_at_any_scale(model, data, dtype):
    model, leaves = case(model, data, dtype)
    leaves.requires_grad_()
    values = model.contract(leaves)
    values[values > -torch.inf].sum().backward()
    assert leaves.grad.isfinite().all()
    for table in model.tables:
        assert table.logits.grad.isfinite().all()
        assert not table.logits.grad[table.values == 0].any()


@pytest.mark.parametrize("dtype", TYPES)
def test_of_two_absorbing_states_the_one_that_was_lost_wins_later(dtype):
    model = absorbing(dtype)
    leaves = torch.as_tensor(late_winner(64, 2), dtype=dtype).expand(100, -1, -1)
    expected = np.log(0.5) + np.logaddexp(32 * 4 - 32 * 4, -32 * 4 + 32 * 5)
    close(model.contract(leaves), np.full(100, expected), rtol=1e-6)
    close(model.posterior(leaves)[:, :, 1], np.ones((100, 64)), rtol=1e-6)
    drawn = model.complete(leaves, generator=generator())
    assert bool((drawn == 1).all())
    assert bool((model.explain(leaves).components == 1).all())


@pytest.mark.parametrize("dtype", TYPES)
def test_a_thousand_rows_with_other_spreads_are_all_right(dtype):
    """The case of performance.md: every row loses the state that wins in the end."""
    model = leaking(dtype)
    rng = np.random.default_rng(0)
    leaves = np.stack([late_winner(64, 2)] * 300) + rng.integers(-3, 4, (300, 64, 2))
    paths = leaves.sum(1) + np.log(0.5)
    found = model.contract(torch.as_tensor(leaves, dtype=dtype)).detach().double()
    best = np.logaddexp(paths[:, 0], paths[:, 1])
    assert (found.numpy() > best - 1e-3).all()
    some = [exact(model, row).log_value for row in leaves[:10]]
    close(found[:10], some, rtol=2e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_long_chain_has_the_sum_of_its_logarithms(dtype):
    """With one state the value is a sum of 5000 terms."""
    model = HMM(5000, 3, 1, generator=generator(), dtype=dtype)
    leaves = -20 * torch.rand((2, 5000, 3), generator=generator(), dtype=dtype)
    emission = torch.stack(model.emission).reshape(5000, 3).double()
    expected = (emission * leaves.double().exp()).sum(-1).log().sum(-1)
    close(model.contract(leaves).double(), expected, rtol=3e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("dtype", TYPES)
def test_networks_keep_terms_that_win_later(dtype):
    """A sum whose first half prefers one product and whose second half the other, as a DAG."""
    d = 40
    a = inputs(d, 2)
    left, right = a[0][0], a[0][1]
    for j in range(1, d):
        left, right = (
            (0.5 * a[j][0] + 0.5 * a[j][1]) * left if j % 5 == 0 else a[j][0] * left,
            a[j][1] * right,
        )
    model = SPN(0.25 * left + 0.75 * right, dtype=dtype)
    leaves = 20 * late_winner(d, 2)
    mixed = [j for j in range(1, d) if j % 5 == 0]
    first = sum(leaves[j, 0] for j in range(d) if j not in mixed) + np.log(0.25)
    first += sum(np.logaddexp(*leaves[j]) + np.log(0.5) for j in mixed)
    second = leaves[:, 1].sum() + np.log(0.75)
    expected = np.logaddexp(first, second)
    given = torch.as_tensor(np.stack([leaves, 0 * leaves]), dtype=dtype)
    close(model.contract(given).double(), [expected, 0], rtol=1e-6, atol=1e-6)
    share = np.exp(second - expected)
    close(model.posterior(given)[0, 1, 1].double(), share, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_diagonal_tucker_tables_lose_nothing_either(dtype):
    tree = copied(dtype)
    tables = {v: Diagonal(tree.table(v)) for v in tree.tree.inner}
    model = HT.from_tables(tree.tree, tables | {j: tree.table(j) for j in range(64)})
    for data in DATA.values():
        leaves = torch.as_tensor(data(64, 2).copy(), dtype=dtype)
        close(model.contract(leaves), tree.contract(leaves), rtol=1e-6)


@pytest.mark.parametrize("model", [forward_only, leaking, sparse_tree])
def test_shares_add_up_however_few_digits_a_logarithm_has_left(model):
    """Minimal input of a bug: at 10^6 nats float32 knows logarithms to 1/16, and flow was lost."""
    built = model(torch.float32, 200)
    leaves = torch.as_tensor(spread(200, max(built.shape)), dtype=torch.float32)
    found = built.posterior(leaves)
    close(found.sum(-1), np.ones(200), rtol=1e-4)


def far(name):
    """Leaves that are large multiples of whole numbers, so that float32 holds them exactly."""
    model = made(name)
    shape = (ROWS, model.variables, max(model.shape))
    return 2048.0 * numbers(name).integers(-8, 9, shape)


@every_model
@pytest.mark.parametrize("dtype", TYPES)
def test_every_model_is_right_at_spreads_of_ten_thousand_nats(name, dtype):
    model, leaves = made(name), far(name)
    if dtype == torch.float32:
        model = copy.deepcopy(model).to(dtype)
    given = torch.as_tensor(leaves, dtype=dtype)
    atol = 3e-2 if dtype == torch.float32 else 1e-9
    close(model.contract(given).double(), [truth(name).density(row) for row in leaves], atol=atol)
    found = model.posterior(given).double()
    close(found, np.stack([truth(name).posterior(row) for row in leaves]), rtol=1e-8, atol=atol)
    best = [truth(name).logs(row).max() for row in leaves]
    close(model.explain(given).log_weight.double(), best, atol=atol)


@every_model
def test_counts_of_every_model_are_right_at_spreads_of_ten_thousand_nats(name):
    model, leaves, seen = made(name), far(name), observed(name)
    source = dataclasses.replace(
        engine.from_tensor(tensor(leaves)), observed=lambda a, b: torch.as_tensor(seen[a:b].T)
    )
    counts = [torch.zeros(array.shape, dtype=torch.float64) for array in model.arrays]
    with torch.no_grad():
        list(engine.sweep(model.circuit, model.arrays, source, counts=counts))
    expected = [np.zeros(count.shape) for count in counts]
    for row, mask in zip(leaves, seen, strict=True):
        for (table, *entry), count in truth(name).counts(row, mask).items():
            expected[table][tuple(entry)] += count
    for found, true in zip(counts, expected, strict=True):
        close(found, true, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", TYPES)
def test_impossible_rows_beside_unlikely_ones_are_minus_infinity_never_nan(dtype):
    model = forward_only(dtype)
    leaves = torch.as_tensor(np.stack([tiny(64, 3)] * 3), dtype=dtype)
    leaves[1, 0] = torch.tensor([-torch.inf, 0.0, 0.0], dtype=dtype)
    leaves.requires_grad_()
    values = model.contract(leaves)
    assert values[1] == -torch.inf
    assert values[[0, 2]].isfinite().all()
    values[[0, 2]].sum().backward()
    assert leaves.grad.isfinite().all()
    assert not leaves.grad[1].any()
    with pytest.raises(ValueError, match=r"probability zero.* row 1$"):
        model.posterior(leaves.detach())


@pytest.mark.parametrize("dtype", TYPES)
def test_tables_with_entries_near_the_smallest_number_are_multiplied_in_logarithms(dtype):
    small = 1e-30 if dtype == torch.float32 else 1e-300
    step = torch.tensor([[1.0, small], [small, 1.0]], dtype=dtype)
    model = HMM.from_tables(torch.tensor([1.0, 0.0], dtype=dtype), step, variables=12)
    leaves = torch.full((12, 2), -torch.inf, dtype=dtype)
    for j in range(12):
        leaves[j, j % 2] = 0
    expected = 11 * float(np.log(float(step[0, 1])))
    close(model.contract(leaves), expected, rtol=1e-6)
    index = torch.arange(12) % 2
    assert float(model[index].detach()) == pytest.approx(0, abs=1e-300)
    assert model.contract(leaves.exp(), Linear()).isfinite()
