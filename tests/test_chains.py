"""Laws of chains walked along their spine: what the passes of any circuit find, step by step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import mixtures.chainpass
import mixtures.kernels
import mixtures.span
from mixtures import HMM, HT, LTM, Mixture, Tree, engine, rows
from mixtures.components import Bernoulli, Categorical, Gaussian
from mixtures.folded import Folded
from mixtures.span import Span
from mixtures.spine import spine_of
from mixtures.strides import Strides

TYPES = [torch.float32, torch.float64]


def seeded(dtype=torch.float64, seed=0):
    return {"generator": torch.Generator().manual_seed(seed), "dtype": dtype}


def tied(d, k, dtype):
    return HMM(d, k, 4, shared=True, **seeded(dtype))


def untied(d, k, dtype):
    return HMM(d, k, 3, **seeded(dtype))


def bare(d, k, dtype):
    return HMM(d, k, k, shared=True, emission=False, **seeded(dtype))


def bare_untied(d, k, dtype):
    return HMM(d, k, k, emission=False, **seeded(dtype))


def caterpillar(d, k, dtype):
    return LTM(Tree.caterpillar(d), k, 3, **seeded(dtype))


def train(d, k, dtype):
    return HT(Tree.caterpillar(d), k, 2, **seeded(dtype))


def turned(d, k, dtype):
    """A chain whose inner nodes have a leaf, their successor, and a second leaf, in this order."""
    inner = [d + j for j in range(d // 2)]
    children = {v: [2 * j, v + 1, 2 * j + 1] for j, v in enumerate(inner)}
    children[inner[-1]].remove(inner[-1] + 1)
    return LTM(Tree(children), k, 3, **seeded(dtype))


def symbols(d, k, dtype, shared):
    return Categorical(d, k, 5, shared=shared, **seeded(dtype, 1))


def switches(d, k, dtype, shared):
    return Bernoulli(d, k, shared=shared, **seeded(dtype, 1))


def numbers(d, k, dtype, shared):
    return Gaussian(d, k, shared=shared, **seeded(dtype, 1))


CHAINS = [tied, untied, bare, bare_untied, caterpillar, train, turned]
FAMILIES = [symbols, switches, numbers]


def case(chain, family, shared, dtype, n=60, d=24):
    """A mixture and rows with missing entries, some of them at the ends."""
    model = Mixture(chain(d, 3, dtype), family(d, 3, dtype, shared))
    x = model.sample(n, generator=torch.Generator().manual_seed(2)).to(dtype)
    missing = np.random.default_rng(3).random((n, d)) < 0.2
    for row in range(0, n, 3):
        missing[row, d - row % d :] = True
    x[torch.as_tensor(missing)] = torch.nan
    return model, model.encode(x)


def both(model, data):
    """The source of rows, and the same for the passes that serve any circuit."""
    source = rows.source(model.components, data, {})
    return source, dataclasses.replace(source, by_spine=False)


def swept(model, source, weights):
    W = model.coefficients
    counts = [torch.zeros_like(array, dtype=torch.float64) for array in W.arrays]
    with torch.no_grad():
        chunks = list(
            engine.sweep(
                W.circuit, W.arrays, source, row_weights=weights, counts=counts, keep_states=True
            )
        )
    values = torch.cat([chunk.log_value for chunk in chunks])
    inputs = torch.cat([chunk.inputs for chunk in chunks], -1)
    states = {v: torch.cat([chunk.states[v] for chunk in chunks], -1) for v in W.latents}
    return values, inputs, states, counts


def agree(found, expected, dtype):
    tolerance = {"rtol": 2e-4, "atol": 2e-4} if dtype == torch.float32 else {"rtol": 1e-9}
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(found, list):
        for one, other in zip(found, expected, strict=True):
            agree(one, other, dtype)
        return
    torch.testing.assert_close(found, expected, **({"atol": 1e-10} | tolerance))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chain", CHAINS)
def test_walks_find_what_the_passes_of_any_circuit_find(chain, family, shared, dtype):
    model, data = case(chain, family, shared, dtype)
    walked, general = both(model, data)
    W = model.coefficients
    assert spine_of(W.circuit) is not None
    with torch.no_grad():
        values = engine.contract(W.circuit, W.arrays, walked, engine.Log())
        reference = engine.contract(W.circuit, W.arrays, general, engine.Log())
    agree(values, reference, dtype)
    weights = torch.rand(len(data), generator=torch.Generator().manual_seed(4)).to(dtype)
    for found, expected in zip(
        swept(model, walked, weights), swept(model, general, weights), strict=True
    ):
        agree(found, expected, dtype)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chain", CHAINS)
def test_expected_statistics_are_those_of_the_posteriors(chain, family, shared):
    model, data = case(chain, family, shared, torch.float64, n=300)
    weights = torch.rand(300, generator=torch.Generator().manual_seed(4)).double()
    W, components = model.coefficients, model.components
    counts = [torch.zeros_like(array, dtype=torch.float64) for array in W.arrays]
    total, statistics = model.expected(data, weights, counts)
    values, inputs, _, true_counts = swept(model, both(model, data)[1], weights)
    true = components.pool_shared(components.statistics(data, inputs))
    assert total == pytest.approx(float(values @ weights))
    agree(statistics, {name: true[name] for name in statistics}, torch.float64)
    assert statistics.keys() == true.keys()
    agree(counts, true_counts, torch.float64)


def sticky(d, leave, dtype=torch.float64):
    """A chain that leaves its state once in 1 / leave steps."""
    r = 3
    step = (1 - leave) * torch.eye(r) + leave / r
    emission = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])
    parts = [part.double() for part in (torch.full((r,), 1 / r), step, emission)]
    tables = [(part / part.sum(-1, keepdim=True)).to(dtype) for part in parts]
    return Mixture(
        HMM.from_tables(tables[0], tables[1], variables=d),
        Categorical.from_parameters(tables[2][None], shared=True, variables=d),
    )


def forgetful(d, shared, family=symbols):
    make = bare if shared else bare_untied
    return Mixture(make(d, 4, torch.float64), family(d, 4, torch.float64, shared))


LONG = 3000
FOLDED = {
    "tied symbols": lambda: forgetful(LONG, True),
    "tied numbers": lambda: forgetful(LONG, True, numbers),
    "untied symbols": lambda: forgetful(LONG, False),
    "untied numbers": lambda: forgetful(LONG, False, numbers),
    "sticky": lambda: sticky(LONG, 1e-2),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folding_time_changes_nothing(name, monkeypatch):
    model = FOLDED[name]()
    x = model.sample(2, generator=torch.Generator().manual_seed(5)).double()
    x[1, 2000:] = torch.nan
    data = model.encode(x)
    folded = counted(monkeypatch, Folded, "up")
    walked, general = both(model, data)
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    found = swept(model, walked, weights)
    assert folded
    for part, expected in zip(found, swept(model, general, weights), strict=True):
        agree(part, expected, torch.float64)
    counts = [torch.zeros_like(array, dtype=torch.float64) for array in model.coefficients.arrays]
    _, statistics = model.expected(data, weights, counts)
    components = model.components
    agree(
        statistics,
        components.pool_shared(components.statistics(data, found[1])),
        torch.float64,
    )


@pytest.mark.parametrize("strides", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_chains_that_forget_slowly_are_exact_too(dtype, strides, monkeypatch):
    """Only the ends are observed: what is in between begins with a wrong guess."""
    model = sticky(LONG, 1e-5, dtype)
    x = torch.full((2, LONG), torch.nan, dtype=dtype)
    x[:, :100], x[:, -100:] = 1, 0
    x[1, 1500] = 2
    strode = [counted(monkeypatch, Strides, name) for name in ("marks", "marks_down")]
    if not strides:
        monkeypatch.setattr(mixtures.span, "FEW", 0)
    single = counted(monkeypatch, Span, "marks"), counted(monkeypatch, Span, "marks_down")
    walked, general = both(model, model.encode(x))
    found = swept(model, walked, None)
    assert all(single)
    assert [len(calls) for calls in strode] == ([2, 2] if strides else [0, 0])
    for part, expected in zip(found, swept(model, general, None), strict=True):
        agree(part, expected, dtype)


def test_where_blocks_do_not_fit_soon_no_more_passes_are_tried(monkeypatch):
    """A chain that forgets takes one pass; a slow one takes two up and, warned, one down."""
    ups, downs = counted(monkeypatch, Span, "up"), counted(monkeypatch, Folded, "_tried")
    taken = []
    x = torch.full((1, LONG), torch.nan)
    x[:, :100], x[:, -100:] = 1, 0
    for model in (forgetful(LONG, True), sticky(LONG, 1e-5)):
        ups.clear()
        downs.clear()
        swept(model, both(model, model.encode(x))[0], None)
        taken.append((len(ups), len(downs)))
    (fast, once), slow = taken
    assert once == 1 and slow == (fast + 1, 1)


def counted(monkeypatch, kind, name):
    """A list that grows with every call of a method."""
    calls = []
    method = getattr(kind, name)

    def counting(self, *arguments):
        calls.append(1)
        return method(self, *arguments)

    monkeypatch.setattr(kind, name, counting)
    return calls


def products(monkeypatch, function):
    """How many matrix products a function takes, whatever their size."""
    calls = []

    def matmul(*arguments, **options):
        calls.append(1)
        return np.matmul(*arguments, **options)

    kernels = dataclasses.replace(mixtures.kernels.NUMPY, matmul=matmul)
    with monkeypatch.context() as patch:
        patch.setattr(mixtures.chainpass, "kernels_for", lambda like: kernels)
        function()
    return len(calls)


@pytest.mark.parametrize("n", [1, 2000])
def test_products_grow_linearly_with_steps_and_time_folds_for_few_rows(n, monkeypatch):
    taken = []
    for d in (2000, 4000):
        model = forgetful(d, True)
        x = torch.randint(0, 5, (n, d), generator=torch.Generator().manual_seed(0))
        data = model.encode(x)
        with torch.no_grad():
            taken.append(products(monkeypatch, lambda m=model, rows=data: m.log_prob(rows)))
    assert taken[1] <= 2.1 * taken[0]
    assert taken[1] < 1000 if n == 1 else taken[1] > 4000


def test_memory_of_em_does_not_grow_with_the_number_of_rows(monkeypatch):
    monkeypatch.setattr(mixtures.chainpass, "HISTORY", 2**14)
    held = []
    for n in (640, 6400):
        model = forgetful(40, True)
        data = model.encode(model.sample(n, generator=torch.Generator().manual_seed(0)))
        counts = [torch.zeros_like(a, dtype=torch.float64) for a in model.coefficients.arrays]
        model.expected(data, torch.ones(n, dtype=torch.float64), counts)
        held.append(spine_of(model.coefficients.circuit).scratch.held)
    assert 0 < held[1] <= 1.2 * held[0]


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_that_mantissas_lose_are_found_out_and_done_again(dtype):
    """Ordinary rows beside rows that are impossible, or unlikely beyond the range of the type."""
    model = Mixture(bare(24, 3, dtype), numbers(24, 3, dtype, True))
    x = model.sample(50, generator=torch.Generator().manual_seed(0))
    x[3] *= 1e3
    x[4, ::2] = 200.0
    x[5] = 1e30 if dtype == torch.float32 else 1e200
    walked, general = both(model, model.encode(x))
    found, expected = swept(model, walked, None), swept(model, general, None)
    assert found[0][5] == -torch.inf == expected[0][5]
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    for one, other in zip(found[1:3], expected[1:3], strict=True):
        agree(one, other, torch.float32)
    agree(found[3], expected[3], torch.float32)


def test_trees_that_branch_and_short_chains_have_no_spine():
    assert spine_of(LTM(Tree.balanced(32), 2, 3).circuit) is None
    assert spine_of(HMM(3, 2, 2).circuit) is None
    assert spine_of(HMM(9, 2, {9 + j: 2 + j % 2 for j in range(9)}).circuit) is not None


def test_inference_mode_and_ordinary_calls_share_a_model():
    model, data = case(tied, symbols, True, torch.float64)
    with torch.inference_mode():
        first = model.log_prob(data)
    with torch.no_grad():
        second = model.log_prob(data)
        third = model.posterior(data)
    with torch.inference_mode():
        assert torch.equal(third, model.posterior(data))
    assert torch.equal(first, second)
