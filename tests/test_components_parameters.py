"""Parameters of the families on numbers: how many, how estimated, and which are refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats as stats
import torch

from mixtures.components import (
    Bernoulli,
    Binomial,
    Categorical,
    Gamma,
    Gaussian,
    Histogram,
    Poisson,
    Uniform,
)
from mixtures.components.positive import solve_shape

from families import build


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Categorical", 3 * 2 * 3),
        ("Categorical, own sizes", 2 * 3 + 1 * 1 + 3 * 2),
        ("Categorical, shared", 2 * 3),
        ("Bernoulli", 6),
        ("Binomial", 6),
        ("Poisson", 6),
        ("Gaussian", 12),
        ("Gaussian, own sizes", 12),
        ("Gaussian, shared", 4),
        ("Uniform", 0),
        ("Indicator", 0),
        ("Histogram", 3 * 2 * 2),
        ("MultivariateGaussian", 6 * (3 + 6)),
        ("MultivariateGaussian, tied", 6 * 3 + 3 * 6),
        ("MultivariateGaussian, diag", 6 * 6),
        ("MultivariateGaussian, spherical", 6 * 4),
        ("Product", 3 * 4 * 2),
        ("Product, shared", 2 * 2 * 2),
        ("Product, one density", 2),
        ("Mixed", 3 * 2 + 2 * 2 + 3 * 3),
        ("Concatenated", 2 * 6 + 2 * 6),
        ("Concatenated, shared", 3),
    ],
)
def test_free_numbers_are_counted_once(name, count):
    assert build(name).num_parameters == count


def test_zero_pseudo_counts_give_frequencies():
    x = torch.tensor([[0], [0], [2], [1]])
    components = Categorical(1, 1, 4, pseudo_count=0.0, dtype=torch.float64)
    data = components.encode(x)
    components.maximise(components.statistics(data, torch.ones(1, 1, 4)))
    assert components.probabilities.tolist() == [[[0.5, 0.25, 0.25, 0.0]]]


def test_structural_zeros_stay_zero():
    components = Categorical.from_parameters([[[0.5, 0.5, 0.0]]])
    data = components.encode([[0], [1], [1]])
    components.maximise(components.statistics(data, torch.ones(1, 1, 3)))
    assert components.probabilities[0, 0, 2] == 0
    assert components.log_prior().isfinite()


def test_a_collapse_without_prior_is_refused_and_changes_nothing():
    components = Gaussian(2, 1, pseudo_scatter=0.0, dtype=torch.float64)
    before = components.mean().clone()
    data = components.encode([[1.0, 2.0], [1.0, 3.0]])
    with pytest.raises(ValueError, match=r"variable 0, component 0 has collapsed"):
        components.maximise(components.statistics(data, torch.ones(2, 1, 2)))
    assert torch.equal(components.mean(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variances_far_from_zero_are_right(dtype):
    generator = torch.Generator().manual_seed(0)
    x = (1e8 + 100 * torch.randn(500, 2, generator=generator, dtype=torch.float64)).to(dtype)
    components = Gaussian(2, 1, dtype=dtype)
    data = components.encode(x)
    components.initialise(data)
    components.maximise(components.statistics(data, torch.ones(2, 1, 500)))
    expected = x.double().var(0, correction=0)
    torch.testing.assert_close(components.variance()[:, 0].double(), expected, rtol=1e-5, atol=0)


def test_the_gamma_shape_solves_its_equation():
    spread = torch.logspace(-7, 3, 60, dtype=torch.float64)
    shape = solve_shape(spread).numpy()
    left = np.log(shape) - scipy.special.digamma(shape)
    np.testing.assert_allclose(left, spread.numpy(), rtol=1e-7)


def test_gamma_finds_the_shape_scipy_finds():
    x = stats.gamma(3.0, scale=0.5).rvs(400, random_state=0)
    components = Gamma(1, 1, penalty=0.0, dtype=torch.float64)
    data = components.encode(x[:, None])
    components.maximise(components.statistics(data, torch.ones(1, 1, 400)))
    shape, _, scale = stats.gamma.fit(x, floc=0)
    assert components.concentration.item() == pytest.approx(shape, rel=1e-6)
    assert components.rate.item() == pytest.approx(1 / scale, rel=1e-6)


def test_initialisation_separates_clusters():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 1, generator=generator) + 20 * torch.arange(3).repeat(100).unsqueeze(-1)
    components = Gaussian(1, 3)
    components.initialise(components.encode(x), generator)
    means = components.mean().sort().values[0]
    assert (means.diff() > 10).all()


BAD = [
    (lambda: Categorical.from_parameters([[[0.5, 0.6]]]), "sum to one"),
    (lambda: Categorical.from_parameters([[0.5, 0.5]]), "shape"),
    (lambda: Bernoulli.from_parameters([[1.5]]), "between 0 and 1, got 1.5"),
    (lambda: Gaussian.from_parameters([[0.0]], [[-1.0]]), "variance above zero, got -1"),
    (lambda: Gaussian.from_parameters([[float("nan")]], [[1.0]]), "finite numbers in mean"),
    (lambda: Gaussian.from_parameters([[0.0, 1.0]], [[1.0]]), "variance to begin with the shape"),
    (lambda: Gaussian.from_parameters([[0.0]], [[1.0]], variables=3), "1 .*shared"),
    (lambda: Gaussian.from_parameters([[0.0]] * 2, [[1.0]] * 2, shared=True), "one set"),
    (lambda: Gaussian(0, 2), "variables.*positive integer, got 0"),
    (lambda: Gaussian(2, [1, 2, 3]), "2 variables, got 3"),
    (lambda: Gaussian(2, [1, 2], shared=True), "one number of shared components"),
    (lambda: Gaussian(2, 2, pseudo_scatter=-1.0), "pseudo_scatter.*got -1"),
    (lambda: Gaussian(2, 2, names=["a"]), "2 names, got 1"),
    (lambda: Gaussian(2, 2, dtype=torch.int64), "floating-point dtype"),
    (lambda: Categorical(2, 2, 0), "categories"),
    (lambda: Binomial(2, 2, [1, 2, 3]), "trials"),
    (lambda: Poisson.from_parameters([[0.0]]), "rate above zero"),
    (lambda: Gamma.from_parameters([[1.0]], [[0.0]]), "rate above zero"),
    (lambda: Uniform(2, 2, 1.0, 0.0), "low < high"),
    (lambda: Uniform(2, 2, [0.0, 0.1, 0.2]), "expected low of shape"),
    (lambda: Histogram(2, 2, [0.0, 0.0, 1.0]), "ascending"),
    (lambda: Histogram(2, 2, [[0.0, 1.0]] * 3), "edges of shape"),
    (lambda: Histogram.from_parameters([[[0.5, 0.5]]], [0.0, 1.0]), "mass for 1 bins, got 2"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_parameters_are_refused(number):
    make, message = BAD[number]
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_weights_indices_and_bounds_are_refused():
    components = Gaussian(2, [1, 3])
    data = components.encode([[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"weights of shape \(2, 3, 1\)"):
        components.statistics(data, torch.ones(2, 3))
    with pytest.raises(ValueError, match="components 0 to 0 of variable 0, got 1 in row 0"):
        components.sample(torch.tensor([[1, 0]]))
    with pytest.raises(ValueError, match="integer indices"):
        components.sample(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="bounds"):
        components.log_prob_box([0.0], [1.0])
    with pytest.raises(ValueError, match="variables 0 to 1"):
        components.select([2])
