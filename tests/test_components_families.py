"""The families on numbers against scipy, sums and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats as stats
import torch

from mixtures.components import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    Gamma,
    Gaussian,
    Histogram,
    Indicator,
    LogNormal,
    Poisson,
    Uniform,
)

P = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
A, B = np.array([[0.3, 2.5], [40.0, 1.0]]), np.array([[2.0, 0.1], [5.0, 1.0]])
EDGES = np.array([-1.0, 0.0, 0.5, 2.0])


def _categorical(p):
    return stats.rv_discrete(values=(np.arange(len(p)), p))


CASES = {
    "Categorical": (
        Categorical.from_parameters(P[None].repeat(2, 0)),
        [[_categorical(P[0]), _categorical(P[1])]] * 2,
        np.arange(3),
    ),
    "Bernoulli": (
        Bernoulli.from_parameters(P[:, :2]),
        [[stats.bernoulli(p) for p in row[:2]] for row in P],
        np.arange(2),
    ),
    "Binomial": (
        Binomial.from_parameters(P[:, :2], 7),
        [[stats.binom(7, p) for p in row[:2]] for row in P],
        np.arange(8),
    ),
    "Poisson": (
        Poisson.from_parameters(A),
        [[stats.poisson(a) for a in row] for row in A],
        np.arange(30),
    ),
    "Gaussian": (
        Gaussian.from_parameters(A, B),
        [
            [stats.norm(a, b**0.5) for a, b in zip(*row, strict=True)]
            for row in zip(A, B, strict=True)
        ],
        np.linspace(-3, 50, 19),
    ),
    "LogNormal": (
        LogNormal.from_parameters(A / 9, B),
        [
            [stats.lognorm(b**0.5, scale=np.exp(a / 9)) for a, b in zip(*row, strict=True)]
            for row in zip(A, B, strict=True)
        ],
        np.linspace(0.01, 9, 17),
    ),
    "Exponential": (
        Exponential.from_parameters(A),
        [[stats.expon(scale=1 / a) for a in row] for row in A],
        np.linspace(0, 9, 17),
    ),
    "Gamma": (
        Gamma.from_parameters(A, B),
        [
            [stats.gamma(a, scale=1 / b) for a, b in zip(*row, strict=True)]
            for row in zip(A, B, strict=True)
        ],
        np.linspace(0.01, 20, 17),
    ),
    "Uniform": (
        Uniform.from_parameters(A - 1, A + B),
        [
            [stats.uniform(a - 1, b + 1) for a, b in zip(*row, strict=True)]
            for row in zip(A, B, strict=True)
        ],
        np.linspace(-3, 50, 19),
    ),
    "Histogram": (
        Histogram.from_parameters(P[None].repeat(2, 0), EDGES),
        [[stats.rv_histogram((p, EDGES), density=False) for p in P]] * 2,
        np.linspace(-0.99, 1.9, 16),
    ),
}
DISCRETE = ("Categorical", "Bernoulli", "Binomial", "Poisson")
every = pytest.mark.parametrize("name", list(CASES))


def log_density(name, law, x):
    with np.errstate(divide="ignore"):
        return law.logpmf(x) if name in DISCRETE else law.logpdf(x)


@every
def test_log_densities_are_those_of_scipy(name):
    components, laws, x = CASES[name]
    values = components.log_prob(np.stack([x, x], 1)).detach().numpy()
    for j in range(2):
        for i in range(2):
            expected = log_density(name, laws[j][i], x)
            np.testing.assert_allclose(values[:, j, i], expected, rtol=1e-12, atol=1e-12)


@every
def test_moments_are_those_of_scipy(name):
    components, laws, _ = CASES[name]
    mean, variance = components.mean().detach().numpy(), components.variance().detach().numpy()
    for j in range(2):
        for i in range(2):
            np.testing.assert_allclose(mean[j, i], laws[j][i].mean(), rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(variance[j, i], laws[j][i].var(), rtol=1e-11, atol=1e-13)


@every
def test_draws_follow_their_law(name):
    components, laws, _ = CASES[name]
    for i in range(2):
        chosen = torch.full((3000, 2), i)
        x = components.sample(chosen, torch.Generator().manual_seed(i)).numpy()
        for j in range(2):
            if name in DISCRETE:
                values, counts = np.unique(x[:, j], return_counts=True)
                mass = np.maximum(laws[j][i].pmf(values), 1e-300)
                score = ((counts - 3000 * mass) ** 2 / (3000 * mass))[mass > 0.003].sum()
                assert score < stats.chi2(len(values)).ppf(1 - 1e-5)
            else:
                assert stats.kstest(x[:, j], laws[j][i].cdf).pvalue > 1e-4


@every
def test_boxes_have_the_mass_scipy_gives_them(name):
    components, laws, x = CASES[name]
    x = np.concatenate([x, x[-1] + 1 + np.arange(3)])
    low = np.concatenate([x[:-3], [-np.inf, x[2]]])
    high = np.concatenate([x[3:], [x[4], np.inf]])
    ends = [np.stack([end, end], 1) for end in (low, high)]
    values = components.log_prob_box(*ends).exp().detach().numpy()
    below = low - 1 if name in DISCRETE else low
    for j in range(2):
        for i in range(2):
            mass = laws[j][i].cdf(high) - laws[j][i].cdf(below)
            np.testing.assert_allclose(values[:, j, i], mass, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["Gaussian", "LogNormal", "Gamma", "Poisson", "Exponential"])
def test_boxes_far_in_either_tail_keep_their_digits(name):
    components, laws, _ = CASES[name]
    for low in {"Gaussian": (3.0, 6.0), "LogNormal": (20.0, 1e3)}.get(name, (15.0, 70.0)):
        above = components.log_prob_box([[low, low]], [[np.inf, np.inf]])[0, 0, 1].item()
        expected = laws[0][1].logsf(low - 1 if name in DISCRETE else low)
        assert above == pytest.approx(expected, rel=1e-11)


@every
def test_empty_boxes_have_no_mass(name):
    components, _, _ = CASES[name]
    values = components.log_prob_box([[1.6, 1.6]], [[1.2, 1.2]])
    assert (values == -torch.inf).all()


@every
def test_inner_products_are_sums_or_integrals_of_products(name):
    components, laws, _ = CASES[name]
    gram = components.inner(components).detach().numpy()
    for j in range(2):
        for a, first in enumerate(laws[j]):
            for b, second in enumerate(laws[j]):
                if name in DISCRETE:
                    x = np.arange(200)
                    expected = (first.pmf(x) * second.pmf(x)).sum()
                elif name == "Gamma" and A[j, a] + A[j, b] <= 1:
                    expected = np.inf
                else:
                    expected = _integral(name, lambda x, f=first, g=second: f.pdf(x) * g.pdf(x))
                assert gram[j, a, b] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def _integral(name, function):
    """Simpson's rule, in x = exp(t) for positive numbers; by the pieces where it has pieces."""
    if name in ("Uniform", "Histogram"):
        ends = np.unique(np.concatenate([EDGES, (A - 1).ravel(), (A + B).ravel()]))
        middles = (ends[1:] + ends[:-1]) / 2
        return (function(middles) * np.diff(ends)).sum()
    if name == "Gaussian":
        x = np.linspace(-60, 90, 150_001)
        return scipy.integrate.simpson(function(x), x=x)
    t = np.linspace(-60, 12, 100_001)
    return scipy.integrate.simpson(function(np.exp(t)) * np.exp(t), x=t)


def test_inner_products_need_the_same_family_and_the_same_variables():
    gaussian = Gaussian(2, 3)
    with pytest.raises(ValueError, match="expected Gaussian, got Exponential"):
        gaussian.inner(Exponential(2, 3))
    with pytest.raises(ValueError, match="2 variables"):
        gaussian.inner(Gaussian(3, 3))


def test_the_indicator_reads_off_components():
    components = Indicator(2, [2, 3], dtype=torch.float64)
    values = components.log_prob([[1, 2]])[0].exp()
    assert values.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert torch.equal(components.sample(torch.tensor([[1, 2]])), torch.tensor([[1, 2]]))
    assert components.num_parameters == 0
    with pytest.raises(ValueError, match=r"column 0, row 0: 2 is outside.*whole numbers 0 to 1"):
        components.encode([[2, 2]])


def test_the_mass_of_a_box_is_the_same_in_both_tails():
    components = Gaussian.from_parameters([[0.0]], torch.ones(1, 1, dtype=torch.float64))
    for far in (1.0, 8.0, 50.0, 1000.0):
        right = components.log_prob_box([[far]], [[far + 1]]).item()
        left = components.log_prob_box([[-far - 1]], [[-far]]).item()
        assert right == pytest.approx(left, rel=1e-12) and right > -torch.inf
        assert right == pytest.approx(stats.norm.logsf(far), abs=0.2)


def test_bins_are_half_open_and_the_last_is_closed():
    histogram = Histogram.from_parameters([[[0.25, 0.75]]], [0.0, 1.0, 3.0])
    values = histogram.log_prob([[0.0], [1.0], [3.0]])[:, 0, 0].exp()
    torch.testing.assert_close(values, torch.tensor([0.25, 0.375, 0.375]))
    for outside in (-0.1, 3.1):
        with pytest.raises(ValueError, match="outside the domain of Histogram, numbers 0 to 3"):
            histogram.encode([[outside]])
