"""The weights of a layer, and the counts that flow back to them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor


class Weights:
    """The tables of N nodes as one tensor (N, P, C), with what is derived from it computed once."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._parts: dict[tuple[int, int], Weights] = {}

    def part(self, nodes: slice) -> Weights:
        """The tables of some of the nodes."""
        key = (nodes.start, nodes.stop)
        if key not in self._parts:
            self._parts[key] = Weights(self.values[nodes])
        return self._parts[key]

    @cached_property
    def logs(self) -> Tensor:
        """log of the values; -inf at structural zeros."""
        return self.values.log()

    @cached_property
    def support(self) -> Tensor:
        """1 where an entry is positive, 0 at structural zeros, in the values' type."""
        return (self.values > 0).to(self.values.dtype)


class Counts:
    """Collects, for N nodes, sums over rows of ratio (N, P, B) times mantissa (N, C, B).

    `observed` (N, B) leaves out rows in which everything below a node is missing. Sums are kept in
    float64; multiplied by the table's entries they are expected counts.
    """

    def __init__(
        self, total: Tensor, observed: Tensor | None = None, whole: tuple[Counts, int] | None = None
    ) -> None:
        self.total = total  # (N, P, C) float64: sums that still lack the factor `weights`
        self.entries: Tensor | None = None  # sums that have it already
        self.observed = observed
        self.whole, self.first = (self, 0) if whole is None else whole

    def part(self, nodes: slice) -> Counts:
        """What collects the counts of some of the nodes, on behalf of these counts."""
        seen = None if self.observed is None else self.observed[nodes]
        return Counts(self.total[nodes], seen, (self, nodes.start))

    def finish(self, weights: Weights) -> Tensor:
        """The expected counts, (N, P, C)."""
        counts = self.total * weights.values
        return counts if self.entries is None else counts + self.entries

    def add(self, ratio: Tensor, mantissa: Tensor) -> None:
        if self.observed is not None:
            ratio = ratio * self.observed[:, None]
        self.total += torch.bmm(ratio, mantissa.mT).view(self.total.shape)

    def add_entries(self, node: Tensor, parent: Tensor, row: Tensor, sent: Tensor) -> None:
        """Counts of single (node, parent, row) entries, `sent` (F, C)."""
        if self.observed is not None:
            sent = sent * self.observed[node, row, None]
        whole = self.whole
        if whole.entries is None:
            whole.entries = torch.zeros_like(whole.total)
        place = (node + self.first, parent)
        whole.entries.index_put_(place, sent.to(whole.entries.dtype), accumulate=True)
