"""Where the rows that a circuit is evaluated on come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.passes import Evidence
from mixtures.patterns import Symbols
from mixtures.readings import Collecting
from mixtures.semiring import Semiring


@dataclass(frozen=True, eq=False)
class Source:
    """Where leaves come from: `read(a, b)` gives rows a..b-1 as (d, max k, b - a), `rows` of
    them.
    """

    rows: int
    read: Callable[[int, int], Tensor]
    observed: Callable[[int, int], Tensor | None] = lambda start, stop: None  # (d, b - a)
    evidence: Mapping[Any, Tensor] | None = None  # latent -> (rows, r) log-weights
    symbols: Callable[[], Symbols | None] = lambda: None  # the rows as symbols, if they are some
    leaves: Callable[..., Tensor] | None = None  # of (so many) symbols, (d, max k, symbols)
    entries: Collecting | None = None  # the same leaves entry by entry
    by_spine: bool = True  # whether a chain may be walked along its spine


def from_tensor(leaves: Tensor, evidence: Mapping[Any, Tensor] | None = None) -> Source:
    """A source that reads leaves (n, d, k) held in memory."""
    return Source(
        rows=leaves.shape[0],
        read=lambda start, stop: leaves[start:stop].permute(1, 2, 0),
        evidence=evidence,
    )


def located(
    circuit: Circuit,
    evidence: Mapping[Any, Tensor] | None,
    ring: Semiring,
    start: int,
    stop: int,
    rows: Tensor | None = None,
) -> Evidence | None:
    """Evidence about named latents, for (some of the) rows start..stop-1, where the passes look for
    it.
    """
    if not evidence:
        return None
    found: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    for name, logs in evidence.items():
        layer, step, position = circuit.latents[name]
        part = logs[start:stop] if rows is None else logs[start:stop].index_select(0, rows)
        padding = circuit.layers[layer].inside - part.shape[1]
        weight = ring.evidence(torch.nn.functional.pad(part, (0, padding)).mT)
        found.setdefault((layer, step), []).append((position, weight))
    return found
