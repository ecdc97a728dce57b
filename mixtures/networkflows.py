"""Flows through scalar networks whose lower nodes are evaluated once per pattern: what rows hand
down is summed pattern by pattern, and goes on to the leaves from there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mixtures.leafrows import leaf_columns
from mixtures.leafstatistic import Chosen
from mixtures.networkload import Loaded, Reader, rows_at_once, spans
from mixtures.networkpatterns import TableSums
from mixtures.networkplan import Leaves
from mixtures.patternpass import PatternPass
from mixtures.weights import Counts, Weights


class PatternFlows:
    """One downward pass of flows that are summed over rows.

    flat: all weights; factors: the leaf factors of the plan; observed (d, symbols): which symbols
    stand for a value, or None if all do.
    """

    def __init__(
        self, low: PatternPass, flat: Tensor, factors: Leaves, observed: Tensor | None
    ) -> None:
        self.low, self.fold, self.flat = low, low.fold, flat
        self.loaded = Loaded(low.fold.plan.above, flat, low.loaded.circuit, low.fold)
        self.places = torch.as_tensor(factors.places, device=flat.device)
        self.variables = torch.as_tensor(factors.variable, device=flat.device)
        self.observed = observed
        self.seen = None if observed is None else self._observed(observed)
        self.flows = torch.zeros(low.fold.plan.total, dtype=torch.float64, device=flat.device)
        self.total = torch.zeros_like(flat, dtype=torch.float64)  # expected counts of all weights

    def rows(
        self, source: Reader, row_weights: Tensor
    ) -> Iterator[tuple[int, int, Tensor, Tensor | None]]:
        """Of rows start..stop-1 (start, stop, values (B,), flows of components (d, max k, B) by way
        of leaf factors that have no patterns); sums up what they hand down to those that have.
        """
        symbols, loaded, fold = source.symbols(), self.loaded, self.fold
        assert symbols is not None
        buffer: Tensor | None = None
        for start, stop in spans(source.rows, rows_at_once(loaded.plan.rows)):
            entries = fold.entries(symbols.codes[:, start:stop])
            chosen = self.low.chosen(source, start, stop)
            buffer = self.low.up(entries, chosen, stop - start, buffer)
            value = buffer[loaded.plan.root].clone()
            root = row_weights[start:stop].where(value > -torch.inf, 0).to(value.dtype)
            observed, seen = source.observed(start, stop), None
            if self.seen is not None:
                every = symbols.codes.new_ones((len(symbols.codes), stop - start))
                observed = every if observed is None else observed
                seen = loaded.observations(observed, self.seen, entries)
            flows = loaded.down(buffer, root, counting=True, seen=seen)
            for given, index in zip(fold.plan.given, entries, strict=True):
                self.flows.index_add_(0, index, flows[given.rows].reshape(-1).double())
            yield start, stop, value, self._carried(chosen, flows[loaded.given])
        loaded.collect(self.total)

    def _carried(self, chosen: Chosen | None, flow: Tensor) -> Tensor | None:
        leaves = self.loaded.leaves
        if chosen is None or leaves is None:
            return None
        leaves.count(chosen, flow, unseen=self.seen is None)
        return leaf_columns(self.loaded.circuit, leaves.carried(chosen, flow))

    def down(self, leaves: Tensor) -> Tensor:
        """The flows (d, max k, symbols) of the components, given the leaves of all symbols."""
        for step in reversed(self.fold.plan.steps):
            if isinstance(step, TableSums):
                self._share(step)
                continue
            each = step.factors.offsets.diff()  # all factors of a product get its flow
            flow = self.fold.products(self.flows, step).repeat_interleave(each, 0)
            self.flows.index_add_(0, step.entries.view(-1), flow.view(-1))
        size = (len(self.variables), 1, self.fold.plan.symbols)
        flow = self.flows[: size[0] * size[2]].view(size)
        inside = leaves[..., : size[2]].index_select(0, self.variables)
        outside = self.fold.values[: size[0] * size[2]].view(size)
        seen = None if self.observed is None else self.observed.index_select(0, self.variables)
        below = self._shared(self.places[:, None], inside, outside, flow, seen)
        found = torch.zeros(leaves.shape, dtype=torch.float64, device=leaves.device)
        found[..., : size[2]].index_add_(0, self.variables, below.double())
        return found

    def _share(self, step: TableSums) -> None:
        """The flows of sums go on to their children."""
        inside, outside = self.fold.sides(self.fold.values, step)
        _, flow = self.fold.sides(self.flows, step)
        seen = None if self.seen is None else self.fold.sides(self.seen, step)[1][:, 0]
        places = torch.as_tensor(step.places, device=flow.device)
        below = self._shared(places, inside, outside, flow, seen)
        table = self.fold.table(self.flows, step.patterns)
        table.index_add_(0, step.children, below.view(-1, step.patterns).double())

    def _shared(
        self, places: Tensor, inside: Tensor, outside: Tensor, flow: Tensor, seen: Tensor | None
    ) -> Tensor:
        """What goes to the terms of sums; its counts are added to those of their weights."""
        weights = Weights(self.flat[places])
        counts = Counts(torch.zeros(places.shape, dtype=torch.float64, device=flow.device))
        counts.observed = None if seen is None else seen > 0
        below = self.fold.ring.share(weights, inside, outside, flow.to(inside.dtype), counts)
        self.total.index_add_(0, places.flatten(), counts.finish(weights).flatten())
        return below

    def _observed(self, observed: Tensor) -> Tensor:
        """How many variables are observed below each node under each pattern, as one flat list."""
        fold = self.fold
        found = torch.zeros_like(fold.values, dtype=torch.float32)
        first = observed[:, : fold.plan.symbols].index_select(0, self.variables)
        found[: first.numel()] = first.flatten()
        for step in fold.plan.steps:
            if isinstance(step, TableSums):
                inside, outside = fold.sides(found, step)
                outside.copy_(inside.amax(1, keepdim=True).expand_as(outside))
            else:
                fold.multiply(found, step)
        return found
