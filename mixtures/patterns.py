"""Patterns: what is below a node of a tree takes few distinct values over the rows of a data set.

A node above m leaves of V symbols has at most V^m values, and no more than the rows below it differ
in. A `Plan` says which nodes are evaluated once per distinct pattern, in groups, and leaves a
circuit of all others, whose inputs are gathered row by row. It depends on data and structure alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy
import torch
from torch import Tensor

from mixtures.circuit import Circuit, Layer
from mixtures.halves import Halves, halved

ROWS_PER_SYMBOL = 8  # with fewer, leaves are computed row by row
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


Segments = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Look:
    """Which rows of the table of a width N nodes have for n rows of data: `first` + `codes`."""

    width: int
    codes: Tensor  # (N, n) whole numbers, most often bytes
    first: Tensor  # (N, 1) int32
    keep: bool = True  # how rows are sorted: unless memory would grow with the number of rows
    sorted: dict[Any, Segments] = field(default_factory=dict)

    def rows(self, nodes: slice, start: int, stop: int) -> Tensor:
        """The rows (M, B) of M nodes for the rows start..stop-1 of data."""
        return self.codes[nodes, start:stop] + self.first[nodes]

    def segments(self, nodes: slice, start: int, stop: int) -> Segments:
        """The same M B rows sorted, node by node: the order, where each row begins in it, and which
        row it is. Worked out once, if it is kept.
        """
        key = (nodes.start, nodes.stop, start, stop)
        found = self.sorted.get(key)
        if found is None:
            codes, rows = self.codes[nodes, start:stop], self.rows(nodes, start, stop)
            order = _order(codes).add_(codes.shape[1] * _numbers(codes)[:, None]).reshape(-1)
            ordered = rows.reshape(-1).index_select(0, order)
            held, counts = ordered.unique_consecutive(return_counts=True)
            starts = (counts.cumsum(0) - counts).to(torch.int32)
            found = (order.to(torch.int32), starts, held)
            if self.keep:
                self.sorted[key] = found
        return found

    def restricted(self, index: Tensor) -> Look:
        """The same for some of the rows of data."""
        return Look(self.width, self.codes.index_select(1, index), self.first)


def _order(codes: Tensor) -> Tensor:
    """The order (N, B) int64 that sorts each row; numpy counts where others compare: five times
    faster.
    """
    small = codes.numpy(force=True)
    small = small if small.dtype == numpy.uint8 else small.astype(numpy.uint16)
    return torch.from_numpy(small.argsort(axis=1, kind="stable")).to(codes.device)


def _numbers(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)


@dataclass(frozen=True, eq=False)
class Plan:
    """The groups from the leaves up, the circuit above them, and what it is given by them."""

    inputs: tuple[tuple[int, int, Tensor], ...]  # (width, first row, variables) of the leaves
    groups: tuple[Group, ...]
    rows: Mapping[int, int]  # width -> rows of that width
    shape: tuple[int, int, int]  # (d, max k, largest number of symbols)
    above: Circuit  # its inputs: `variables`, then the topmost nodes that have patterns
    variables: Tensor  # that have no symbols
    given: Mapping[Place, Look]  # of the circuit above, in the order of its inputs with patterns
    seen: Mapping[int, Tensor] | None  # width -> which rows say anything; None: all do

    def observed(self, start: int, stop: int) -> list[Tensor]:
        """Where anything is observed below what is given at each place, (N, B) each."""
        assert self.seen is not None
        return [
            self.seen[look.width][look.rows(slice(None), start, stop)]
            for look in self.given.values()
        ]

    @property
    def symbols(self) -> int:
        """The rows of a leaf: the largest number of symbols."""
        return self.shape[2]

    @property
    def columns(self) -> int:
        """How many columns are evaluated in all, padding included."""
        return sum(group.size for group in self.groups)


def looked_up(symbols: int, rows: int) -> bool:
    """Whether it pays to compute leaves for all symbols, and to look them up row by row."""
    return ROWS_PER_SYMBOL * symbols <= rows


def restricted(plan: Plan, index: Tensor) -> Plan | None:
    """The plan of some of the rows: of each node the patterns that occur in them; None if there are
    not enough of them to look leaves up.
    """
    given = {place: look.restricted(index) for place, look in plan.given.items()}
    if not plan.groups:
        return replace(plan, given=given) if looked_up(plan.symbols, len(index)) else None
    present = {
        w: torch.zeros(n, dtype=torch.bool, device=index.device) for w, n in plan.rows.items()
    }
    held = {place: look.rows(slice(None), 0, len(index)) for place, look in given.items()}
    for place, rows in held.items():
        present[given[place].width].index_fill_(0, rows.reshape(-1).long(), True)
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
    moved = {
        place: _look(look.width, number[look.width][held[place].long()])
        for place, look in given.items()
    }
    seen: dict[int, Tensor] = {}
    for w, flags in (plan.seen or {}).items():
        here = present[w].nonzero().flatten()
        seen[w] = flags.new_ones(used[w]).index_copy_(0, number[w][here], flags[here])
    return replace(plan, groups=tuple(groups), rows=used, given=moved, seen=seen or None)


def _look(width: int, rows: Tensor) -> Look:
    """Rows (N, n) as codes above the least row of each node."""
    rows = rows.to(torch.int32)
    first = rows.amin(1, keepdim=True)
    return Look(width, rows - first, first)


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
