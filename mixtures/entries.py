"""Coefficient tensors given by all their entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mixtures import sizes
from mixtures.coefficients import CoefficientTensor
from mixtures.tables import Table


class Dense(CoefficientTensor):
    """A coefficient tensor given by all its entries.

    tensor: shape (k_1, .., k_d), non-negative, summing to one; ValueError otherwise.

    >>> W = Dense(torch.tensor([[0.5, 0.0], [0.25, 0.25]]))
    >>> W[1, 0].item()
    0.25
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = torch.as_tensor(tensor)
        if tensor.ndim < 1 or tensor.numel() == 0:
            raise ValueError(f"expected a tensor with entries, got shape {tuple(tensor.shape)}")
        super().__init__(sizes.dense_circuit(tensor.shape), [Table(tensor.reshape(1, 1, -1))])

    def _dense(self) -> Tensor:
        return self.arrays[0].reshape(self.shape).clone()

    def _config(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    @classmethod
    def _from_config(cls, config: dict[str, Any], tables: Sequence[Table]) -> Dense:
        return cls(tables[0].values.reshape(config["shape"]))
