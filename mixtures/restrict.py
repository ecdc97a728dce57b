"""Marginals and conditionals of coefficient tensors: the same tables, tilted by evidence, on what
is left.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from mixtures import engine
from mixtures.coefficients import CoefficientTensor
from mixtures.combination import Combination
from mixtures.entries import Dense
from mixtures.ht import HT
from mixtures.ltm import LTM
from mixtures.network import INPUT, SUM, Network, NetworkMaker
from mixtures.spn import SPN
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor, given

Tilted = Sequence[Tensor | None]  # per layer (L, N, P, C)


def marginal(tensor: CoefficientTensor, variables: Sequence[int]) -> CoefficientTensor:
    """W summed over all variables but `variables`, which are renumbered in the order given.

    Tree models stay tree models (LTM, HT) on the pruned tree, networks networks. No arithmetic but
    sums.
    """
    return restrict(tensor, _checked(tensor, variables), None)


def condition(tensor: CoefficientTensor, leaves: Tensor, free: Sequence[int]) -> CoefficientTensor:
    """W[.. | evidence] over the variables `free`: tables tilted by the log leaves (d, k) of the
    others.
    """
    if restrict.dispatch(type(tensor)) is written_out:
        tensor = Dense(tensor.dense())
    source = engine.from_tensor(leaves[None])
    with torch.no_grad():
        tilted = engine.tilt(tensor.circuit, tensor.arrays, source)
    return restrict(tensor, _checked(tensor, free), tilted)


def _checked(tensor: CoefficientTensor, variables: Sequence[int]) -> list[int]:
    chosen = [int(j) for j in variables]
    d = tensor.variables
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= j < d for j in chosen):
        raise ValueError(
            f"expected at least one of the variables 0..{d - 1}, each once, got {chosen}"
        )
    return chosen


def written_out(
    tensor: CoefficientTensor, variables: Sequence[int], tilted: Tilted | None
) -> CoefficientTensor:
    """What happens to a class without a rule of its own: all entries are listed."""
    if tilted is not None:
        raise ValueError(
            f"{type(tensor).__name__} has no rule for conditionals inside a combination: derive "
            f"from TreeTensor or SPN, or register one with mixtures.restrict.restrict.register"
        )
    return restrict(Dense(tensor.dense()), variables, None)


restrict = singledispatch(written_out)  # other tables stand in where `tilted` gives them


@restrict.register
def _(tensor: Dense, variables: Sequence[int], tilted: Tilted | None) -> CoefficientTensor:
    values = tensor.dense() if tilted is None else _known(tilted[0]).reshape(tensor.shape)
    kept = sorted(variables)
    others = [j for j in range(tensor.variables) if j not in kept]
    values = values.sum(others) if others else values
    values = values.permute([kept.index(j) for j in variables]).contiguous()
    return Dense(values / values.sum())


@restrict.register
def _(tensor: Combination, variables: Sequence[int], tilted: Tilted | None) -> CoefficientTensor:
    weights, parts, first = tensor.weights, [], 0
    for part in tensor.each():
        count = len(part.circuit.layers)
        parts.append(restrict(part, variables, tilted and tilted[first : first + count]))
        first += count
    if tilted is not None:
        weights = _known(tilted[-1]).reshape(-1)
    return Combination(weights, parts, side_by_side=tensor.side_by_side)


@restrict.register
def _(tensor: SPN, variables: Sequence[int], tilted: Tilted | None) -> CoefficientTensor:
    network = tensor.network
    weights = tensor.edge_weights() if tilted is None else _tilted_edges(tensor, tilted)
    renumbered = {j: place for place, j in enumerate(variables)}
    maker = NetworkMaker()
    made: list[int | None] = []
    for node in range(len(network)):
        edges = slice(network.start[node], network.start[node + 1])
        below = [made[child] for child in network.child[edges].tolist()]
        made.append(_kept(network, node, below, weights[edges].tolist(), renumbered, maker))
    shape = [tensor.shape[j] for j in variables]
    rest = _reachable(maker.finish(shape))
    return SPN(rest, dtype=tensor.dtype, device=tensor.device)


def _kept(
    network: Network,
    node: int,
    below: Sequence[int | None],
    weights: Sequence[float],
    renumbered: Mapping[int, int],
    maker: NetworkMaker,
) -> int | None:
    """What a node becomes; None for the constant one, which is what is left of a summed-out
    scope.
    """
    if network.kind[node] == INPUT:
        variable = renumbered.get(int(network.variable[node]))
        return None if variable is None else maker.input(variable, int(network.component[node]))
    kept = [child for child in below if child is not None]
    if not kept:
        return None
    if network.kind[node] == SUM:
        return maker.sum(kept, weights)
    return kept[0] if len(kept) == 1 else maker.product(kept)


def _reachable(network: Network) -> Network:
    """The part of a network below its root (marginals may leave unused nodes behind)."""
    used = [False] * len(network)
    used[-1] = True
    for node in reversed(range(len(network))):
        if used[node]:
            for child in network.child[network.start[node] : network.start[node + 1]]:
                used[child] = True
    if all(used):
        return network
    maker = NetworkMaker()
    place: dict[int, int] = {}
    for node in range(len(network)):
        if not used[node]:
            continue
        edges = slice(network.start[node], network.start[node + 1])
        below = [place[child] for child in network.child[edges].tolist()]
        if network.kind[node] == INPUT:
            place[node] = maker.input(int(network.variable[node]), int(network.component[node]))
        elif network.kind[node] == SUM:
            place[node] = maker.sum(below, network.weight[edges].tolist())
        else:
            place[node] = maker.product(below)
    return maker.finish(network.shape)


def _tilted_edges(tensor: SPN, tilted: Tilted) -> Any:
    weights = tensor.edge_weights()
    network = tensor.network
    for node in range(len(network)):
        if network.kind[node] == SUM:
            layer, step, position = tensor.circuit.latents[network.key(node)]
            first, last = network.start[node], network.start[node + 1]
            row = _known(tilted[layer])[step, position, 0, : last - first].double()
            weights[first:last] = (row / row.sum()).cpu().numpy()
    return weights


@restrict.register
def _(tensor: TreeTensor, variables: Sequence[int], tilted: Tilted | None) -> CoefficientTensor:
    renumbered = {j: place for place, j in enumerate(variables)}
    alive: dict[Node, list[Node]] = {}
    for node in tensor.tree.inner:
        kept = [
            child for child in tensor.tree.children[node] if child in alive or child in renumbered
        ]
        if kept:
            alive[node] = kept
    tree = Tree(
        {node: [renumbered.get(c, c) for c in kept] for node, kept in alive.items()}  # type: ignore[call-overload]
    )
    tables, sizes = _pruned_tables(tensor, alive, renumbered, tilted)
    _, keys, values = given(tables)
    joint = {node for node in tensor.joint if node in alive}
    kind = HT if tensor.joint else LTM
    model = kind.__new__(kind)
    TreeTensor.__init__(model, tree, sizes, keys, values, joint)
    return model


def _pruned_tables(
    tensor: TreeTensor,
    alive: Mapping[Node, Sequence[Node]],
    renumbered: Mapping[int, int],
    tilted: Tilted | None,
) -> tuple[dict[Node, Tensor | None], dict[Node, tuple[int, int]]]:
    tables: dict[Node, Tensor | None] = {}
    sizes: dict[Node, tuple[int, int]] = {}
    shared: dict[Hashable, Tensor] = {}
    for leaf, place in renumbered.items():
        table = tensor.table(leaf)
        tables[place] = table if table is None else shared.setdefault(tensor.place(leaf), table)
        sizes[place] = (tensor.rows(leaf), tensor.states(leaf))
    for node, kept in alive.items():
        table = tensor.table(node)
        key: Hashable = (tensor.place(node), node if node in tensor.joint else None)
        if table is not None and tilted is not None:
            layer, step, position = tensor.circuit.latents[node]
            table, key = _known(tilted[layer])[step, position], (node, "tilted")
        if table is not None and node in tensor.joint:
            table = _summed(tensor, node, kept, table)
        columns = tensor.states(node) if table is None else table.shape[1]
        tables[node] = table if table is None else shared.setdefault(key, table)
        sizes[node] = (tensor.rows(node), columns)
    return tables, sizes


def _summed(tensor: TreeTensor, node: Node, kept: Sequence[Node], table: Tensor) -> Tensor:
    """A joint table without the children that are gone."""
    children = tensor.tree.children[node]
    gone = [1 + place for place, child in enumerate(children) if child not in set(kept)]
    if not gone:
        return table
    wide = table.reshape(table.shape[0], *(tensor.rows(child) for child in children))
    return wide.sum(gone).reshape(table.shape[0], -1)


def _known(values: Tensor | None) -> Tensor:
    assert values is not None
    return values
