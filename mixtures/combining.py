"""How the children of a layer's nodes are combined, and the flow of what they combine to split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mixtures.circuit import Layer
from mixtures.semiring import Linear, Log, Semiring
from mixtures.weights import Counts, Weights


class Lookup(Protocol):
    """Values (N, w, B) from elsewhere that are read some nodes at a time, so that they stay in the
    cache; flows are handed back in the same way.
    """

    def __getitem__(self, nodes: slice) -> Tensor: ...
    def take(self, nodes: slice, flow: Tensor) -> None: ...


Factor = Tensor | Lookup
NARROW = 4  # times as many states of each child
PIECE = 2**20  # numbers that combined children should be at most, to stay in the cache


def piece(layer: Layer, rows: int) -> int:
    """The nodes of a layer whose combined children stay in the cache, as do factors of products."""
    each = layer.inside * (len(layer.widths) if layer.combine == "product" else 1)
    return max(1, PIECE // max(1, each * rows))


def pieces(layer: Layer, rows: int) -> list[slice]:
    """The nodes of a layer, some at a time."""
    size = piece(layer, rows)
    return [slice(n, min(n + size, layer.nodes)) for n in range(0, layer.nodes, size)]


def narrow(layer: Layer) -> bool:
    """Whether the outer product of two children is mixed to so few values that it is better to
    contract the table with one child after the other.
    """
    return (
        layer.combine == "outer"
        and len(layer.widths) == 2
        and NARROW * layer.width <= min(layer.widths)
    )


def mix_pieces(
    layer: Layer,
    ring: Semiring,
    weights: Weights,
    factors: Sequence[Factor],
    out: Tensor,
    *,
    settle: bool = True,
) -> None:
    """Combine the children of N nodes and mix, some nodes at a time."""
    for nodes in pieces(layer, out.shape[-1]):
        own = [factor[nodes] for factor in factors]
        if ring.mantissas and narrow(layer):
            _mix_narrow(weights.part(nodes), own, out[nodes])
            continue
        inside = combine(layer, ring, own)
        ring.mix_part(weights.part(nodes), inside, out[nodes])
    ring.finish(out, settle=settle)


def share_pieces(
    layer: Layer,
    ring: Linear | Log,
    weights: Weights,
    factors: Sequence[Factor],
    outside: Tensor,
    flow: Tensor,
    counts: Counts | None,
) -> Iterator[tuple[slice, Sequence[Tensor]]]:
    """The flow of each child of N nodes, given that of what they are mixed to, some nodes at a
    time.
    """
    ratios = ring.ratios(outside, flow)
    for nodes in pieces(layer, flow.shape[-1]):
        own = [factor[nodes] for factor in factors]
        counter = None if counts is None else counts.part(nodes)
        part = weights.part(nodes)
        if ring.mantissas and narrow(layer):
            yield nodes, _share_narrow(part, own, ratios(nodes), counter)
            continue
        inside = combine(layer, ring, own)
        below = ring.share_part(part, inside, outside[nodes], ratios(nodes), counter)
        yield nodes, split_flow(layer, ring, own, below)


def _mix_narrow(weights: Weights, factors: Sequence[Tensor], out: Tensor) -> None:
    """Mix the outer product (N, C C', B) of mantissas without forming it."""
    first, second = factors
    half = torch.bmm(_joint(weights, first), second)
    half = half.view(*out.shape[:2], *first.shape[1:])  # (N, P, C, B)
    torch.sum(half.mul_(first[:, None]), 2, out=out)


def _share_narrow(
    weights: Weights, factors: Sequence[Tensor], ratio: Tensor, counts: Counts | None
) -> list[Tensor]:
    """The flow of each of the two factors that were mixed by `_mix_narrow`."""
    first, second = factors
    table = _joint(weights, first)
    sent = (ratio[:, :, None] * first[:, None]).flatten(1, 2)  # (N, P C, B)
    if counts is not None:
        counts.add(sent, second)
    half = torch.bmm(table, second).view(*ratio.shape[:2], *first.shape[1:])
    back = half.mul_(ratio[:, :, None]).sum(1).mul_(first)
    return [back, torch.bmm(table.mT, sent).mul_(second)]


def _joint(weights: Weights, first: Tensor) -> Tensor:
    """Tables (N, P, C C') as (N, P C, C')."""
    nodes, parents, children = weights.values.shape
    states = first.shape[1]
    return weights.values.reshape(nodes, parents * states, children // states)


def combine(layer: Layer, ring: Semiring, factors: Sequence[Tensor]) -> Tensor:
    """The children of N nodes as one value (N, C, B)."""
    if layer.combine == "product":
        return ring.product(factors)
    if layer.combine == "outer":
        spread = ring.product(_spread(layer, factors))
        return spread.reshape(-1, layer.inside, spread.shape[-1])
    if layer.scalars:
        return factors[0].reshape(layer.nodes, layer.inside, factors[0].shape[-1])
    return torch.cat(list(factors), dim=1)


def _spread(layer: Layer, factors: Sequence[Tensor]) -> list[Tensor]:
    """Each factor with an axis of its own, so that their product is the outer product."""
    spread = []
    for place, factor in enumerate(factors):
        shape = [1] * len(layer.widths)
        shape[place] = layer.widths[place]
        spread.append(factor.reshape(-1, *shape, factor.shape[-1]))
    return spread


def split_flow(
    layer: Layer, ring: Linear | Log, factors: Sequence[Tensor], below: Tensor
) -> Sequence[Tensor]:
    """The flow of each child of N nodes, given that of the combined children."""
    if layer.combine == "product":
        return ring.split(factors, below)
    if layer.scalars:
        return [below.reshape(-1, 1, below.shape[-1])]
    if layer.combine == "concatenate":
        return below.split(list(layer.widths), dim=1)
    spread = _spread(layer, factors)
    parts = ring.split(spread, below.view(-1, *layer.widths, below.shape[-1]))
    axes = range(1, len(layer.widths) + 1)
    sums = []
    for place, part in enumerate(parts):
        others = [axis for axis in axes if axis != place + 1]
        sums.append(part.sum(others) if others else part)
    return sums
