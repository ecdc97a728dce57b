"""Laws of plans: scalar networks evaluated by sparse matrices are the plain passes, bit for bit of
meaning.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixtures import LTM, SPN, Tree, engine, inputs
from mixtures.learn import learn_spn
from mixtures.networkpass import NetworkPass
from mixtures.networkplan import Sums, plan_of
from mixtures.semiring import Sample
from transforms import convert

from laws import close


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grown(dtype):
    hidden = torch.randint(2, (400, 1), generator=generator())
    x = (torch.rand(400, 8, generator=generator(1)) < 0.15 + 0.7 * hidden).long()
    return learn_spn(
        x, min_rows=10, significance=0.4, pseudo_count=0.0, generator=generator(), dtype=dtype
    ).coefficients


def polynomial(dtype):
    """Inputs as factors, leaf sums as terms, a shared leaf sum, unequal numbers of components."""
    a = inputs(3, (2, 3, 1))
    shared = 0.25 * a[1][0] + 0.75 * a[1][2]
    nested = 0.5 * (0.1 * a[0][0] + 0.9 * a[0][1]) + 0.5 * a[0][1]
    return SPN(0.5 * nested * shared * a[2][0] + 0.5 * a[0][0] * shared * a[2][0], dtype=dtype)


NETWORKS = {
    "grown": grown,
    "random": lambda t: SPN.random(6, 3, depth=2, sums=3, generator=generator(), dtype=t),
    "flat": lambda t: SPN.random(5, 2, depth=0, sums=3, generator=generator(), dtype=t),
    "polynomial": polynomial,
    "of a tree": lambda t: convert(
        LTM(Tree.balanced(5), 3, 4, generator=generator(), dtype=t), SPN
    ),
    "a sum of networks": lambda t: (
        0.3 * SPN.random(4, 2, generator=generator(), dtype=t)
        + 0.7 * SPN.random(4, 2, depth=1, generator=generator(1), dtype=t)
    ),
    "one variable": lambda t: SPN(0.2 * inputs(1, 2)[0][0] + 0.8 * inputs(1, 2)[0][1], dtype=t),
}
LEAVES = ("symbols", "missing", "soft", "mixed")


def leaves_of(W, kind, n=40):
    """Log leaves (n, d, k): symbols, some missing, weights of all components, or some of each."""
    d, k = W.variables, max(W.shape)
    code = torch.stack(
        [torch.randint(size, (n,), generator=generator(j)) for j, size in enumerate(W.shape)], 1
    )
    found = torch.nn.functional.one_hot(code, k).to(W.dtype).log()
    if kind == "missing":
        found[torch.rand(n, d, generator=generator(7)) < 0.4] = 0
    if kind in ("soft", "mixed"):
        soft = 3 * torch.randn(n, d, k, generator=generator(8), dtype=torch.float64).to(W.dtype)
        found = (
            soft if kind == "soft" else found.where(torch.arange(n)[:, None, None] % 2 > 0, soft)
        )
    return found


def swept(W, leaves, *, plain, seen=None):
    """Values, flows and counts, by the plan or by the plain passes."""
    read = engine.from_tensor(leaves)
    observed = (lambda a, b: None) if seen is None else (lambda a, b: seen[:, a:b])
    source = engine.Source(len(leaves), read.read, observed)
    counts = [torch.zeros(a.shape, dtype=torch.float64) for a in W.arrays]
    weights = torch.rand(len(leaves), generator=generator(3), dtype=torch.float64).to(W.dtype)
    chunks = list(
        engine.sweep(
            W.circuit, W.arrays, source, row_weights=weights, counts=counts, keep_states=plain
        )
    )
    value = torch.cat([chunk.log_value for chunk in chunks])
    return value, torch.cat([chunk.inputs for chunk in chunks], 2), counts


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("name", NETWORKS)
def test_plans_and_plain_passes_agree(name, kind):
    W = NETWORKS[name](torch.float64)
    leaves = leaves_of(W, kind)
    assert NetworkPass.of(W.circuit, W.arrays) is not None
    for seen in (None, (leaves != 0).any(2).T.contiguous()):
        found, expected = (swept(W, leaves, plain=plain, seen=seen) for plain in (False, True))
        close(found[0], expected[0].numpy(), rtol=1e-12)
        close(found[1], expected[1].numpy(), rtol=1e-10, atol=1e-13)
        for mine, true in zip(found[2], expected[2], strict=True):
            close(mine, true.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", LEAVES)
@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_loses_no_more_than_its_rounding(name, kind):
    W = NETWORKS[name](torch.float32)
    leaves = leaves_of(W, kind)
    wide = [array.double() for array in W.arrays]
    true = engine.contract(W.circuit, wide, engine.from_tensor(leaves.double()), Sample())
    found = engine.contract(W.circuit, W.arrays, engine.from_tensor(leaves), engine.Log())
    close(found.double(), true.numpy(), rtol=1e-5, atol=1e-5)


def test_symbols_need_no_value_for_a_leaf_factor():
    W = grown(torch.float32)
    sizes = [array.numel() for array in W.arrays]
    symbols, soft = (plan_of(W.circuit, sizes, leaves=leaves) for leaves in (True, False))
    sums = int((W.network.kind == 0).sum())
    inner = sum(
        step.places.shape[0] * step.places.shape[1]
        for step in symbols.steps
        if isinstance(step, Sums)
    )
    products = int((W.network.kind == 1).sum())
    assert symbols.rows == 2 + products + inner < soft.rows and inner < sums / 2


def test_sums_over_the_same_children_are_one_matrix():
    W = convert(LTM(Tree.balanced(8), 3, 5, generator=generator()), SPN)
    plan = plan_of(W.circuit, [array.numel() for array in W.arrays], leaves=False)
    shapes = {step.places.shape[1:] for step in plan.steps if isinstance(step, Sums)}
    assert shapes == {(5, 3), (5, 5), (1, 5)} or shapes == {(5, 3), (5, 6), (1, 6)}


def test_a_product_of_many_impossible_factors_is_impossible_and_nothing_else():
    d = 300
    a = inputs(d, 2)
    first, second = a[0][0], a[0][1]
    for j in range(1, d):
        first, second = first * a[j][0], second * a[j][1]
    W = SPN(0.5 * first + 0.5 * second, dtype=torch.float32)
    rows = torch.zeros(3, d, dtype=torch.int64)
    rows[1], rows[2, 7] = 1, 1
    leaves = torch.nn.functional.one_hot(rows, 2).float().log()
    close(W.contract(leaves), np.array([np.log(0.5), np.log(0.5), -np.inf]), rtol=1e-6)
