"""Laws of flows through patterns: expected counts and statistics are those of rows."""

from __future__ import annotations

import pytest
import torch

from mixtures import SPN, Mixture, engine, inputs, networkflows, networkpass, networkpatterns
from mixtures.components import Bernoulli, Categorical, Indicator
from mixtures.learn import em

from laws import close
from test_network_patterns import on_symbols
from test_network_plans import NETWORKS, generator


@pytest.fixture
def swept(monkeypatch):
    """Passes of flows through patterns; patterns are used wherever there are some."""
    found, plain = [], networkflows.PatternFlows.down
    monkeypatch.setattr(networkpatterns, "WORTH", 0)
    monkeypatch.setattr(networkpatterns, "FEWEST_ROWS", 16)

    def down(self, leaves):
        found.append(self)
        return plain(self, leaves)

    monkeypatch.setattr(networkflows.PatternFlows, "down", down)
    return found


def expected(model, x, observed=None):
    """The likelihood, the counts of all tables, and the statistics, of weighted rows."""
    data = model.encode(x, observed)
    weights = torch.rand(len(x), generator=generator(5), dtype=torch.float64)
    weights = weights.to(model.coefficients.dtype)
    counts = [torch.zeros(a.shape, dtype=torch.float64) for a in model.coefficients.arrays]
    with torch.no_grad():
        total, statistics = model.expected(data, weights, counts)
    return [torch.tensor(total), *counts, *(statistics[name] for name in sorted(statistics))]


def both_ways(model, x, monkeypatch, observed=None):
    with_patterns = expected(model, x, observed)
    with monkeypatch.context() as patch:
        patch.setattr(networkpass, "folded_of", lambda *_: None)
        return with_patterns, expected(model, x, observed)


@pytest.mark.parametrize("most", [9, 4096])
@pytest.mark.parametrize("family", ["bernoulli", "categorical", "indicator", "poisson"])
@pytest.mark.parametrize("name", NETWORKS)
def test_patterns_collect_what_rows_do(name, family, most, swept, monkeypatch):
    monkeypatch.setattr(networkpatterns, "MOST_PATTERNS", most)
    for model, x, observed, digits in on_symbols(name, family, seen=0.6):
        with torch.no_grad():
            possible = model.log_prob(x, observed=observed) > -torch.inf
        seen = None if observed is None else observed[possible]
        found, rows = both_ways(model, x[possible], monkeypatch, seen)
        for part, other in zip(found, rows, strict=True):  # sums over rows
            close(part, other.numpy(), rtol=10 * digits, atol=10 * digits)
    wide = ("grown", "flat")  # they have products of leaf factors with more patterns than that
    assert swept or most == 9 or (name in wide and family != "indicator")


def test_structural_zeros_and_unlikely_states(swept, monkeypatch):
    """Flows find the one way there is, however small its weight; nothing flows along others."""
    a = inputs(4, 3)
    W = SPN(
        1e-200 * (a[0][0] * a[1][1]) * (0.5 * a[2][0] * a[3][0] + 0.5 * a[2][2] * a[3][1])
        + (1 - 1e-200) * (a[0][2] * a[1][0]) * (0.2 * a[2][1] * a[3][0] + 0.8 * a[2][1] * a[3][2]),
        dtype=torch.float64,
    )
    possible = torch.tensor([[0, 1, 0, 0], [0, 1, 2, 1], [2, 0, 1, 0], [2, 0, 1, 2]])
    model = Mixture(W, Indicator(4, 3, dtype=torch.float64))
    found, rows = both_ways(model, possible.repeat(25, 1), monkeypatch)
    assert swept
    for part, other in zip(found, rows, strict=True):
        close(part, other.numpy(), rtol=1e-13)
    with pytest.raises(ValueError, match="rows 3"):
        expected(model, torch.cat([possible[:3], torch.zeros(50, 4).long()]))


def test_expected_counts_do_not_depend_on_earlier_ones(swept):
    """A second pass over rows with the same tables counts them once, by patterns or without."""
    model = Mixture(SPN.random(6, 2, depth=2, generator=generator()), Bernoulli(6, 2))
    x = torch.randint(2, (300, 6), generator=generator(1))
    for rows in (x, x[:5]):
        first, second = expected(model, rows), expected(model, rows)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    W = model.coefficients
    sums = []
    for _ in range(2):
        counts = [torch.zeros(a.shape, dtype=torch.float64) for a in W.arrays]
        source = engine.from_tensor(torch.zeros(7, 6, 2))
        list(engine.expected(W.circuit, W.arrays, source, torch.ones(7), counts))
        sums.append(sum(float(count.sum()) for count in counts))
    assert sums[0] == sums[1] > 0


def test_em_climbs_the_same_way(swept, monkeypatch):
    def history():
        W = NETWORKS["random"](torch.float64)
        family = Categorical(W.variables, W.shape, 3, generator=generator(), dtype=torch.float64)
        x = torch.randint(3, (400, W.variables), generator=generator(1)).double()
        x[torch.rand(x.shape, generator=generator(2)) < 0.2] = torch.nan
        steps = em(Mixture(W, family), x)
        return torch.tensor([next(steps).log_likelihood for _ in range(4)])

    found = history()
    assert len(swept) == 4 and bool((found.diff() > 0).all())
    monkeypatch.setattr(networkpass, "folded_of", lambda *_: None)
    close(found, history(), rtol=1e-11)
