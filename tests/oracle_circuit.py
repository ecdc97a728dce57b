"""The truth about a circuit: every way to choose one state of each of its nodes, read off the plan.

For model classes the other oracles do not know, and to check that a model was compiled into the
right circuit. Only the integer arrays of the plan are read; nothing is evaluated by the library.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from mixtures.circuit import CONSTANTS, ONE, ZERO, Circuit, Layer

Choice = tuple[Any, tuple[int, ...], dict[Hashable, int], list]  # weight, components, states, uses


def circuit_joint(circuit: Circuit, arrays: Sequence[np.ndarray]) -> list[Choice]:
    """(weight, components, {latent: state}, [((table, slot, row, column), variables below)])."""
    walk = _Walk(circuit, arrays)
    found = walk.value(int(circuit.row_of[circuit.root]))
    return [
        (weight, tuple(leaves[j] for j in sorted(leaves)), states, uses)
        for weight, leaves, states, uses in found
        if weight > 0
    ]


class _Walk:
    def __init__(self, circuit: Circuit, arrays: Sequence[np.ndarray]) -> None:
        self.circuit, self.arrays = circuit, arrays
        self.place: dict[int, tuple[Layer, int, int]] = {}  # node -> where it is made
        for layer in circuit.layers:
            for step, position in np.ndindex(layer.steps, layer.nodes):
                node = layer.node + step * layer.nodes + position
                self.place[node] = (layer, step, position)
        places = {layer: number for number, layer in enumerate(circuit.layers)}
        named = {place: name for name, place in circuit.latents.items()}
        self.name = {
            node: named.get((places[layer], step, position))
            for node, (layer, step, position) in self.place.items()
        }
        self.value = functools.cache(self._value)
        self.scope = functools.cache(self._scope)

    def node_of(self, row: int) -> tuple[int, int]:
        """The node a row of the buffer belongs to, and which of its states it is."""
        node = int(np.searchsorted(self.circuit.row_of, row, side="right")) - 1
        return node, row - int(self.circuit.row_of[node])

    def _scope(self, node: int) -> frozenset[int]:
        if node in (ONE, ZERO):
            return frozenset()
        if node < CONSTANTS + self.circuit.variables:
            return frozenset([node - CONSTANTS])
        layer, step, position = self.place[node]
        below = layer.owners[:, step, position]
        return frozenset().union(*(self.scope(int(child)) for child in below))

    def _value(self, row: int) -> list[tuple]:
        """All choices below one row of the buffer: (weight, leaves, states, uses)."""
        node, state = self.node_of(row)
        if node in (ONE, ZERO):
            return [(1, {}, {}, [])] if node == ONE else []
        if node < CONSTANTS + self.circuit.variables:
            return [(1, {node - CONSTANTS: state}, {}, [])]
        layer, step, position = self.place[node]
        name = self.name[node]
        found = []
        for column in range(layer.inside):
            weight, used = self._weight(layer, step, position, state, column)
            if weight == 0:
                continue
            own = {} if name is None else {name: column}
            uses = [(entry, self.scope(node)) for entry in used]
            for value, leaves, states, more in self._inside(layer, step, position, column):
                found.append((weight * value, leaves, states | own, uses + more))
        return found

    def _weight(
        self, layer: Layer, step: int, position: int, state: int, column: int
    ) -> tuple[Any, list]:
        if layer.table is None:
            return int(state == column), []
        entry = (layer.table, int(layer.slots[step, position]), state, column)
        return self.arrays[layer.table][entry[1:]], [entry]

    def _inside(self, layer: Layer, step: int, position: int, column: int) -> list[tuple]:
        """All choices below the children of a node, when these combine to state `column`."""
        rows = layer.children[:, step, position].tolist()
        if layer.combine == "concatenate":
            ends = np.cumsum(layer.widths)
            place = int(np.searchsorted(ends, column, side="right"))
            return self.value(rows[place] + column - int(ends[place]) + layer.widths[place])
        states = [column] * len(rows)
        if layer.combine == "outer":
            states = [int(place) for place in np.unravel_index(column, layer.widths)]
        ones = [self.node_of(row)[0] == ONE for row in rows]
        found = [(1, {}, {}, [])]
        for row, state, one in zip(rows, states, ones, strict=True):
            below = self.value(row if one else row + state)
            found = [(w * v, a | b, s | t, u + n) for w, a, s, u in found for v, b, t, n in below]
        return found
