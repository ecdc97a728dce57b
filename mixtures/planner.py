"""Working out which nodes of a tree have few patterns over the rows of a data set."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.circuit import CONSTANTS, Circuit, Integers, Layer
from mixtures.halves import worthwhile
from mixtures.patterncodes import PatternCodes, PatternFlags
from mixtures.patternkeys import SAMPLE, by_size, distinct, in_blocks, present, promising
from mixtures.patterns import Group, Look, Plan, Symbols, halves_of, looked_up, restricted
from mixtures.unfolded import unfolded

DENSE = 32  # so many patterns are numbered without looking whether each occurs,
SPARSE = 32  # or one for so many rows
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
        self.circuit = circuit
        self.fixed = numpy.zeros(len(circuit.row_of), dtype=bool)
        self.fixed[list(fixed)] = True
        self.count = stop - start
        self.whole = self.count == symbols.codes.shape[1]
        self.device = symbols.codes.device
        self.size = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)  # patterns; 0: has none
        self.first = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)  # the first row of a node
        self.by_row = numpy.zeros(len(circuit.row_of), dtype=bool)  # every row is a pattern
        self.leaves = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)  # below a node
        self.rows: dict[int, int] = {}  # width -> rows so far
        self.codes = PatternCodes(len(circuit.row_of), symbols.codes[:, start:stop])
        self.any = PatternFlags(symbols.observed)
        self.groups: list[Group] = []
        self.inputs = self._leaves(symbols)

    def plan(self) -> Plan | None:
        for layer in self.circuit.layers:
            for step in range(layer.steps):
                self._fold(layer, step)
        leaves = self.size[CONSTANTS : CONSTANTS + self.circuit.variables]
        if not self.groups and not (bool(leaves.all()) and looked_up(self.symbols, self.count)):
            return None  # beside densities that are computed, look-ups cost more than they save
        circuit, above = self.circuit, unfolded(self.circuit, self.size > 0)
        given = {
            place: Look(width, self.codes.get(nodes), self._on(self._first(nodes)), self.whole)
            for place, (width, nodes) in above.given.items()
        }
        return Plan(
            self.inputs, tuple(self.groups), dict(self.rows),
            (circuit.variables, max(circuit.inputs), self.symbols), above.circuit,
            torch.as_tensor(above.variables), given,
            self.any.all(self.device),
        )  # fmt: skip

    def _first(self, nodes: Integers) -> NDArray[numpy.int32]:
        return self.first[nodes].astype(numpy.int32)[:, None]

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
            self.any.leaves(width, nodes - CONSTANTS)
            self.rows[width] = row + len(own) * self.symbols
            found.append((width, row, index))
        return tuple(found)

    def _fold(self, layer: Layer, step: int) -> None:
        """Give patterns to the nodes of one step, where there are few."""
        owners, first = layer.owners[:, step], layer.nodes_of(step).start
        free = ~self.fixed[layer.nodes_of(step)]
        self.leaves[layer.nodes_of(step)] = self.leaves[owners].sum(0)
        small = self.leaves[layer.nodes_of(step)] <= LEAVES
        served = (self.size[owners] > 0).all(0) & free
        if not served.any():
            return
        places = (served & small & ~self.by_row[owners].any(0)).nonzero()[0]
        with numpy.errstate(over="ignore"):  # of very many children: infinitely many
            product = self.size[owners[:, places]].astype(float).prod(0)
        found: list[tuple[int, Integers]] = []
        few = product <= 8 * self.count
        for part in in_blocks(places[few], product[few]):
            found += self._together(owners[:, part], first + part, part)
        for place in places[~few].tolist():
            patterns = self._alone(owners[:, place].tolist(), first + place)
            if patterns is not None:
                found.append((place, patterns))
        held = dict(found)
        for members in by_size({place: part.shape[1] for place, part in found}):
            self._group(layer, step, [(place, held[place]) for place in members])
        served[[place for place, _ in found]] = False
        if layer.combine == "outer":
            self._by_row(layer, step, served.nonzero()[0].tolist())

    def _by_row(self, layer: Layer, step: int, places: Sequence[int]) -> None:
        """Fold nodes without patterns all the same, row by row, where halves pay."""
        owners, first = layer.owners[:, step], layer.nodes_of(step).start
        every = torch.arange(self.count, dtype=torch.int32, device=self.device)
        found = []
        for place in places:
            sizes = self.size[owners[:, place]].tolist()
            if worthwhile(sizes, self.count, layer.inside):
                self.codes.put(numpy.array([first + place]), every[None])
                self.by_row[first + place] = True
                digits = [self.codes.one(child) for child in owners[:, place].tolist()]
                found.append((place, torch.stack(digits).numpy(force=True)))
        if found:
            self._group(layer, step, found)

    def _together(
        self, owners: Integers, nodes: Integers, places: Integers
    ) -> list[tuple[int, Integers]]:
        """The patterns (m, q) of nodes with few combinations of patterns of their children."""
        sizes = self.size[owners]
        strides = numpy.ones_like(sizes)
        strides[:-1] = sizes[:0:-1].cumprod(0)[::-1]
        most = sizes.prod(0)
        kept = self._promising(owners, strides, most)
        if not kept.all():
            owners, nodes, places, most = owners[:, kept], nodes[kept], places[kept], most[kept]
            sizes, strides = sizes[:, kept], strides[:, kept]
        if not len(nodes):
            return []
        largest = int(most.max())
        key = self.codes.joint(owners, strides, largest)
        if largest > max(DENSE, self.count // SPARSE) or (2 * most > self.count).any():
            key, keys, most = present(key, largest)
        else:
            keys = numpy.arange(largest)[None]
        self.codes.put(nodes, key)
        digits = keys // strides[:, :, None] % sizes[:, :, None]
        return [
            (int(place), digits[:, number, :size])
            for number, (place, size) in enumerate(zip(places, most.tolist(), strict=True))
            if 2 * size <= self.count
        ]

    def _promising(
        self, owners: Integers, strides: Integers, most: Integers
    ) -> NDArray[numpy.bool_]:
        """Which nodes have few patterns as far as some of the rows show."""
        kept: NDArray[numpy.bool_] = 2 * most <= self.count
        if self.count <= 2 * SAMPLE or bool(kept.all()):
            return numpy.ones_like(kept)
        some, largest = slice(None, None, self.count // SAMPLE), int(most[~kept].max())
        sample = self.codes.joint(owners[:, ~kept], strides[:, ~kept], largest, some)
        kept[~kept] = promising(sample, self.count)
        return kept

    def _alone(self, children: Sequence[int], node: int) -> Integers | None:
        """The patterns (m, q) of a node as those of its children; None if there are too many."""
        sizes = self.size[children].tolist()
        key, count = self.codes.one(children[0]), sizes[0]
        for child, size in zip(children[1:], sizes[1:], strict=True):
            if count * size >= 2**31:
                compressed = distinct(key, self.count)
                if compressed is None or compressed[1] * size >= 2**31:
                    return None
                key, count = compressed
            key, count = key * size + self.codes.one(child), count * size
        compressed = distinct(key, self.count)
        if compressed is None:
            return None
        key, count = compressed
        self.codes.put(numpy.array([node]), key[None])
        example = key.new_empty(count, dtype=torch.int64)
        example[key.long()] = torch.arange(self.count, device=self.device)
        own = [self.codes.one(child).index_select(0, example) for child in children]
        return torch.stack(own).numpy(force=True)

    def _group(self, layer: Layer, step: int, members: Sequence[tuple[int, Integers]]) -> None:
        places = [place for place, _ in members]
        columns = max(part.shape[1] for _, part in members)
        nodes = layer.nodes_of(step).start + numpy.array(places)
        row = self.rows.setdefault(layer.width, 0)
        self.rows[layer.width] = row + columns * len(members)
        index = numpy.zeros((len(layer.widths), len(members), columns), dtype=numpy.int64)
        for number, (_, part) in enumerate(members):
            index[:, number, : part.shape[1]] = part
        index += self.first[layer.owners[:, step, places]][:, :, None]
        index = index.reshape(len(index), -1)
        parts = [(width, index[first:last]) for width, first, last in _stretches_of(layer.widths)]
        children = tuple((width, self._on(part)) for width, part in parts)
        self.size[nodes] = [part.shape[1] for _, part in members]
        self.first[nodes] = row + columns * numpy.arange(len(members))
        observed = self.any.group(layer.width, parts)
        seen = None if observed is None else self._on(observed.reshape(-1, columns))
        made = _part(layer, step, places)
        slots = None if made.slots is None else self._on(made.slots[0])
        size, halves = (len(members), columns, layer.width), None
        sizes = self.size[layer.owners[:, step, places]]
        if layer.combine == "outer" and all(
            worthwhile(pair, columns, layer.inside) for pair in sizes.T.tolist()
        ):
            halves = halves_of(made, children, sizes.argmin(0).tolist())
        self.groups.append(Group(made, *size, slots, children, row, seen, halves))

    def _on(self, index: NDArray[Any]) -> Tensor:
        return torch.as_tensor(numpy.ascontiguousarray(index), device=self.device)


def _part(layer: Layer, step: int, members: list[int]) -> Layer:
    """Some nodes of one step as a layer of their own; where it reads and writes is not said."""
    children = layer.children[:, step : step + 1, members]
    owners = layer.owners[:, step : step + 1, members]
    slots = None if layer.slots is None else layer.slots[step : step + 1, members]
    return Layer(
        layer.combine, children, owners, layer.widths, 0, 0, layer.width, layer.table, slots,
        identity=layer.identity,
    )  # fmt: skip


def _stretches_of(widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """(width, first, last + 1) of children of equal width in a row."""
    edges = [i for i in range(len(widths)) if i == 0 or widths[i] != widths[i - 1]]
    pairs = zip(edges, [*edges[1:], len(widths)], strict=True)
    return [(widths[first], first, last) for first, last in pairs]
