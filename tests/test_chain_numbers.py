"""Laws of chains whose leaves are exponentials of a few functions of the data."""

from __future__ import annotations

import pytest
import torch

import mixtures.folded
from mixtures import HMM, Mixture
from mixtures.chainpass import Chain
from mixtures.components import Gaussian, LogNormal
from mixtures.exponential import Exponential
from mixtures.folded import Folded

from test_chains import agree, both, counted, seeded, swept


def family(kind=Gaussian, dtype=torch.float64, shared=True, variables=24):
    mean = torch.tensor([[-3.0, 0.5, 2.0]], dtype=dtype)
    variance = torch.tensor([[0.5, 1.0, 1.5]], dtype=dtype)
    if shared:
        return kind.from_parameters(mean, variance, shared=True, variables=variables)
    return kind.from_parameters(mean.repeat(variables, 1), variance.repeat(variables, 1))


def chain(n=40, far=0.0, d=24):
    """A mixture and rows with missing entries; every fifth one has an entry that is far away."""
    model = Mixture(HMM(d, 3, 3, shared=True, emission=False, **seeded()), family(variables=d))
    x = model.sample(n, generator=torch.Generator().manual_seed(2))
    x[::5, 7] += far
    x[::3, 5], x[1:2, -4:] = torch.nan, torch.nan
    return model, model.encode(x)


def test_exponents_are_the_density():
    components = family()
    x = torch.randn((9, 24), **seeded())
    x[2, 3] = torch.nan
    data = components.encode(x)
    found, top = components.exponents(data)
    logs = components.log_prob_encoded(data).detach()
    torch.testing.assert_close(
        found.detach() @ components.basis(data), logs, rtol=1e-12, atol=1e-12
    )
    assert top >= float(logs[:, :, :2].amax())
    peaks = components.log_prob(components.location.detach().mean(0, keepdim=True).T.expand(-1, 24))
    assert top == pytest.approx(float(peaks.detach().amax()), abs=1e-12)


def test_sums_of_the_basis_are_the_statistics():
    components = family(shared=False)
    x = torch.randn((9, 24), **seeded())
    x[2, 3] = torch.nan
    data = components.encode(x)
    weights = torch.rand((24, 3, 9), **seeded())
    found = components.statistics_of(weights @ components.basis(data).mT)
    expected = components.statistics(data, weights)
    assert found.keys() == expected.keys()
    agree(found, {name: expected[name] for name in found}, torch.float64)


@pytest.mark.parametrize("away", [1e3, 1e8])
def test_there_are_no_exponents_where_digits_would_cancel(away):
    components = family()
    x = torch.randn((9, 24), **seeded())
    assert components.exponents(components.encode(x)) is not None
    x[3, 4] = away
    assert components.exponents(components.encode(x)) is None
    x[3, 4] = torch.nan
    assert components.exponents(components.encode(x)) is not None


def test_other_families_and_few_digits_have_no_exponents():
    x = torch.rand((9, 24)) + 1
    for components in (family(LogNormal), family(dtype=torch.float32)):
        assert components.exponents(components.encode(x)) is None


@pytest.mark.parametrize("far", [0.0, 15.0, 60.0])
def test_rows_far_from_every_component_are_right_too(far, monkeypatch):
    """60 standard deviations away every leaf underflows: the walk takes logarithms then."""
    model, data = chain(far=far)
    read = counted(monkeypatch, Exponential, "_components")
    anew = counted(monkeypatch, Chain, "_part")
    walked, general = both(model, data)
    weights = torch.rand(len(data), **seeded())
    found, expected = swept(model, walked, weights), swept(model, general, weights)
    assert read and not anew  # logarithms of the leaves suffice
    for part, true in zip(found, expected, strict=True):
        agree(part, true, torch.float64)
    counts = [torch.zeros_like(array, dtype=torch.float64) for array in model.coefficients.arrays]
    total, statistics = model.expected(data, weights, counts)
    true = model.components.pool_shared(model.components.statistics(data, expected[1]))
    assert total == pytest.approx(float(expected[0] @ weights))
    agree(statistics, {name: true[name] for name in statistics}, torch.float64)
    agree(counts, expected[3], torch.float64)


def test_folded_time_adds_posteriors_up_once(monkeypatch):
    """Passes that are walked again begin their sums anew."""
    monkeypatch.setattr(mixtures.folded, "WARM", 8)
    passes = counted(monkeypatch, Folded, "_tried")
    model, data = chain(n=1, d=3000)
    counts = [torch.zeros_like(array, dtype=torch.float64) for array in model.coefficients.arrays]
    weights = torch.ones(1, dtype=torch.float64)
    _, statistics = model.expected(data, weights, counts)
    assert len(passes) > 1
    _, inputs, _, expected = swept(model, both(model, data)[1], weights)
    true = model.components.pool_shared(model.components.statistics(data, inputs))
    agree(statistics, {name: true[name] for name in statistics}, torch.float64)
    agree(counts, expected, torch.float64)
