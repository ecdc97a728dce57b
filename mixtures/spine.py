"""Spines: circuits that are one path of latents with leaves at its sides, read off as a plan.

Chains and caterpillars are spines. Their steps follow one another from the bottom up; at every step
the value from below (the carried one) meets the leaves of that step and is mixed by its table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from weakref import WeakKeyDictionary

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, Circuit, Integers, Layer
from mixtures.scratch import Scratch

LEAST = 8  # steps from which on a spine has a pass of its own


@dataclass(frozen=True, eq=False)
class Side:
    """The leaves that hang at one child position of a segment, one for each of its steps."""

    variables: Integers  # (L,)
    components: int  # k, of each of these variables
    table: int | None  # which stack mixes the components; None: the components are the states
    slots: Integers | None  # (L,) entries of that stack


@dataclass(frozen=True, eq=False)
class Segment:
    """The steps of one layer: children are the carried value, if any, and the sides."""

    place: int  # which layer
    layer: Layer
    carry: int | None  # position of the child from below
    sides: tuple[Side, ...]
    slots: Integers  # (L,)
    table: int

    @property
    def steps(self) -> int:
        """L"""
        return self.layer.steps


@dataclass(frozen=True, eq=False)
class Spine:
    """Segments from the bottom up, and memory for those who walk along them."""

    segments: tuple[Segment, ...]
    scratch: Scratch = field(default_factory=Scratch)

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return sum(segment.steps for segment in self.segments)

    @property
    def states(self) -> int:
        """The most numbers that one step holds of one row."""
        return max(max(s.layer.width, s.layer.inside) for s in self.segments)


_FOUND: WeakKeyDictionary[Circuit, Spine | None] = WeakKeyDictionary()


def spine_of(circuit: Circuit) -> Spine | None:
    """The spine that a circuit is, or None: where it branches, sizes vary too much or it is short.

    >>> from mixtures import HMM, LTM, Tree
    >>> [len(s.sides) for s in spine_of(HMM(100, 2, 3).circuit).segments]
    [1, 1, 1]
    >>> spine_of(LTM(Tree.balanced(64), 2, 3).circuit) is None
    True
    """
    if circuit not in _FOUND:
        _FOUND[circuit] = _find(circuit)
    return _FOUND[circuit]


def _find(circuit: Circuit) -> Spine | None:
    if not (circuit.is_multilinear_tree and circuit.covers and circuit.layers):
        return None
    plan = _Search(circuit)
    segments: list[Segment] = []
    place: int | None = plan.layer_of(circuit.root)
    while place is not None:
        segment = plan.segment(place)
        if segment is None:
            return None
        segments.append(segment)
        place = None
        if segment.carry is not None:
            place = plan.layer_of(int(segment.layer.owners[segment.carry, 0, 0]))
    spine = Spine(tuple(reversed(segments)))
    return spine if spine.steps >= LEAST else None


class _Search:
    """Looks a circuit's nodes up."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.starts = numpy.array([layer.node for layer in circuit.layers])
        self.first = CONSTANTS + circuit.variables

    @cached_property
    def named(self) -> set[int]:
        """The layers that latents live in."""
        return set(map(itemgetter(0), self.circuit.latents.values()))

    def layer_of(self, node: int) -> int:
        """Which layer makes a node."""
        return int(numpy.searchsorted(self.starts, node, side="right")) - 1

    def is_leaf(self, node: int) -> bool:
        """Whether a node is an input, or a table over one (and no latent)."""
        if node < self.first:
            return True
        place = self.layer_of(node)
        layer = self.circuit.layers[place]
        return (
            layer.steps == 1
            and len(layer.widths) == 1
            and bool((layer.owners < self.first).all())
            and place not in self.named
        )

    def segment(self, place: int) -> Segment | None:
        """The segment that a layer is, or None where it branches."""
        layer = self.circuit.layers[place]
        if layer.nodes != 1 or layer.table is None or layer.slots is None:
            return None
        if layer.combine == "outer" and len(layer.widths) != 2:
            return None
        carry = layer.carry
        if carry is None:
            inner = [
                child
                for child in range(len(layer.widths))
                if not self.is_leaf(int(layer.owners[child, 0, 0]))
            ]
            if len(inner) > 1:
                return None
            carry = inner[0] if inner else None
        sides = []
        for child in range(len(layer.widths)):
            if child != carry:
                side = self._side(layer.owners[child, :, 0])
                if side is None:
                    return None
                sides.append(side)
        return Segment(place, layer, carry, tuple(sides), layer.slots[:, 0], layer.table)

    def _side(self, owners: Integers) -> Side | None:
        """The leaves of these nodes, if all are inputs or all come from one layer of leaf
        tables.
        """
        if (owners < self.first).all():
            variables, table, slots = owners - CONSTANTS, None, None
        else:
            place = self.layer_of(int(owners[0]))
            layer = self.circuit.layers[place]
            position = owners - layer.node
            within = (position >= 0) & (position < layer.nodes)
            if not (self.is_leaf(int(owners[0])) and within.all()) or layer.slots is None:
                return None
            variables = layer.owners[0, 0, position] - CONSTANTS
            table, slots = layer.table, layer.slots[0, position]
        sizes = self.circuit.width_of[variables + CONSTANTS]
        if (sizes != sizes[0]).any():
            return None
        return Side(variables, int(sizes[0]), table, slots)


def chosen(stack: Tensor, slots: Integers | None) -> Tensor:
    """The entries of a stack that the steps use, one if they all use the same; a view if it can
    be.
    """
    assert slots is not None
    first = int(slots[0])
    if (slots == first).all():
        return stack[first : first + 1]
    if (slots[1:] == slots[:-1] + 1).all():
        return stack[first : first + len(slots)]
    return stack.index_select(0, torch.as_tensor(slots, device=stack.device))


def add_to(counts: Tensor, slots: Integers | None, found: Tensor) -> None:
    """Add what was found for the entries that `chosen` took."""
    assert slots is not None
    index = torch.as_tensor(slots[: len(found)], device=counts.device)
    counts.index_add_(0, index, found)
