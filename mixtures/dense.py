"""All entries of a coefficient tensor at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, ONE, ZERO, Circuit
from mixtures.tree import Node, Tree


def of_tree(
    tree: Tree,
    tables: Mapping[Node, Tensor | None],
    sizes: Mapping[Node, tuple[int, int]],
    joint: frozenset[Node],
    shape: Sequence[int],
) -> Tensor:
    """Contract the tables of a tree through opt_einsum, latents as hyperedges, path searched."""
    import opt_einsum

    operands = einsum_operands(tree, tables, sizes, joint)
    arguments: list[Any] = []
    for table, labels in operands:
        arguments += [table, labels]
    result: Tensor = opt_einsum.contract(*arguments, list(range(tree.variables)), optimize="auto")
    return result.reshape(tuple(shape))


def einsum_operands(
    tree: Tree,
    tables: Mapping[Node, Tensor | None],
    sizes: Mapping[Node, tuple[int, int]],
    joint: frozenset[Node],
) -> list[tuple[Tensor, list[int]]]:
    """(table, labels) pairs whose contraction to the labels 0..d-1 is W; a latent is one label."""
    some = next(table for table in tables.values() if table is not None)
    labels = iter(range(tree.variables, 4 * len(sizes) + tree.variables + 1))
    out: dict[Node, int] = {tree.root: next(labels)}
    operands: list[tuple[Tensor, list[int]]] = [(some.new_ones(1), [out[tree.root]])]
    for node in reversed(tree.inner):
        table, below = tables[node], tree.children[node]
        if node in joint and len(below) > 1:
            out.update((child, next(labels)) for child in below)
            if table is None:
                table = torch.eye(sizes[node][0], dtype=some.dtype, device=some.device)
            widths = [sizes[child][0] for child in below]
            operands.append((table.reshape(-1, *widths), [out[node], *(out[c] for c in below)]))
            continue
        inside = out[node] if table is None else next(labels)
        out.update((child, inside) for child in below)
        if table is not None:
            operands.append((table, [out[node], inside]))
    for leaf in range(tree.variables):
        table = tables[leaf]
        if table is None:
            table = torch.eye(sizes[leaf][0], dtype=some.dtype, device=some.device)
        operands.append((table, [out[leaf], leaf]))
    return operands


def of_circuit(circuit: Circuit, arrays: Sequence[Tensor], some: Tensor) -> Tensor:
    """Every node of a scalar circuit as a tensor over its scope, bottom up."""
    found: dict[int, tuple[tuple[int, ...], Tensor]] = {
        ONE: ((), some.new_ones(())),
        ZERO: ((), some.new_zeros(())),
    }

    def value(node: int, row: int) -> tuple[tuple[int, ...], Tensor]:
        variable = node - CONSTANTS
        if not 0 <= variable < circuit.variables:
            return found[node]
        unit = some.new_zeros(circuit.inputs[variable])
        unit[row - int(circuit.row_of[node])] = 1
        return (variable,), unit

    for layer in circuit.layers:
        for position in range(layer.nodes):
            owners, rows = layer.owners[:, 0, position], layer.children[:, 0, position]
            parts = [value(int(n), int(r)) for n, r in zip(owners, rows, strict=True)]
            if layer.combine == "concatenate":
                assert layer.table is not None and layer.slots is not None
                weights = arrays[layer.table][int(layer.slots[0, position]), 0]
                scope = next(
                    scope for (scope, _), n in zip(parts, owners, strict=True) if n != ZERO
                )
                terms = [
                    weight * tensor
                    for weight, (_, tensor), n in zip(weights, parts, owners, strict=True)
                    if n != ZERO
                ]
                found[layer.node + position] = (scope, torch.stack(terms).sum(0))
            else:
                found[layer.node + position] = _outer(parts)
    scope, tensor = value(circuit.root, int(circuit.row_of[circuit.root]))
    return tensor.reshape(circuit.inputs)


def _outer(parts: Sequence[tuple[tuple[int, ...], Tensor]]) -> tuple[tuple[int, ...], Tensor]:
    """The product of tensors with disjoint scopes, its axes in the order of the variables."""
    scope: tuple[int, ...] = ()
    result = parts[0][1].new_ones(())
    for more, tensor in parts:
        scope += more
        result = torch.tensordot(result, tensor, dims=0)
    order = numpy.argsort(scope, kind="stable").tolist()
    return tuple(scope[place] for place in order), result.permute(order)
