"""Stochastic EM: batches of any kind, running statistics, and EM as its special case."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from mixture_cases import SOME, assert_unchanged, build, generator, held, some_mixtures

from mixtures import HMM, TMM, Mixture
from mixtures.components import Bernoulli, Gaussian, Indicator
from mixtures.learn import (
    Batch,
    Running,
    annealed,
    batches,
    em,
    fit,
    initialise,
    stochastic_em,
)

from laws import close


def same(one, two):
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def chain(seed=0):
    leaves = Gaussian(3, 2, generator=generator(seed))
    return Mixture(HMM(3, 2, 2, generator=generator(seed)), leaves).double()


@some_mixtures
def test_a_rate_of_one_and_all_rows_in_one_batch_are_em(name):
    one, two = build(name), build(name)
    x = one.sample(20, generator=generator(1))
    observed = torch.rand(x.shape[:2], generator=generator(2)) > 0.1
    weights = torch.rand(20, generator=generator(3), dtype=torch.float64)
    options = {"pseudo_count": 0.3}
    exact = itertools.islice(em(one, x, observed=observed, weights=weights, **options), 3)
    batch = Batch(x, weights, None, observed)
    steps = stochastic_em(two, [batch], step=lambda t: 1.0, epochs=3, **options)
    for expected, found in zip(exact, steps, strict=True):
        assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-9, abs=1e-9)
        assert found.log_prior == pytest.approx(expected.log_prior, rel=1e-9, abs=1e-9)
    same(one, two)


def test_statistics_are_the_running_averages_of_cappe_and_moulines():
    """By hand: one latent, no emission, so that a row's counts are its posterior."""
    model = Mixture(TMM(2, 2, 2, emission=False, generator=generator()), Bernoulli(2, 2)).double()
    x = torch.randint(2, (12, 2), generator=generator(1))
    rates = [0.5, 0.25, 1.0, 0.1]
    running = Running()
    steps = stochastic_em(
        model, batches(x, 3, shuffle=False), step=lambda t: rates[t], total=50.0, running=running
    )
    (latent,) = model.coefficients.latents
    average = model.coefficients.weights.clone()
    for t, rate in enumerate(rates):
        posterior = model.states(x[3 * t : 3 * t + 3])[latent].mean(0)
        average = (1 - rate) * average + rate * posterior
        next(steps)
        close(model.coefficients.weights, average)
    assert running.batches == 4


def test_pseudo_counts_weigh_against_the_rows_that_batches_stand_for():
    x = torch.randint(2, (30, 2), generator=generator(1))
    found = []
    for total in (None, 30.0, 3000.0):
        model = Mixture(TMM(2, 2, 2, generator=generator()), Indicator(2, 2)).double()
        list(stochastic_em(model, [x], step=lambda t: 1.0, pseudo_count=2.0, total=total))
        found.append(model.coefficients.arrays[0].clone())
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], rtol=1e-3)


def test_the_default_total_is_the_number_of_rows_met_in_the_first_epoch():
    model, x = chain(), torch.randn(10, 3, generator=generator())
    running = Running()
    list(stochastic_em(model, batches(x, 3), epochs=4, running=running))
    assert running.rows == 10
    list(stochastic_em(model, batches(x, 3), epochs=2, running=running))
    assert (running.rows, running.batches) == (10, 24)


def test_going_on_from_running_statistics_is_not_having_stopped():
    one, two, x = chain(), chain(), torch.randn(20, 3, generator=generator())
    list(stochastic_em(one, batches(x, 4, shuffle=False), epochs=3))
    running = Running()
    for _ in range(3):
        list(stochastic_em(two, batches(x, 4, shuffle=False), running=running))
    same(one, two)


@pytest.mark.parametrize("name", SOME[::4])
def test_every_source_of_batches_gives_the_same_model(name, tmp_path):
    x = build(name).sample(12, generator=generator(1))
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=5)
    encoded = build(name).encode(x)
    sources = [
        [x[:5], x[5:10], x[10:]],
        batches(x, 5, shuffle=False),
        batches(x.tolist(), 5, shuffle=False),
        batches(mapped, 5, shuffle=False),
        batches(encoded, 5, shuffle=False),
        torch.utils.data.DataLoader(x, batch_size=5),
        loader,
    ]
    models = [build(name) for _ in sources]
    for model, source in zip(models, sources, strict=True):
        list(stochastic_em(model, source, pseudo_count=0.1, epochs=2))
        same(models[0], model)


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_walk_visits_every_row_once_with_its_weight(shuffle):
    x = np.arange(23)[:, None]
    cut = batches(x, 5, weights=np.arange(23) / 7, shuffle=shuffle, generator=generator())
    orders = []
    for _ in range(2):
        found = list(cut)
        assert len(found) == len(cut) == 5
        order = np.concatenate([np.asarray(batch.x)[:, 0] for batch in found])
        weights = np.concatenate([np.asarray(batch.weights) for batch in found])
        assert sorted(order) == list(range(23))
        np.testing.assert_allclose(weights, order / 7)
        orders.append(order.tolist())
    assert (orders[0] == orders[1]) == (not shuffle)


def test_a_memory_map_is_read_batch_by_batch(tmp_path):
    path = tmp_path / "rows.npy"
    rows, columns = 200_000, 40
    mapped = np.lib.format.open_memmap(path, "w+", np.float64, (rows, columns))
    mapped[:] = np.arange(rows)[:, None] % 7
    mapped.flush()
    cut = batches(np.load(path, mmap_mode="r"), 500, generator=generator())
    tracemalloc.start()
    for batch in itertools.islice(cut, 50):
        assert np.asarray(batch.x).shape == (500, columns)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * columns * 8 / 20


def test_it_comes_as_far_as_em_in_fewer_walks_over_the_rows():
    truth = chain(3)
    x = truth.sample(4000, generator=generator(4))
    start = chain(7)
    initialise(start, x, generator=generator(5))
    one, two = chain(), chain()
    for model in (one, two):
        model.load_state_dict(start.state_dict())
    fit(one, x, start="model", max_iter=10, tol=0)
    list(stochastic_em(two, batches(x, 100, generator=generator(6)), epochs=10, total=4000))
    assert two.score(x) > one.score(x) - 1e-3
    assert two.score(x) > start.score(x) + 0.01


@pytest.mark.parametrize(
    ("given", "options", "what"),
    [
        ([], {}, "at least one batch"),
        ([torch.zeros(0, 3)], {}, "at least one row"),
        ([torch.zeros(2, 3)], {"step": lambda t: 1.5}, r"step\(0\)"),
        ([torch.zeros(2, 3)], {"step": lambda t: float("nan")}, r"step\(0\)"),
        ([torch.zeros(2, 3)], {"total": 0.0}, "total"),
        ([torch.zeros(2, 3)], {"epochs": -1}, "epochs"),
        ([torch.zeros(2, 3)], {"pseudo_count": -1.0}, "pseudo_count"),
        ([torch.zeros(2, 3)], {"frozen": [torch.zeros(2)]}, "frozen"),
        ([Batch(torch.zeros(2, 3), [0.0, 0.0])], {}, "not all zero"),
    ],
)
def test_bad_options_are_refused_and_nothing_changes(given, options, what):
    model, running = chain(), Running()
    before = held(model)
    with pytest.raises(ValueError, match=what):
        list(stochastic_em(model, given, running=running, **options))
    assert_unchanged(model, before)
    assert running == Running()


def test_a_spent_iterator_is_refused():
    model, x = chain(), torch.randn(6, 3, generator=generator())
    with pytest.raises(ValueError, match="spent"):
        list(stochastic_em(model, iter([x]), epochs=2))
    for size, data in ((0, x), (2, x[:0])):
        with pytest.raises(ValueError, match="at least"):
            batches(data, size)
    with pytest.raises(ValueError, match="6 weights"):
        batches(x, 2, weights=[1.0])


def symbols(states=3, seed=0):
    return Mixture(TMM(4, 2, states, generator=generator(seed)), Indicator(4, 2)).double()


@pytest.mark.parametrize(("steps", "peak"), [(0, 1.0), (3, 0.0), (3, 1.5)])
def test_rates_that_anneal_need_steps_and_a_peak(steps, peak):
    with pytest.raises(ValueError, match="steps >= 1 and a peak"):
        annealed(steps, peak)


@pytest.mark.parametrize(
    ("make", "pseudo_count", "peak"),
    [(symbols, 0.1, 1.0), (symbols, 0.0, 0.5), (chain, 0.1, 0.5)],
    ids=["tables with pseudo-counts", "tables alone", "components learn"],
)
def test_fit_anneals_over_the_walks_it_is_given(make, pseudo_count, peak):
    one, two = make(), make()
    x = one.sample(40, generator=generator(1))
    options = {"method": "stochastic_em", "pseudo_count": pseudo_count, "max_iter": 6}
    options |= {"batch_size": 10, "start": "model"}
    history = fit(one, x, generator=generator(2), **options)
    assert len(history) == 6
    step = annealed(6 * 4, peak)
    fit(two, x, step=step, generator=generator(2), patience=99, **options)
    same(one, two)


def test_going_on_anneals_to_an_end_of_its_own():
    """Four walks of three batches, then two more: rates fall to zero at the sixth walk."""
    one, two = symbols(), symbols()
    x = one.sample(30, generator=generator(1))
    options = {"method": "stochastic_em", "pseudo_count": 0.1, "batch_size": 10}
    draws = generator(2)
    first = fit(one, x, start="model", max_iter=4, generator=draws, **options)
    assert len(fit(one, x, history=first, max_iter=2, generator=draws, **options)) == 6
    early, late, draws = annealed(12), annealed(18), generator(2)
    rates = lambda t: early(t) if t < 12 else late(t)  # noqa: E731
    fit(two, x, start="model", max_iter=6, step=rates, patience=99, generator=draws, **options)
    same(one, two)


def test_without_pseudo_counts_a_symbol_that_few_batches_hold_stays_possible():
    """A hundred batches of ten rows, a symbol in one of them: no rate may forget it in a walk."""
    model = Mixture(TMM(3, 2, 2, generator=generator(3)), Indicator(3, 2))
    x = torch.randint(2, (1000, 3), generator=generator(4))
    x[:, 1] = 0
    x[500, 1] = 1
    options = {"method": "stochastic_em", "batch_size": 10, "max_iter": 3}
    fit(model, x, generator=generator(5), **options)
    assert bool((model.coefficients.tables[-1].values > 0).all())
    assert model.log_prob(x).isfinite().all()


def test_all_rows_in_one_batch_are_em_by_default():
    one, two = symbols(), symbols()
    x = one.sample(30, generator=generator(1))
    fit(one, x, method="stochastic_em", start="model", max_iter=5, pseudo_count=0.1)
    fit(two, x, method="em", start="model", max_iter=5, pseudo_count=0.1, tol=0)
    same(one, two)
