"""Vector-valued, mixed and concatenated components against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats as stats
import torch

from mixtures.components import (
    Bernoulli,
    Categorical,
    Concatenated,
    Gaussian,
    Mixed,
    MultivariateGaussian,
    Poisson,
    Product,
)

from families import build, indices, rows, weights

KINDS = ["full", "tied", "diag", "spherical"]


def normal(kind="full", d=2, k=2, e=3, **options):
    generator = torch.Generator().manual_seed(0)
    shape = {"full": (d, k, e), "tied": (d, 1, e), "diag": (d, k, e), "spherical": (d, k, 1)}[kind]
    given = torch.rand(*shape, e, generator=generator, dtype=torch.float64)
    given = (
        given @ given.mT + 0.1 * torch.eye(e) if kind in ("full", "tied") else given[..., 0] + 0.1
    )
    mean = torch.randn(d, k, e, generator=generator, dtype=torch.float64)
    return MultivariateGaussian.from_parameters(mean, given, covariance=kind, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_the_marginal_of_the_observed_entries(kind):
    components = normal(kind)
    x = rows(components, 8)
    for mask in itertools.product([False, True], repeat=3):
        observed = torch.tensor(mask).expand(8, 2, 3)
        values = components.log_prob(x, observed).detach().numpy()
        for j, i in itertools.product(range(2), range(2)):
            mean = components.mean()[j, i].detach().numpy()[list(mask)]
            covariance = components.covariance()[j, i].detach().numpy()[np.ix_(mask, mask)]
            expected = 0.0
            if any(mask):
                law = stats.multivariate_normal(mean, covariance)
                expected = law.logpdf(x[:, j][:, list(mask)].numpy())
            np.testing.assert_allclose(values[:, j, i], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_covariances_are_kept_as_given(kind):
    components = normal(kind)
    again = MultivariateGaussian.from_parameters(
        components.mean(),
        {
            "full": components.covariance(),
            "tied": components.covariance()[:, :1],
            "diag": components.variance(),
            "spherical": components.variance()[..., :1],
        }[kind],
        covariance=kind,
    )
    torch.testing.assert_close(again.covariance(), components.covariance(), rtol=1e-13, atol=1e-14)


def test_expected_statistics_are_the_moments_given_what_was_observed():
    components = normal(d=1, k=1)
    x = rows(components, 1)
    x[0, 0, 1] = torch.nan
    sums = components.statistics(components.encode(x), torch.ones(1, 1, 1))
    mean, covariance = components.mean()[0, 0].detach(), components.covariance()[0, 0].detach()
    given, free = [0, 2], [1]
    gain = covariance[free][:, given] @ covariance[given][:, given].inverse()
    expected = x[0, 0].clone()
    expected[free] = mean[free] + gain @ (expected[given] - mean[given])
    away = expected - components.centre[0, 0]
    second = torch.outer(away, away)
    second[1, 1] += (covariance[free][:, free] - gain @ covariance[given][:, free])[0, 0]
    torch.testing.assert_close(sums["first"][0, 0], away)
    torch.testing.assert_close(sums["second"][0, 0], second)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_entries_are_drawn_given_the_others(kind):
    components = normal(kind)
    n = 6000
    x = rows(components, 1).expand(n, 2, 3).clone()
    x[:, :, 1:] = torch.nan
    chosen = indices(components, 1).expand(n, 2)
    generator = torch.Generator().manual_seed(1)
    draws = components.complete(chosen, components.encode(x), generator)[..., 1:]
    for j in range(2):
        i = chosen[0, j]
        mean, covariance = components.mean()[j, i].detach(), components.covariance()[j, i].detach()
        gain = covariance[1:, 0] / covariance[0, 0]
        expected = mean[1:] + gain * (x[0, j, 0] - mean[0])
        spread = covariance[1:, 1:] - torch.outer(gain, covariance[0, 1:])
        error = (spread.diagonal() / n).sqrt()
        assert ((draws[:, j].mean(0) - expected).abs() < 5 * error).all()
        torch.testing.assert_close(draws[:, j].T.cov(), spread, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_of_normals_are_normal_densities(kind):
    first, second = normal(kind), normal(kind)
    second.location.data += 0.3
    gram = first.inner(second).detach().numpy()
    for j, a, b in itertools.product(range(2), repeat=3):
        total = (first.covariance()[j, a] + second.covariance()[j, b]).detach().numpy()
        law = stats.multivariate_normal(second.mean()[j, b].detach().numpy(), total)
        assert gram[j, a, b] == pytest.approx(law.pdf(first.mean()[j, a].detach().numpy()))


def test_boxes_of_independent_entries_multiply():
    components = normal("diag")
    low, high = torch.tensor([-1.0, 0.0, -torch.inf]), torch.tensor([1.0, torch.inf, 2.0])
    values = components.log_prob_box(low.expand(2, 3), high.expand(2, 3))
    ends = [end.expand(2, 3).reshape(6) for end in (low, high)]
    flat = Gaussian.from_parameters(
        components.mean().mT.reshape(6, 2), components.variance().mT.reshape(6, 2)
    )
    expected = flat.log_prob_box(*ends).reshape(1, 2, 3, 2).sum(2)
    torch.testing.assert_close(values, expected)
    with pytest.raises(ValueError, match="diag or spherical"):
        normal("full").log_prob_box(low.expand(2, 3), high.expand(2, 3))


def test_covariances_that_are_none_are_refused():
    mean = torch.zeros(1, 1, 2)
    for bad, message in (
        ([[[[1.0, 2.0], [2.0, 1.0]]]], "positive definite"),
        ([[[[1.0, 0.5], [0.0, 1.0]]]], "symmetric"),
        ([[[1.0, 1.0]]], r"shape \(1, 1, 2, 2\)"),
        ([[[[1.0, float("nan")], [0.0, 1.0]]]], "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            MultivariateGaussian.from_parameters(mean, bad)
    with pytest.raises(ValueError, match="covariance one of"):
        MultivariateGaussian(1, 1, 2, covariance="round")


def test_one_row_leaves_a_covariance_of_full_rank():
    for kind in KINDS:
        components = MultivariateGaussian(2, 2, 4, covariance=kind)
        data = components.encode(torch.full((1, 2, 4), 3.0))
        components.maximise(components.statistics(data, torch.ones(2, 2, 1)))
        assert torch.linalg.eigvalsh(components.covariance()).min() > 0
    components = MultivariateGaussian(2, 2, 4, pseudo_scatter=0.0)
    with pytest.raises(ValueError, match="collapsed"):
        components.maximise(components.statistics(data, torch.ones(2, 2, 1)))


def test_a_product_is_the_product_of_its_entries():
    entries = Poisson(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    product = Product(entries, (3,))
    x = rows(product, 5).double()
    x[0, 0, 1] = torch.nan
    expected = entries.log_prob(x.reshape(5, 6)).reshape(5, 2, 3, 2).sum(2)
    torch.testing.assert_close(product.log_prob(x), expected)
    gram = entries.inner(entries).reshape(2, 3, 2, 2).prod(1)
    torch.testing.assert_close(product.inner(product), gram)


def test_a_shared_product_is_the_same_for_every_variable():
    entries = Bernoulli(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shared = Product(entries, (2, 2), variables=5)
    apart = Product(
        Bernoulli.from_parameters(entries.probabilities.repeat(5, 1), pseudo_count=0.0), (2, 2)
    )
    x = rows(apart, 7)
    torch.testing.assert_close(shared.log_prob(x), apart.log_prob(x))
    torch.testing.assert_close(shared.mean(), apart.mean())
    data, mass = shared.encode(x), torch.rand(5, 3, 7)
    sums, each = shared.statistics(data, mass), apart.statistics(data, mass)
    torch.testing.assert_close(sums["count"], each["count"].reshape(5, 4, 3, 2).sum(0))


def test_products_are_made_from_a_family_and_a_shape():
    product = Product.of(lambda numbers: Categorical(numbers, 2, 5), (2, 3), variables=4)
    assert (product.variables, product.event, product.shape) == (4, (2, 3), (2,) * 4)
    shared = Product.of(lambda numbers: Bernoulli(numbers, 2), 88, variables=4, shared=True)
    assert shared.shared and shared.num_parameters == 2 * 88
    with pytest.raises(ValueError, match="multiple of 88"):
        Product(Bernoulli(100, 2), 88)
    with pytest.raises(ValueError, match="one number of components"):
        Product(Bernoulli(4, [1, 2, 2, 2]), 2)


def test_a_product_is_evaluated_in_blocks(monkeypatch):
    product = build("Product")
    x = rows(product, 11)
    data, mass = product.encode(x), weights(product, 11)
    whole, sums = product.log_prob(x), product.statistics(data, mass)
    monkeypatch.setattr("mixtures.components.product.BLOCK", 100)
    torch.testing.assert_close(product.log_prob(x), whole)
    torch.testing.assert_close(product.statistics(data, mass)["count"], sums["count"])


@pytest.mark.parametrize("shared", [False, True])
def test_products_of_symbols_are_matrix_products_of_features(shared, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    entries = Categorical(4 if shared else 12, 3, 3, dtype=torch.float64, generator=generator)
    product = Product(entries, (2, 2), variables=3 if shared else None)
    x = rows(product, 9)
    data = product.encode(x, torch.rand(x.shape, generator=generator) < 0.7)
    mass = weights(product, 9)
    values, sums = product.log_prob(data), product.statistics(data, mass)
    monkeypatch.setattr(Categorical, "_natural", lambda self: None)
    torch.testing.assert_close(product.log_prob(data), values)
    product.maximise(sums)
    learned = product.mean().clone()
    product.maximise(product.statistics(data, mass))
    torch.testing.assert_close(product.mean(), learned)


def test_impossible_symbols_stay_impossible_in_products():
    product = Product(Bernoulli.from_parameters([[0.0, 0.5]] * 2), 2)
    values = product.log_prob(torch.tensor([[[0, 1]], [[0, 0]]]))[:, 0].exp()
    torch.testing.assert_close(values, torch.tensor([[0.0, 0.25], [1.0, 0.25]]))


def test_mixed_components_are_those_of_their_columns():
    mixed = build("Mixed")
    x = rows(mixed, 9)
    (_, gaussian), (_, categorical) = mixed._each()
    values = mixed.log_prob(x)
    torch.testing.assert_close(values[:, [2, 0]], gaussian.log_prob(x[:, [2, 0]]))
    torch.testing.assert_close(values[:, [1]], categorical.log_prob(x[:, [1]]))


def test_mixed_columns_must_be_a_partition():
    for columns in ([0, 1], [2], [0]):
        with pytest.raises(ValueError, match="columns"):
            Mixed([([0], Gaussian(1, 2)), (columns, Bernoulli(1, 2))])
    with pytest.raises(ValueError, match=r"torch.float32 on cpu, got \(\), torch.float64"):
        Mixed([([0], Gaussian(1, 2)), ([1], Bernoulli(1, 2, dtype=torch.float64))])


def test_concatenated_components_stand_side_by_side_without_gaps():
    both = build("Concatenated")
    first, second = both._each()
    x = rows(both, 6)
    values = both.log_prob(x)
    for j, k in enumerate(first.shape):
        torch.testing.assert_close(values[:, j, :k], first.log_prob(x)[:, j, :k])
        torch.testing.assert_close(values[:, j, k : k + 2], second.log_prob(x)[:, j])
        torch.testing.assert_close(both.mean()[j, :k], first.mean()[j, :k])
    gram = both.inner(first)
    torch.testing.assert_close(gram[2, 2:4, :2], second.inner(first)[2, :, :2])


def test_concatenation_of_concatenations_is_flat():
    a, b = Gaussian(2, 1), Gaussian(2, 3)
    nested = Concatenated([Concatenated([a, b]), a])
    assert nested.shape == (5, 5)
    assert len(nested._each()) == 3
    x = torch.zeros(1, 2)
    flat = torch.cat([a.log_prob(x), b.log_prob(x), a.log_prob(x)], -1)
    torch.testing.assert_close(nested.log_prob(x), flat)
    with pytest.raises(ValueError, match="same variables"):
        Concatenated([a, Gaussian(3, 1)])
