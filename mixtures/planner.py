"""Working out which nodes of a tree have few patterns over the rows of a data set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, Builder, Circuit, Integers, Layer
from mixtures.patterns import Group, Place, Plan, Symbols, restricted

DENSE = 32  # so many patterns are numbered without looking whether each occurs
SAMPLE = 2048  # rows looked at before all are
PART = 2**15  # rows with a plan of their own: memory does not grow with the number of rows

Stretch = tuple[int, int, "Plan | None"]


def plans(
    circuit: Circuit, symbols: Symbols | None, evidence: Mapping[Hashable, Any] | None, rows: int
) -> list[Stretch]:
    """(start, stop, plan) of the stretches that the rows are cut into; None: nothing to gain."""
    if symbols is None or not circuit.has_patterns:
        return [(0, rows, None)]
    known = symbols.plans.setdefault(circuit, {})
    key = frozenset(evidence or ())
    if key not in known and symbols.part_of is not None:
        whole, index = symbols.part_of
        ((_, _, plan),) = plans(circuit, whole, evidence, whole.codes.shape[1])
        known[key] = [(0, rows, None if plan is None else restricted(plan, index))]
    elif key not in known:
        fixed = {_node(circuit, circuit.latents[name]) for name in key}
        known[key] = [
            (start, stop, _Planner(circuit, symbols, start, stop, fixed).plan())
            for start in range(0, rows, PART)
            for stop in [min(rows, start + PART)]
        ]
    found: list[Stretch] = known[key]
    return found


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
        self.size: dict[int, int] = {}  # node -> number of patterns; not there: it has none
        self.first: dict[int, int] = {}  # node -> its first row
        self.rows: dict[int, int] = {}  # width -> rows so far
        self.codes = torch.zeros(
            (len(circuit.row_of), self.count), dtype=torch.int32, device=self.device
        )
        self.any = _Flags(symbols.observed, self.rows, self.device)
        self.groups: list[Group] = []
        self.inputs = self._leaves(symbols, start, stop)

    def plan(self) -> Plan | None:
        for layer in self.circuit.layers:
            for step in range(layer.steps):
                self._fold(layer, step)
        if not self.groups:
            return None
        return _Above(self).plan()

    def _leaves(
        self, symbols: Symbols, start: int, stop: int
    ) -> tuple[tuple[int, int, Tensor], ...]:
        sizes, d = symbols.sizes, self.circuit.variables
        self.symbols = max(sizes)
        self.codes[CONSTANTS : CONSTANTS + d] = symbols.codes[:, start:stop]
        found = []
        for width in sorted(set(self.circuit.inputs)):
            own = [j for j in range(d) if sizes[j] and self.circuit.inputs[j] == width]
            if not own:
                continue
            row = self.rows.setdefault(width, 0)
            for place, j in enumerate(own):
                self.size[CONSTANTS + j] = sizes[j]
                self.first[CONSTANTS + j] = row + place * self.symbols
            index = torch.tensor(own, device=self.device)
            self.any.leaves(width, index)
            self.rows[width] = row + len(own) * self.symbols
            found.append((width, row, index))
        return tuple(found)

    def _fold(self, layer: Layer, step: int) -> None:
        """Give patterns to the nodes of one step, where there are few."""
        owners = layer.owners[:, step]
        nodes = range(layer.nodes_of(step).start, layer.nodes_of(step).stop)
        places = [
            place
            for place, node in enumerate(nodes)
            if node not in self.fixed and all(int(c) in self.size for c in owners[:, place])
        ]
        patterns: dict[int, Tensor] = {}
        for place in places:
            found = self._patterns(owners[:, place].tolist(), nodes[place])
            if found is not None:
                patterns[place] = found
        for members in _by_size({place: found.shape[1] for place, found in patterns.items()}):
            self._group(layer, step, members, patterns)

    def _patterns(self, children: Sequence[int], node: int) -> Tensor | None:
        """The patterns (m, q) of a node as those of its children; None if there are too many."""
        sizes = [self.size[child] for child in children]
        key, count, whole = self.codes[children[0]], sizes[0], True
        for child, size in zip(children[1:], sizes[1:], strict=True):
            if count * size >= 2**31:
                compressed = _distinct(key, count, self.count)
                if compressed is None or compressed[1] * size >= 2**31:
                    return None
                key, count, whole = *compressed, False
            key, count = key * size + self.codes[child], count * size
        if whole and (count <= DENSE or len(children) == 1):
            if 2 * count > self.count:
                return None
            self.codes[node] = key
            return _digits(torch.arange(count, device=self.device), sizes)
        compressed = _distinct(key, count, self.count)
        if compressed is None:
            return None
        key, count = compressed
        self.codes[node] = key
        example = key.new_empty(count, dtype=torch.int64)
        example[key.long()] = torch.arange(self.count, device=self.device)
        return torch.stack([self.codes[child].index_select(0, example) for child in children])

    def _group(
        self, layer: Layer, step: int, members: Sequence[int], patterns: Mapping[int, Tensor]
    ) -> None:
        columns = max(patterns[place].shape[1] for place in members)
        nodes = [layer.nodes_of(step).start + place for place in members]
        row = self.rows.setdefault(layer.width, 0)
        self.rows[layer.width] = row + columns * len(members)
        padded = torch.stack(
            [
                torch.nn.functional.pad(patterns[p], (0, columns - patterns[p].shape[1]))
                for p in members
            ],
            1,
        )  # (m, N, B)
        owners = layer.owners[:, step, list(members)]
        first = torch.tensor([[self.first[int(c)] for c in line] for line in owners])
        index = (padded + first.to(self.device)[:, :, None]).flatten(1)
        children = tuple(
            (width, index[first:last]) for width, first, last in _stretches_of(layer.widths)
        )
        for place, node in enumerate(nodes):
            self.size[node] = patterns[members[place]].shape[1]
            self.first[node] = row + place * columns
        observed = self.any.group(layer.width, children)
        seen = None if observed is None else observed.view(len(members), columns)
        made = _part(layer, step, list(members))
        slots = None if made.slots is None else torch.as_tensor(made.slots[0], device=self.device)
        size = (len(members), columns, layer.width)
        self.groups.append(Group(made, *size, slots, children, row, seen))


class _Flags:
    """Of every row of every width, whether it says anything; None throughout if all do."""

    def __init__(
        self, observed: Tensor | None, rows: Mapping[int, int], device: torch.device
    ) -> None:
        self.observed, self.rows = observed, rows
        self.flags: dict[int, Tensor] = {}
        self.empty = torch.empty(0, dtype=torch.bool, device=device)

    def leaves(self, width: int, variables: Tensor) -> None:
        if self.observed is not None:
            self._append(width, self.observed[variables].reshape(-1))

    def group(self, width: int, children: Sequence[tuple[int, Tensor]]) -> Tensor | None:
        if self.observed is None:
            return None
        found = torch.stack([self.flags[w][index].any(0) for w, index in children]).any(0)
        self._append(width, found)
        return None if bool(found.all()) else found

    def _append(self, width: int, flags: Tensor) -> None:
        self.flags[width] = torch.cat([self.flags.get(width, self.empty), flags])


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
        self.variables = [j for j in range(d) if CONSTANTS + j not in size]
        self.topmost: list[int] = []
        for place, step, part in self.parts:
            owners = self.circuit.layers[place].owners[:, step, part]
            self.topmost += [int(c) for line in owners for c in line if int(c) in size]
        if self.circuit.root in size:
            self.topmost.append(self.circuit.root)

    def _split(self, layer: Layer, step: int) -> list[list[int]]:
        """The nodes without patterns, by which of their children have some."""
        first, size = layer.nodes_of(step).start, self.planner.size
        parts: dict[tuple[bool, ...], list[int]] = {}
        for place in range(layer.nodes):
            if first + place not in size:
                kind = tuple(int(c) in size for c in layer.owners[:, step, place])
                parts.setdefault(kind, []).append(place)
        return list(parts.values())

    def plan(self) -> Plan:
        planner, circuit = self.planner, self.circuit
        widths = [circuit.inputs[j] for j in self.variables]
        builder = Builder(widths + [int(circuit.width_of[node]) for node in self.topmost])
        inputs = [CONSTANTS + j for j in self.variables] + self.topmost
        made = {node: builder.input(number) for number, node in enumerate(inputs)}
        names = {where: name for name, where in circuit.latents.items()}
        given: dict[Place, tuple[int, Tensor]] = {}
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
                if int(line[0]) in planner.size:
                    given[number, child] = (layer.widths[child], self._gathered(line))
        if circuit.root in planner.size:
            given[len(self.parts), 0] = (1, self._gathered(numpy.array([circuit.root])))
        return Plan(
            planner.inputs, tuple(planner.groups), dict(planner.rows),
            (circuit.variables, max(circuit.inputs), planner.symbols),
            builder.build(made[circuit.root]), torch.tensor(self.variables, dtype=torch.int64),
            given, self._seen(),
        )  # fmt: skip

    def _gathered(self, nodes: Integers) -> Tensor:
        """The rows (N, n) where the values of nodes are found, for every row of data."""
        first = torch.tensor([self.planner.first[int(node)] for node in nodes], dtype=torch.int32)
        index = torch.as_tensor(nodes, device=self.planner.device)
        return self.planner.codes.index_select(0, index) + first.to(index.device)[:, None]

    def _seen(self) -> tuple[Tensor, ...] | None:
        flags = self.planner.any.flags
        if self.planner.any.observed is None:
            return None
        return tuple(
            flags[int(self.circuit.width_of[node])].index_select(
                0, self._gathered(numpy.array([node]))[0]
            )
            for node in self.topmost
        )


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


def _digits(number: Tensor, sizes: Sequence[int]) -> Tensor:
    """The digits (m, q) of numbers (q,) in a system of mixed sizes, the last one fastest."""
    digits = []
    for size in reversed(sizes):
        digits.append(number % size)
        number = number.div(size, rounding_mode="floor")
    return torch.stack(digits[::-1])


def _distinct(key: Tensor, most: int, rows: int) -> tuple[Tensor, int] | None:
    """Keys (n,) below `most`, renumbered without gaps, and how many; None if half differ."""
    if rows > 2 * SAMPLE:
        sample = key[:: rows // SAMPLE]
        if len(sample.unique()) > len(sample) * (1 - len(sample) / rows):
            return None
    if most <= 8 * rows:
        taken = torch.zeros(most, dtype=torch.int32, device=key.device)
        taken[key.long()] = 1
        number = taken.cumsum(0, dtype=torch.int32)
        count = int(number[-1])
        return (number.index_select(0, key) - 1, count) if 2 * count <= rows else None
    found, inverse = key.unique(return_inverse=True)
    return (inverse.to(torch.int32), len(found)) if 2 * len(found) <= rows else None
