"""Working out which nodes of a tree have few patterns over the rows of a data set."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.circuit import CONSTANTS, Builder, Circuit, Integers, Layer
from mixtures.halves import worthwhile
from mixtures.patterncodes import PatternCodes, PatternFlags
from mixtures.patterns import Group, Look, Place, Plan, Symbols, halves_of, restricted

DENSE = 32  # so many patterns are numbered without looking whether each occurs,
SPARSE = 32  # or one for so many rows
SAMPLE = 2048  # rows looked at before all are
TOGETHER = 2**23  # combinations of children's patterns that are looked for at once
KEPT_PLANS = 8  # of one data set, for as many structures
LEAVES = sys.maxsize  # nodes above more leaves are evaluated row by row
LOOKED_UP = 2**23  # numbers that leaves which are looked up may be
FEWEST = 8  # symbols that are looked up in any case
PART = 2**15  # rows with a plan of their own: memory does not grow with the number of rows
OUTER = 2**25  # numbers of all nodes over such rows, where nodes may be folded row by row

Stretch = tuple[int, int, "Plan | None"]


def plans(
    circuit: Circuit, symbols: Symbols | None, evidence: Mapping[Hashable, Any] | None, rows: int
) -> list[Stretch]:
    """(start, stop, plan) of the stretches that the rows are cut into; None: nothing to gain."""
    if symbols is None or not circuit.has_patterns:
        return [(0, rows, None)]
    known = symbols.plans
    key = (circuit.key, frozenset(evidence or ()))
    if key not in known and symbols.part_of is not None:
        whole, index = symbols.part_of
        ((_, _, plan),) = plans(circuit, whole, evidence, whole.codes.shape[1])
        known[key] = [(0, rows, plan and restricted(plan, index))]
    elif key not in known:
        fixed = {_node(circuit, circuit.latents[name]) for name in key[1]}
        known[key] = [
            (start, stop, _Planner(circuit, symbols, start, stop, fixed).plan())
            for start, stop in _parts(circuit, rows)
        ]
    while len(known) > KEPT_PLANS:
        known.pop(next(iter(known)))
    found: list[Stretch] = known[key]
    return found


def _parts(circuit: Circuit, rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of rows with a plan of their own."""
    size = PART
    if any(layer.combine == "outer" for layer in circuit.layers):
        size = min(PART, max(2 * SAMPLE, OUTER // circuit.rows))
    size = -(-rows // max(1, -(-rows // size)))  # of about the same size
    for start in range(0, rows, max(1, size)):
        yield start, min(rows, start + size)


def _node(circuit: Circuit, place: tuple[int, int, int]) -> int:
    layer, step, position = place
    return circuit.layers[layer].node + step * circuit.layers[layer].nodes + position


class _Planner:
    """Works out the plan of the rows start..stop-1, layer by layer from the leaves up."""

    def __init__(
        self, circuit: Circuit, symbols: Symbols, start: int, stop: int, fixed: set[int]
    ) -> None:
        self.circuit, self.fixed = circuit, fixed
        self.count = stop - start
        self.device = symbols.codes.device
        self.size = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)  # patterns; 0: has none
        self.first = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)  # the first row of a node
        self.by_row = numpy.zeros(len(circuit.row_of), dtype=bool)  # every row is a pattern
        self.leaves = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)  # below a node
        self.rows: dict[int, int] = {}  # width -> rows so far
        self.codes = PatternCodes(len(circuit.row_of), symbols.codes[:, start:stop])
        self.any = PatternFlags(symbols.observed, self.rows, self.device)
        self.groups: list[Group] = []
        self.inputs = self._leaves(symbols)

    def plan(self) -> Plan | None:
        for layer in self.circuit.layers:
            for step in range(layer.steps):
                self._fold(layer, step)
        looked_up = numpy.count_nonzero(self.size[CONSTANTS : CONSTANTS + self.circuit.variables])
        if not self.groups and 4 * looked_up < self.circuit.variables:
            return None  # layers cut in two cost more than it saves
        return _Above(self).plan()

    def _leaves(self, symbols: Symbols) -> tuple[tuple[int, int, Tensor], ...]:
        d, widest = self.circuit.variables, max(self.circuit.inputs)
        most = min(self.count // 2, max(FEWEST, LOOKED_UP // (d * widest)))
        sizes = [size if size <= most else 0 for size in symbols.sizes]
        self.symbols = max(sizes)
        found = []
        for width in sorted(set(self.circuit.inputs)):
            own = [j for j in range(d) if sizes[j] and self.circuit.inputs[j] == width]
            if not own:
                continue
            row = self.rows.setdefault(width, 0)
            nodes = CONSTANTS + numpy.array(own)
            self.size[nodes], self.leaves[nodes] = numpy.array(sizes)[own], 1
            self.first[nodes] = row + self.symbols * numpy.arange(len(own))
            index = torch.tensor(own, device=self.device)
            self.any.leaves(width, index)
            self.rows[width] = row + len(own) * self.symbols
            found.append((width, row, index))
        return tuple(found)

    def _fold(self, layer: Layer, step: int) -> None:
        """Give patterns to the nodes of one step, where there are few."""
        owners, first = layer.owners[:, step], layer.nodes_of(step).start
        free = numpy.array([first + place not in self.fixed for place in range(layer.nodes)])
        self.leaves[layer.nodes_of(step)] = self.leaves[owners].sum(0)
        small = self.leaves[layer.nodes_of(step)] <= LEAVES
        served = (self.size[owners] > 0).all(0) & free
        places = (served & small & ~self.by_row[owners].any(0)).nonzero()[0]
        with numpy.errstate(over="ignore"):  # of very many children: infinitely many
            product = self.size[owners[:, places]].astype(float).prod(0)
        found: list[tuple[int, Tensor]] = []
        few = product <= 8 * self.count
        for part in _blocks(places[few], product[few]):
            found += self._together(owners[:, part], first + part, part)
        for place in places[~few].tolist():
            patterns = self._alone(owners[:, place].tolist(), first + place)
            if patterns is not None:
                found.append((place, patterns))
        for members in _by_size({place: part.shape[1] for place, part in found}):
            self._group(layer, step, [(place, part) for place, part in found if place in members])
        served[[place for place, _ in found]] = False
        self._by_row(layer, step, served.nonzero()[0].tolist())

    def _by_row(self, layer: Layer, step: int, places: Sequence[int]) -> None:
        """Fold nodes without patterns all the same, row by row, where halves pay."""
        owners, first = layer.owners[:, step], layer.nodes_of(step).start
        every = torch.arange(self.count, dtype=torch.int32, device=self.device)
        found = []
        for place in places if layer.combine == "outer" else ():
            sizes = self.size[owners[:, place]].tolist()
            if worthwhile(sizes, self.count, layer.inside):
                self.codes.put(numpy.array([first + place]), every[None])
                self.by_row[first + place] = True
                digits = [self.codes.one(child) for child in owners[:, place].tolist()]
                found.append((place, torch.stack(digits)))
        if found:
            self._group(layer, step, found)

    def _together(
        self, owners: Integers, nodes: Integers, places: Integers
    ) -> list[tuple[int, Tensor]]:
        """The patterns (m, q) of nodes with few combinations of patterns of their children."""
        sizes = self.size[owners]
        strides = numpy.ones_like(sizes)
        strides[:-1] = sizes[:0:-1].cumprod(0)[::-1]
        most = sizes.prod(0)
        key = self.codes.joint(owners, strides, int(most.max()))
        kept = self._promising(key, most)
        if not kept.all():
            owners, nodes, places, most = owners[:, kept], nodes[kept], places[kept], most[kept]
            sizes, strides = sizes[:, kept], strides[:, kept]
            key = key[torch.as_tensor(kept, device=self.device)]
        if not len(nodes):
            return []
        if int(most.max()) > max(DENSE, self.count // SPARSE) or (2 * most > self.count).any():
            key, keys, most = _present(key, int(most.max()))
        else:
            keys = torch.arange(int(most.max()), device=self.device).expand(len(key), -1)
        self.codes.put(nodes, key)
        steps, bases = self._on(strides)[:, :, None], self._on(sizes)[:, :, None]
        digits = keys.div(steps, rounding_mode="floor") % bases
        return [
            (int(place), digits[:, number, :size])
            for number, (place, size) in enumerate(zip(places, most.tolist(), strict=True))
            if 2 * size <= self.count
        ]

    def _promising(self, key: Tensor, most: Integers) -> NDArray[numpy.bool_]:
        """Which nodes have few patterns as far as some of the rows (N, n) show."""
        kept = 2 * most <= self.count
        if self.count <= 2 * SAMPLE or bool(kept.all()):
            return numpy.ones(len(key), dtype=bool)
        sample = key[:, :: self.count // SAMPLE].sort(1).values
        distinct = 1 + (sample[:, 1:] != sample[:, :-1]).sum(1)
        few = distinct <= sample.shape[1] * (1 - sample.shape[1] / self.count)
        return kept | few.numpy(force=True)

    def _alone(self, children: Sequence[int], node: int) -> Tensor | None:
        """The patterns (m, q) of a node as those of its children; None if there are too many."""
        sizes = self.size[children].tolist()
        key, count = self.codes.one(children[0]), sizes[0]
        for child, size in zip(children[1:], sizes[1:], strict=True):
            if count * size >= 2**31:
                compressed = _distinct(key, self.count)
                if compressed is None or compressed[1] * size >= 2**31:
                    return None
                key, count = compressed
            key, count = key * size + self.codes.one(child), count * size
        compressed = _distinct(key, self.count)
        if compressed is None:
            return None
        key, count = compressed
        self.codes.put(numpy.array([node]), key[None])
        example = key.new_empty(count, dtype=torch.int64)
        example[key.long()] = torch.arange(self.count, device=self.device)
        return torch.stack([self.codes.one(child).index_select(0, example) for child in children])

    def _group(self, layer: Layer, step: int, members: Sequence[tuple[int, Tensor]]) -> None:
        places = [place for place, _ in members]
        columns = max(part.shape[1] for _, part in members)
        nodes = layer.nodes_of(step).start + numpy.array(places)
        row = self.rows.setdefault(layer.width, 0)
        self.rows[layer.width] = row + columns * len(members)
        padded = torch.zeros(
            (len(layer.widths), len(members), columns), dtype=torch.int64, device=self.device
        )
        for number, (_, part) in enumerate(members):
            padded[:, number, : part.shape[1]] = part
        index = (padded + self._on(self.first[layer.owners[:, step, places]])[:, :, None]).flatten(
            1
        )
        children = tuple(
            (width, index[first:last]) for width, first, last in _stretches_of(layer.widths)
        )
        self.size[nodes] = [part.shape[1] for _, part in members]
        self.first[nodes] = row + columns * numpy.arange(len(members))
        observed = self.any.group(layer.width, children)
        seen = None if observed is None else observed.view(len(members), columns)
        made = _part(layer, step, places)
        slots = None if made.slots is None else self._on(made.slots[0])
        size, halves = (len(members), columns, layer.width), None
        sizes = self.size[layer.owners[:, step, places]]
        if layer.combine == "outer" and all(
            worthwhile(pair, columns, layer.inside) for pair in sizes.T.tolist()
        ):
            halves = halves_of(made, children, sizes.argmin(0).tolist())
        self.groups.append(Group(made, *size, slots, children, row, seen, halves))

    def _on(self, index: Integers) -> Tensor:
        return torch.as_tensor(numpy.ascontiguousarray(index), device=self.device)


class _Above:
    """The circuit of the nodes without patterns, unrolled; its inputs are what it reads below."""

    def __init__(self, planner: _Planner) -> None:
        self.planner, self.circuit = planner, planner.circuit
        self.parts = [
            (place, step, part)
            for place, layer in enumerate(self.circuit.layers)
            for step in range(layer.steps)
            for part in self._split(layer, step)
        ]
        size, d = planner.size, self.circuit.variables
        self.variables = [j for j in range(d) if not size[CONSTANTS + j]]
        self.topmost: list[int] = []
        for place, step, part in self.parts:
            owners = self.circuit.layers[place].owners[:, step, part]
            self.topmost += owners[size[owners] > 0].tolist()
        if size[self.circuit.root]:
            self.topmost.append(self.circuit.root)

    def _split(self, layer: Layer, step: int) -> list[list[int]]:
        """The nodes without patterns, by which of their children have some."""
        first, size = layer.nodes_of(step).start, self.planner.size
        parts: dict[tuple[bool, ...], list[int]] = {}
        for place in range(layer.nodes):
            if not size[first + place]:
                kind = tuple((size[layer.owners[:, step, place]] > 0).tolist())
                parts.setdefault(kind, []).append(place)
        return list(parts.values())

    def plan(self) -> Plan:
        planner, circuit = self.planner, self.circuit
        widths = [circuit.inputs[j] for j in self.variables]
        looked_up = circuit.width_of[self.topmost].tolist()
        builder, absent = Builder(widths + looked_up), sum(looked_up)
        inputs = [CONSTANTS + j for j in self.variables] + self.topmost
        made = {node: builder.input(number) for number, node in enumerate(inputs)}
        names = {where: name for name, where in circuit.latents.items()}
        given: dict[Place, Look] = {}
        for number, (place, step, part) in enumerate(self.parts):
            layer = circuit.layers[place]
            owners = layer.owners[:, step, part]
            children = numpy.array([[[made[int(c)] for c in line]] for line in owners])
            slots = None if layer.slots is None else layer.slots[step : step + 1, part]
            nodes = builder.layer(
                layer.combine, children, layer.widths, layer.width, layer.table, slots,
                identity=layer.identity,
            )  # fmt: skip
            for position, (own, new) in enumerate(zip(part, nodes[0].tolist(), strict=True)):
                made[layer.nodes_of(step).start + own] = new
                name = names.get((place, step, own))
                if name is not None:
                    builder.name(name, 0, position)
            for child, line in enumerate(owners):
                if planner.size[line[0]]:
                    given[number, child] = self._look(layer.widths[child], line)
        if planner.size[circuit.root]:
            given[len(self.parts), 0] = self._look(1, numpy.array([circuit.root]))
        return Plan(
            planner.inputs, tuple(planner.groups), dict(planner.rows),
            (circuit.variables, max(circuit.inputs), planner.symbols),
            builder.build(made[circuit.root], absent),
            torch.tensor(self.variables, dtype=torch.int64),
            given, None if planner.any.observed is None else planner.any.flags,
        )  # fmt: skip

    def _look(self, width: int, nodes: Integers) -> Look:
        """Where the values of nodes are found, for every row of data."""
        first = self.planner._on(self.planner.first[nodes].astype(numpy.int32))
        return Look(width, self.planner.codes.get(nodes), first[:, None])


def _part(layer: Layer, step: int, members: list[int]) -> Layer:
    """Some nodes of one step as a layer of their own; where it reads and writes is not said."""
    children = layer.children[:, step : step + 1, members]
    owners = layer.owners[:, step : step + 1, members]
    slots = None if layer.slots is None else layer.slots[step : step + 1, members]
    return Layer(
        layer.combine, children, owners, layer.widths, 0, 0, layer.width, layer.table, slots,
        identity=layer.identity,
    )  # fmt: skip


def _by_size(sizes: Mapping[int, int]) -> list[list[int]]:
    """Members of about equal size: small ones together, others with less than four times more."""
    found: dict[int, list[int]] = {}
    for member, size in sizes.items():
        found.setdefault(max(0, (size - 1).bit_length() - 6 + 1) // 2, []).append(member)
    return list(found.values())


def _stretches_of(widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """(width, first, last + 1) of children of equal width in a row."""
    edges = [i for i in range(len(widths)) if i == 0 or widths[i] != widths[i - 1]]
    pairs = zip(edges, [*edges[1:], len(widths)], strict=True)
    return [(widths[first], first, last) for first, last in pairs]


def _blocks(places: Integers, product: NDArray[Any]) -> list[Integers]:
    """Places in blocks, the largest of which times their number stays in memory."""
    found: list[list[int]] = []
    for place in product.argsort(kind="stable"):
        if not found or (len(found[-1]) + 1) * product[place] > TOGETHER:
            found.append([])
        found[-1].append(place)
    return [places[numpy.sort(block)] for block in found]


def _present(key: Tensor, most: int) -> tuple[Tensor, Tensor, Integers]:
    """Keys (N, n) below `most` renumbered without gaps; which ones there are (N, largest number of
    them), and how many.
    """
    first = most * torch.arange(len(key), device=key.device)[:, None]
    flat = (key.long() + first).view(-1)
    taken = flat.bincount(minlength=len(key) * most).view(-1, most) > 0
    number = taken.cumsum(1, dtype=torch.int32)
    count = number[:, -1]
    keys = torch.zeros((len(key), int(count.max())), dtype=torch.int64, device=key.device)
    node, held = taken.nonzero().unbind(1)
    keys[node, number[taken].long() - 1] = held
    renumbered = number.view(-1).index_select(0, flat).view(key.shape) - 1
    return renumbered, keys, count.numpy(force=True)


def _distinct(key: Tensor, rows: int) -> tuple[Tensor, int] | None:
    """Keys (n,) renumbered without gaps, and how many there are; None if half of them differ."""
    if rows > 2 * SAMPLE:
        sample = key[:: rows // SAMPLE]
        if len(sample.unique()) > len(sample) * (1 - len(sample) / rows):
            return None
    found, inverse = key.unique(return_inverse=True)
    return (inverse.to(torch.int32), len(found)) if 2 * len(found) <= rows else None
