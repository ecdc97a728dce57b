"""Leaves as rows of a buffer or as what layers are given, and back; columns beyond k_j do not exist
there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mixtures.circuit import Circuit, Integers
from mixtures.passes import Shares, Values


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


def leaf_flows(values: Values, shares: Shares) -> Tensor:
    """The flows (d, max k, B) into all components, zero in the columns that do not exist."""
    if not values.direct:
        return leaf_columns(values.circuit, shares.inputs(values.circuit))
    flows, buffer = {place: shares.given[place] for place in values.direct}, shares.buffer
    number = sum(len(variables) for variables in values.direct.values())
    most = max(flow.shape[1] for flow in flows.values())
    whole = all(flow.shape[1] == most for flow in flows.values())
    make = buffer.new_empty if whole else buffer.new_zeros
    found = make((number, most, buffer.shape[1]))
    for place, variables in values.direct.items():
        spaced, flow = evenly(variables), flows[place]
        if spaced is None:
            index = torch.as_tensor(variables, device=flow.device)
            found[:, : flow.shape[1]].index_copy_(0, index, flow)
        else:
            found[spaced, : flow.shape[1]] = flow
    return found


def leaves_of(leaves: Tensor, variables: Integers, width: int) -> Tensor:
    """The leaves (N, width, B) of some variables: a view where they are evenly spaced."""
    spaced = evenly(variables)
    if spaced is not None:
        return leaves[spaced, :width]
    return leaves[:, :width].index_select(0, torch.as_tensor(variables, device=leaves.device))


def evenly(variables: Integers) -> slice | None:
    """Variables as a slice, if they are one with a positive step."""
    step = int(variables[1] - variables[0]) if len(variables) > 1 else 1
    if step <= 0 or bool((variables[1:] - variables[:-1] != step).any()):
        return None
    return slice(int(variables[0]), int(variables[-1]) + 1, step)
