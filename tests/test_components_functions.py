"""Which functions expectations take: of vectors, of symbols, tensors in their place, bad ones."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from families_finite import DOUBLE, finite

from mixtures.components import (
    Bernoulli,
    Categorical,
    Gaussian,
    MultivariateGaussian,
    Product,
)

from families import FAMILIES, build
from test_components_custom import Geometric

every = pytest.mark.parametrize("name", list(FAMILIES))


@pytest.mark.parametrize("name", list(finite()))
def test_expectations_over_finite_sets_are_sums_over_all_rows(name):
    components = finite()[name]
    alone, place = components.select([1]), 1
    x = alone.rows(10_000)
    values = torch.rand(len(x), generator=torch.Generator().manual_seed(0), **DOUBLE)
    keys = {tuple(row): value for row, value in zip(x.flatten(1).tolist(), values, strict=True)}

    def lookup(points):
        flat = points.reshape(-1, math.prod(components.event)).long().tolist()
        found = torch.stack([keys[tuple(row)] for row in flat])
        return found.reshape(points.shape[: points.ndim - len(components.event)])

    expected = torch.einsum("mk,m->k", alone.log_prob(x)[:, 0].exp(), values)
    k = components.shape[place]
    found = components.expectation({place: lookup})[place, :k]
    torch.testing.assert_close(found, expected[:k], rtol=1e-13, atol=1e-14)


def test_tensors_are_taken_as_they_are_and_columns_a_variable_does_not_have_are_zero():
    components = Gaussian(3, [2, 3, 1], **DOUBLE)
    given = torch.tensor([0.1, 0.2, 0.3], **DOUBLE)
    found = components.expectation({1: given})
    assert found.tolist() == [[1, 1, 0], given.tolist(), [1, 0, 0]]
    assert components.expectation({}).tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    single = Gaussian(1, 2).expectation({0: torch.ones(2, **DOUBLE)})
    assert single.dtype == torch.float32


@every
def test_float32_expectations_are_near_float64(name):
    double = build(name)
    single = copy.deepcopy(double).float()

    def g(x):
        return x.flatten(x.ndim - len(double.event)).cos().prod(-1) if double.event else x.cos()

    found = single.expectation({0: g, 2: g})
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), double.expectation({0: g, 2: g}), rtol=1e-4, atol=1e-4
    )


def test_what_cannot_happen_has_no_part_in_an_expectation():
    components = Categorical.from_parameters([[[0.5, 0.5, 0.0]]])
    assert components.expectation({0: lambda x: 1 / (2 - x)}).item() == 0.75
    assert components.expectation({0: lambda x: (2 - x).log() * 0}).item() == 0


def test_a_family_of_one_s_own_has_expectations_once_it_names_its_alphabet():
    class Loaded(Geometric):
        """Given x < 3."""

        def _log_prob(self, x):
            logs = super()._log_prob(torch.arange(3).reshape(1, 1, 3))
            return super()._log_prob(x) - logs.logsumexp(-1, keepdim=True)

        def _alphabet(self, variable):
            return (3,)

    components = Loaded(2, [2, 1], **DOUBLE)
    x = torch.tensor([[0, 0], [1, 1], [2, 2]])
    expected = torch.einsum(
        "mdk,m->dk", components.log_prob(x).exp(), torch.tensor([0.0, 1, 4]).double()
    )
    found = components.expectation({0: torch.square, 1: torch.square})
    torch.testing.assert_close(found[0], expected[0])
    assert found[1].tolist() == [pytest.approx(expected[1, 0].item()), 0]
    assert len(components.rows(9)) == 9
    with pytest.raises(ValueError, match=r"Geometric has no rule .*pass E\[g \| component\]"):
        Geometric(2, 2).expectation({0: torch.cos})


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("key", [-1, 2, "a", 1.0, True])
def test_functions_are_given_for_variables_there_are(key):
    with pytest.raises(ValueError, match="expected variables 0 to 1"):
        Gaussian(2, 2).expectation({key: torch.cos})


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (torch.ones(3), r"of shape \(2,\), got \(3,\)"),
        (torch.ones(1, 2), r"of shape \(2,\), got \(1, 2\)"),
        ("cosine", "expected a tensor or a function for variable 0"),
        (lambda x: x.sum(), r"to map values of shape \(2, 1024\) to \(2, 1024\), got \(\)"),
        (lambda x: None, "expected a tensor or a function"),
        (lambda x: x.to(torch.complex64), "expected real numbers for variable 0"),
        (torch.log, "the function of variable 0 gives NaN at"),
    ],
)
def test_functions_of_the_wrong_kind_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        Gaussian(2, 2).expectation({0: given})


def test_vectors_of_many_entries_take_the_tensor():
    many = {
        "Product": Product(Bernoulli(2 * 88, 2), 88),
        "continuous Product": Product(Gaussian(2 * 4, 2), 4),
        "MultivariateGaussian": MultivariateGaussian(2, 2, 4),
    }
    for components in many.values():
        with pytest.raises(ValueError, match=r"pass E\[g \| component\] as a tensor"):
            components.expectation({0: lambda x: x.sum(-1)})
        assert components.expectation({0: torch.tensor([0.5, 2.0])})[0].tolist() == [0.5, 2.0]
