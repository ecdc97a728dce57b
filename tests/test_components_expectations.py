"""Expectations of functions under components, against sums and adaptive quadrature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats as stats
import torch
from families_finite import DOUBLE

from mixtures.components import (
    Exponential,
    Gamma,
    Gaussian,
    Histogram,
    MultivariateGaussian,
    Poisson,
    Uniform,
)

from families import FAMILIES, build, indices
from test_components_families import CASES, DISCRETE, EDGES, A, B

every = pytest.mark.parametrize("name", list(FAMILIES))
every_case = pytest.mark.parametrize("name", list(CASES))


SMOOTH = {
    "wave": (lambda x: (x.square() + 1).log().cos(), lambda x: np.cos(np.log(x**2 + 1))),
    "decay": (lambda x: (-x.square() / 50).exp(), lambda x: np.exp(-(x**2) / 50)),
    "logistic": (torch.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "pole": (lambda x: 1 / (1 + x.square()), lambda x: 1 / (1 + x**2)),
}


def integral(name, law, function):
    """The sum, or the integral between quantiles, in log x for LogNormal."""
    if name in DISCRETE:
        x = np.arange(400)
        return (law.pmf(x) * function(x)).sum()
    ends = law.ppf(np.linspace(0.001, 0.999, 41))
    ends = np.concatenate([[law.ppf(1e-18)], ends, [law.isf(1e-18)]])
    density, x = law.pdf, lambda t: t
    if name == "LogNormal":
        ends, x = np.log(ends), np.exp
        density = lambda t: law.pdf(np.exp(t)) * np.exp(t)  # noqa: E731
    inner = EDGES[(ends[0] < EDGES) & (ends[-1] > EDGES)]
    return sum(
        scipy.integrate.quad(
            lambda t: density(t) * function(x(t)), a, b, epsabs=1e-14, epsrel=1e-12, limit=200
        )[0]
        for a, b in itertools.pairwise(np.unique(np.concatenate([ends, inner])))
    )


@pytest.mark.parametrize("smooth", list(SMOOTH))
@every_case
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
def test_expectations_are_sums_or_integrals(name, smooth):
    components, laws, _ = CASES[name]
    ours, theirs = SMOOTH[smooth]
    found = components.expectation({0: ours, 1: ours}).detach().numpy()
    for j, i in itertools.product(range(2), repeat=2):
        expected = integral(name, laws[j][i], theirs)
        assert found[j, i] == pytest.approx(expected, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("frequency", [0.1, 1.0, 10.0])
def test_expectations_of_waves_are_characteristic_functions(frequency):
    t, a, b = frequency, A, B
    exact = {
        "Gaussian": np.exp(1j * t * a - t * t * b / 2),
        "Exponential": 1 / (1 - 1j * t / a),
        "Gamma": (1 - 1j * t / b) ** -a,
        "Poisson": np.exp(a * (np.exp(1j * t) - 1)),
        "Uniform": np.exp(1j * t * (a - 1)) * np.expm1(1j * t * (b + 1)) / (1j * t * (b + 1)),
    }
    for name, expected in exact.items():
        found = CASES[name][0].expectation(dict.fromkeys(range(2), lambda x: (t * x).cos()))
        smooth = CASES[name][0].variance().sqrt() * t < 12
        torch.testing.assert_close(
            found[smooth], torch.tensor(expected.real)[smooth], rtol=1e-9, atol=1e-9
        )


@every_case
def test_expectations_of_powers_are_moments(name):
    components, laws, _ = CASES[name]
    for power in range(5):
        found = components.expectation({1: lambda x, p=power: x**p}).detach().numpy()
        assert (found[0] == 1).all()
        for i in range(2):
            expected = laws[1][i].moment(power) if power else 1.0
            assert found[1, i] == pytest.approx(expected, rel=1e-10, abs=1e-13)


def test_polynomials_of_the_degree_that_is_stated_are_integrated_exactly():
    x = Gaussian.from_parameters(torch.zeros(1, 1, **DOUBLE), torch.full((1, 1), 4.0, **DOUBLE))
    found = x.expectation({0: lambda x: x**16}).item()
    assert found == pytest.approx(2**16 * math.prod(range(1, 16, 2)), rel=1e-12)
    x = Exponential.from_parameters(torch.tensor([[0.5]], **DOUBLE))
    found = x.expectation({0: lambda x: x**16}).item()
    assert found == pytest.approx(2**16 * math.factorial(16), rel=1e-11)
    uniform = Uniform(1, 1, low=1.0, high=3.0, **DOUBLE)
    assert uniform.expectation({0: lambda x: x**63}).item() == pytest.approx(
        (3**64 - 1) / 128, rel=1e-12
    )
    histogram = Histogram.from_parameters(torch.tensor([[[0.25, 0.75]]], **DOUBLE), [0.0, 1.0, 3.0])
    assert histogram.expectation({0: lambda x: x**63}).item() == pytest.approx(
        0.25 / 64 + 0.75 * (3**64 - 1) / 128, rel=1e-12
    )


@pytest.mark.parametrize("shape", [0.1, 0.3, 1.0, 7.0, 1e3, 1e6, 1e9])
def test_gamma_expectations_hold_for_shapes_of_any_size(shape):
    given = torch.tensor([[[shape]], [[3.0]]], **DOUBLE)
    components = Gamma.from_parameters(*given)
    found = components.expectation({0: torch.log}).item()
    expected = scipy.special.digamma(shape) - math.log(3)
    assert found == pytest.approx(expected, rel=1e-11)
    centred = components.expectation({0: lambda x: (x * 3 / shape - 1) ** 2}).item()
    assert centred == pytest.approx(1 / shape, rel=1e-6)


@pytest.mark.parametrize("rate", [1e-6, 0.7, 40.0, 1e5, 1e7])
def test_poisson_sums_cover_the_mass_for_rates_of_any_size(rate):
    components = Poisson.from_parameters(torch.tensor([[rate, 1.0]], **DOUBLE))
    found = components.expectation({0: lambda x: (x - rate) ** 2}).squeeze(0)
    assert found[0].item() == pytest.approx(rate, rel=1e-9)
    assert found[1].item() == pytest.approx(1 + (1 - rate) ** 2, rel=1e-9)
    step = components.expectation({0: lambda x: x <= math.floor(rate)})
    assert step[0, 0].item() == pytest.approx(stats.poisson(rate).cdf(math.floor(rate)), rel=1e-8)


def test_a_poisson_sum_too_long_is_refused():
    with pytest.raises(ValueError, match=r"a rate of 1e\+12 .*pass E\[g"):
        Poisson.from_parameters([[1e12]]).expectation({0: torch.cos})


def entries_of(x, components):
    """x (.., *event) as (.., e), e = 1 for numbers."""
    return (
        x.reshape(*x.shape[: x.ndim - len(components.event)], -1)
        if components.event
        else x[..., None]
    )


def square_by_moments(components):
    """E[(a'x)^2] from means and covariances, a = (1, 2, .., e)."""
    e = math.prod(components.event)
    a = torch.arange(1.0, e + 1, dtype=components.dtype)
    mean = components.mean().reshape(3, components.largest, e)
    return (components.covariance() @ a) @ a + (mean @ a).square()


def square_by_nodes(components):
    def square(x):
        x = entries_of(x, components)
        return (x @ torch.arange(1.0, x.shape[-1] + 1, dtype=x.dtype)).square()

    return components.expectation(dict.fromkeys(range(3), square))


@every
def test_the_expectation_of_a_square_is_what_mean_and_covariance_say(name):
    components = build(name)
    found, expected = square_by_nodes(components), square_by_moments(components)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@every
def test_gradients_are_those_of_the_expectation_though_none_flow_through_x(name):
    components = build(name)
    if not list(components.parameters()):
        return
    weight = torch.rand(3, components.largest, generator=torch.Generator().manual_seed(0))
    gradients = []
    for expectation in (square_by_nodes, square_by_moments):
        components.zero_grad()
        (expectation(components) * weight).sum().backward()
        gradients.append([parameter.grad for parameter in components.parameters()])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@every
def test_an_expectation_weighs_points_as_draws_do(name):
    components = build(name)

    def g(x):
        return entries_of(x, components).sum(-1).sin()

    chosen = indices(components, 1).expand(20_000, 3)
    x = components.sample(chosen, torch.Generator().manual_seed(3)).double()
    found = components.expectation(dict.fromkeys(range(3), g))
    for j in range(3):
        draws = g(x[:, j])
        error = draws.std().item() / 20_000**0.5
        assert abs(found[j, chosen[0, j]].item() - draws.mean().item()) < 5 * error + 1e-12


def test_expectations_over_vectors_are_integrals():
    g = torch.Generator().manual_seed(0)
    normal = MultivariateGaussian(1, 2, 2, generator=g, **DOUBLE)
    found = normal.expectation({0: lambda x: (x[..., 0] * x[..., 1]).cos()}).detach()
    for i in range(2):
        law = stats.multivariate_normal(
            normal.mean()[0, i].detach().numpy(), normal.covariance()[0, i].detach().numpy()
        )
        t = np.linspace(-9, 9, 721)
        grid = np.stack(np.meshgrid(t, t), -1)
        expected = (law.pdf(grid) * np.cos(grid[..., 0] * grid[..., 1])).sum() * (t[1] - t[0]) ** 2
        assert found[0, i].item() == pytest.approx(expected, abs=1e-9)
    with torch.no_grad():
        normal.spread.raw[..., 1, 0] = 0.8
    wave = torch.tensor([0.7, -1.2], **DOUBLE)
    found = normal.expectation({0: lambda x: (x @ wave).cos()})
    damp = (-0.5 * ((normal.covariance() @ wave) @ wave)).exp()
    torch.testing.assert_close(found, damp * (normal.mean() @ wave).cos(), rtol=1e-10, atol=1e-12)
    three = build("MultivariateGaussian")
    wave = torch.tensor([0.7, -1.2, 0.5], **DOUBLE)
    damp = (-0.5 * ((three.covariance() @ wave) @ wave)).exp()
    found = three.expectation({j: lambda x: (x @ wave).cos() for j in range(3)})
    torch.testing.assert_close(found, damp * (three.mean() @ wave).cos(), rtol=1e-10, atol=1e-12)
