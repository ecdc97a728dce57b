"""The circuit of those nodes of a tree that have no patterns: what is left to evaluate row by row.

It depends on which nodes have patterns alone, so it is kept for other data with the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy
from numpy.typing import NDArray

from mixtures.circuit import CONSTANTS, Builder, Circuit, Integers, Layer
from mixtures.patterns import Place

KEPT = 8  # circuits of one tree


@dataclass(frozen=True, eq=False)
class Unfolded:
    """A circuit whose inputs are `variables`, and nodes with patterns, which it is given."""

    circuit: Circuit
    variables: Integers
    given: Mapping[Place, tuple[int, Integers]]  # width and nodes, in the order of the inputs


class _Part(NamedTuple):
    """Nodes of one step without patterns, the same of whose children have some."""

    place: int
    step: int
    members: list[int]


_known: WeakKeyDictionary[Circuit, dict[bytes, Unfolded]] = WeakKeyDictionary()


def unfolded(circuit: Circuit, has: NDArray[numpy.bool_]) -> Unfolded:
    """The circuit above the nodes that have patterns."""
    known = _known.setdefault(circuit, {})
    key = has.tobytes()
    if key not in known:
        known[key] = _unfold(circuit, has)
    while len(known) > KEPT:
        known.pop(next(iter(known)))
    return known[key]


def _unfold(circuit: Circuit, has: NDArray[numpy.bool_]) -> Unfolded:
    parts = list(_parts(circuit, has))
    variables = (~has[CONSTANTS : CONSTANTS + circuit.variables]).nonzero()[0]
    topmost: list[int] = []
    for place, step, members in parts:
        owners = circuit.layers[place].owners[:, step, members]
        topmost += owners[has[owners]].tolist()
    if has[circuit.root]:
        topmost.append(circuit.root)
    looked_up = circuit.width_of[topmost].tolist()
    builder = Builder([circuit.inputs[j] for j in variables] + looked_up)
    inputs = [*(CONSTANTS + variables).tolist(), *topmost]
    made = {node: builder.input(number) for number, node in enumerate(inputs)}
    given: dict[Place, tuple[int, Integers]] = {}
    for number, part in enumerate(parts):
        layer, owners = _add(builder, circuit, part, made)
        for child, line in enumerate(owners):
            if has[line[0]]:
                given[number, child] = (layer.widths[child], line)
    if has[circuit.root]:
        given[len(parts), 0] = (1, numpy.array([circuit.root]))
    absent = 0 if has[circuit.root] else sum(looked_up)  # the root has a row
    return Unfolded(builder.build(made[circuit.root], absent), variables, given)


def _add(
    builder: Builder, circuit: Circuit, part: _Part, made: dict[int, int]
) -> tuple[Layer, Integers]:
    """Add a part as a layer of its own; its nodes are put to those that are made."""
    layer = circuit.layers[part.place]
    owners = layer.owners[:, part.step, part.members]
    children = numpy.array([[[made[int(c)] for c in line]] for line in owners])
    slots = layer.slots
    own = None if slots is None else slots[part.step : part.step + 1, part.members]
    nodes = builder.layer(
        layer.combine, children, layer.widths, layer.width, layer.table, own,
        identity=layer.identity,
    )  # fmt: skip
    names = {where: name for name, where in circuit.latents.items()}
    first = layer.nodes_of(part.step).start
    for position, (member, new) in enumerate(zip(part.members, nodes[0].tolist(), strict=True)):
        made[first + member] = new
        name = names.get((part.place, part.step, member))
        if name is not None:
            builder.name(name, 0, position)
    return layer, owners


def _parts(circuit: Circuit, has: NDArray[numpy.bool_]) -> Iterator[_Part]:
    for place, layer in enumerate(circuit.layers):
        for step in range(layer.steps):
            first, owners = layer.nodes_of(step).start, layer.owners[:, step]
            kinds: dict[bytes, list[int]] = {}
            for member in (~has[first : first + layer.nodes]).nonzero()[0].tolist():
                kinds.setdefault(has[owners[:, member]].tobytes(), []).append(member)
            for members in kinds.values():
                yield _Part(place, step, members)
