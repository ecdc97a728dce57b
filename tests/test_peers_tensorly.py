"""CP models and tensor trains against tensorly's own contractions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixtures import HT, TMM, Tree

from laws import close

tensorly = pytest.importorskip("tensorly")


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 3), (2, 2, 2, 2, 2), (4,)])
@pytest.mark.parametrize("r", [1, 2, 5])
def test_a_shallow_mixture_is_the_cp_tensor_of_its_weights_and_factors(shape, r):
    model = TMM(len(shape), shape, r, generator=torch.Generator().manual_seed(r)).double()
    factors = [factor.numpy().T for factor in model.factors]
    expected = tensorly.cp_to_tensor((model.weights.numpy(), factors))
    if len(shape) == 1:
        expected = (factors[0] * model.weights.numpy()).sum(1)
    close(model.dense(), expected)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 2), (2, 2, 3, 2, 2)])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_a_tucker_caterpillar_is_the_tensor_train_of_its_cores(shape, r):
    """Without emissions the inner tables, reshaped, are the cores; the lowest one holds two."""
    d = len(shape)
    bonds = {d + step: r for step in range(d - 1)}
    model = HT(Tree.caterpillar(d), shape, bonds, emission=False,
               generator=torch.Generator().manual_seed(r), dtype=torch.float64)  # fmt: skip
    cores = []
    for place, node in enumerate(reversed(model.tree.inner)):
        rows = model.rows(node)
        cores.append(model.table(node).numpy().reshape(rows, shape[place], -1))
    cores.append(np.eye(shape[-1])[:, :, None])
    close(model.dense(), tensorly.tt_to_tensor(cores))
