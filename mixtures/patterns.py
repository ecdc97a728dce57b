"""Patterns: what is below a node of a tree takes few distinct values over the rows of a data set.

A node above m leaves of V symbols has at most V^m values, and no more than the rows below it differ
in. A `Plan` says which nodes are evaluated once per distinct pattern, in groups, and leaves a
circuit of all others, whose inputs are gathered row by row. It depends on data and structure alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from mixtures.circuit import Circuit, Layer
from mixtures.halves import Halves, halved

Place = tuple[int, int]  # (layer, child position)


class Symbols(Protocol):
    """Rows of symbols: codes (d, n), of column j 0 .. sizes[j] - 1, or sizes[j] = 0: no symbols."""

    @property
    def codes(self) -> Tensor: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def observed(self) -> Tensor | None: ...  # (d, max size): which symbols stand for a value
    @property
    def plans(self) -> dict[Any, Any]: ...
    @property
    def part_of(self) -> tuple[Symbols, Tensor] | None: ...  # all rows, and which of them these are


@dataclass(frozen=True, eq=False)
class Group:
    """N nodes of one kind with up to B patterns each: a layer whose columns are patterns.

    Values of width w are rows of one table per width; `children` says which rows are read, (c, N B)
    for c children of one width in a row, and `row` is the first of the N B rows of width P that are
    written.
    """

    layer: Layer
    nodes: int  # N
    columns: int  # B
    width: int  # P
    slots: Tensor | None  # (N,) of the layer's stack of tables
    children: tuple[tuple[int, Tensor], ...]  # (width, rows)
    row: int
    observed: Tensor | None  # (N, B): anything is observed below; None if everywhere
    halves: tuple[Halves, ...] | None  # of each node, where it is contracted in halves

    @property
    def size(self) -> int:
        """N B, the rows that are written."""
        return self.nodes * self.columns


@dataclass(frozen=True, eq=False)
class Plan:
    """The groups from the leaves up, the circuit above them, and what it is given by them."""

    inputs: tuple[tuple[int, int, Tensor], ...]  # (width, first row, variables) of the leaves
    groups: tuple[Group, ...]
    rows: Mapping[int, int]  # width -> rows of that width
    shape: tuple[int, int, int]  # (d, max k, largest number of symbols)
    above: Circuit  # its inputs: `variables`, then the topmost nodes that have patterns
    variables: Tensor  # that have no symbols
    given: Mapping[Place, tuple[int, Tensor]]  # of the circuit above: (width, rows (N, n))
    seen: tuple[Tensor, ...] | None  # anything is observed (n,), of each input with patterns
    sorted: dict[Any, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def segments(self, place: Place, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is given at a place for rows start..stop-1, sorted by pattern: the order, where each
        pattern begins in it, and which row it is. Worked out once.
        """
        key = (place, start, stop)
        if key not in self.sorted:
            index = self.given[place][1][:, start:stop].reshape(-1)
            held, order = index.sort(stable=True)
            rows, counts = held.unique_consecutive(return_counts=True)
            self.sorted[key] = (order, counts.cumsum(0) - counts, rows.long())
        return self.sorted[key]

    @property
    def symbols(self) -> int:
        """The rows of a leaf: the largest number of symbols."""
        return self.shape[2]

    @property
    def columns(self) -> int:
        """How many columns are evaluated in all, padding included."""
        return sum(group.size for group in self.groups)


def restricted(plan: Plan, index: Tensor) -> Plan:
    """The plan of some of the rows: of each node the patterns that occur in them."""
    given = {place: (w, rows[:, index]) for place, (w, rows) in plan.given.items()}
    seen = None if plan.seen is None else tuple(flags[index] for flags in plan.seen)
    present = {
        w: torch.zeros(n, dtype=torch.bool, device=index.device) for w, n in plan.rows.items()
    }
    for w, rows in given.values():
        present[w].index_fill_(0, rows.reshape(-1).long(), True)
    kept = []
    for group in reversed(plan.groups):
        here = present[group.width][group.row : group.row + group.size].nonzero().flatten()
        read = tuple((w, rows.index_select(1, here)) for w, rows in group.children)
        for w, rows in read:
            present[w].index_fill_(0, rows.view(-1), True)
        kept.append((group, here, read))
    number = {w: torch.arange(n, device=index.device) for w, n in plan.rows.items()}
    used = {w: row + len(variables) * plan.symbols for w, row, variables in plan.inputs}
    groups = []
    for group, here, read in reversed(kept):
        groups.append(_smaller(group, here, read, number, used))
    moved = {place: (w, number[w][rows.long()]) for place, (w, rows) in given.items()}
    return replace(plan, groups=tuple(groups), rows=used, given=moved, seen=seen, sorted={})


def _smaller(
    group: Group,
    here: Tensor,
    read: tuple[tuple[int, Tensor], ...],
    number: Mapping[int, Tensor],
    used: dict[int, int],
) -> Group:
    """A group of the patterns `here`, that read `read`; notes where they are now in `number`."""
    nodes, width = group.nodes, group.width
    node = here.div(group.columns, rounding_mode="floor")
    each = torch.bincount(node, minlength=nodes)
    columns = int(each.max())
    place = torch.arange(len(here), device=here.device) - (each.cumsum(0) - each)[node]
    place += node * columns  # where each pattern goes, of N B places
    row = used.setdefault(width, 0)
    used[width] = row + nodes * columns
    number[width][group.row + here] = row + place
    children = tuple(
        (w, rows.new_zeros((len(rows), nodes * columns)).index_copy_(1, place, number[w][rows]))
        for w, rows in read
    )
    observed = group.observed
    if observed is not None:
        flags = observed.reshape(-1)[here]
        observed = flags.new_ones(nodes * columns).index_copy_(0, place, flags)
        observed = observed.view(nodes, columns)
    halves = group.halves
    if halves is not None:
        halves = halves_of(group.layer, children, [own.near for own in halves])
    return replace(
        group, columns=columns, children=children, row=row, observed=observed, halves=halves
    )


def halves_of(
    layer: Layer, children: tuple[tuple[int, Tensor], ...], nears: Sequence[int]
) -> tuple[Halves, ...]:
    """How the nodes of a group over two children are contracted in halves, `near` of each first."""
    first, second = (
        index.view(len(nears), -1)
        for _, rows in children
        for index in rows.view(-1, rows.shape[-1])
    )
    each = layer.width * max(layer.widths)
    trios = zip(first, second, nears, strict=True)
    return tuple(halved((one, two), near, each) for one, two, near in trios)
