"""Laws of large models: linear circuits, ten thousand variables, long chains in a few layers."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from mixtures import HMM, HT, LTM, TMM, Tree, engine

from laws import close


def seeded():
    """Tables that are the same in every run."""
    return {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}


BUILDERS = {
    "balanced tree": lambda d: LTM(Tree.balanced(d), 2, 3, **seeded()),
    "chain": lambda d: HMM(d, 2, 3, **seeded()),
    "shared chain": lambda d: HMM(d, 2, 3, shared=True, **seeded()),
    "caterpillar": lambda d: LTM(Tree.caterpillar(d), 2, 3, **seeded()),
    "tensor train": lambda d: HT(Tree.caterpillar(d), 2, 3, **seeded()),
    "shallow": lambda d: TMM(d, 2, 3, **seeded()),
}
LARGE = 10_000


@pytest.mark.parametrize("name", BUILDERS)
def test_thousands_of_variables_are_evaluated_differentiated_and_sampled(name):
    d = LARGE if name in ("balanced tree", "chain") else LARGE // 4
    model = BUILDERS[name](d)
    leaves = torch.zeros(2, d, 2, dtype=torch.float64)
    leaves[1, :, 0], leaves[1, :, 1] = -1.0, -2.0
    leaves.requires_grad_()
    values = model.contract(leaves)
    assert values[0].item() == pytest.approx(0, abs=1e-8)
    assert -2 * d < values[1].item() < -d
    values.sum().backward()
    assert leaves.grad.isfinite().all()
    close(leaves.grad.sum(-1), np.ones((2, d)), rtol=1e-9)
    assert all(table.logits.grad.isfinite().all() for table in model.tables)
    drawn = model.sample(3, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (3, d)
    assert ((drawn == 0) | (drawn == 1)).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_circuits_grow_linearly_with_the_number_of_variables(name):
    small, large = BUILDERS[name](2048), BUILDERS[name](4096)
    for count in (rows, sizes, stored):
        assert count(large) <= 2.01 * count(small)
    assert len(large.circuit.layers) <= len(small.circuit.layers) + 3


def rows(model):
    return model.circuit.rows


def sizes(model):
    return model.size


def stored(model):
    return model.stored + 1000


@pytest.mark.parametrize("name", BUILDERS)
def test_the_number_of_layers_is_at_most_the_depth_of_a_balanced_tree(name):
    layers = len(BUILDERS[name](4096).circuit.layers)
    assert layers <= (30 if name == "balanced tree" else 6)


def test_a_chain_of_ten_to_the_five_steps_is_a_handful_of_layers():
    model = HMM(100_000, 2, 2, shared=True, dtype=torch.float64)
    assert len(model.circuit.layers) <= 5
    assert model.circuit.rows < 100_000 * 10
    values = model.contract(torch.zeros(100_000, 2, dtype=torch.float64))
    assert values.item() == pytest.approx(0, abs=1e-6)


def test_memory_for_a_chunk_does_not_grow_with_the_number_of_rows():
    model = HMM(1000, 2, 4, dtype=torch.float64)
    chunk = engine.rows_at_once(model.circuit)
    assert chunk * model.circuit.rows <= engine.CHUNK_ELEMENTS


def clock(model, leaves):
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        model.contract(leaves).sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_twice_as_many_variables_take_about_twice_as_long(name):
    """Generous: the machine may be busy; the counts above are the law."""
    times = []
    for d in (4096, 8192):
        leaves = torch.randn(4, d, 2, dtype=torch.float64).requires_grad_()
        times.append(clock(BUILDERS[name](d), leaves))
    assert times[1] < 4 * times[0]
