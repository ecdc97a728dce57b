"""learn_spn: what it splits, and that what comes out is a mixture that learns on."""

from __future__ import annotations

import pytest
import torch
from mixture_cases import generator

from mixtures import SPN, Mixture
from mixtures.components import Indicator
from mixtures.learn import fit, learn_spn

pytest.importorskip("sklearn")

NAN = float("nan")


def clustered(n=600, seed=0):
    """Two groups of columns, independent of each other; within each, a mixture of two."""
    g = generator(seed)
    parts = []
    for _ in range(2):
        hidden = torch.randint(2, (n, 1), generator=g)
        noise = torch.rand(n, 3, generator=g) < 0.1
        parts.append(hidden ^ noise)
    return torch.cat(parts, 1).long()


def every_row(shape):
    return torch.cartesian_prod(*[torch.arange(k) for k in shape])


def test_it_is_a_distribution_and_beats_independence():
    x = clustered()
    model = learn_spn(x, generator=generator(), dtype=torch.float64)
    assert isinstance(model.coefficients, SPN)
    assert model.log_prob(every_row([2] * 6)).exp().sum().item() == pytest.approx(1)
    alone = learn_spn(x, min_rows=601, dtype=torch.float64)
    p = (x.double().sum(0) + 0.1) / 600.2
    product = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    torch.testing.assert_close(alone.log_prob(x).detach(), product)
    assert model.score(x) > alone.score(x) + 1


def test_independent_groups_become_factors():
    model = learn_spn(clustered(), generator=generator(), dtype=torch.float64)
    W = model.coefficients.dense().reshape(8, 8)
    torch.testing.assert_close(W, W.sum(1, keepdim=True) * W.sum(0))


def test_it_comes_close_to_what_drew_the_rows():
    x, fresh = clustered(4000), clustered(4000, seed=1)
    model = learn_spn(x, generator=generator(), dtype=torch.float64)
    half = every_row([2] * 3)
    agree = [(half == side).sum(1) for side in (0, 1)]
    truth = sum(0.5 * 0.9**a * 0.1 ** (3 - a) for a in agree).double()
    entropy = -2 * float((truth * truth.log()).sum())
    assert model.score(fresh) > -entropy - 0.05


def test_em_learns_on():
    x = clustered()
    model = learn_spn(x, generator=generator())
    before = model.score(x)
    history = fit(model, x, start="model", max_iter=10, tol=0)
    assert history.best.log_likelihood >= before - 1e-6


@pytest.mark.parametrize("weighted", [False, True])
def test_missing_values_weights_and_odd_columns_are_no_trouble(weighted):
    x = clustered(200).double()
    x[torch.rand(x.shape, generator=generator()) < 0.2] = NAN
    x[:, 4] = 0
    x[:, 5] = x[:, 0]
    x[:, 3] = torch.arange(200) % 4
    weights = torch.arange(200) % 3 if weighted else None
    model = learn_spn(x, weights=weights, min_rows=20, components=(2, 2, 2, 4, 1, 2))
    assert model.log_prob(x).isfinite().all()
    assert model.log_prob(every_row(model.coefficients.shape)).exp().sum().item() == (
        pytest.approx(1, rel=1e-4)
    )


def test_a_row_of_weight_zero_is_as_if_absent_from_leaves():
    x = [[0, 1], [1, 1], [1, 0]]
    one = learn_spn(x, weights=[1.0, 1.0, 0.0], dtype=torch.float64, components=2)
    two = learn_spn(x[:2], dtype=torch.float64, components=2)
    torch.testing.assert_close(one.coefficients.dense(), two.coefficients.dense())


@pytest.mark.parametrize("x", [[[0]], [[1], [0]], [[0, 2, 1]], [[1, 1]] * 80])
def test_one_row_one_column_or_always_the_same_will_do(x):
    model = learn_spn(x)
    assert isinstance(model, Mixture)
    assert isinstance(model.components, Indicator)
    assert model.log_prob(x).isfinite().all()
    assert learn_spn(x, pseudo_count=0.0).log_prob(x).isfinite().all()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"min_rows": 1}, "min_rows"),
        ({"clusters": 1}, "clusters"),
        ({"significance": 0.0}, "significance"),
        ({"pseudo_count": -1.0}, "pseudo_count"),
        ({"components": 1}, "expected less"),
    ],
)
def test_bad_options_are_refused(options, what):
    with pytest.raises(ValueError, match=what):
        learn_spn([[0, 1], [1, 1]], **options)
