"""How large a circuit is: edges, stored numbers, free parameters, depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, ONE, ZERO, Builder, Circuit, Layer


def edges(circuit: Circuit, arrays: Sequence[Tensor]) -> int:
    """Edges of the unrolled circuit: non-zero entries of every use of a table, and factors of
    products.
    """
    entries = [_numpy((array != 0).sum((1, 2))) for array in arrays]
    columns = [_numpy((array != 0).any(1).sum(1)) for array in arrays]
    total = 0
    for layer in circuit.layers:
        used = numpy.full((layer.steps, layer.nodes), layer.inside)
        if layer.table is not None:
            total += int(entries[layer.table][layer.slots].sum())
            used = columns[layer.table][layer.slots]
        elif layer.identity:
            total += layer.steps * layer.nodes * layer.width
        total += int((used * _factors(layer)).sum())
    return total


def _factors(layer: Layer) -> numpy.ndarray:
    """How many factors each product of a layer has, (L, N); 0 where there is only one."""
    if layer.combine == "concatenate":
        return numpy.zeros((layer.steps, layer.nodes), dtype=numpy.int64)
    count = (layer.owners != ONE).sum(0)
    return numpy.where(count > 1, count, 0)


def stored(circuit: Circuit, arrays: Sequence[Tensor]) -> int:
    """Numbers held in the tables, without those that only pad a sum to its layer's fan-in."""
    held = sum(array.numel() for array in arrays)
    padding = sum(
        int((layer.owners == ZERO).sum()) * layer.width
        for layer in circuit.layers
        if layer.combine == "concatenate"
    )
    return held - padding


def free_parameters(arrays: Sequence[Tensor]) -> int:
    """Entries that may vary: every row of a table loses one to its sum, zeros are structural."""
    return sum(int(((array != 0).sum(-1) - 1).clamp(min=0).sum()) for array in arrays)


def depth(circuit: Circuit) -> int:
    """The largest number of latents on a way from the root to a component."""
    level = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)
    last_input = CONSTANTS + circuit.variables
    named = {place for place, _, _ in circuit.latents.values()}
    for place, layer in enumerate(circuit.layers):
        mixes = layer.table is not None or layer.identity
        leaf_table = len(layer.widths) == 1 and place not in named
        leafy = (layer.combine == "concatenate" or leaf_table) and bool(
            (layer.owners < last_input).all()
        )
        for step in range(layer.steps):
            first = layer.node + step * layer.nodes
            below = level[layer.owners[:, step]].max(0)
            level[first : first + layer.nodes] = below + (mixes and not leafy)
    return int(level[circuit.root])


def dense_circuit(shape: Sequence[int]) -> Circuit:
    """One mixing of the outer product of all variables: the circuit of a tensor given entry by
    entry.
    """
    builder = Builder(shape)
    children = numpy.array([builder.input(j) for j in range(len(shape))]).reshape(-1, 1, 1)
    slots = numpy.zeros((1, 1), dtype=numpy.int64)
    made = builder.layer("outer", children, shape, 1, 0, slots)
    return builder.build(int(made[0, 0]))


def _numpy(values: torch.Tensor) -> numpy.ndarray:
    result: numpy.ndarray = values.cpu().numpy()
    return result
