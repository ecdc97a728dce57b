"""One state per node and row: the best ones, or drawn ones, from the root down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.alias import Alternatives
from mixtures.circuit import CONSTANTS, Circuit, Integers, Layer
from mixtures.kept import Kept
from mixtures.passes import Factor, Flow, Values, inside_of
from mixtures.semiring import Log

STEP_DRAWS = 2**16  # states a step of draws without evidence should take: they stay in the cache
CHUNK_DRAWS = 2**24  # states that are held at most


class Choices(Flow):
    """One state per node and row: the best joint explanation under Max, a draw under Sample.

    `chosen` (nodes, B) holds states, and -1 where a node is not part of the choice.
    """

    def __init__(
        self, circuit: Circuit, rows: int, device: torch.device, dtype: torch.dtype = torch.int64
    ) -> None:
        self.branching = any(layer.combine == "concatenate" for layer in circuit.layers)
        self.chosen = torch.empty((len(circuit.row_of), rows), dtype=dtype, device=device)
        self.states: dict[tuple[int, int], Tensor] = {}
        self.begin(circuit)

    def begin(self, circuit: Circuit) -> None:
        """Nothing is chosen but the root."""
        if self.branching:
            self.chosen.fill_(-1)
        self.chosen[circuit.root] = 0

    def inputs(self, circuit: Circuit) -> Tensor:
        """The chosen component of each variable, (d, B)."""
        return self.chosen[CONSTANTS : CONSTANTS + circuit.variables]

    def descend(
        self,
        values: Values,
        place: int,
        step: int,
        factors: Sequence[Factor],
        outside: Tensor,
    ) -> None:
        layer, ring = values.circuit.layers[place], values.ring
        assert isinstance(ring, Log)
        state = self.state(layer, step)
        mixing = values.weights[place][step]
        term = state
        if mixing is not None:
            inside = inside_of(values, place, step, factors)
            term = ring.pick(mixing, inside, state.clamp(min=0) if self.branching else state)
        self.states[place, step] = self.settle(values.circuit, place, step, term)

    def state(self, layer: Layer, step: int) -> Tensor:
        """The chosen states of N nodes, (N, B); -1 where a node is not part of the choice."""
        return self.chosen[layer.nodes_of(step)]

    def settle(self, circuit: Circuit, place: int, step: int, term: Tensor) -> Tensor:
        """Note the states of the children of N nodes, given their terms (N, B); returns those."""
        layer = circuit.layers[place]
        if self.branching:
            term = term.where(self.state(layer, step) >= 0, -1)
        for owners, starts, chosen in self._split(circuit, layer, step, term):
            self._mark(owners, starts, chosen)
        return term

    def _mark(self, owners: Integers, starts: Integers, states: Tensor) -> None:
        """Note what was chosen; of the parents of a shared node at most one is part of a choice."""
        if self.branching:
            offset = torch.as_tensor(starts + 1, device=states.device)[:, None]
            marks = (states + offset).where(states >= 0, 0).to(self.chosen.dtype)
            self.chosen.index_add_(0, torch.as_tensor(owners, device=states.device), marks)
            return
        if starts.any():
            states = states + torch.as_tensor(starts, device=states.device)[:, None]
        place = evenly(owners)
        if place is not None:
            self.chosen[place] = states
        else:
            index = torch.as_tensor(owners, device=states.device)
            self.chosen.index_copy_(0, index, states.to(self.chosen.dtype))

    def _split(
        self, circuit: Circuit, layer: Layer, step: int, term: Tensor
    ) -> Iterator[tuple[Integers, Integers, Tensor]]:
        """(child nodes, first state of each, chosen state) for the children of N nodes."""
        owners = layer.owners[:, step]
        starts = layer.children[:, step] - circuit.row_of[owners]
        count, nodes = owners.shape
        if layer.gathered:
            spread = term.expand(count, *term.shape).reshape(count * nodes, -1)
            yield owners.reshape(-1), starts.reshape(-1), spread
            return
        if layer.scalars:
            places = torch.arange(count, device=term.device)[:, None, None]
            hit = torch.where(places == term, 0, -1).reshape(count * nodes, -1)
            yield owners.reshape(-1), starts.reshape(-1), hit
            return
        for place in reversed(range(count)):
            chosen, width = term, layer.widths[place]
            if layer.combine == "outer":
                chosen = term % width if not self.branching else (term % width).where(term >= 0, -1)
                term = term.div(width, rounding_mode="floor")
            elif layer.combine == "concatenate":
                first = sum(layer.widths[:place])
                inside = (term >= first) & (term < first + width)
                chosen = (term - first).where(inside, -1)
            yield owners[place], starts[place], chosen


def evenly(rows: Integers) -> slice | None:
    """The slice that takes these rows, if they are evenly spaced upwards.

    >>> evenly(numpy.array([3, 5, 7])), evenly(numpy.array([3, 5, 6]))
    (slice(3, 8, 2), None)
    """
    first, last = int(rows[0]), int(rows[-1])
    spacing = int(rows[1]) - first if len(rows) > 1 else 1
    if spacing <= 0 or not numpy.array_equal(rows, first + spacing * numpy.arange(len(rows))):
        return None
    return slice(first, last + 1, spacing)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of the tables of one stack that a circuit uses, and which those of a slot are."""

    rows: Alternatives
    place: NDArray[numpy.int32]


def _all(circuit: Circuit, stacks: Sequence[Tensor]) -> list[_Rows | None]:
    used = [numpy.zeros(len(stack), dtype=bool) for stack in stacks]
    for layer in circuit.layers:
        if layer.table is not None and layer.slots is not None:
            used[layer.table][layer.slots] = True
    return [
        _Rows(
            Alternatives(stack[torch.as_tensor(own, device=stack.device)]),
            own.cumsum(dtype=numpy.int32) - 1,
        )
        if own.any()
        else None
        for stack, own in zip(stacks, used, strict=True)
    ]


alternatives = Kept(_all)
"""alternatives(circuit, stacks): the rows of a circuit's tables, kept until the tables change."""


def prior_draws(
    circuit: Circuit,
    stacks: Sequence[Tensor],
    rows: int,
    generator: torch.Generator | None,
    device: torch.device,
) -> Iterator[Tensor]:
    """The components (d, B) of draws without evidence, some rows at a time: what is below a sum
    does not matter, only its weights do.
    """
    tables = alternatives(circuit, stacks)
    largest = max((layer.nodes for layer in circuit.layers), default=1)
    most = max(1, min(rows, STEP_DRAWS // largest, CHUNK_DRAWS // len(circuit.row_of)))
    short = all(2 * stack.numel() < 2**31 for stack in stacks)  # numbers of their cells fit
    dtype = torch.int32 if short else torch.int64
    choices = Choices(circuit, most, device, dtype)
    for start in range(0, rows, most):
        if start + most > rows:
            choices = Choices(circuit, rows - start, device, dtype)
        else:
            choices.begin(circuit)
        _draw_chunk(choices, circuit, tables, generator)
        yield choices.inputs(circuit).long()


def _draw_chunk(
    choices: Choices,
    circuit: Circuit,
    tables: Sequence[_Rows | None],
    generator: torch.Generator | None,
) -> None:
    """One draw for each row of the choices, from the root down."""
    for place in reversed(range(len(circuit.layers))):
        layer = circuit.layers[place]
        for step in reversed(range(layer.steps)):
            term = choices.state(layer, step)
            if layer.table is not None and layer.slots is not None:
                table = tables[layer.table]
                assert table is not None
                first = table.place[layer.slots[step]] * table.rows.parents
                state = term.clamp(min=0) if choices.branching else term
                row = state + torch.as_tensor(first, device=term.device)[:, None]
                term = table.rows.draw(row, generator)
            choices.settle(circuit, place, step, term)
