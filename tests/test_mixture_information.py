"""Entropies, divergences, inner products and criteria of mixtures, and mixtures of mixtures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mixture_cases import MODELS, SOME, case, generator, some_mixtures, tensor_of

from mixtures import HMM, TMM, Combination, Mixture
from mixtures.components import (
    Bernoulli,
    Categorical,
    Concatenated,
    Exponential,
    Gaussian,
    Indicator,
    Poisson,
    Uniform,
)

from laws import close

FINITE = [name for name in SOME if case(name).mixture.components.rows(500) is not None]


def twin(name):
    """Another mixture with the components of the first, its coefficients random."""
    model = case(name).mixture
    shape = model.coefficients.shape
    return Mixture(MODELS["HMM"](shape, generator(7), torch.float64), model.components)


@pytest.mark.parametrize("name", FINITE)
def test_entropy_and_divergence_of_symbols_are_sums_over_all_rows(name):
    model, other = case(name).mixture, twin(name)
    rows = model.components.rows(500)
    logs, others = (m.log_prob(rows).detach() for m in (model, other))
    seen = logs > -torch.inf
    weights = logs[seen].exp()
    entropy, divergence = model.entropy(), model.kl(other)
    assert entropy.how == divergence.how == "exact"
    assert entropy.standard_error == divergence.standard_error == 0
    assert float(entropy) == pytest.approx(float(-(weights * logs[seen]).sum()), rel=1e-10)
    expected = float((weights * (logs - others)[seen]).sum())
    assert float(divergence) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float(model.kl(model)) == pytest.approx(0, abs=1e-12)


def normal(mean, variance):
    """One normal variable, as a mixture."""
    return Mixture(TMM(1, 1, 1), Gaussian.from_parameters([[mean]], [[variance]])).double()


def test_entropy_and_divergence_of_normals_are_within_five_standard_errors():
    one, two = normal(0.0, 1.0), normal(1.0, 4.0)
    found = one.entropy(samples=20_000, generator=generator())
    assert found.how == "Monte Carlo"
    assert 0 < found.standard_error < 0.02
    exact = 0.5 * math.log(2 * math.pi * math.e)
    assert abs(found.value - exact) < 5 * found.standard_error
    found = one.kl(two, samples=20_000, generator=generator(1))
    exact = 0.5 * (math.log(4) + (1 + 1) / 4 - 1)
    assert found.how == "Monte Carlo"
    assert abs(found.value - exact) < 5 * found.standard_error


def test_estimates_take_their_seed_from_the_generator_alone():
    one, two = normal(0.0, 1.0), normal(1.0, 4.0)
    first, second = (one.kl(two, samples=50, generator=generator(3)) for _ in range(2))
    assert first == second
    with pytest.raises(ValueError, match="two samples"):
        one.entropy(samples=1)


def test_a_divergence_from_what_excludes_rows_is_infinite_and_never_nan():
    half = Mixture(TMM(1, 1, 1), Uniform(1, 1, low=0.0, high=1.0))
    whole = Mixture(TMM(1, 1, 1), Uniform(1, 1, low=0.0, high=2.0))
    found = whole.kl(half, samples=100, generator=generator())
    assert found.value == math.inf
    assert found.standard_error == 0
    assert half.kl(whole, samples=100, generator=generator()).value == pytest.approx(math.log(2))
    coins = [
        Mixture(TMM.from_factors(torch.tensor([1.0]), [torch.tensor([row])]), Indicator(1, 2))
        for row in ([0.5, 0.5], [1.0, 0.0])
    ]
    assert coins[0].kl(coins[1]) == (math.inf, 0.0, "exact")
    assert coins[1].kl(coins[0]).value == pytest.approx(math.log(2))


def test_divergence_needs_the_same_variables():
    with pytest.raises(ValueError, match="expected a mixture of 1 variables"):
        normal(0.0, 1.0).kl(Mixture(TMM(2, 1, 1), Gaussian(2, 1)))


def gram_sum(first, second, gram):
    """sum over i, i' of W[i] prod_j gram[j, i_j, i'_j] V[i']."""
    W, V = first, second
    total = 0.0
    for index in np.argwhere(W > 0):
        for other in np.argwhere(V > 0):
            cells = [gram[j, a, b] for j, (a, b) in enumerate(zip(index, other, strict=True))]
            total += W[tuple(index)] * V[tuple(other)] * np.prod(cells)
    return total


@some_mixtures
def test_inner_products_are_double_sums_over_components(name):
    model, other = case(name).mixture, twin(name)
    gram = model.components.inner(other.components).detach().numpy()
    V = other.coefficients.dense().numpy()
    W = tensor_of(name)
    close(model.inner(other), gram_sum(W, V, gram), rtol=1e-9)
    close(other.inner(model), model.inner(other), rtol=1e-9)
    close(model.inner(model), gram_sum(W, W, gram), rtol=1e-9)


@pytest.mark.parametrize("name", FINITE)
def test_inner_products_of_symbols_are_sums_over_all_rows(name):
    model, other = case(name).mixture, twin(name)
    rows = model.components.rows(500)
    close(model.inner(other), (model.log_prob(rows) + other.log_prob(rows)).exp().sum(), rtol=1e-9)


def test_inner_products_need_the_same_variables_and_family():
    model = Mixture(TMM(2, 2, 2), Gaussian(2, 2))
    for other in (
        Mixture(TMM(3, 2, 2), Gaussian(3, 2)),
        Mixture(TMM(2, 2, 2), Exponential(2, 2)),
    ):
        with pytest.raises(ValueError, match="expected"):
            model.inner(other)


def test_information_criteria_are_penalised_likelihoods():
    model = Mixture(HMM(3, 2, 2, generator=generator()), Gaussian(3, 2, generator=generator(1)))
    x = model.sample(40, generator=generator(2))
    likelihood, free = model.score(x) * 40, model.dimension
    assert free == model.coefficients.dimension + model.components.num_parameters
    assert model.aic(x) == pytest.approx(2 * free - 2 * likelihood)
    assert model.bic(x) == pytest.approx(math.log(40) * free - 2 * likelihood)
    assert model.num_parameters == model.coefficients.num_parameters + 12


# ---------------------------------------------------------------- mixtures of mixtures


def two_families():
    """Mixtures over the same variables, of different sizes and classes."""
    one = Mixture(HMM(3, [2, 1, 3], 2, generator=generator()), Poisson(3, [2, 1, 3]))
    two = Mixture(TMM(3, 2, 3, generator=generator(1)), Categorical(3, 2, 5))
    return one.double(), two.double()


@pytest.mark.parametrize("nested", [False, True])
def test_the_density_of_a_mixture_of_mixtures_mixes_densities(nested):
    one, two = two_families()
    both = 0.3 * one + 0.7 * two
    if nested:
        both, weight = 0.5 * both + 0.5 * one, 0.65
    else:
        weight = 0.3
    assert isinstance(both, Mixture)
    assert isinstance(both.components, Concatenated)
    rows = [[0, 1, 2], [4, float("nan"), 0], [float("nan")] * 3, [1, 1, float("nan")]]
    parts = torch.stack(
        [math.log(w) + m.log_prob(rows) for w, m in ((weight, one), (1 - weight, two))]
    )
    close(both.log_prob(rows), parts.logsumexp(0))
    drawn = both.sample(4000, generator=generator(3)).double()
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - both.mean()).abs() < 5 * error).all()
    close(both.mean(), weight * one.mean() + (1 - weight) * two.mean())
    second = weight * (one.covariance() + torch.outer(one.mean(), one.mean()))
    second = second + (1 - weight) * (two.covariance() + torch.outer(two.mean(), two.mean()))
    close(both.covariance(), second - torch.outer(both.mean(), both.mean()), rtol=1e-8)


def test_mixtures_that_share_their_components_go_on_sharing_them():
    components = Gaussian(3, 2, generator=generator()).double()
    W, V = (HMM(3, 2, 2, generator=generator(n), dtype=torch.float64) for n in (1, 2))
    both = 0.25 * Mixture(W, components) + 0.75 * Mixture(V, components)
    assert both.components is components
    assert isinstance(both.coefficients, Combination)
    close(both.coefficients.dense(), 0.25 * W.dense() + 0.75 * V.dense())
    x = both.sample(5, generator=generator(3))
    parts = [math.log(w) + Mixture(T, components).log_prob(x) for w, T in ((0.25, W), (0.75, V))]
    close(both.log_prob(x), torch.stack(parts).logsumexp(0))


def test_inner_products_of_mixtures_of_mixtures_are_bilinear():
    one, two = (
        Mixture(HMM(2, k, 2, generator=generator(k)), Gaussian(2, k, generator=generator(k)))
        for k in (2, 3)
    )
    one, two = one.double(), two.double()
    both = 0.3 * one + 0.7 * two
    close(both.inner(two), 0.3 * one.inner(two) + 0.7 * two.inner(two))
    close(both.inner(both), 0.3 * both.inner(one) + 0.7 * both.inner(two))


@pytest.mark.parametrize("weights", [(0.3, 0.6), (0.6, 0.6), (-0.5, 1.5)])
def test_weights_that_are_no_distribution_are_refused(weights):
    one, two = two_families()
    with pytest.raises(ValueError, match=r"sum to|between 0 and 1"):
        (weights[0] * one + weights[1] * two).log_prob([[0, 0, 0]])


def test_mixtures_over_other_variables_or_types_are_not_mixed():
    one, _ = two_families()
    for other in (
        Mixture(TMM(2, 2, 2), Bernoulli(2, 2)).double(),
        Mixture(TMM(3, 2, 2), Bernoulli(3, 2)),
    ):
        with pytest.raises(ValueError, match=r"expected|only tensors"):
            0.5 * one + 0.5 * other
