"""Draws and completions of mixtures: frequencies and moments against exact ones, fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixture_cases import (
    MODELS,
    SOME,
    build,
    case,
    every_mixture,
    generator,
    some_mixtures,
    tensor_of,
)

from mixtures import HMM, TMM, Mixture
from mixtures.components import (
    Categorical,
    Concatenated,
    Gaussian,
    Mixed,
    MultivariateGaussian,
    Product,
)

import oracle
from laws import close
from oracle_models import listing
from test_laws_sampling import assert_frequencies

DRAWS = 2000


def finite(name):
    """Whether all rows can be listed."""
    return build(name).components.rows(500) is not None


FINITE = [name for name in SOME if finite(name)]


def tally(listed, draws):
    """How often each of the rows was drawn."""
    place = {tuple(row): n for n, row in enumerate(listed.flatten(1).tolist())}
    drawn = [place[tuple(row)] for row in draws.flatten(1).long().tolist()]
    return np.bincount(drawn, minlength=len(listed))


@pytest.mark.parametrize("name", FINITE)
def test_draws_have_the_frequencies_that_are_their_probabilities(name):
    model = case(name).mixture
    rows = model.components.rows(500)
    draws = model.sample(DRAWS, generator=generator(3))
    assert_frequencies(tally(rows, draws), model.log_prob(rows).exp().detach().numpy())


@pytest.mark.parametrize("name", FINITE)
def test_completions_have_the_conditional_frequencies(name):
    found = case(name)
    model, row = found.mixture, found.x[3]
    seen = torch.zeros(row.shape, dtype=torch.bool)
    seen[1] = True
    many = model.encode(row.expand(DRAWS, *row.shape), seen.expand(DRAWS, *row.shape))
    draws = model.complete(many, generator=generator(4))
    assert (draws[:, 1] == row[1]).all()
    rows = model.components.rows(500)
    other = (rows[:, 1] != row[1]).reshape(len(rows), -1).any(1)
    logs = model.log_prob(rows).masked_fill(other, -torch.inf)
    assert_frequencies(tally(rows, draws), logs.softmax(0).detach().numpy())


def brute_moments(name):
    """Mean (d e,) and covariance (d e, d e) as sums over all entries of W."""
    model, W = case(name).mixture, tensor_of(name)
    d = model.variables
    means = model.components.mean().detach().reshape(d, W.shape and max(W.shape), -1).numpy()
    within = model.components.covariance().detach().numpy()
    e = means.shape[-1]
    first, second = np.zeros(d * e), np.zeros((d * e, d * e))
    for index in np.argwhere(W > 0):
        row = np.concatenate([means[j, i] for j, i in enumerate(index)])
        second_row = np.outer(row, row)
        for j, i in enumerate(index):
            second_row[j * e : (j + 1) * e, j * e : (j + 1) * e] += within[j, i]
        first += W[tuple(index)] * row
        second += W[tuple(index)] * second_row
    return first, second - np.outer(first, first)


@every_mixture
def test_mean_and_covariance_are_sums_over_all_components(name):
    model = case(name).mixture
    mean, covariance = brute_moments(name)
    assert model.mean().shape == case(name).x.shape[1:]
    close(model.mean().flatten(), mean, atol=1e-12)
    scale = np.abs(covariance).max()
    close(model.covariance(), covariance, rtol=1e-8, atol=1e-9 * scale)


@some_mixtures
def test_draws_have_the_mean_and_covariance_stated(name):
    model = case(name).mixture
    draws = model.sample(4 * DRAWS, generator=generator(5)).flatten(1).double()
    mean, covariance = model.mean().detach().flatten(), model.covariance().detach()
    within_five_errors(draws, mean)
    away = draws - mean
    products = (away[:, :, None] * away[:, None]).flatten(1)
    within_five_errors(products, covariance.flatten())


def within_five_errors(draws, expected):
    error = draws.std(0) / len(draws) ** 0.5
    excess = (draws.mean(0) - expected).abs() - 5 * error
    assert (excess <= 1e-9 * (1 + expected.abs())).all()


@every_mixture
def test_completions_keep_what_was_observed_and_are_possible(name):
    found = case(name)
    model = found.mixture
    for how in ("sample", "mean"):
        full = model.complete(found.data, how=how, generator=generator(6))
        assert full.shape == found.x.shape
        assert not full.requires_grad
        seen = found.observed.reshape(
            found.observed.shape + (1,) * (full.ndim - found.observed.ndim)
        )
        assert ((full == found.x) | ~seen).all()
        assert full.double().isfinite().all()
    data = found.data
    before = data.values.clone()
    drawn = model.complete(data, generator=generator(7))
    torch.testing.assert_close(data.values, before, rtol=0, atol=0, equal_nan=True)
    assert (model.log_prob(drawn) > -torch.inf).all()
    again = model.complete(found.data, generator=generator(7))
    assert torch.equal(drawn, again)


@some_mixtures
def test_mean_completions_are_the_means_of_many_drawn_ones(name):
    found = case(name)
    means = found.mixture.complete(found.data, how="mean").double()
    for n in (0, 3):
        many = found.mixture.encode(
            found.x[n].expand(500, *found.x.shape[1:]),
            found.observed[n].expand(500, *found.observed.shape[1:]),
        )
        drawn = found.mixture.complete(many, generator=generator(8)).double()
        within_five_errors(drawn.flatten(1), means[n].flatten())


@every_mixture
def test_mean_completions_are_posterior_means(name):
    found = case(name)
    model, components = found.mixture, found.mixture.components
    if found.observed.shape != found.x.shape[:2]:
        return  # vectors seen in part: see the law above and the one below
    full = model.complete(found.data, how="mean")
    means = components.mean().detach().numpy()
    for n, given in enumerate(found.leaves):
        weights = found.truth.posterior(given)
        for j in range(model.variables):
            if not found.observed[n, j]:
                close(full[n, j], np.einsum("k,k...->...", weights[j], means[j]), atol=1e-12)


def test_a_vector_seen_in_part_is_completed_by_its_regression_on_what_was_seen():
    covariance = torch.tensor([[[[2.0, 1.2], [1.2, 1.0]]]], dtype=torch.float64)
    vectors = MultivariateGaussian.from_parameters(torch.zeros(1, 1, 2).double(), covariance)
    model = Mixture(TMM(1, 1, 1, dtype=torch.float64), vectors)
    full = model.complete([[[2.0, float("nan")]], [[float("nan"), 2.0]]], how="mean")
    close(full, torch.tensor([[[2.0, 1.2]], [[2.4, 2.0]]], dtype=torch.float64))


@pytest.mark.parametrize("wrap", ["mixed", "concatenated", "alone"])
def test_vectors_seen_in_part_have_the_means_of_their_draws(wrap):
    factor = torch.randn(2, 2, 3, 3, generator=generator(), dtype=torch.float64)
    means = torch.randn(2, 2, 3, generator=generator(1), dtype=torch.float64)
    vectors = MultivariateGaussian.from_parameters(means, factor @ factor.mT + torch.eye(3))
    other = MultivariateGaussian(2, 3, 3, generator=generator(2), dtype=torch.float64)
    components = {
        "alone": vectors,
        "concatenated": Concatenated([vectors, other]),
        "mixed": Mixed([([2, 0], vectors), ([1, 3], other)]),
    }[wrap]
    model = Mixture(MODELS["LTM"](components.shape, generator(5), torch.float64), components)
    x = model.sample(3, generator=generator(3))
    x[0, 0, 1], x[1, 1, :2], x[2, 0, 0], x[2, 1] = (torch.nan,) * 4
    means = model.complete(x, how="mean")
    for row, mean in zip(x, means, strict=True):
        drawn = model.complete(row.expand(2000, *row.shape), generator=generator(4))
        within_five_errors(drawn.flatten(1), mean.flatten())


def test_completing_leaves_the_rows_of_the_user_as_they_are():
    model = Mixture(TMM(1, 2, 2), MultivariateGaussian(1, 2, 2))
    x = torch.tensor([[[1.0, torch.nan]]])
    for how in ("sample", "mean"):
        assert model.complete(x, how=how).isfinite().all()
        assert x[0, 0, 1].isnan()


def test_the_states_drawn_have_the_joint_posterior():
    model = Mixture(HMM(3, 2, 2, generator=generator()), Gaussian(3, 2, generator=generator()))
    model = model.double()
    row = [0.3, float("nan"), -0.5]
    drawn = model.states([row] * DRAWS, how="sample", generator=generator(9))
    cells = (drawn * torch.tensor([4, 2, 1])).sum(1)
    leaves = model.components.log_prob([row])[0].detach().numpy()
    listed = listing(model.coefficients)
    share = oracle.shares(listed.logs(leaves))
    place = sum(listed.states[3 + t] * 2 ** (2 - t) for t in range(3))
    assert_frequencies(np.bincount(cells, minlength=8), np.bincount(place, share, minlength=8))


@pytest.mark.parametrize("how", ["mode", "", None])
def test_wrong_ways_to_answer_are_refused(how):
    model = Mixture(TMM(2, 2, 2), Gaussian(2, 2))
    with pytest.raises(ValueError, match="how must be"):
        model.complete([[0.0, float("nan")]], how=how)
    with pytest.raises(ValueError, match="how must be"):
        model.states([[0.0, float("nan")]], how=how)
    with pytest.raises(ValueError, match="number of samples"):
        model.sample(-1)


def test_draws_take_their_seed_from_the_generator_alone():
    model = Mixture(TMM(3, 2, 2), Mixed([([0, 2], Gaussian(2, 2)), ([1], Categorical(1, 2, 3))]))
    before = torch.random.get_rng_state()
    one, two = (model.sample(9, generator=generator(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_entry_of_a_product_may_be_completed_on_its_own():
    model = Mixture(TMM(2, 2, 2), Product(Gaussian(2 * 3, 2), (3,)))
    x = model.sample(4, generator=generator())
    x[:, 1, 2] = torch.nan
    full = model.complete(x, generator=generator(1))
    assert full.isfinite().all()
    assert torch.equal(full[:, 1, :2], x[:, 1, :2])
