"""Laws of compiled loops: what they compute is what the steps of a plan compute."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys

import pytest
import torch

from mixtures import SPN, Mixture, compiled, engine, inputs, networkload, networkpatterns, tape
from mixtures.components import Bernoulli, Categorical, Gaussian, Indicator
from mixtures.learn import learn_spn
from mixtures.networkplan import Plan, plan_of
from mixtures.semiring import Log

from laws import close
from test_network_patterns import on_symbols
from test_network_plans import NETWORKS, generator

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba (the extra `fast`) is not installed"
)


@pytest.fixture
def ran(monkeypatch):
    """How many rows were evaluated in compiled loops; no work is too small for them."""
    found, plain = [], compiled.CompiledPass.contract
    monkeypatch.setattr(compiled, "LEAST", 0)
    monkeypatch.setattr(networkload, "MOST_GIVEN", 1)
    monkeypatch.setattr(networkpatterns, "WORTH", 0)
    monkeypatch.setattr(networkpatterns, "FEWEST_ROWS", 16)

    def contract(self, rows, *more):
        found.append(rows)
        return plain(self, rows, *more)

    monkeypatch.setattr(compiled.CompiledPass, "contract", contract)
    return found


def both_ways(model, x, monkeypatch, observed=None):
    """log f(x) in compiled loops, and by the steps."""
    with torch.no_grad(), monkeypatch.context() as patch:
        found = model.log_prob(x, observed=observed)
        patch.setattr(compiled, "LEAST", math.inf)
        return found, model.log_prob(x, observed=observed)


@needs_numba
@pytest.mark.parametrize("most", [1, 9, 4096])
@pytest.mark.parametrize("family", ["bernoulli", "categorical", "indicator", "poisson"])
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_loops_and_steps_agree_on_symbols(name, family, most, ran, monkeypatch):
    monkeypatch.setattr(networkpatterns, "MOST_PATTERNS", most)
    for model, x, observed, digits in on_symbols(name, family):
        found, steps = both_ways(model, x, monkeypatch, observed)
        assert found.dtype == model.coefficients.tables[0].logits.dtype
        close(found, steps.numpy(), rtol=digits, atol=digits)
    assert sum(ran) >= 4 * len(x)


@needs_numba
@pytest.mark.parametrize("rows", [1, 255, 256, 300, 2500])
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_loops_and_steps_agree_on_real_columns(name, rows, ran, monkeypatch):
    W = NETWORKS[name](torch.float64)
    model = Mixture(W, Gaussian(W.variables, W.shape, dtype=torch.float64, generator=generator()))
    x = 3 * torch.randn(rows, W.variables, generator=generator(1), dtype=torch.float64)
    found, steps = both_ways(model, x, monkeypatch)
    close(found, steps.numpy(), rtol=1e-13, atol=1e-13)
    assert sum(ran) == rows


@needs_numba
def test_threads_share_rows(ran, monkeypatch):
    W = NETWORKS["random"](torch.float64)
    for family in (Bernoulli, Gaussian):
        model = Mixture(W, family(6, 3, dtype=torch.float64, generator=generator()))
        x = torch.randint(2, (5000, 6), generator=generator(1))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        with torch.no_grad():
            alone = model.log_prob(x)
            monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
            assert torch.equal(model.log_prob(x), alone)
            monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@needs_numba
def test_no_state_is_lost_however_unlikely(ran, monkeypatch):
    """The likeliest state is a structural zero of a sum, or what leads to it has a tiny weight."""
    a = inputs(2, 3)
    first = 0.5 * a[0][0] + 0.5 * a[0][1]
    W = SPN(
        1e-300 * (first * a[1][0]) + (1 - 1e-300) * (a[0][2] * (0.5 * a[1][1] + 0.5 * a[1][2])),
        dtype=torch.float64,
    )
    leaves = torch.tensor([0.0, -3000.0, -6000.0, -torch.inf], dtype=torch.float64)
    grid = torch.cartesian_prod(*[leaves] * 6).view(-1, 2, 3)
    with torch.no_grad():
        found = W.contract(grid)
    x, y = grid[:, 0], grid[:, 1]
    terms = [math.log(1e-300) + math.log(0.5) + x[:, i] + y[:, 0] for i in (0, 1)]
    terms += [math.log(0.5) + x[:, 2] + y[:, i] for i in (1, 2)]
    expected = torch.stack(terms).logsumexp(0)
    assert sum(ran) == len(grid)
    possible = expected > -torch.inf
    assert torch.equal(found == -torch.inf, ~possible) and 0 < possible.sum() < len(grid)
    close(found[possible], expected[possible].numpy(), rtol=1e-14, atol=1e-12)


@needs_numba
def test_long_products_neither_overflow_nor_vanish(ran):
    """Values from 2^-300000 to 2^300000; factors whose mantissas multiply to 2^1000 and more."""
    d = 3000
    a = inputs(d, 2)
    products = [a[0][0], a[0][1]]
    for j in range(1, d):
        products = [product * a[j][i] for i, product in enumerate(products)]
    W = SPN(0.5 * products[0] + 0.5 * products[1], dtype=torch.float64)
    for log in (-70.0, -1e-9, 0.69, 70.0):
        leaves = torch.full((300, d, 2), log, dtype=torch.float64)
        with torch.no_grad():
            close(
                W.contract(leaves),
                torch.full((300,), d * log, dtype=torch.float64),
                rtol=1e-12,
                atol=1e-12,
            )
    assert ran


@needs_numba
def test_infinite_and_undefined_leaves_are_left_to_the_steps(ran):
    a = inputs(1, 2)
    W = SPN(0.5 * a[0][0] + 0.5 * a[0][1], dtype=torch.float64)
    leaves = torch.tensor([[[math.nan, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    found = engine.contract(W.circuit, W.arrays, engine.from_tensor(leaves), Log())
    assert bool(found[0].isnan()) and abs(float(found[1])) < 1e-15 and not ran


@needs_numba
def test_new_tables_and_new_leaves_are_seen(ran, monkeypatch):
    """What was kept of a network is not used for other weights or other parameters of leaves."""
    W = NETWORKS["grown"](torch.float64)
    d, k = W.variables, W.shape
    model = Mixture(W, Categorical(d, k, 3, generator=generator(), dtype=torch.float64))
    x = torch.randint(3, (300, d), generator=generator(1))
    before, _ = both_ways(model, x, monkeypatch)
    with torch.no_grad():
        for parameter in model.components.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator(2)))
    between, steps = both_ways(model, x, monkeypatch)
    close(between, steps.numpy(), rtol=1e-12)
    with torch.no_grad():
        for table in W.tables:
            table.logits.add_(torch.rand(table.logits.shape, generator=generator(3)))
    after, steps = both_ways(model, x, monkeypatch)
    close(after, steps.numpy(), rtol=1e-12)
    assert float((before - between).abs().min()) > 1e-3
    assert float((after - between).abs().min()) > 1e-6


def test_small_work_and_a_missing_numba_leave_the_steps(monkeypatch):
    """Nothing is compiled for little work; without numba the numbers are the same."""
    code = (
        "import sys, torch; from mixtures import SPN, Mixture, compiled;"
        "from mixtures.components import Bernoulli;"
        "model = Mixture(SPN.random(6, 2, depth=1), Bernoulli(6, 2));"
        "torch.set_grad_enabled(False); model.log_prob(torch.zeros(5000, 6));"
        "assert 'numba' not in sys.modules;"
        "compiled.LEAST = 0; sys.modules['numba'] = None;"
        "assert model.log_prob(torch.zeros(5000, 6)).isfinite().all();"
        "assert compiled.kernel() is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not compiled.serves(compiled.LEAST - 1, torch.device("cpu"))
    assert not compiled.serves(compiled.LEAST, torch.device("meta"))


def test_a_tape_holds_few_values_at_a_time():
    """Of a network that was learned a small part of its nodes, of an empty one the constants."""
    hidden = torch.randint(2, (400, 1), generator=generator())
    x = (torch.rand(400, 16, generator=generator(1)) < 0.15 + 0.7 * hidden).long()
    W = learn_spn(x, min_rows=10, significance=0.6, generator=generator()).coefficients
    plan = plan_of(W.circuit, [array.numel() for array in W.arrays], leaves=False)
    given = W.circuit.input_rows
    assert 10 * (tape.tape_of(plan, given, None).slots - given) < plan.rows
    assert tape.tape_of(Plan(0, 0, None, (), True, W.circuit.inputs), 0, None).slots == 2


@needs_numba
def test_indicator_rows_that_are_impossible(ran, monkeypatch):
    a = inputs(4, 3)
    W = SPN(
        0.5 * (a[0][0] * a[1][1]) * (0.5 * a[2][0] * a[3][0] + 0.5 * a[2][2] * a[3][1])
        + 0.5 * (a[0][2] * a[1][0]) * (0.2 * a[2][1] * a[3][0] + 0.8 * a[2][1] * a[3][2]),
        dtype=torch.float64,
    )
    x = torch.cartesian_prod(*[torch.arange(3)] * 4)
    found, steps = both_ways(Mixture(W, Indicator(4, 3, dtype=torch.float64)), x, monkeypatch)
    close(found, steps.numpy(), rtol=1e-14, atol=1e-15)
    assert int((found > -torch.inf).sum()) == 4 and ran
