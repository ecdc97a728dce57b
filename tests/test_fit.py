"""fit: what it keeps, when it ends, and that nothing of it depends on who watches."""

from __future__ import annotations

import itertools
import pickle
import sys

import pytest
import torch
from mixture_cases import assert_unchanged, build, generator, held, some_mixtures
from rich.console import Console

from mixtures import HMM, LTM, TMM, Mixture, Tree
from mixtures.components import Bernoulli, Gaussian, Indicator
from mixtures.learn import History, Record, em, fit, initialise
from mixtures.learn.progress import Display

METHODS = ["em", "stochastic_em", "descend"]
each_method = pytest.mark.parametrize("method", METHODS)


def chain(seed=0):
    leaves = Bernoulli(4, 3, generator=generator(seed + 1))
    return Mixture(HMM(4, 3, 2, generator=generator(seed)), leaves).double()


def rows(n=40, seed=1):
    return chain(5).sample(n, generator=generator(seed))


def parameters(model):
    return list(model.state_dict().values())


def assert_same(one, two):
    for a, b in zip(parameters(one), parameters(two), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@some_mixtures
def test_records_are_about_the_parameters_after_so_many_iterations(name):
    one, two = build(name), build(name)
    x = one.encode(one.sample(15, generator=generator(1)))
    history = fit(one, x, start="model", max_iter=3, tol=0)
    steps = list(itertools.islice(em(two, x), 4))
    assert len(history) == 3
    for record, step in zip(history.steps, steps, strict=True):
        assert record.log_likelihood == pytest.approx(step.log_likelihood, rel=1e-9, abs=1e-9)
        assert record.log_prior == pytest.approx(step.log_prior, rel=1e-9, abs=1e-9)
    assert history.best is history.steps[-1]


@each_method
def test_the_best_record_is_that_of_the_model_as_it_is_left(method):
    model, x, held_out = chain(), rows(), rows(30, 2)
    weights = torch.arange(1.0, 41, dtype=torch.float64)
    history = fit(
        model, x, method=method, validation=held_out, weights=weights, max_iter=12, patience=3
    )
    with torch.no_grad():
        expected = (model.log_prob(x) * weights).sum() / weights.sum()
    assert history.best.log_likelihood == pytest.approx(float(expected), rel=1e-10)
    assert history.best.validation == pytest.approx(model.score(held_out), rel=1e-10)
    assert history.best.validation == max(step.validation for step in history.steps)


def test_parameters_that_did_best_on_validation_rows_are_restored():
    """A large model on few rows overfits: the best is neither the first nor the last."""
    model = Mixture(TMM(6, 2, 12, generator=generator()), Indicator(6, 2)).double()
    x = torch.randint(2, (25, 6), generator=generator(1))
    held_out = torch.randint(2, (200, 6), generator=generator(2))
    history = fit(model, x, validation=held_out, pseudo_count=0.01, max_iter=300, patience=7)
    assert history.converged
    assert len(history) == history.kept + 7
    assert history.steps[-1].validation < history.best.validation


def test_it_ends_when_a_step_gains_less_than_tol():
    model, x = chain(), rows()
    history = fit(model, x, tol=1e-4, pseudo_count=0.1)
    gains = [b.objective - a.objective for a, b in itertools.pairwise(history.steps)]
    assert history.converged
    assert all(gain >= 1e-4 for gain in gains[:-2])
    assert gains[-2] < 1e-4
    assert not fit(model, x, tol=0, max_iter=2).converged


@each_method
def test_going_on_from_a_history_is_not_having_stopped(method):
    options = {"method": method, "tol": 0.0}
    if method != "em":
        options["batch_size"] = 40
    one, two, x = chain(), chain(), rows()
    whole = fit(one, x, start="model", max_iter=6, **options)
    first = fit(two, x, start="model", max_iter=4, **options)
    both = fit(two, x, history=pickle.loads(pickle.dumps(first)), max_iter=2, **options)
    assert len(both) == len(whole) == 6
    assert_same(one, two)
    for a, b in zip(whole.steps, both.steps, strict=True):
        assert a.objective == pytest.approx(b.objective, rel=1e-9)
    seconds = [step.seconds for step in both.steps]
    assert seconds == sorted(seconds)


def test_the_best_of_several_restarts_is_kept():
    x = rows(60)
    model, g = chain(), generator(3)
    history = fit(model, x, restarts=5, max_iter=20, generator=g)
    assert len(history.restarts) == 5
    assert len({record.objective for record in history.restarts}) == 5
    assert history.best.objective == max(record.objective for record in history.restarts)
    assert history.best.log_likelihood == pytest.approx(model.score(x), rel=1e-10)
    alone, g = chain(), generator(3)
    records = [fit(alone, x, max_iter=20, generator=g).best.objective for _ in range(5)]
    assert [r.objective for r in history.restarts] == pytest.approx(records)


def test_the_same_generator_gives_the_same_model():
    one, two, x = chain(1), chain(2), rows()
    for model in (one, two):
        fit(model, x, method="stochastic_em", batch_size=7, max_iter=3, generator=generator(4))
    assert_same(one, two)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_interrupt_keeps_the_best_so_far(monkeypatch, after):
    """Also in the middle of an M-step, when components have changed and tables have not."""
    model, twin, x = chain(), chain(), rows()
    count, honest = itertools.count(), Bernoulli._maximise

    def interrupted(self, statistics):
        if self is model.components and next(count) == after:
            with torch.no_grad():
                self.table.logits.zero_()
            raise KeyboardInterrupt
        honest(self, statistics)

    monkeypatch.setattr(Bernoulli, "_maximise", interrupted)
    history = fit(model, x, start="model", tol=0)
    assert history.interrupted
    assert len(history) == after
    list(itertools.islice(em(twin, x), after))
    assert_same(model, twin)
    assert history.best.log_likelihood == pytest.approx(model.score(x), rel=1e-10)
    again = fit(model, x, history=history, max_iter=2, tol=0)
    assert len(again) == after + 2


def test_an_interrupt_of_a_later_restart_keeps_the_earlier_one(monkeypatch):
    model, twin, x = chain(), chain(), rows()
    first = fit(twin, x, max_iter=30, tol=0, generator=generator(7))
    count, honest = itertools.count(), Bernoulli._collect

    def interrupted(self, data, weights):
        if self is model.components and next(count) > 33:
            raise KeyboardInterrupt
        return honest(self, data, weights)

    monkeypatch.setattr(Bernoulli, "_collect", interrupted)
    history = fit(model, x, restarts=9, max_iter=30, tol=0, generator=generator(7))
    assert history.interrupted
    assert history.best.objective >= first.best.objective - 1e-12
    assert history.best.log_likelihood == pytest.approx(model.score(x), rel=1e-10)


def test_a_step_that_lowers_the_objective_is_reported_as_a_bug(monkeypatch):
    model, x = Mixture(HMM(3, 2, 2), Gaussian(3, 2)), torch.randn(30, 3, generator=generator())
    honest = Gaussian._maximise
    count = itertools.count()

    def wrong(self, statistics):
        honest(self, statistics)
        if next(count) == 4:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.add_(1.0)

    initialise(model, x, generator=generator())
    monkeypatch.setattr(Gaussian, "_maximise", wrong)
    with pytest.raises(RuntimeError, match=r"bug.*Gaussian"):
        fit(model, x, start="model", tol=0)


@pytest.mark.parametrize("method", ["em", "stochastic_em", "descend"])
def test_frozen_components_keep_their_parameters(method):
    g = torch.Generator().manual_seed(3)
    model = Mixture(TMM(2, 3, 3, generator=g), Gaussian(2, 3, generator=g))
    x = model.sample(40, generator=g)
    before = {name: value.clone() for name, value in model.components.state_dict().items()}
    tables = model.coefficients.arrays[0].clone()
    fit(model, x, method=method, frozen=[model.components], max_iter=3)
    after = model.components.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not torch.equal(model.coefficients.arrays[0], tables)


def test_frozen_tables_and_missing_values_and_evidence_pass_through():
    model, x = chain(), rows().double()
    x[torch.rand(x.shape, generator=generator()) < 0.2] = torch.nan
    (latent, *_) = model.coefficients.latents
    frozen = model.coefficients.tables[0]
    before = frozen.values.clone()
    evidence = {latent: torch.tensor([0.0, -1.0], dtype=torch.float64)}  # the same for all rows
    for method in METHODS:
        options = {} if method == "em" else {"batch_size": 9}
        fit(model, x, method=method, frozen=[frozen], evidence=evidence, max_iter=2, **options)
        assert torch.equal(frozen.values, before)
        assert all(value.isfinite().all() for value in parameters(model))


@each_method
def test_rows_without_weight_are_as_if_absent(method):
    one, two, x = chain(), chain(), rows(20)
    weights = torch.ones(30, dtype=torch.float64)
    weights[20:] = 0
    padded = torch.cat([x, rows(10, 9)])
    fit(one, x, method=method, start="model", max_iter=3, tol=0)
    fit(two, padded, method=method, start="model", max_iter=3, tol=0, weights=weights)
    assert_same(one, two)


@pytest.mark.parametrize("x", [[[1, 1, 0, 0]], [[1, 1, 1, 1]] * 5, [[0, 1, float("nan"), 1]] * 4])
@each_method
def test_one_row_constant_columns_and_wholly_missing_ones_give_numbers(method, x):
    model = chain()
    history = fit(model, x, method=method, max_iter=5, pseudo_count=0.1)
    assert all(torch.tensor(record[:2]).isfinite().all() for record in history.steps)
    assert model.log_prob(x).isfinite().all()


def test_one_latent_tree_learns_what_another_drew():
    truth = Mixture(LTM(Tree.balanced(4), 2, 2, generator=generator(2)), Indicator(4, 2)).double()
    model = Mixture(LTM(Tree.balanced(4), 2, 2, generator=generator(3)), Indicator(4, 2)).double()
    x = truth.sample(2000, generator=generator(4))
    fit(model, x, restarts=3, tol=1e-6, generator=generator(5))
    assert model.score(x) >= truth.score(x) - 1e-3


BAD = [
    ({"method": "magic"}, "method must be"),
    ({"start": "anywhere"}, "start must be"),
    ({"restarts": 0}, "restarts"),
    ({"max_iter": -1}, "max_iter"),
    ({"tol": float("nan")}, "tol"),
    ({"patience": 0}, "patience"),
    ({"batch_size": 3}, "takes no batch_size"),
    ({"method": "descend", "step": float}, "takes no step"),
    ({"method": "stochastic_em", "optimizer": torch.optim.SGD}, "takes no optimizer"),
    ({"method": "stochastic_em", "batch_size": 0}, "batch_size"),
    ({"validation": torch.zeros(0, 4)}, "validation"),
    ({"validation": [[0, 1, 2, 0]]}, "column 2, row 0"),
    ({"weights": [0.0] * 40}, "not all zero"),
    ({"pseudo_count": -1.0}, "pseudo_count"),
    ({"frozen": [torch.zeros(2)]}, "frozen"),
    ({"evidence": {"nobody": torch.zeros(40, 2)}}, "no latent 'nobody'"),
    ({"history": History([Record(0.0, 0.0, None, 0.0)], 0), "restarts": 2}, "gone on from once"),
]


@pytest.mark.parametrize(("options", "what"), BAD)
def test_bad_options_are_refused_and_nothing_changes(options, what):
    model, x = chain(), rows()
    before = held(model)
    with pytest.raises(ValueError, match=what):
        fit(model, x, **options)
    assert_unchanged(model, before)


def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(capfd):
    fit(chain(), rows(), max_iter=3)
    assert capfd.readouterr() == ("", "")
    for terminal in (True, False):
        with open("/dev/null", "w") as sink:
            console = Console(file=sink, force_terminal=terminal, record=True)
            with Display(3, console=console) as display:
                display.show(2, Record(-1.25, 0.0, -1.5, 0.1))
            text = console.export_text()
        assert ("log-likelihood -1.25, validation -1.5" in text) == terminal


def test_a_history_draws_its_curves_and_says_what_happened():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    history = fit(chain(), rows(), validation=rows(20, 3), max_iter=4)
    axes = history.plot()
    names = [line.get_label() for line in axes.get_lines()]
    assert names == ["log-likelihood", "with log-prior", "validation"]
    drawn = axes.get_lines()[0].get_ydata()
    assert list(drawn) == [step.log_likelihood for step in history.steps]
    assert "4 iterations" in repr(history)
    pyplot.close("all")


def test_restarts_do_not_inherit_the_zeros_that_em_arrived_at(monkeypatch):
    model = Mixture(TMM(3, 2, 2, generator=generator()), Indicator(3, 2))
    full = []

    def recorded(*arguments, **options):
        initialise(*arguments, **options)
        full.append(all(bool((array > 0).all()) for array in model.coefficients.arrays))

    monkeypatch.setattr(sys.modules[fit.__module__], "initialise", recorded)
    fit(model, [[0, 0, 0]] * 5 + [[1, 1, 1]] * 5, restarts=3, max_iter=200, tol=0.0)
    assert not all(bool((array > 0).all()) for array in model.coefficients.arrays)
    assert full == [True] * 3
