"""Convex combinations of coefficient tensors: one circuit with a sum at the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy
import torch
from torch import Tensor, nn

from mixtures.circuit import Builder, Circuit
from mixtures.coefficients import CoefficientTensor, pinned
from mixtures.tables import Table


class Combination(CoefficientTensor):
    """sum over m of weights[m] parts[m], for tensors of one shape; written 0.3 * W + 0.7 * V.

    Latents of part m are named (m, name). The parts keep their tables: what learns the combination
    learns them. side_by_side=True: the components of variable j are those of part 0, then those of
    part 1, ..: the coefficients of a mixture of mixtures. Raises ValueError where shapes or types
    differ or weights do not sum to one.

    >>> from mixtures import Dense
    >>> V, W = Dense(torch.tensor([1.0, 0.0])), Dense(torch.tensor([0.0, 1.0]))
    >>> (0.25 * V + 0.75 * W).dense()
    tensor([0.2500, 0.7500])
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        parts: Sequence[CoefficientTensor],
        *,
        side_by_side: bool = False,
    ) -> None:
        if not parts or len(weights) != len(parts):
            raise ValueError(f"expected one weight per part, got {len(weights)} for {len(parts)}")
        first = parts[0]
        for part in parts[1:]:
            if (part.dtype, part.device) != (first.dtype, first.device) or (
                len(part.shape) != len(first.shape) if side_by_side else part.shape != first.shape
            ):
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
                tables.append(table)
        numbers = [[places[id(table)] for table in part.tables] for part in parts]
        circuits = [part.circuit for part in parts]
        super().__init__(_join(circuits, numbers, side_by_side), tables)
        self.parts = nn.ModuleList(parts)
        self.side_by_side = side_by_side
        self._numbers = numbers

    @property
    def weights(self) -> Tensor:
        """The weight of each part, (m,)."""
        return self.arrays[0].reshape(-1)

    def each(self) -> list[CoefficientTensor]:
        """The parts, as a list."""
        return [cast(CoefficientTensor, part) for part in self.parts]

    def _dense(self) -> Tensor:
        total = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        starts = [0] * self.variables
        for weight, part, numbers in zip(self.weights, self.each(), self._numbers, strict=True):
            spans = zip(starts, part.shape, strict=True)
            block = tuple(slice(start, start + k) for start, k in spans)
            with pinned(part, [self.arrays[number] for number in numbers]):
                total[block] += weight * part._dense()
            if self.side_by_side:
                starts = [start + k for start, k in zip(starts, part.shape, strict=True)]
        return total

    def _config(self) -> dict[str, Any]:
        return {
            "parts": [part.config() for part in self.each()],
            "tables": self._numbers,  # of each part
            "side_by_side": self.side_by_side,
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any], tables: Sequence[Table]) -> Combination:
        parts = [
            CoefficientTensor.from_config(part, [tables[number] for number in numbers])  # type: ignore[type-abstract]
            for part, numbers in zip(config["parts"], config["tables"], strict=True)
        ]
        weights = tables[0].values.reshape(-1)
        return cls(weights, parts, side_by_side=config["side_by_side"])


def _join(
    circuits: Sequence[Circuit], tables: Sequence[Sequence[int]], side_by_side: bool
) -> Circuit:
    """All circuits on the same inputs, or on inputs side by side, and a sum of their roots (table
    0).
    """
    shapes = numpy.array([circuit.inputs for circuit in circuits])
    offsets = numpy.cumsum(shapes, axis=0) - shapes if side_by_side else numpy.zeros_like(shapes)
    builder = Builder(shapes.sum(0) if side_by_side else shapes[0])
    roots = []
    for place, (circuit, numbers) in enumerate(zip(circuits, tables, strict=True)):
        roots.append(builder.graft(circuit, numbers, place, offsets[place]))
    children = numpy.array(roots).reshape(-1, 1, 1)
    slots = numpy.zeros((1, 1), dtype=numpy.int64)
    made = builder.layer("concatenate", children, [1] * len(roots), 1, 0, slots)
    builder.name("part", 0, 0)
    return builder.build(int(made[0, 0]))
