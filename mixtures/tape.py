"""Plans of scalar networks as tapes: one instruction after another, in an order in which few values
are held at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy

from mixtures.circuit import CONSTANTS, Integers
from mixtures.networkpatterns import Folded, Given
from mixtures.networkplan import Plan, Products, Sums

LOOKUP, PRODUCT, SUM = range(3)
NONE = -(2**40)  # the exponent of zero
BLOCK = 256  # rows that are evaluated together: some values of so many stay in the L1 cache
GROWTH = 64  # a product of so many mantissas, each below 2, is normalised


@dataclass(frozen=True, eq=False)
class Tape:
    """Instructions over slots; the first slots are those of the constants and of what is given."""

    code: Integers
    places: Integers  # of the weights of sums in the flat list, in the order they are read
    entries: Integers  # of the tables that are looked up in the flat list of patterns
    slots: int
    widest: int  # children of a sum
    root: int


@dataclass(frozen=True, eq=False)
class _Node:
    """What computes some rows from others."""

    kind: int
    outs: Sequence[int]
    children: Sequence[int]
    more: Sequence[int]  # the rest of a LOOKUP's instruction
    places: Integers | None = None  # (P, C)


_TAPES: WeakKeyDictionary[Plan, Tape] = WeakKeyDictionary()


def tape_of(plan: Plan, given: int, folded: Folded | None) -> Tape:
    """The tape of a plan, made once. given: rows after the constants that come from outside."""
    if plan not in _TAPES:
        _TAPES[plan] = _Writer(plan, given, folded).result()
    return _TAPES[plan]


class _Writer:
    """Finds out what computes each row, orders that from the leaves up, and gives it slots."""

    def __init__(self, plan: Plan, given: int, folded: Folded | None) -> None:
        self.plan, self.fixed = plan, CONSTANTS + given
        self.nodes: list[_Node] = []
        self.entries: list[Integers] = []
        self.begin = 0
        added = [step.rows for step in plan.steps if isinstance(step, Products) and step.add]
        self.mixed = set(numpy.concatenate(added).tolist()) if added else set()
        for part in () if folded is None else folded.given:
            self._look_up(part)
        for step in plan.steps:
            self.nodes += self._sums(step) if isinstance(step, Sums) else self._products(step)
        self.producer = {row: i for i, node in enumerate(self.nodes) for row in node.outs}

    def _look_up(self, part: Given) -> None:
        bounds, variables = part.digits.offsets.tolist(), part.digits.columns.tolist()
        strides = part.strides.int().tolist()
        rows = range(part.rows.start, part.rows.stop)
        for i, (row, first) in enumerate(zip(rows, part.first.flatten().tolist(), strict=True)):
            digits = range(bounds[i], bounds[i + 1])
            pairs = [number for f in digits for number in (variables[f], strides[f])]
            out = row + self.plan.rows * (row in self.mixed)
            self.nodes.append(_Node(LOOKUP, (out,), (), (self.begin, len(digits), *pairs)))
            self.entries.append(first + numpy.arange(part.patterns))
            self.begin += part.patterns

    def _sums(self, step: Sums) -> Iterator[_Node]:
        """Sums of the same children together; one by one those of what is given, which are about
        one variable and needed in many places.
        """
        parents = step.places.shape[1]
        given = step.children.max(1) < self.fixed
        for i, (below, places) in enumerate(zip(step.children.tolist(), step.places, strict=True)):
            first, each = step.first + i * parents, 1 if given[i] else parents
            for p in range(0, parents, each):
                rows = range(first + p, first + p + each)
                yield _Node(SUM, rows, below, (), places[p : p + each])

    def _products(self, step: Products) -> Iterator[_Node]:
        """Of a product on top of what is given the first factor is that, under a name of its
        own.
        """
        bounds, columns = step.factors.offsets.tolist(), step.factors.columns.tolist()
        for i, row in enumerate(step.rows.tolist()):
            own = [self.plan.rows + row] if step.add else []
            yield _Node(PRODUCT, (row,), own + columns[bounds[i] : bounds[i + 1]], ())

    def _order(self) -> list[_Node]:
        """The nodes that the root needs, children first, each as late as may be."""
        found: list[_Node] = []
        stack, seen = [(self.plan.root, False)], set[int]()
        while stack:
            row, below = stack.pop()
            number = self.producer.get(row)
            if number is None or (number in seen and not below):
                continue
            if below:
                found.append(self.nodes[number])
                continue
            seen.add(number)
            stack.append((row, True))
            stack += [(child, False) for child in reversed(self.nodes[number].children)]
        return found

    def result(self) -> Tape:
        """The instructions; a slot is free again once its last reader is done."""
        order = self._order()
        slots = _Slots(self.plan, self.fixed, order)
        code: list[int] = []
        places: list[Integers] = [numpy.zeros(0, dtype=numpy.int64)]
        weights, widest = 0, 1
        for node in order:
            outs = [slots.take(row) for row in node.outs]
            children = [slots.place[row] for row in node.children]
            if node.kind == LOOKUP:
                code += [LOOKUP, *outs, *node.more]
            elif node.kind == PRODUCT:
                growth = [slots.grown.get(child, 1) for child in node.children]
                code += _product(outs[0], children, growth)
                slots.grown[node.outs[0]] = sum(growth) if sum(growth) <= GROWTH else 1
            else:
                code += [SUM, len(children), len(outs), weights, *children, *outs]
                assert node.places is not None
                places.append(node.places.reshape(-1))
                weights += node.places.size
                widest = max(widest, len(children))
            slots.release(node)
        entries = numpy.concatenate([numpy.zeros(0, dtype=numpy.int64), *self.entries])
        program, flat = numpy.array(code, dtype=numpy.int64), numpy.concatenate(places)
        return Tape(program, flat, entries, slots.number, widest, slots.place[self.plan.root])


class _Slots:
    """Where rows are held; what comes from outside stays, under a second name too."""

    def __init__(self, plan: Plan, fixed: int, order: list[_Node]) -> None:
        self.number = self.fixed = fixed
        self.place = {row: row for row in range(fixed)}
        self.place.update((plan.rows + row, row) for row in range(fixed))
        self.grown: dict[int, int] = {}  # of products, how many mantissas were multiplied
        self.uses = Counter(child for node in order for child in node.children)
        self.uses[plan.root] += 1
        self.free: list[int] = []

    def take(self, row: int) -> int:
        """A slot for a row."""
        if not self.free:
            self.free.append(self.number)
            self.number += 1
        self.place[row] = self.free.pop()
        return self.place[row]

    def release(self, node: _Node) -> None:
        """The node has read its children: what nobody else reads is let go."""
        self.uses.subtract(node.children)
        for row in {*node.children, *node.outs}:
            if self.uses[row] <= 0 and self.place[row] >= self.fixed:
                self.free.append(self.place[row])


def _product(slot: int, factors: list[int], growth: list[int]) -> list[int]:
    """Instructions of a product, normalised wherever a mantissa might grow too large."""
    code: list[int] = []
    held: list[int] = []
    total = 0
    settles = sum(growth) > GROWTH
    for factor, grows in zip(factors, growth, strict=True):
        if held and total + grows > GROWTH:
            code += [PRODUCT, slot, 1, len(held), *held]
            held, total = [slot], 1
        held.append(factor)
        total += grows
    return [*code, PRODUCT, slot, int(settles), len(held), *held]
