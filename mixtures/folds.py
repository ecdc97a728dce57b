"""Values and flows of the nodes of a tree that are evaluated once per distinct pattern."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from mixtures.combining import PIECE, combine, split_flow
from mixtures.halves import Contraction
from mixtures.passes import Stacks
from mixtures.patterns import Group, Look, Place, Plan
from mixtures.scaled import ScaledPatterns
from mixtures.semiring import Log, finite_top
from mixtures.weights import Counts, Weights

SORTED_ROWS = 2**9  # from so many on, flows are summed pattern by pattern
EVEN = 7.0  # leaves whose largest logarithms are so little below zero do without a scale
KEPT_ELEMENTS = 2**20  # numbers a group may keep for the way down, instead of computing them anew

Tables = dict[int, Tensor]  # width -> one row (width,) or one number per pattern


class Fold:
    """The values of all patterns of a plan, in mantissas or logarithms; and, once rows have
    brought flows, the way down to the leaves.

    leaves (d, max k, symbols): logarithms, of the type that values shall have. safe: what proves
    mantissas right, or None for logarithms.
    """

    def __init__(self, plan: Plan, stacks: Stacks, leaves: Tensor, safe: float | None) -> None:
        self.plan = plan
        self.ring = Log() if safe is None else ScaledPatterns(safe, leaves[0])
        self._kept: list[tuple[list[Tensor], Tensor] | None] = []
        self.weights = [_weights(group, stacks) for group in plan.groups]
        self.values: Tables = {w: leaves.new_empty((n, w)) for w, n in plan.rows.items()}
        self.scales: Tables = {
            w: torch.empty(n if safe is not None else 0, dtype=torch.float64, device=leaves.device)
            for w, n in plan.rows.items()
        }
        self.uneven = {group.width for group in plan.groups}  # widths with scales that are not one
        self._read(leaves)
        self._rise()
        if isinstance(self.ring, ScaledPatterns) and self.ring.lost:
            self.ring, self._kept = ScaledPatterns(self.ring.safe, leaves[0], repair=True), []
            self._rise()

    @property
    def scaled(self) -> bool:
        """Whether values are mantissas, each row with a scale."""
        return isinstance(self.ring, ScaledPatterns)

    def given(self, start: int, stop: int) -> dict[Place, Looked]:
        """What the circuit above reads for rows start..stop-1."""
        return {place: Looked(self, look, start, stop) for place, look in self.plan.given.items()}

    def scale(self, start: int, stop: int) -> Tensor | float:
        """The log-scale (B,) of what is given for rows start..stop-1; NaN for suspect rows."""
        total: Tensor | float = 0.0
        for look in self.plan.given.values() if self.scaled else ():
            if look.width in self.uneven:
                rows = look.rows(slice(None), start, stop)
                logs = self.scales[look.width].index_select(0, rows.reshape(-1))
                total = total + logs.view(rows.shape).sum(0)
        return total

    def down(self, counts: Sequence[Tensor] | None) -> Tensor:
        """The flows of the components of all symbols (d, max k, symbols); adds to `counts`."""
        for group, weights in zip(reversed(self.plan.groups), reversed(self.weights), strict=True):
            self._down(group, weights, counts)
        return self._leaf_flows()

    def _rise(self) -> None:
        for group, weights in zip(self.plan.groups, self.weights, strict=True):
            self._up(group, weights)

    # -- one group -------------------------------------------------------------------------------

    def _read(self, leaves: Tensor) -> None:
        symbols = self.plan.symbols
        for width, row, variables in self.plan.inputs:
            logs = leaves.index_select(0, variables)[:, :width]
            size = len(variables) * symbols
            out = self.values[width][row : row + size].view(-1, symbols, width).mT
            if self.scaled:
                top = finite_top(logs)
                if bool(((top <= 0) & (top >= -EVEN)).all()):
                    top = top.zero_()
                else:
                    self.uneven.add(width)
                self.scales[width][row : row + size] = top.reshape(-1)
                out.copy_((logs - top).exp_())
            else:
                out.copy_(logs)

    def _inside(self, group: Group, part: slice) -> tuple[list[Tensor], Tensor]:
        """The values (N, w, b) of the children in some columns, and what they combine to."""
        factors: list[Tensor] = []
        for width, index in group.children:
            chosen = index.view(-1, group.nodes, group.columns)[:, :, part]
            rows = self.values[width].index_select(0, chosen.reshape(-1))
            factors += rows.view(*chosen.shape, width).mT.unbind(0)
        return factors, combine(group.layer, self.ring, factors)

    def _out(self, tables: Tables, group: Group) -> Tensor:
        """The part (N, P, B) of a table that belongs to a group."""
        part = tables[group.width][group.row : group.row + group.size]
        return part.view(group.nodes, group.columns, group.width).mT

    def _parts(self, group: Group) -> list[slice]:
        """The columns of a group, few at a time where what they combine to is large."""
        if group.halves is None:
            return [slice(0, group.columns)]
        size = max(1, PIECE // (group.nodes * group.layer.inside))
        return [slice(n, min(n + size, group.columns)) for n in range(0, group.columns, size)]

    def _up(self, group: Group, weights: Weights | None) -> None:
        out = self._out(self.values, group)
        if group.halves is not None and weights is not None and self.scaled:
            for node, own in enumerate(self._contractions(group, weights)):
                out[node].T.copy_(own.mix())
            self.ring.finish(out)
        else:
            for part in self._parts(group):
                self._combine(group, weights, part, out[:, :, part])
        if isinstance(self.ring, ScaledPatterns):
            own_scales = self.scales[group.width][group.row : group.row + group.size]
            if weights is None:
                own_scales.zero_()
            else:
                self.ring.write_logs(own_scales)
            for width, index in group.children:
                below = self.scales[width].index_select(0, index.view(-1))
                own_scales += below.view(index.shape).sum(0)

    def _combine(self, group: Group, weights: Weights | None, part: slice, out: Tensor) -> None:
        factors, inside = self._inside(group, part)
        if group.halves is None:
            self._kept.append((factors, inside) if inside.numel() <= KEPT_ELEMENTS else None)
        if weights is None:
            out.copy_(inside)
        else:
            self.ring.mix(weights, inside, out)

    def _contractions(self, group: Group, weights: Weights) -> list[Contraction]:
        """The nodes of a group, in halves."""
        assert group.halves is not None
        values = [self.values[width] for width in group.layer.widths]
        tables = weights.values.view(group.nodes, -1, *group.layer.widths)
        pairs = zip(group.halves, tables, strict=True)
        return [Contraction(halves, table, values) for halves, table in pairs]

    def _down(self, group: Group, weights: Weights | None, counts: Sequence[Tensor] | None) -> None:
        outside = self._out(self.values, group)
        flow = self._out(self.flows, group).to(outside.dtype, copy=weights is None)
        counter = None
        if weights is not None and counts is not None:
            total = torch.zeros_like(weights.values, dtype=torch.float64)
            counter = Counts(total, group.observed)
        if group.halves is not None and weights is not None and self.scaled:
            self._share_halves(group, weights, outside, flow, counter)
        else:
            for part in self._parts(group):
                self._share(group, weights, part, outside[:, :, part], flow[:, :, part], counter)
        if counter is not None and weights is not None and counts is not None:
            assert group.layer.table is not None and group.slots is not None
            counts[group.layer.table].index_add_(0, group.slots, counter.finish(weights))

    def _share(
        self,
        group: Group,
        weights: Weights | None,
        part: slice,
        outside: Tensor,
        flow: Tensor,
        counter: Counts | None,
    ) -> None:
        """Hand down the flow of some columns."""
        kept = self._kept.pop() if group.halves is None else None
        factors, inside = kept or self._inside(group, part)
        if counter is not None and group.observed is not None:
            counter.observed = group.observed[:, part]
        below = self.ring.share(weights, inside, outside, flow, counter)
        parts = iter(split_flow(group.layer, self.ring, factors, below))
        for width, index in group.children:
            for rows in index.view(-1, group.nodes, group.columns)[:, :, part]:
                self.add(width, rows.reshape(-1), next(parts).mT.reshape(-1, width))

    def _share_halves(
        self,
        group: Group,
        weights: Weights,
        outside: Tensor,
        flow: Tensor,
        counter: Counts | None,
    ) -> None:
        """Hand down the flow of all columns in halves."""
        ratio = self.ring.ratios(outside, flow)(slice(None))
        widths = group.layer.widths

        def give(child: int, rows: Tensor, flows: Tensor) -> None:
            self.add(widths[child], rows, flows)

        for node, own in enumerate(self._contractions(group, weights)):
            observed = None if group.observed is None else group.observed[node]
            total = None if counter is None else counter.total[node]
            own.share(ratio[node].T, give, observed, total)

    def add(self, width: int, index: Tensor, flow: Tensor) -> None:
        """Add flows (m, w) to the rows that index (m,) names; long sums are float64."""
        self.flows[width].index_add_(0, index, flow.double())

    @cached_property
    def flows(self) -> Tables:
        """What rows and patterns have handed down to every row."""
        return {w: torch.zeros_like(value, dtype=torch.float64) for w, value in self.values.items()}

    def _leaf_flows(self) -> Tensor:
        symbols = self.plan.symbols
        found = next(iter(self.flows.values())).new_zeros(self.plan.shape)
        for width, row, variables in self.plan.inputs:
            part = self.flows[width][row : row + len(variables) * symbols]
            found[variables, :width] = part.view(-1, symbols, width).mT
        return found


class Looked:
    """Values (N, w, B) of nodes with patterns for rows start..stop-1, looked up where they are
    needed; the flows that come back are added up pattern by pattern.
    """

    def __init__(self, fold: Fold, look: Look, start: int, stop: int) -> None:
        self.fold, self.look, self.start, self.stop = fold, look, start, stop

    def __getitem__(self, nodes: slice) -> Tensor:
        rows = self.look.rows(nodes, self.start, self.stop)
        width = self.look.width
        found = self.fold.values[width].index_select(0, rows.reshape(-1))
        return found.view(*rows.shape, width).mT

    def take(self, nodes: slice, flow: Tensor) -> None:
        """Add up the flow (M, w, B) of some of the nodes."""
        width, flat = self.look.width, flow.mT.reshape(-1, self.look.width)
        if len(flat) < SORTED_ROWS:
            self.fold.add(width, self._rows(nodes), flat)
        elif flat.dtype == torch.float64:  # bags are three times slower then
            index = self._rows(nodes).long()[:, None].expand(-1, width)
            self.fold.flows[width].scatter_add_(0, index, flat)
        else:
            order, starts, rows = self.look.segments(nodes, self.start, self.stop)
            self.fold.add(width, rows, torch.embedding_bag(flat, order, starts)[0])

    def _rows(self, nodes: slice) -> Tensor:
        return self.look.rows(nodes, self.start, self.stop).reshape(-1)


def _weights(group: Group, stacks: Stacks) -> Weights | None:
    if group.layer.table is None or group.slots is None:
        return None
    return Weights(stacks[group.layer.table].index_select(0, group.slots))
