"""How the children of a layer's nodes are combined, and the flow of what they combine to split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.circuit import Layer
from mixtures.semiring import Linear, Log, Semiring
from mixtures.weights import Counts, Weights

PIECE = 2**18  # numbers that combined children should be at most, to stay in the cache


def piece(layer: Layer, rows: int) -> int:
    """The nodes of a layer whose combined children stay in the cache."""
    return max(1, PIECE // max(1, layer.inside * rows))


def pieces(layer: Layer, rows: int) -> list[slice]:
    """The nodes of a layer, some at a time."""
    size = piece(layer, rows)
    return [slice(n, min(n + size, layer.nodes)) for n in range(0, layer.nodes, size)]


def mix_pieces(
    layer: Layer,
    ring: Semiring,
    weights: Weights,
    factors: Sequence[Tensor],
    out: Tensor,
    *,
    settle: bool = True,
) -> None:
    """Combine the children of N nodes and mix, some nodes at a time."""
    for nodes in pieces(layer, out.shape[-1]):
        inside = combine(layer, ring, [factor[nodes] for factor in factors])
        ring.mix_part(weights.part(nodes), inside, out[nodes])
    ring.finish(out, settle=settle)


def share_pieces(
    layer: Layer,
    ring: Linear | Log,
    weights: Weights,
    factors: Sequence[Tensor],
    outside: Tensor,
    flow: Tensor,
    counts: Counts | None,
) -> list[Tensor]:
    """The flow of each child of N nodes, given that of what they are mixed to, some nodes at a
    time.
    """
    ratio, found = ring.ratio(outside, flow), []
    for nodes in pieces(layer, flow.shape[-1]):
        own = [factor[nodes] for factor in factors]
        inside = combine(layer, ring, own)
        counter = None if counts is None else counts.part(nodes)
        part = weights.part(nodes)
        below = ring.share_part(part, inside, outside[nodes], ratio[nodes], counter)
        found.append(split_flow(layer, ring, own, below))
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


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
