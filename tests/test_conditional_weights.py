"""Weights on the simplex: nearest points of hulls, and mixture weights of greatest likelihood."""

import pytest
import torch

from mixtures.learn.simplex import likelihood_step, likelihood_weights, nearest_weights

DOUBLE = {"dtype": torch.float64}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nearest_weights_are_no_further_than_any_others():
    g = generator(17)
    for size in range(1, 8):
        points = torch.randn((size, 5), generator=g, **DOUBLE) + 0.5
        gram = points @ points.T
        best = nearest_weights(gram)
        assert float(best.sum()) == pytest.approx(1) and bool((best >= 0).all())
        here = gram @ best
        assert bool((here >= best @ here - 1e-12).all())  # the optimality conditions


def test_nearest_weights_of_equal_and_of_dependent_points():
    point = torch.tensor([[1.0, 2.0]], **DOUBLE)
    points = torch.cat([point, point, 2 * point, -point])
    best = nearest_weights(points @ points.T)
    assert float((best @ points).norm()) < 1e-12


def test_shares_and_weights_of_greatest_likelihood():
    g = generator(18)
    logs = torch.randn((50, 3), generator=g, **DOUBLE)
    rows = torch.rand(50, generator=g, **DOUBLE)
    rows = rows / rows.sum()

    def value(weights: torch.Tensor) -> float:
        return float((rows * (logs + weights.log()).logsumexp(1)).sum())

    step = likelihood_step(logs[:, 0], logs[:, 1], rows)
    best = value(torch.tensor([1 - step, step, 0.0], **DOUBLE))
    assert all(
        best >= value(torch.tensor([1 - a, a, 0.0], **DOUBLE)) - 1e-12
        for a in torch.linspace(0, 1, 101).tolist()
    )
    weights = likelihood_weights(logs, rows, torch.full((3,), 1 / 3, **DOUBLE), max_iter=100_000)
    ratios = rows @ (logs - (logs + weights.log()).logsumexp(1, keepdim=True)).exp()
    assert float(ratios.max()) == pytest.approx(1, abs=1e-4)
