"""Plans of scalar circuits: levels of sums over dense blocks and of products as sparse matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy
import torch

from mixtures.circuit import CONSTANTS, ONE, ZERO, Circuit, Integers, Layer
from mixtures.sparse import Pattern


@dataclass(frozen=True, eq=False)
class Sums:
    """N groups of P sums over the same C rows; the sums are the N P rows from `first` on."""

    first: int
    children: Integers  # (N, C) rows
    places: Integers  # (N, P, C) in the flat list of weights


def pieces(sums: Sums, children: int) -> list[Sums]:
    """The same sums, some groups at a time, of at most about so many children."""
    nodes, parents, terms = sums.places.shape
    step = max(1, children // terms)
    return [
        Sums(
            sums.first + start * parents,
            sums.children[start : start + step],
            sums.places[start : start + step],
        )
        for start in range(0, nodes, step)
    ]


@dataclass(frozen=True, eq=False)
class Products:
    """Products of rows, one per row of a pattern; `add`: on top of what their leaf factors gave."""

    rows: Integers
    factors: Pattern
    add: bool
    below: Integers  # the rows that are factors
    above: Pattern  # of each of those, which of these products it is in


@dataclass(frozen=True, eq=False)
class Leaves:
    """Products ("carriers", rows CONSTANTS on) of leaf factors: sums over components of one
    variable.

    A component that a factor leaves out has the place of the constant zero in the list of weights.
    """

    carriers: int
    carrier: Integers  # (F,) of each factor, in order
    variable: Integers  # (F,)
    places: Integers  # (F, max k)
    columns: Integers  # (F, max k) rows of components; -1 beyond k_j


@dataclass(frozen=True, eq=False)
class Plan:
    """How to evaluate a circuit of scalars: rows ONE and ZERO, then carriers or inputs, then
    steps.
    """

    rows: int
    root: int
    leaves: Leaves | None  # None: rows from CONSTANTS on are the components themselves
    steps: tuple[Sums | Products, ...]
    unique: bool  # no row is used twice
    starts: Integers  # of each table in the flat list of weights, then of its constants 0 and 1


_PLANS: WeakKeyDictionary[Circuit, dict[bool, Plan | None]] = WeakKeyDictionary()


def plan_of(circuit: Circuit, sizes: Sequence[int], *, leaves: bool) -> Plan | None:
    """The plan of a circuit, made once; None unless all its nodes are scalars.

    sizes: numbers of entries of the tables. leaves: products of leaf factors are one sparse
    product.
    """
    known = _PLANS.setdefault(circuit, {})
    if leaves not in known:
        known[leaves] = _Planner(circuit, sizes, leaves).result() if _serves(circuit) else None
    return known[leaves]


def _serves(circuit: Circuit) -> bool:
    """Whether all layers are sums with tables or products, of scalars."""
    return bool(circuit.layers) and all(
        layer.width == 1
        and all(width == 1 for width in layer.widths)
        and layer.carry is None
        and (layer.combine, layer.table is None) in (("concatenate", False), ("product", True))
        for layer in circuit.layers
    )


class _Edges(NamedTuple):
    """Nodes of one layer: rows (n,), children (n, m) with pads, places of weights (n, m)."""

    rows: Integers
    children: Integers
    places: Integers
    exists: numpy.ndarray

    def part(self, chosen: numpy.ndarray) -> _Edges:
        return _Edges(*(array[chosen] for array in self))


class _Planner:
    """Works on the rows of the circuit, and on wrappers: products of one leaf factor each."""

    def __init__(self, circuit: Circuit, sizes: Sequence[int], leaves: bool) -> None:
        self.circuit = circuit
        self.starts = numpy.cumsum([0, *sizes, 1])
        self.zero, self.one = int(self.starts[-2]), int(self.starts[-1])
        self.first = CONSTANTS + circuit.input_rows
        self.variable = numpy.repeat(numpy.arange(circuit.variables), circuit.inputs)
        self.leaf = numpy.zeros(circuit.rows, dtype=bool)
        self.leaves = leaves
        self.sums: list[_Edges] = []
        self.products: list[_Edges] = []
        self.leaf_sums: list[_Edges] = []

    def result(self) -> Plan | None:
        for layer in self.circuit.layers:
            self._read(layer)
        if self.leaves and not self._leaf_table():
            return None
        self._wrap()
        self._levels()
        return self._assemble()

    def _read(self, layer: Layer) -> None:
        edges = _flat(layer, self.starts, self.zero)
        if layer.combine == "product":
            self.products.append(edges)
            return
        inputs = (edges.children >= CONSTANTS) & (edges.children < self.first)
        leafy = (inputs | ~edges.exists).all(1) & self.leaves
        self.leaf[edges.rows[leafy]] = True
        if leafy.any():
            self.leaf_sums.append(edges.part(leafy))
        if not leafy.all():
            self.sums.append(edges.part(~leafy))

    def _leaf_table(self) -> bool:
        """Places of the weights of every leaf factor by component; False if one has two."""
        circuit, most = self.circuit, max(self.circuit.inputs)
        self.leaf[CONSTANTS : self.first] = True
        self.places = numpy.full((circuit.rows, most), self.zero)
        self.about = numpy.zeros(circuit.rows, dtype=numpy.int64)
        starts = CONSTANTS + numpy.cumsum([0, *circuit.inputs[:-1]])
        inputs = numpy.arange(CONSTANTS, self.first)
        self.about[inputs] = self.variable
        self.places[inputs, inputs - starts[self.variable]] = self.one
        for edges in self.leaf_sums:
            at, edge = edges.exists.nonzero()
            rows, child = edges.rows[at], edges.children[at, edge]
            self.about[rows] = self.about[child]
            places = (rows, child - starts[self.about[child]])
            if len(numpy.unique(rows * most + places[1])) < len(rows):
                return False
            self.places[places] = edges.places[at, edge]
        return True

    def _wrap(self) -> None:
        """Leaf factors that are terms of a sum, or the root, become products of one factor."""
        used = [edges.children[edges.exists] for edges in self.sums]
        used.append(numpy.array([self.circuit.row_of[self.circuit.root]]))
        all_used = numpy.unique(numpy.concatenate(used))
        wrapped = all_used[self.leaf[all_used]]
        self.total = self.circuit.rows + len(wrapped)
        wrapper = numpy.arange(self.total)
        wrapper[wrapped] = numpy.arange(self.circuit.rows, self.total)
        self.sums = [edges._replace(children=wrapper[edges.children]) for edges in self.sums]
        self.root = int(wrapper[self.circuit.row_of[self.circuit.root]])
        parents, children = [wrapper[wrapped]], [wrapped]
        for edges in self.products:
            at, edge = edges.exists.nonzero()
            parents.append(edges.rows[at])
            children.append(edges.children[at, edge])
        self.parent, self.child = numpy.concatenate(parents), numpy.concatenate(children)
        self.leaf = numpy.concatenate([self.leaf, numpy.zeros(len(wrapped), dtype=bool)])

    def _levels(self) -> None:
        """-1: given; otherwise one more than the highest child."""
        self.level = numpy.full(self.total, -1, dtype=numpy.int64)
        self.level[self.circuit.rows :] = 0
        for edges in sorted(self.sums + self.products, key=lambda edges: int(edges.rows[0])):
            self.level[edges.rows] = 1 + self.level[edges.children].max(1)

    def _assemble(self) -> Plan:
        groups = self._groups()
        order = [children.reshape(-1) for _, children, _, _ in groups]
        rank = _first_places(numpy.concatenate([*order, [self.root]]), self.total)
        carries = numpy.zeros(self.total, dtype=bool)
        carries[self.parent[self.leaf[self.child]]] = True
        is_product = numpy.zeros(self.total, dtype=bool)
        for edges in self.products:
            is_product[edges.rows] = True
        is_product[self.circuit.rows :] = True
        self.new = numpy.full(self.total, -1)
        self.new[:CONSTANTS] = ONE, ZERO
        self.rows = CONSTANTS
        if self.leaves:
            self._place(_sorted(carries.nonzero()[0], rank))
        else:
            self._place(numpy.arange(CONSTANTS, self.first))
        plain = (is_product & ~carries).nonzero()[0]
        steps: list[Sums | Products] = []
        inner = ~self.leaf[self.child]
        parent, child = self.parent[inner], self.child[inner]
        for level in range(int(self.level.max()) + 1):
            here = self.level[parent] == level
            alone = _sorted(plain[self.level[plain] == level], rank)
            self._place(alone)
            steps += self._products(parent[here], child[here], carries)
            steps += [self._sums(group) for group in groups if group[0] == level]
        used = [step.children.reshape(-1) for step in steps if isinstance(step, Sums)]
        used.append(self.new[child])
        rows = numpy.concatenate(used)
        rows = rows[rows >= CONSTANTS]
        unique = len(numpy.unique(rows)) == len(rows)
        leaves = self._leaf_part(carries) if self.leaves else None
        root = int(self.new[self.root])
        return Plan(self.rows, root, leaves, tuple(steps), unique, self.starts)

    def _place(self, rows: Integers) -> None:
        self.new[rows] = self.rows + numpy.arange(len(rows))
        self.rows += len(rows)

    def _groups(self) -> list[tuple[int, Integers, Integers, Integers]]:
        """(level, children (N, C), sums (N, P), places (N, P, C)): equal children, equal sizes."""
        found = []
        by_size: dict[tuple[int, int], list[_Edges]] = {}
        for edges in self.sums:
            for level in numpy.unique(self.level[edges.rows]).tolist():
                part = edges.part(self.level[edges.rows] == level)
                by_size.setdefault((level, part.children.shape[1]), []).append(part)
        for (level, _), parts in sorted(by_size.items(), key=lambda item: item[0]):
            rows, children, places, _ = (
                numpy.concatenate(arrays) for arrays in zip(*parts, strict=True)
            )
            by_child = numpy.argsort(children, axis=1, kind="stable")
            children = numpy.take_along_axis(children, by_child, 1)
            places = numpy.take_along_axis(places, by_child, 1)
            distinct, group = numpy.unique(children, axis=0, return_inverse=True)
            group = group.reshape(-1)
            members = numpy.argsort(group, kind="stable")
            sizes = numpy.bincount(group)
            starts = numpy.cumsum(sizes) - sizes
            for size in numpy.unique(sizes).tolist():
                chosen = (sizes == size).nonzero()[0]
                who = members[starts[chosen][:, None] + numpy.arange(size)]
                found.append((level, distinct[chosen], rows[who], places[who]))
        return found

    def _sums(self, group: tuple[int, Integers, Integers, Integers]) -> Sums:
        _, children, rows, places = group
        first = self.rows
        self._place(rows.reshape(-1))
        return Sums(first, self.new[children], places)

    def _products(
        self, parent: Integers, child: Integers, carries: numpy.ndarray
    ) -> list[Products]:
        found = []
        for add in (True, False):
            chosen = carries[parent] == add
            if not chosen.any():
                continue
            above, below = self.new[parent[chosen]], self.new[child[chosen]]
            found.append(products_of(above, below, add, self.total + CONSTANTS))
        return found

    def _leaf_part(self, carries: numpy.ndarray) -> Leaves:
        leafy = self.leaf[self.child]
        carrier, leaf = self.new[self.parent[leafy]] - CONSTANTS, self.child[leafy]
        variable = self.about[leaf]
        order = numpy.lexsort((variable, carrier))
        carrier, leaf, variable = carrier[order], leaf[order], variable[order]
        sizes = numpy.array(self.circuit.inputs)
        starts = numpy.cumsum(sizes) - sizes
        number = numpy.arange(sizes.max())
        columns = numpy.where(number < sizes[variable, None], starts[variable, None] + number, -1)
        return Leaves(int(carries.sum()), carrier, variable, self.places[leaf], columns)


def products_of(above: Integers, below: Integers, add: bool, width: int) -> Products:
    """Products, given all pairs of a row above and a row below, of so many rows."""
    rows, at = numpy.unique(above, return_inverse=True)
    order = numpy.argsort(at, kind="stable")
    factors = Pattern.of(at[order], torch.from_numpy(below[order]), len(rows), width)
    under, place = numpy.unique(below, return_inverse=True)
    order = numpy.argsort(place, kind="stable")
    pattern = Pattern.of(place[order], torch.from_numpy(at[order]), len(under), len(rows))
    return Products(rows, factors, add, under, pattern)


def _flat(layer: Layer, starts: Integers, zero: int) -> _Edges:
    """The nodes of a layer with their children, and the places of the weights of sums."""
    m = len(layer.widths)
    rows = layer.row + numpy.arange(layer.steps * layer.nodes)
    children = layer.children.reshape(m, -1).T
    pad = ONE if layer.combine == "product" else ZERO
    exists = (layer.owners != pad).reshape(m, -1).T
    places = numpy.full(children.shape, zero)
    if layer.table is not None and layer.slots is not None:
        each = starts[layer.table] + layer.slots.reshape(-1, 1) * m + numpy.arange(m)
        places = numpy.where(exists, each, zero)
    return _Edges(rows, children, places, exists)


def _first_places(rows: Integers, total: int) -> Integers:
    """Where each row occurs first in a list; rows that do not occur come last."""
    found, first = numpy.unique(rows, return_index=True)
    rank = numpy.full(total, len(rows), dtype=numpy.int64)
    rank[found] = first
    return rank


def _sorted(rows: Integers, rank: Integers) -> Integers:
    return rows[numpy.argsort(rank[rows], kind="stable")]
