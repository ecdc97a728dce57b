"""Draws from scalar networks: every row walks down from the root, through what it chose only."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, Circuit, Integers
from mixtures.leafstatistic import LeafStatistic
from mixtures.networkplan import Plan, Products, Sums
from mixtures.semiring import Sample, finite_top


class Walk:
    """The nodes of a plan by row: their children, and the weights of sums.

    Without values terms are drawn by their weights alone, which is right where nothing is given.
    """

    def __init__(
        self, plan: Plan, leaves: LeafStatistic | None, circuit: Circuit, flat: Tensor
    ) -> None:
        self.plan, self.leaves, self.circuit, self.flat = plan, leaves, circuit, flat
        device = flat.device
        self.given = CONSTANTS + (
            circuit.input_rows if plan.leaves is None else plan.leaves.carriers
        )
        starts, counts = numpy.zeros((2, plan.rows), dtype=numpy.int64)
        is_sum = numpy.zeros(plan.rows, dtype=bool)
        edges = [_edges(step) for step in plan.steps]
        held = 0
        for step, (rows, below, _, sizes) in zip(plan.steps, edges, strict=True):
            is_sum[rows] = isinstance(step, Sums)
            counts[rows] = sizes
            starts[rows] = held + numpy.cumsum(sizes) - sizes
            held += len(below)
        empty = numpy.zeros(0, dtype=numpy.int64)
        children = numpy.concatenate([empty, *(below for _, below, _, _ in edges)])
        places = numpy.concatenate([empty, *(place for _, _, place, _ in edges)])
        arrays = (starts, counts, children, places)
        self.starts, self.counts, self.children, self.places = (
            torch.as_tensor(array, device=device) for array in arrays
        )
        self.is_sum = torch.as_tensor(is_sum, device=device)
        self.fans = numpy.unique(counts[is_sum]).tolist()

    def down(
        self, rows: int, ring: Sample, values: Tensor | None = None, leaves: Tensor | None = None
    ) -> Tensor:
        """Components (d, rows), given the values of the plan's rows and the leaves (d, max k, rows)
        that they belong to, or nothing.
        """
        device = self.flat.device
        row = torch.arange(rows, device=device)
        at = torch.full_like(row, self.plan.root)
        ends: list[tuple[Tensor, Tensor]] = []
        while len(row):
            sums = self.is_sum.index_select(0, at)
            s, p = sums.nonzero().flatten(), (~sums).nonzero().flatten()
            s_row, s_at, p_row, p_at = row[s], at[s], row[p], at[p]
            end = p_at < self.given
            ends.append((p_row[end], p_at[end] - CONSTANTS))
            number, edge = spread(self.starts[p_at], self.counts[p_at])
            chosen = self._pick(s_row, s_at, ring, values)
            row = torch.cat([s_row, p_row[number]])
            at = torch.cat([chosen, self.children[edge]])
        row, end = (torch.cat(parts) for parts in zip(*ends, strict=True))
        found = torch.zeros((self.circuit.variables, rows), dtype=torch.int64, device=device)
        variable, row, component = self._components(row, end, ring, leaves)
        found[variable, row] = component
        return found

    def _pick(self, row: Tensor, at: Tensor, ring: Sample, values: Tensor | None) -> Tensor:
        """The child of each sum that its row goes on to."""
        found = torch.empty_like(at)
        counts = self.counts[at]
        for fan in self.fans:
            mine = (counts == fan).nonzero().flatten()
            if not len(mine):
                continue
            edges = self.starts[at[mine]][:, None] + torch.arange(fan, device=at.device)
            children, terms = self.children[edges], self.flat[self.places[edges]]
            if values is not None:
                inside = values.view(-1)[children * values.shape[1] + row[mine][:, None]]
                terms = relative(terms, inside)
            found[mine] = children.gather(1, ring.draw(terms)[:, None])[:, 0]
        return found

    def _components(
        self, row: Tensor, end: Tensor, ring: Sample, leaves: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(variable, row, component) below the carriers, or components themselves, at the end."""
        circuit, part = self.circuit, self.leaves
        if part is None:
            sizes = torch.as_tensor(circuit.inputs, device=end.device)
            variable = torch.arange(len(sizes), device=end.device).repeat_interleave(sizes)[end]
            return variable, row, end - (sizes.cumsum(0) - sizes)[variable]
        offsets = part.by_variable.offsets
        number, factor = spread(offsets[end], offsets.diff()[end])
        row, variable = row[number], part.by_variable.columns[factor]
        terms = part.weights[factor]
        if leaves is not None:
            by_row = leaves.transpose(1, 2).reshape(-1, leaves.shape[1])
            terms = relative(terms, by_row[variable * leaves.shape[2] + row])
        return variable, row, ring.draw(terms)


def relative(weights: Tensor, logs: Tensor) -> Tensor:
    """weights * exp(logs), (m, C), up to a factor per row: the largest is one."""
    terms = weights.log() + logs.where(weights > 0, -torch.inf)
    return (terms - finite_top(terms)).exp_()


def spread(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Of lists starts[i] .. starts[i] + counts[i] - 1, one after the other: i, and the members.

    >>> [part.tolist() for part in spread(torch.tensor([5, 0]), torch.tensor([2, 1]))]
    [[0, 0, 1], [5, 6, 0]]
    """
    number = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    first = starts - (counts.cumsum(0) - counts)
    return number, torch.arange(len(number), device=counts.device) + first[number]


def _edges(step: Sums | Products) -> tuple[Integers, Integers, Integers, Integers]:
    """Rows of a step, their children and the places of the weights one after the other, and how
    many children each has.
    """
    if isinstance(step, Sums):
        nodes, parents, terms = step.places.shape
        rows = step.first + numpy.arange(nodes * parents)
        below = numpy.repeat(step.children, parents, axis=0).reshape(-1)
        return rows, below, step.places.reshape(-1), numpy.full(len(rows), terms)
    below = step.factors.columns.cpu().numpy()
    return step.rows, below, numpy.zeros_like(below), step.factors.offsets.diff().cpu().numpy()
