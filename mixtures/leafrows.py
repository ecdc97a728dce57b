"""Leaves as rows of a buffer, and back: columns beyond k_j do not exist there."""

from __future__ import annotations

from torch import Tensor

from mixtures.circuit import Circuit


def buffer_rows(circuit: Circuit, leaves: Tensor) -> Tensor:
    """(d, max k, B) -> (sum of k_j, B): the columns that exist."""
    flat = leaves.reshape(-1, leaves.shape[-1])
    return flat if circuit.uniform else flat.index_select(0, circuit.input_columns(flat.device))


def leaf_columns(circuit: Circuit, rows: Tensor) -> Tensor:
    """(sum of k_j, B) -> (d, max k, B), zero in the columns that do not exist."""
    most = max(circuit.inputs)
    if circuit.uniform:
        return rows.reshape(circuit.variables, most, -1)
    wide = rows.new_zeros((circuit.variables * most, rows.shape[1]))
    wide.index_copy_(0, circuit.input_columns(rows.device), rows)
    return wide.view(circuit.variables, most, -1)
