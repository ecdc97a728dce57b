"""One state per node and row: the best ones, or drawn ones, from the root down."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.alias import Alternatives
from mixtures.circuit import CONSTANTS, Circuit, Integers, Layer
from mixtures.passes import Flow, Values
from mixtures.semiring import Log


class Choices(Flow):
    """One state per node and row: the best joint explanation under Max, a draw under Sample.

    `chosen` (nodes, B) holds state + 1, and 0 where a node is not part of the choice.
    """

    def __init__(self, circuit: Circuit, rows: int, device: torch.device) -> None:
        self.branching = any(layer.combine == "concatenate" for layer in circuit.layers)
        make = torch.zeros if self.branching else torch.empty
        self.chosen = make((len(circuit.row_of), rows), dtype=torch.int64, device=device)
        self.chosen[circuit.root] = 1
        self.states: dict[tuple[int, int], Tensor] = {}

    def inputs(self, circuit: Circuit) -> Tensor:
        """The chosen component of each variable, (d, B)."""
        return self.chosen[CONSTANTS : CONSTANTS + circuit.variables] - 1

    def descend(
        self,
        values: Values,
        place: int,
        step: int,
        factors: Sequence[Tensor],
        inside: Tensor,
        outside: Tensor,
    ) -> None:
        layer, ring = values.circuit.layers[place], values.ring
        assert isinstance(ring, Log)
        state = self.state(layer, step)
        mixing = values.weights[place][step]
        term = state
        if mixing is not None:
            term = ring.pick(mixing, inside, state.clamp(min=0) if self.branching else state)
        self.settle(values.circuit, place, step, term)

    def state(self, layer: Layer, step: int) -> Tensor:
        """The chosen states of N nodes, (N, B); -1 where a node is not part of the choice."""
        return self.chosen[layer.nodes_of(step)] - 1

    def settle(self, circuit: Circuit, place: int, step: int, term: Tensor) -> None:
        """Note the term (N, B) of each of N nodes, and the states of their children."""
        layer = circuit.layers[place]
        if self.branching:
            term = term.where(self.state(layer, step) >= 0, -1)
        self.states[place, step] = term
        for owners, starts, chosen in self._split(circuit, layer, step, term):
            offset = torch.as_tensor(starts, device=term.device)[:, None] + 1
            marks = chosen + offset
            if self.branching:
                marks = marks.where(chosen >= 0, 0)
            self._mark(owners, marks)

    def _mark(self, owners: Integers, marks: Tensor) -> None:
        """Note what was chosen; of the parents of a shared node at most one is part of a choice."""
        index = torch.as_tensor(owners, device=marks.device)
        if self.branching:
            self.chosen.index_add_(0, index, marks)
        else:
            self.chosen.index_copy_(0, index, marks)

    def _split(
        self, circuit: Circuit, layer: Layer, step: int, term: Tensor
    ) -> list[tuple[Integers, Integers, Tensor]]:
        """(child nodes, first state of each, chosen state) for the children of N nodes."""
        owners = layer.owners[:, step]
        starts = layer.children[:, step] - circuit.row_of[owners]
        count, nodes = owners.shape
        if layer.combine == "product":
            spread = term.expand(count, *term.shape).reshape(count * nodes, -1)
            return [(owners.reshape(-1), starts.reshape(-1), spread)]
        if layer.scalars:
            places = torch.arange(count, device=term.device)[:, None, None]
            hit = torch.where(places == term, 0, -1).reshape(count * nodes, -1)
            return [(owners.reshape(-1), starts.reshape(-1), hit)]
        parts = []
        for place in reversed(range(count)):
            width = layer.widths[place]
            if layer.combine == "outer":
                chosen = term % width if not self.branching else (term % width).where(term >= 0, -1)
                term = term.div(width, rounding_mode="floor")
            else:
                first = sum(layer.widths[:place])
                inside = (term >= first) & (term < first + width)
                chosen = (term - first).where(inside, -1)
            parts.append((owners[place], starts[place], chosen))
        return parts


def prior_draws(
    circuit: Circuit,
    tables: Sequence[Alternatives],
    rows: int,
    generator: torch.Generator | None,
    device: torch.device,
) -> Choices:
    """Draws without evidence: what is below a sum does not matter, only its weights do."""
    choices = Choices(circuit, rows, device)
    for place in reversed(range(len(circuit.layers))):
        layer = circuit.layers[place]
        for step in reversed(range(layer.steps)):
            term = choices.state(layer, step)
            if layer.table is not None and layer.slots is not None:
                parents = tables[layer.table].parents
                first = torch.as_tensor(layer.slots[step] * parents, device=device)[:, None]
                state = term.clamp(min=0) if choices.branching else term
                term = tables[layer.table].draw(first + state, generator)
            choices.settle(circuit, place, step, term)
    return choices
