"""Single steps of EM: expected counts, row weights, priors, frozen and tied tables, refusals."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mixture_cases import (
    assert_unchanged,
    build,
    case,
    every_mixture,
    generator,
    held,
    some_mixtures,
)

from mixtures import HMM, HT, LTM, SPN, TMM, Mixture, Tree, engine, inputs
from mixtures.components import (
    Bernoulli,
    Categorical,
    Gaussian,
    Indicator,
    Mixed,
    Uniform,
)
from mixtures.learn import em

import zoo
from laws import close


def weighted(found, weights):
    """Expected counts of every table over all rows, by brute force; only into the observed part."""
    model = found.mixture.coefficients
    expected = [np.zeros(array.shape) for array in model.arrays]
    seen = found.data.any_observed
    for n, row in enumerate(found.leaves):
        counts = found.truth.counts(row, seen[:, n].tolist() if seen is not None else [True] * 9)
        for (table, *entry), count in counts.items():
            expected[table][tuple(entry)] += weights[n] * count
    return expected


@every_mixture
def test_tables_become_their_expected_counts_row_by_row(name):
    found, model = case(name), build(name)
    weights = np.arange(1.0, len(found.x) + 1)
    old = [array.clone() for array in model.coefficients.arrays]
    next(em(model, found.data, weights=weights))
    counted = weighted(found, weights)
    for table, count, before in zip(model.coefficients.arrays, counted, old, strict=True):
        total = count.sum(-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            expected = np.where(total > 1e-12, count / total, before.numpy())
        close(table, expected, rtol=1e-8, atol=1e-10)


@some_mixtures
def test_a_row_of_weight_two_is_a_row_twice(name):
    found, one, two = case(name), build(name), build(name)
    weights = torch.tensor([2.0, 1, 1, 2, 1, 1])
    twice = torch.tensor([0, 0, 1, 2, 3, 3, 4, 5])
    first = next(em(one, found.data, weights=weights))
    second = next(em(two, found.data.rows(twice)))
    assert first.log_likelihood == pytest.approx(second.log_likelihood, rel=1e-10)
    same(one, two)


@some_mixtures
def test_a_row_of_weight_zero_or_of_nothing_seen_changes_nothing(name):
    found, one, two = case(name), build(name), build(name)
    weights = torch.tensor([5.0, 1, 0, 1, 1, 1])  # row 0 is wholly missing
    next(em(one, found.data, weights=weights))
    next(em(two, found.data.rows(torch.tensor([1, 3, 4, 5]))))
    same(one, two)


@some_mixtures
def test_steps_do_not_depend_on_how_rows_are_cut_into_chunks(name, monkeypatch):
    found, one, two = case(name), build(name), build(name)
    next(em(one, found.data))
    monkeypatch.setattr(engine, "rows_at_once", lambda circuit: 2)
    next(em(two, found.data))
    same(one, two)


def same(one, two, rtol=1e-8):
    for (key, value), other in zip(
        one.state_dict().items(), two.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, rtol=rtol, atol=1e-9, msg=lambda m, k=key: k + m)


def test_pseudo_counts_are_added_to_every_entry_that_is_not_a_structural_zero():
    tables = [zoo.rows(generator(n), torch.float64, 3, 3, zeros=0.4) for n in range(2)]
    start = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    chain = HMM.from_tables(start, tables[0], tables[1], variables=3)
    model = Mixture(chain, Gaussian(3, 3, generator=generator()).double())
    x = model.sample(20, generator=generator(1))
    smooth = Mixture(copy.deepcopy(chain), model.components)
    counts = [torch.zeros_like(array) for array in chain.arrays]
    list(smooth.sweep(smooth.encode(x), counts=counts))
    next(em(smooth, x, pseudo_count=2.5))
    for table, count, old in zip(smooth.coefficients.arrays, counts, chain.arrays, strict=True):
        expected = count + 2.5 * (old > 0)
        close(table, expected / expected.sum(-1, keepdim=True))
        assert ((table > 0) == (old > 0)).all()


@every_mixture
def test_structural_zeros_stay_zero(name):
    found, model = case(name), build(name)
    zeros = [array == 0 for array in model.coefficients.arrays]
    steps = em(model, found.data, pseudo_count=0.5)
    for _ in range(3):
        next(steps)
    for table, zero in zip(model.coefficients.arrays, zeros, strict=True):
        assert (table[zero] == 0).all()
        assert table.isfinite().all()


def test_states_that_are_never_reached_keep_their_rows():
    step = torch.tensor([[1.0, 0, 0], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=torch.float64)
    start = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    emission = zoo.rows(generator(), torch.float64, 3, 2)
    model = Mixture(
        HMM.from_tables(start, step, emission, variables=4),
        Bernoulli(4, 2, generator=generator(), dtype=torch.float64),
    )
    x = model.sample(10, generator=generator(1))
    next(em(model, x))
    chain = model.coefficients
    assert torch.equal(chain.transition[0][1:], step[1:])
    assert torch.equal(chain.emission[0][1:], emission[1:])
    assert not torch.equal(chain.emission[0][0], emission[0])


@pytest.mark.parametrize("name", ["HMM", "LTM", "HT", "SPN"])
def test_frozen_tables_keep_their_values_bit_for_bit(name):
    made = {
        "HMM": lambda: HMM(3, 2, 2, generator=generator()),
        "LTM": lambda: LTM(Tree.balanced(3), 2, 2, generator=generator()),
        "HT": lambda: HT(Tree.balanced(3), 2, 2, generator=generator()),
        "SPN": lambda: SPN(zoo.mixed(generator(), inputs(1, 2)[0])),
    }[name]()
    model = Mixture(made, Gaussian(made.variables, 2, generator=generator()))
    frozen = model.coefficients.tables[0]
    before = [table.values.clone() for table in model.coefficients.tables]
    x = model.sample(20, generator=generator(1))
    steps = em(model, x, frozen=[frozen], pseudo_count=1.0)
    next(steps), next(steps)
    assert torch.equal(frozen.values, before[0])
    for table, old in list(zip(model.coefficients.tables, before, strict=True))[1:]:
        assert not torch.equal(table.values, old)


def test_tied_tables_stay_tied_and_pool_their_counts():
    step, leaf = (zoo.rows(generator(n), torch.float64, 2, 2) for n in range(2))
    tree = Tree.balanced(4)
    root = zoo.rows(generator(2), torch.float64, 1, 2)
    tables = {6: root, 4: step, 5: step} | dict.fromkeys(range(4), leaf)
    model = Mixture(LTM.from_tables(tree, tables), Indicator(4, 2, dtype=torch.float64))
    x = model.sample(30, generator=generator(3))
    free = Mixture(
        LTM.from_tables(tree, {node: table.clone() for node, table in tables.items()}),
        Indicator(4, 2, dtype=torch.float64),
    )
    counts = [torch.zeros_like(array) for array in free.coefficients.arrays]
    list(free.sweep(x, counts=counts))
    place = free.coefficients.place
    pooled = sum(counts[place(j)[0]][place(j)[1]] for j in range(4))
    next(em(model, x))
    for j in range(4):
        close(model.coefficients.table(j), pooled / pooled.sum(-1, keepdim=True))
    assert len({id(t) for t in model.coefficients.tables}) <= 3


def test_known_states_teach_the_tables_their_frequencies():
    """Rows whose latent is known: the M-step counts them, as in supervised learning."""
    model = Mixture(
        TMM(1, 2, 2, emission=False, generator=generator()), Categorical(1, 2, 3, pseudo_count=0.0)
    ).double()
    state, x = torch.tensor([0, 0, 0, 1, 1]), [[0], [0], [1], [2], [1]]
    (latent,) = model.coefficients.latents
    logs = torch.where(torch.eye(2)[state] > 0, 0.0, -torch.inf)
    next(em(model, x, evidence={latent: logs}))
    close(model.coefficients.weights, torch.tensor([0.6, 0.4]), rtol=1e-6)
    symbols = model.components.log_prob([[0], [1], [2]])[:, 0].exp().mT
    close(symbols, torch.tensor([[2 / 3, 1 / 3, 0], [0, 0.5, 0.5]]), rtol=1e-6, atol=1e-9)


def test_learning_under_inference_mode_leaves_a_model_that_can_be_trained():
    model = Mixture(HMM(3, 2, 2), Gaussian(3, 2))
    with torch.inference_mode():
        next(em(model, model.sample(10, generator=generator())))
    model.log_prob([[0.0, 1.0, float("nan")]]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"weights": [1.0]}, r"weights of shape \(2,\)"),
        ({"weights": [1.0, -1.0]}, "non-negative"),
        ({"weights": [0.0, 0.0]}, "not all zero"),
        ({"weights": [1.0, float("nan")]}, "finite"),
        ({"pseudo_count": -1.0}, "pseudo_count"),
        ({"pseudo_count": float("nan")}, "pseudo_count"),
        ({"pseudo_count": float("inf")}, "pseudo_count"),
        ({"evidence": {"nobody": torch.zeros(2, 2)}}, "no latent 'nobody'"),
        ({"evidence": {3: torch.zeros(2, 7)}}, r"\(\*batch, 2\)"),
        ({"frozen": [torch.zeros(2)]}, "frozen"),
        ({"observed": [[True, True, True]]}, "observed of shape"),
    ],
)
def test_bad_options_are_refused_and_nothing_changes(options, what):
    model = Mixture(HMM(3, 2, 2), Gaussian(3, 2))
    before = held(model)
    with pytest.raises(ValueError, match=what):
        next(em(model, torch.zeros(2, 3), **options))
    assert_unchanged(model, before)


def test_rows_of_probability_zero_are_named_and_nothing_changes():
    model = Mixture(HMM(2, 2, 2), Uniform(2, 2, low=0.0, high=1.0))
    before = held(model)
    with pytest.raises(ValueError, match=r"probability zero.*rows 1, 2$"):
        next(em(model, [[0.5, 0.5], [2.0, 0.5], [0.5, -1.0]]))
    with pytest.raises(ValueError, match="at least one row"):
        next(em(model, torch.zeros(0, 2)))
    assert_unchanged(model, before)


@pytest.mark.parametrize("wrap", [False, True])
def test_a_component_that_collapses_is_refused_and_nothing_changes(wrap):
    gaussian = Gaussian(2, 2, pseudo_scatter=0.0)
    components = Mixed([([0], Bernoulli(1, 2)), ([1, 2], gaussian)]) if wrap else gaussian
    model = Mixture(HMM(components.variables, 2, 2), components)
    before = held(model)
    with pytest.raises(ValueError, match="collapsed"):
        next(em(model, [[1.0] * components.variables] * 3))
    assert_unchanged(model, before)
