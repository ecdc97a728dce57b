"""Laws of patterns in scalar networks: what is evaluated once per pattern is what rows give."""

from __future__ import annotations

import pytest
import torch

from mixtures import SPN, Mixture, inputs, networkpass, networkpatterns
from mixtures.components import Bernoulli, Categorical, Gaussian, Indicator, Poisson
from mixtures.learn import learn_spn

from laws import close
from test_network_plans import NETWORKS, generator


@pytest.fixture
def used(monkeypatch):
    """The folded plans that are used; patterns are used wherever there are some."""
    monkeypatch.setattr(networkpatterns, "WORTH", 0)
    monkeypatch.setattr(networkpatterns, "FEWEST_ROWS", 16)
    found, plain = [], networkpatterns.folded

    def folded(plan, sizes, most):
        found.append(plain(plan, sizes, most))
        return found[-1]

    monkeypatch.setattr(networkpatterns, "folded", folded)
    return found


def both_ways(model, x, monkeypatch, observed=None):
    """log f(x) with patterns, and row by row."""
    with torch.no_grad(), monkeypatch.context() as patch:
        with_patterns = model.log_prob(x, observed=observed)
        patch.setattr(networkpass, "folded_of", lambda *_: None)
        return with_patterns, model.log_prob(x, observed=observed)


def families(W, dtype):
    d, k = W.variables, W.shape
    found = {
        "bernoulli": Bernoulli(d, k, generator=generator(), dtype=dtype),
        "categorical": Categorical(d, k, 3, generator=generator(), dtype=dtype),
        "indicator": Indicator(d, k, dtype=dtype),
    }
    rates = torch.tensor([0.3, 5.0, 4000.0], dtype=dtype)[: max(k)].expand(d, -1).clone()
    return {**found, "poisson": Poisson.from_parameters(rates, components=list(k))}


DOUBLE, SINGLE = 1e-12, 2e-5  # what is the same but for rounding


def rows_for(W, family, n=150):
    if family == "indicator":
        draws = torch.rand(n, W.variables, generator=generator(2))
        return (draws * torch.tensor(W.shape)).long()
    return torch.randint(
        2 if family == "bernoulli" else 3, (n, W.variables), generator=generator(2)
    )


def on_symbols(name, family, seen=0.7):
    """(model, rows, observed, digits) of a network: both types, whole rows and rows with gaps."""
    for dtype, digits in ((torch.float64, DOUBLE), (torch.float32, SINGLE)):
        W = NETWORKS[name](dtype)
        model, x = Mixture(W, families(W, dtype)[family]), rows_for(W, family)
        for observed in (None, torch.rand(x.shape, generator=generator(3)) < seen):
            yield model, x, observed, digits


@pytest.mark.parametrize("most", [1, 3, 9, 30, 4096])
@pytest.mark.parametrize("family", ["bernoulli", "categorical", "indicator", "poisson"])
@pytest.mark.parametrize("name", NETWORKS)
def test_patterns_give_what_rows_give(name, family, most, used, monkeypatch):
    monkeypatch.setattr(networkpatterns, "MOST_PATTERNS", most)
    for model, x, observed, digits in on_symbols(name, family):
        found, plain = both_ways(model, x, monkeypatch, observed)
        close(found, plain.numpy(), rtol=digits, atol=digits)
        assert not bool(found.isnan().any())
    wide = {"flat"} if most > 3 else {"flat", "a sum of networks"}  # nothing has so few patterns
    assert any(plan is not None for plan in used) or most < 3 or name in wide


def test_large_products_of_leaf_factors_stay_row_by_row(used, monkeypatch):
    """Some rows are given, some are sparse products of symbols, some are both."""
    a = inputs(9, 2)
    leaf = [0.3 * a[j][0] + 0.7 * a[j][1] for j in range(9)]
    other = [0.6 * a[j][0] + 0.4 * a[j][1] for j in range(9)]

    def times(factors):
        whole = factors[0]
        for factor in factors[1:]:
            whole = whole * factor
        return whole

    def pair(share):
        return share * (leaf[0] * other[1]) + (1 - share) * (other[0] * leaf[1])

    mixed = times([pair(0.2), *leaf[2:4], *other[4:9]])
    W = SPN(0.1 * times(leaf) + 0.5 * mixed + 0.4 * times([pair(0.9), *other[2:9]]))
    x = rows_for(W, "indicator", 300)
    for family in (Indicator(9, 2), Bernoulli(9, 2, generator=generator())):
        monkeypatch.setattr(networkpatterns, "MOST_PATTERNS", 8)
        found, plain = both_ways(Mixture(W, family), x, monkeypatch)
        close(found, plain.numpy(), rtol=1e-5, atol=1e-5)
    assert used[0].above.leaves is not None and used[0].given


def test_structural_zeros_and_impossible_rows(used, monkeypatch):
    a = inputs(4, 3)
    W = SPN(
        0.5 * (a[0][0] * a[1][1]) * (0.5 * a[2][0] * a[3][0] + 0.5 * a[2][2] * a[3][1])
        + 0.5 * (a[0][2] * a[1][0]) * (0.2 * a[2][1] * a[3][0] + 0.8 * a[2][1] * a[3][2]),
        dtype=torch.float64,
    )
    x = torch.cartesian_prod(*[torch.arange(3)] * 4)
    found, plain = both_ways(Mixture(W, Indicator(4, 3, dtype=torch.float64)), x, monkeypatch)
    close(found, plain.numpy(), rtol=1e-14, atol=0)
    assert int((found > -torch.inf).sum()) == 4 and used[-1] is not None


def test_real_columns_few_rows_and_constant_columns(used, monkeypatch):
    W = SPN.random(4, 2, depth=1, generator=generator(), dtype=torch.float64)
    real = Mixture(W, Gaussian(4, 2, dtype=torch.float64))
    real.log_prob(torch.randn(200, 4, generator=generator()))
    model = Mixture(W, Bernoulli(4, 2, dtype=torch.float64))
    model.log_prob(torch.ones(3, 4))
    assert not used
    found, plain = both_ways(model, torch.ones(200, 4), monkeypatch)
    close(found, plain.numpy(), rtol=1e-13, atol=0)


def test_patterns_are_used_where_they_are_less_work():
    """A network that was learned, one of pairs below pairs; not one of products of all leaves."""
    hidden = torch.randint(2, (2100, 1), generator=generator())
    x = (torch.rand(2100, 12, generator=generator(1)) < 0.15 + 0.7 * hidden).long()
    deep, flat = (SPN.random(12, 2, depth=depth, generator=generator()) for depth in (3, 0))
    learned = learn_spn(x, min_rows=20, significance=0.3, generator=generator())
    cases = [(Mixture(deep, Bernoulli(12, 2)), True), (learned, True)]
    for model, less in [*cases, (Mixture(flat, Bernoulli(12, 2)), False)]:
        W = model.coefficients
        network = networkpass.networks(W.circuit, W.arrays)
        found = network._by_patterns(model._source(x, None, None, None))
        assert (found is not None) == less
        if found is not None:
            assert 2 * found.loaded.plan.rows < network.load(leaves=True).plan.rows


def test_patterns_are_looked_for_once_many_rows_have_come(monkeypatch):
    """Of iterations over some hundred rows those after the first few use patterns; of a dozen rows
    none do.
    """
    calls, plain = [], networkpatterns.folded
    monkeypatch.setattr(networkpatterns, "folded", lambda *a: calls.append(a[1:]) or plain(*a))
    model = Mixture(SPN.random(8, 2, depth=3, generator=generator()), Bernoulli(8, 2))
    x = torch.randint(2, (500, 8), generator=generator(1))
    with torch.no_grad():
        for _ in range(4):
            before = model.log_prob(x)
            assert not calls
        for _ in range(3):
            close(model.log_prob(x), before.numpy(), rtol=1e-5)
        assert calls == [((2,) * 8, 64)]
        for _ in range(200):
            model.log_prob(x[:20])
    assert len(calls) == 1


def test_patterns_are_looked_for_in_many_rows_and_kept_for_few(monkeypatch):
    """Batches whose symbols differ do not work out patterns anew again and again."""
    calls, plain = [], networkpatterns.folded
    monkeypatch.setattr(networkpatterns, "folded", lambda *a: calls.append(a[1:]) or plain(*a))
    model = Mixture(SPN.random(8, 2, depth=3, generator=generator()), Bernoulli(8, 2))
    x = torch.randint(2, (4096, 8), generator=generator(1))
    with torch.no_grad():
        model.log_prob(x[:300])
        assert not calls
        for _ in range(3):
            whole = model.log_prob(x)
        assert calls == [((2,) * 8, 1024)]
        for j in range(8):
            x[:, j] = 0
            model.log_prob(x)
        assert len(calls) == 9
        plan = networkpass.plan_of(model.coefficients.circuit, [], leaves=True)
    assert len(networkpatterns._FOLDED[plan]) == networkpatterns.KEPT
    assert bool(whole.isfinite().all())
