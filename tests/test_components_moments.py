"""Covariances of components, and the rows that they can take."""

from __future__ import annotations

import math

import pytest
import torch
from families_finite import finite

from mixtures.components import (
    Bernoulli,
    Categorical,
    Concatenated,
    Indicator,
    LogNormal,
    Mixed,
    MultivariateGaussian,
    Poisson,
    Product,
)

from families import FAMILIES, build, indices, rows
from test_components_custom import Geometric
from test_components_families import CASES

every = pytest.mark.parametrize("name", list(FAMILIES))
every_case = pytest.mark.parametrize("name", list(CASES))


# ---------------------------------------------------------------- covariances


@every
def test_the_diagonal_of_the_covariance_is_the_variance(name):
    components = build(name)
    covariance, variance = components.covariance(), components.variance()
    e = math.prod(components.event)
    assert covariance.shape == (3, components.largest, e, e)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1).reshape(variance.shape)
    torch.testing.assert_close(diagonal, variance, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(covariance, covariance.mT, rtol=0, atol=0)
    assert all((covariance[j, k:] == 0).all() for j, k in enumerate(components.shape))


@pytest.mark.parametrize("name", [n for n in FAMILIES if n[:5] in ("Multi", "Produ")])
def test_draws_have_the_covariance_stated(name):
    components = build(name)
    n = 20_000
    x = rows(components, 1, seed=5)
    chosen = indices(components, 1).expand(n, 3)
    x = components.sample(chosen, torch.Generator().manual_seed(0)).double().flatten(2)
    covariance = components.covariance().detach()
    for j in range(3):
        scale = covariance[j, chosen[0, j]].diagonal().sqrt()
        error = torch.cov(x[:, j].T) - covariance[j, chosen[0, j]]
        assert (error.abs() / torch.outer(scale, scale)).max() < 0.1


def test_mixed_and_concatenated_components_keep_each_part_s_covariance():
    g = torch.Generator().manual_seed(0)
    normal = MultivariateGaussian(2, [2, 1], 3, generator=g)
    product = Product(Bernoulli(3, 3, generator=g), 3)
    mixed = Mixed([([2, 0], normal), ([1], product)])
    assert torch.equal(mixed.covariance()[2, :2], normal.covariance()[0])
    assert torch.equal(mixed.covariance()[1], product.covariance()[0])
    both = Concatenated([normal, MultivariateGaussian(2, [1, 2], 3, generator=g)])
    other = both.families[1].covariance()
    assert torch.equal(both.covariance()[0], torch.cat([normal.covariance()[0], other[0, :1]]))
    assert torch.equal(both.covariance()[1], torch.cat([normal.covariance()[1, :1], other[1]]))


def test_without_a_variance_there_is_no_covariance():
    with pytest.raises(ValueError, match="Geometric has no variance"):
        Geometric(2, 2).covariance()


# ---------------------------------------------------------------- all rows


@pytest.mark.parametrize("name", list(finite()))
def test_the_rows_are_all_rows_once(name):
    components = finite()[name]
    x = components.rows(10_000)
    assert not x.is_floating_point()
    assert x.shape[1:] == (components.variables, *components.event)
    assert len(torch.unique(x, dim=0)) == len(x)
    flat = x.flatten(1).tolist()
    assert flat == sorted(flat)
    logs = components.log_prob(x)  # also: every row is inside the domain
    corner = logs[:, range(components.variables), [k - 1 for k in components.shape]].sum(-1)
    for total in (logs[..., 0].sum(-1).exp().sum(), corner.exp().sum()):
        assert total.item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(components.rows(len(x)), x)
    assert components.rows(len(x) - 1) is None


@pytest.mark.parametrize("name", ["Gaussian", "Poisson", "MultivariateGaussian", "Mixed", "Gamma"])
def test_where_rows_are_not_finitely_many_there_is_no_list(name):
    assert build(name).rows(10**9) is None


def test_rows_are_counted_before_they_are_built():
    assert Product(Bernoulli(1000 * 88, 2), 88).rows(2**16) is None
    assert Bernoulli(5000, 2, shared=True).rows(2**16) is None
    assert Indicator(5000, 1).rows(1).shape == (1, 5000)


def test_parts_that_disagree_about_the_values_have_no_list():
    assert Concatenated([Bernoulli(2, 1), Categorical(2, 2, 3)]).rows(100) is None
    assert Concatenated([Bernoulli(2, 1), Poisson(2, 2)]).rows(100) is None


@pytest.mark.parametrize("limit", [-1, 2.5, True, None])
def test_the_limit_is_a_whole_number(limit):
    with pytest.raises(ValueError, match="expected limit"):
        Bernoulli(2, 2).rows(limit)


def test_moments_are_final():
    for name in ("mean", "covariance", "rows", "expectation"):
        with pytest.raises(TypeError, match=f"Wrong overrides the final {name}"):
            type("Wrong", (LogNormal,), {name: lambda self: None})
