"""Conditional gradient on rows of data: greedy likelihood, weights, missing values, validation."""

import itertools

import numpy as np
import pytest
import torch

from mixtures import HMM, LTM, TMM, Mixture, Tree
from mixtures.combination import Combination
from mixtures.components import Bernoulli, Concatenated, Gaussian, Indicator, Poisson
from mixtures.learn import conditional_gradient
from mixtures.learn.atoms import LearnedBank, Learning, Trial
from mixtures.learn.likelihood import Rows
from mixtures.learn.makers import maker

DOUBLE = {"dtype": torch.float64}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symbols(n: int, seed: int) -> torch.Tensor:
    g = generator(seed)
    W = 0.5 * HMM(5, 2, 2, generator=g) + 0.5 * LTM(Tree.balanced(5), 2, 3, generator=g)
    return W.sample(n, generator=g)


def clouds(n: int, seed: int) -> torch.Tensor:
    g = generator(seed)
    which = torch.randint(3, (n, 1), generator=g)
    middle = torch.tensor([[-6.0, 0.0], [0.0, 5.0], [7.0, -3.0]])[which[:, 0]]
    return middle + torch.randn((n, 2), generator=g)


@pytest.mark.parametrize("atom", ["product", "TMM", HMM, "LTM"])
def test_likelihood_rises_with_every_atom_and_is_that_of_the_mixture(atom):
    x = symbols(300, 0)
    growth = conditional_gradient(
        x, atom, max_atoms=3, restarts=2, max_iter=20, generator=generator(1)
    )
    errors = []
    for stage in growth:
        assert stage.error == pytest.approx(-stage.mixture.score(x), rel=1e-5)
        assert not stage.exact_oracle and not stage.certified
        errors.append(stage.error)
    assert errors == sorted(errors, reverse=True)
    assert isinstance(growth.stages[-1].mixture.coefficients, Combination)
    classes = {"product": TMM, "TMM": TMM, HMM: HMM, "LTM": LTM}
    parts = growth.stages[-1].mixture.coefficients.each()
    assert {type(part) for part in parts} == {classes[atom]}


def test_atoms_over_symbols_share_their_components_others_lie_side_by_side():
    shared = conditional_gradient(symbols(100, 2), max_atoms=2, generator=generator(0)).run()
    assert isinstance(shared.mixture.components, Indicator)
    apart = conditional_gradient(clouds(100, 2), max_atoms=2, generator=generator(0)).run()
    assert isinstance(apart.mixture.components, Concatenated)
    assert apart.mixture.coefficients.shape == (2, 2)


def test_three_clouds_are_found_by_three_products():
    x = clouds(600, 3)
    growth = conditional_gradient(
        x, max_atoms=3, restarts=6, refit=20, generator=generator(0)
    ).run()
    means = growth.mixture.components.mean()[0].sort().values
    assert torch.allclose(means, torch.tensor([-6.0, 0.0, 7.0]), atol=0.3)
    more = conditional_gradient(clouds(600, 4), max_atoms=3, refit=20, generator=generator(0)).run()
    assert abs(growth.mixture.score(clouds(600, 4)) + more.best.error) < 0.1


@pytest.mark.parametrize("atom", ["product", "HMM"])
@pytest.mark.parametrize("components", ["Gaussian", "Indicator"])
def test_no_round_of_learning_an_atom_lowers_the_likelihood(atom, components):
    x = clouds(200, 5).double() if components == "Gaussian" else symbols(200, 5)
    d = x.shape[1]
    family = Gaussian(d, 1, **DOUBLE) if components == "Gaussian" else Indicator(d, 2, **DOUBLE)
    data = family.encode(x)
    g = generator(6)
    weights = torch.rand(len(x), generator=g, **DOUBLE)
    rows = Rows(data, weights / weights.sum(), float(weights.sum()))
    make = maker(atom, family, 2, fixed=False)
    bank = LearnedBank(rows, make, Learning(tol=-1.0), fixed=False, restarts=1, generator=g)
    first = bank.discover(torch.zeros(0), None)
    trial = Trial(bank, bank.logs[:, first.place], torch.rand(len(x), generator=g, **DOUBLE))
    values = []
    for _ in range(15):
        trial.learn(1)
        if trial.step > 2e-3:  # below, it is learned on at a share that is not the best one
            values.append(trial.value)
    assert len(values) > 5
    assert all(b >= a - 1e-7 for a, b in itertools.pairwise(values))


def test_weights_are_repetitions():
    x = symbols(60, 7)
    times = torch.randint(0, 4, (60,), generator=generator(8))
    repeated = x.repeat_interleave(times, 0)
    options = {"components": Indicator(5, 2, **DOUBLE), "restarts": 1, "max_atoms": 1}
    one = conditional_gradient(x, "product", weights=times, **options).run()
    two = conditional_gradient(repeated, "product", **options).run()
    assert one.best.error == pytest.approx(two.best.error, rel=1e-9)
    more = options | {"max_atoms": 3, "restarts": 2, "generator": generator(0)}
    stage = conditional_gradient(x, "TMM", weights=times, **more).run().best
    assert stage.error == pytest.approx(-stage.mixture.score(repeated), rel=1e-9)


def test_missing_values_are_summed_out():
    x = symbols(200, 9).double()
    x[torch.rand(x.shape, generator=generator(10)) < 0.2] = torch.nan
    growth = conditional_gradient(x, "LTM", max_atoms=2, restarts=2, generator=generator(0)).run()
    assert growth.best.error == pytest.approx(-growth.mixture.score(x), rel=1e-5)
    values = clouds(200, 9)
    values[torch.rand(values.shape, generator=generator(11)) < 0.2] = torch.nan
    growth = conditional_gradient(values, max_atoms=3, restarts=2, generator=generator(0)).run()
    assert growth.best.error == pytest.approx(-growth.mixture.score(values), rel=1e-5)


def test_rows_that_one_atom_finds_impossible_are_left_to_the_others():
    x = torch.tensor([[0, 0]] * 5 + [[1, 1]] * 5 + [[2, 2]])
    growth = conditional_gradient(x, max_atoms=6, restarts=4, generator=generator(0)).run()
    shares = torch.tensor([5 / 11, 5 / 11, 1 / 11])
    assert growth.best.error == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-3)


def test_validation_ends_growth_and_the_best_stage_is_kept():
    x, held_out = symbols(40, 12), symbols(400, 13)
    growth = conditional_gradient(
        x, "TMM", states=3, validation=held_out, patience=2, max_atoms=20, generator=generator(0)
    ).run()
    scores = [stage.validation for stage in growth.stages]
    assert growth.best.validation == max(scores)
    assert len(growth) < 20 and scores[-1] < growth.best.validation
    assert growth.best.validation == pytest.approx(growth.mixture.score(held_out), rel=1e-6)


def test_earlier_stages_keep_their_mixtures():
    x = clouds(200, 14)
    growth = conditional_gradient(x, max_atoms=4, refit=3, generator=generator(0))
    scores = [stage.mixture.score(x) for stage in growth]
    assert [stage.mixture.score(x) for stage in growth.stages] == scores


def test_stochastic_rounds_learn_as_well():
    x, options = symbols(1000, 15), {"states": 3, "max_atoms": 2, "restarts": 2}
    full = conditional_gradient(x, "LTM", **options, generator=generator(0)).run()
    batches = conditional_gradient(
        x, "LTM", batch_size=100, max_iter=10, **options, generator=generator(0)
    ).run()
    assert batches.best.error == pytest.approx(full.best.error, abs=0.05)


def test_atoms_of_ones_own():
    x = symbols(100, 16)

    def make(rows, weights, g):
        assert weights.shape == (len(rows),)
        return Mixture(TMM(5, 3, 2, arity=2, generator=g), Bernoulli(5, 3, generator=g))

    growth = conditional_gradient(x, make, max_atoms=2, restarts=1, max_iter=5).run()
    assert growth.best.error == pytest.approx(-growth.mixture.score(x), rel=1e-5)


def test_counts_with_a_family_of_their_own():
    x = np.random.default_rng(0).poisson([[3, 9]] * 100 + [[20, 1]] * 100)
    growth = conditional_gradient(
        x, components=Poisson(2, 1), max_atoms=2, restarts=4, refit=10, generator=generator(0)
    ).run()
    rates = growth.mixture.components.mean()
    assert torch.allclose(rates[0].sort().values, torch.tensor([3.0, 20.0]), atol=1.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "l2"}, "needs a target model"),
        ({"oracle": "linear"}, "needs a target model"),
        ({"weights": [1.0, 2.0]}, "expected weights of shape"),
        ({"weights": [0.0] * 50}, "not all zero"),
        ({"pseudo_count": -1.0}, "pseudo_count must be"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        conditional_gradient(symbols(50, 17), **arguments)
