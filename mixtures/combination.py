"""Convex combinations of coefficient tensors: one circuit with a sum at the top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor, nn

from mixtures.circuit import Builder, Circuit
from mixtures.coefficients import CoefficientTensor
from mixtures.tables import Table


class Combination(CoefficientTensor):
    """sum over m of weights[m] parts[m], for tensors of one shape; written 0.3 * W + 0.7 * V.

    Latents of part m are named (m, name). The parts keep their tables: what learns the combination
    learns them. Raises ValueError where shapes or types differ or weights do not sum to one.

    >>> from mixtures import Dense
    >>> V, W = Dense(torch.tensor([1.0, 0.0])), Dense(torch.tensor([0.0, 1.0]))
    >>> (0.25 * V + 0.75 * W).dense()
    tensor([0.2500, 0.7500])
    """

    def __init__(
        self, weights: Sequence[float] | Tensor, parts: Sequence[CoefficientTensor]
    ) -> None:
        if not parts or len(weights) != len(parts):
            raise ValueError(f"expected one weight per part, got {len(weights)} for {len(parts)}")
        first = parts[0]
        for part in parts[1:]:
            if (part.shape, part.dtype, part.device) != (first.shape, first.dtype, first.device):
                raise ValueError(
                    f"only tensors of one shape, type and device can be combined, got "
                    f"{first.shape} {first.dtype} {first.device} and "
                    f"{part.shape} {part.dtype} {part.device}"
                )
        values = torch.as_tensor(weights, dtype=first.dtype, device=first.device)
        tables = [Table(values.reshape(1, 1, -1))]
        places: dict[int, int] = {}
        for table in (table for part in parts for table in part.tables):
            if id(table) not in places:
                places[id(table)] = len(tables)
                tables.append(table)  # type: ignore[arg-type]
        numbers = [[places[id(table)] for table in part.tables] for part in parts]
        super().__init__(_join([part.circuit for part in parts], numbers), tables)
        self.parts = nn.ModuleList(parts)

    @property
    def weights(self) -> Tensor:
        """The weight of each part, (m,)."""
        return self.arrays[0].reshape(-1)

    def _dense(self) -> Tensor:
        return sum(  # type: ignore[return-value]
            weight * part._dense()  # type: ignore[operator]
            for weight, part in zip(self.weights, self.parts, strict=True)
        )


def _join(circuits: Sequence[Circuit], tables: Sequence[Sequence[int]]) -> Circuit:
    """All circuits side by side on the same inputs, and a sum of their roots (table 0)."""
    builder = Builder(circuits[0].inputs)
    roots = []
    for place, (circuit, numbers) in enumerate(zip(circuits, tables, strict=True)):
        roots.append(builder.graft(circuit, numbers, prefix=place))
    children = numpy.array(roots).reshape(-1, 1, 1)
    slots = numpy.zeros((1, 1), dtype=numpy.int64)
    made = builder.layer("concatenate", children, [1] * len(roots), 1, 0, slots)
    builder.name("part", 0, 0)
    return builder.build(int(made[0, 0]))
