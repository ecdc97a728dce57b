"""Laws of draws of symbols without states: the patterns drawn at once have the model's
probabilities.
"""

import itertools

import numpy as np
import pytest
import torch
from mixture_cases import generator

from mixtures import HT, LTM, TMM, Mixture, Tree, chosen, engine
from mixtures.alias import Alternatives
from mixtures.components import Bernoulli, Categorical, Gaussian
from mixtures.semiring import Log
from mixtures.symboldraws import _Below, symbol_draws

from laws import close


def unordered(d):
    """A random tree, whose leaves do not come in their order."""
    return Tree.random(d, generator=generator(3))


MODELS = {
    "balanced, no emission": lambda: (
        LTM(Tree.balanced(8), 3, 3, emission=False, generator=generator(0)),
        Categorical(8, 3, 2, generator=generator(1)),
    ),
    "unordered leaves": lambda: (
        LTM(unordered(7), 2, 3, generator=generator(0)),
        Categorical(7, 2, 2, generator=generator(1)),
    ),
    "caterpillar": lambda: (
        LTM(Tree.caterpillar(6), 2, 2, generator=generator(0)),
        Categorical(6, 2, [2, 3, 1, 2, 2, 3], generator=generator(1)),
    ),
    "as many patterns of other symbols": lambda: (
        LTM(Tree.balanced(4), 2, 2, generator=generator(0)),
        Categorical(4, 2, [2, 3, 3, 2], generator=generator(1)),
    ),
    "joint states": lambda: (
        HT(Tree.balanced(5), 2, 3, generator=generator(0)),
        Categorical(5, 2, 3, generator=generator(1)),
    ),
    "shared, unequal components": lambda: (
        LTM(Tree.balanced(6, arity=3), 2, {6: 2, 7: 3, 8: 4, 9: 3}, generator=generator(0)),
        Bernoulli(6, 2, shared=True, generator=generator(1)),
    ),
    "deep, float32": lambda: (
        TMM(8, 2, 2, arity=2, generator=generator(0), dtype=torch.float32),
        Categorical(8, 2, 2, generator=generator(1), dtype=torch.float32),
    ),
}


@pytest.fixture(autouse=True)
def _double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def build(name):
    W, components = MODELS[name]()
    return Mixture(W, components)


def kept(model):
    table = model.components._symbols()
    return symbol_draws(model.coefficients.circuit, [*model.coefficients.arrays, table])


def every_row(model):
    counts = model.components.categories
    counts = counts if len(counts) == model.variables else counts * model.variables
    return torch.tensor(list(itertools.product(*map(range, counts))))


@pytest.mark.parametrize("name", MODELS)
def test_patterns_under_the_circuit_above_have_the_probabilities_of_the_mixture(name, monkeypatch):
    model, weights = build(name), []
    make = Alternatives.__init__

    def noted(self, rows, *, wide=False):
        weights.append(rows)
        make(self, rows, wide=wide)

    monkeypatch.setattr(Alternatives, "__init__", noted)
    draws, x = kept(model), every_row(model)
    most = max(rows.shape[1] for rows in weights)
    logs = torch.full((len(x), len(draws.circuit.inputs), most), -torch.inf).double()
    for part, rows in zip(draws.parts, weights, strict=True):
        symbols = part.words.view(torch.uint8).view(*rows.shape[::2], -1)
        variables = part.variables.view(len(rows), -1)
        for place, own, columns, probabilities in zip(
            part.places, symbols, variables, rows, strict=True
        ):
            same = (own[None, :, : len(columns)] == x[:, None, columns]).all(-1).double()
            assert bool((same.sum(1) == 1).all())  # each row has one pattern at each node
            logs[:, place, : rows.shape[1]] = (same @ probabilities.double().mT).log()
    source = engine.from_tensor(logs, {})
    stacks = [stack.double() for stack in model.coefficients.arrays]
    found = engine.contract(draws.circuit, stacks, source, Log())
    expected = model.log_prob(x).detach()
    close(found, expected.numpy(), rtol=1e-9 if expected.dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_rows_have_their_frequencies(name, monkeypatch):
    monkeypatch.setattr(chosen, "STEP_DRAWS", 4000)  # several parts
    model, n = build(name), 40_000
    drawn = model.sample(n, generator=generator(5))
    assert drawn.dtype == torch.int64 and drawn.shape == (n, model.variables)
    x = every_row(model)
    expected = n * model.log_prob(x).detach().double().exp()
    number = {row: i for i, row in enumerate(map(tuple, x.tolist()))}
    found = np.bincount([number[row] for row in map(tuple, drawn.tolist())], minlength=len(x))
    rest = expected < 5
    pairs = [(found[~rest], expected[~rest].numpy())]
    pairs.append((found[rest].sum(keepdims=True), expected[rest].sum(0, keepdim=True).numpy()))
    square = sum(((a - b) ** 2 / np.maximum(b, 1e-9)).sum() for a, b in pairs if len(b) and b.sum())
    freedom = int((~rest).sum())
    assert square < freedom + 5 * (2 * freedom) ** 0.5 + 10


def test_large_trees_are_drawn_with_the_means_and_covariances_of_the_mixture():
    """Also where nodes have other numbers of leaves below them, and states above."""
    tree = Tree.random(70, generator=generator(0))
    W = LTM(tree, 3, 5, generator=generator(1))
    model = Mixture(W, Categorical(70, 3, 3, generator=generator(2)))
    assert kept(model) is not None and len(kept(model).parts) > 1
    n = 60_000
    drawn = model.sample(n, generator=generator(3)).double()
    error = (drawn.mean(0) - model.mean().detach().flatten()) / drawn.std(0) * n**0.5
    assert float(error.abs().max()) < 4.5
    expected = model.covariance().detach()
    found = drawn.T.cov()
    scale = (expected.diagonal()[:, None] * expected.diagonal()).sqrt()
    assert float(((found - expected) / scale).abs().max()) < 5.5 / n**0.5


def test_what_cannot_be_is_never_drawn_and_what_is_rare_stays_possible():
    """Patterns of symbols, each with probability 1e-9 of being one."""
    rare = torch.full((8, 2), 1e-9, dtype=torch.float64)
    rare[:, 0] = 0
    W = LTM(Tree.balanced(8), 2, 2, emission=False, generator=generator(0))
    model = Mixture(W, Bernoulli.from_parameters(rare))
    assert not bool(model.sample(10_000, generator=generator(1)).any())
    assert {part.rows.kind for part in kept(model).parts} == {torch.int64}
    circuit = model.coefficients.circuit
    symbols = [torch.stack([1 - rare[j], rare[j]], -1) for j in range(8)]
    below = _Below(circuit, model.coefficients.arrays, symbols)
    for node in np.flatnonzero(below.sizes > 2):
        rows = below.values[node]
        table = Alternatives(rows[None], wide=True)
        low = (1 << table.bits) - 1
        cells = table.cells.view(len(rows), -1)
        kept_part = (cells - (cells & low)).double() / 2.0**64 + 0.5
        term = torch.arange(low + 1).expand_as(cells)
        found = kept_part.clone().scatter_add_(1, term ^ (cells & low), 1 - kept_part) / (low + 1)
        close(found[:, : rows.shape[1]], rows.numpy(), rtol=1e-6, atol=2.0**-53)


def test_draws_follow_components_that_change_and_take_their_seed_from_the_generator_alone():
    model = build("balanced, no emission")
    first = model.sample(50, generator=generator(1))
    assert torch.equal(first, model.sample(50, generator=generator(1)))
    values = torch.zeros_like(model.components.probabilities)
    values[..., 1] = 1
    model.components.table.set(values)
    assert bool((model.sample(50, generator=generator(1)) == 1).all())


def test_only_symbols_are_drawn_so():
    tree = Tree.balanced(4)
    assert Mixture(LTM(tree, 2, 2), Gaussian(4, 2)).sample(3).dtype.is_floating_point
    with pytest.raises(ValueError, match="number of samples"):
        build("caterpillar").sample(-1)
    assert build("caterpillar").sample(0).shape == (0, 6)
