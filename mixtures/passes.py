"""The two passes over a circuit: values upward, flows (shares of a node's value) downward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, ONE, ZERO, Circuit, Integers, Layer
from mixtures.combining import (
    Factor,
    Lookup,
    combine,
    mix_pieces,
    narrow,
    piece,
    share_pieces,
    split_flow,
)
from mixtures.semiring import Linear, Log, Semiring
from mixtures.weights import Counts, Weights

RUN = 8  # steps of a chain after which values are renormalised at the latest
Stacks = Sequence[Tensor]  # the values of a model's tables, (slots, P, C) each
LayerWeights = list[list[Weights | None]]  # of each layer, of each step
Evidence = Mapping[tuple[int, int], list[tuple[int, Tensor]]]  # (layer, step): (position, (C, B))
Given = Mapping[tuple[int, int], Tensor]  # (layer, child position): values (N, w, B) from elsewhere
Lookups = Mapping[tuple[int, int], Lookup]  # (layer, child position)
Insides = Mapping[tuple[int, int], Tensor]  # (layer, step): combined children, where known


@dataclass(eq=False)
class Values:
    """What an upward pass leaves behind for the downward one."""

    circuit: Circuit
    ring: Semiring
    weights: LayerWeights
    buffer: Tensor  # (S, B)
    evidence: Evidence
    given: Given
    insides: Insides
    direct: Mapping[tuple[int, int], Integers]  # which of the given are leaves, of which variables
    lookups: Lookups

    @property
    def root(self) -> Tensor:
        """The value of the circuit, (B,)."""
        return self.buffer[int(self.circuit.row_of[self.circuit.root])]

    @cached_property
    def looked(self) -> frozenset[int]:
        """The layers with children that are looked up."""
        return frozenset(place for place, _ in self.lookups)

    def whole(self, place: int, step: int) -> bool:
        """Whether the children of a step are combined for all nodes at once: unless they are large
        outer products, or ones that need not be formed, or looked up, and nothing else multiplies
        them.
        """
        layer = self.circuit.layers[place]
        large = layer.combine == "outer" or place in self.looked
        many = large and piece(layer, self.buffer.shape[1]) < layer.nodes
        many = many or (self.ring.mantissas and narrow(layer))
        return not many or (place, step) in self.evidence


def layer_weights(circuit: Circuit, stacks: Stacks) -> LayerWeights:
    """The weights of every step of every layer; steps with the same slots share one object."""
    return [
        [None] * layer.steps
        if layer.table is None or layer.slots is None
        else _steps_of(stacks[layer.table], layer.slots)
        for layer in circuit.layers
    ]


def _steps_of(stack: Tensor, slots: Integers) -> list[Weights | None]:
    steps, nodes = slots.shape
    flat = slots.reshape(-1)
    first = int(flat[0])
    if steps > 1 and (slots == slots[0]).all():
        return _steps_of(stack, slots[:1]) * steps
    if (flat == first).all():
        values = stack[first].expand(steps, nodes, *stack.shape[1:])
    elif numpy.array_equal(flat, first + numpy.arange(flat.size)):
        values = stack[first : first + flat.size].view(steps, nodes, *stack.shape[1:])
    else:
        index = torch.as_tensor(flat, device=stack.device)
        values = stack.index_select(0, index).view(steps, nodes, *stack.shape[1:])
    return [Weights(part) for part in values.unbind(0)]


def upward(
    circuit: Circuit,
    weights: LayerWeights,
    ring: Semiring,
    inputs: Tensor,
    evidence: Evidence | None = None,
    observed: Tensor | None = None,
    given: Given | None = None,
    insides: Insides | None = None,
    direct: Mapping[tuple[int, int], Integers] | None = None,
    room: Tensor | None = None,
    lookups: Lookups | None = None,
) -> Values:
    """One upward pass; inputs (sum of k_j, B) in the ring's representation.

    With `observed` (nodes, B) the value of a node below which nothing is observed is the ring's
    one. What is `given` or looked up is none of `inputs`, which come first; the root may be looked
    up. Where `insides` are known, they are not computed. room: memory for values (S, B).
    """
    buffer = inputs.new_empty((circuit.held, inputs.shape[1])) if room is None else room
    buffer[ONE], buffer[ZERO] = ring.one, ring.zero
    buffer[CONSTANTS : CONSTANTS + len(inputs)] = inputs
    values = Values(
        circuit, ring, weights, buffer, evidence or {}, given or {}, insides or {}, direct or {},
        lookups or {},
    )  # fmt: skip
    root = values.lookups.get((len(circuit.layers), 0))
    if root is not None:
        values.root.copy_(root[:][0, 0])
    for place, layer in enumerate(circuit.layers):
        children, out = read_children(values, place), layer.out(buffer)
        for step, mixing in enumerate(weights[place]):
            factors = factors_at(layer, children, out, step)
            settle = step % RUN == RUN - 1 or (step == layer.steps - 1 and place in circuit.settled)
            if mixing is None:
                out[step] = inside_of(values, place, step, factors)
            elif values.whole(place, step):
                inside = inside_of(values, place, step, factors)
                ring.mix(mixing, inside, out[step], settle=settle)
            else:
                mix_pieces(layer, ring, mixing, factors, out[step], settle=settle)
            if observed is not None:
                seen = observed[layer.nodes_of(step)]
                out[step].masked_fill_(~seen[:, None], ring.one)
    return values


def downward(values: Values, flow: Flow) -> None:
    """One downward pass: every layer hands the flow of its outputs on to its children."""
    for place in reversed(range(len(values.circuit.layers))):
        layer = values.circuit.layers[place]
        children, out = read_children(values, place), layer.out(values.buffer)
        flow.enter(values, place)
        for step in reversed(range(layer.steps)):
            factors = factors_at(layer, children, out, step)
            flow.descend(values, place, step, factors, out[step])


def read_children(values: Values, place: int) -> list[Sequence[Factor]]:
    """For each child position the values of each step (of the carried child: of step 0 only)."""
    layer, buffer = values.circuit.layers[place], values.buffer
    if values.given or values.lookups:
        places = [(place, position) for position in range(len(layer.widths))]
        found = [values.given.get(at, values.lookups.get(at)) for at in places]
        if any(part is not None for part in found):
            parts = zip(found, layer.each, strict=True)
            return [block.read(buffer) if part is None else [part] for part, block in parts]
    if layer.gathered:
        return [[factor] for factor in layer.blocks[0].whole(buffer).unbind(0)]
    return [block.read(buffer) for block in layer.blocks]


def factors_at(
    layer: Layer, children: Sequence[Sequence[Factor]], out: Tensor, step: int
) -> list[Factor]:
    """The factors of one step; from step 1 on the carried one is the step before."""
    return [
        out[step - 1] if place == layer.carry and step > 0 else values[step]
        for place, values in enumerate(children)
    ]


def all_of(values: Values, factors: Sequence[Factor]) -> Sequence[Tensor]:
    """Factors of all nodes of a layer: what is looked up is looked up now."""
    return [factor[:] for factor in factors] if values.lookups else factors  # type: ignore[return-value]


def inside_of(values: Values, place: int, step: int, factors: Sequence[Factor]) -> Tensor:
    """The combined children (N, C, B), times the evidence about these latents where there is
    any.
    """
    known = values.insides.get((place, step))
    layer, inside = values.circuit.layers[place], known
    if inside is None:
        inside = combine(layer, values.ring, all_of(values, factors))
    given = values.evidence.get((place, step))
    if given is None:
        return inside
    inside = inside.clone()
    for position, weight in given:
        inside[position] = values.ring.product([inside[position], weight])
    return inside


class Flow(ABC):
    """What is handed down from the root; one hook, called once for every step of every layer."""

    def enter(self, values: Values, place: int) -> None:  # noqa: B027
        """Called before the steps of a layer."""

    @abstractmethod
    def descend(
        self,
        values: Values,
        place: int,
        step: int,
        factors: Sequence[Factor],
        outside: Tensor,
    ) -> None:
        """Take the flow of `outside`, share it among the terms of its sum, give it to the
        children.
        """


class Totals:
    """Expected counts added up over the chunks of many passes; `finish` adds them to `counts`."""

    def __init__(self, counts: Sequence[Tensor]) -> None:
        self.counts = counts
        self._known: dict[tuple[int, int], tuple[LayerWeights, Layer, list[Counts]]] = {}

    def of(self, values: Values, place: int) -> list[Counts]:
        """What collects the counts of a layer: one for all steps if they share their weights."""
        layer, mixing = values.circuit.layers[place], values.weights[place]
        if mixing[0] is None:
            return []
        key = (id(values.weights), place)
        if key not in self._known:
            like, distinct = mixing[0].values, 1 if mixing[0] is mixing[-1] else layer.steps
            shape = (distinct, *like.shape)
            total = torch.zeros(shape, dtype=torch.float64, device=like.device)
            counters = [Counts(part) for part in total.unbind(0)]
            self._known[key] = (values.weights, layer, counters)
        return self._known[key][2]

    def finish(self) -> None:
        """Add what was found to the counts of the tables."""
        for (_, place), (weights, layer, counters) in self._known.items():
            assert layer.table is not None and layer.slots is not None
            count = self.counts[layer.table]
            for slots, counter, mixing in zip(layer.slots, counters, weights[place], strict=False):
                assert mixing is not None
                index = torch.as_tensor(slots, device=count.device)
                count.index_add_(0, index, counter.finish(mixing))
        self._known = {}


class Shares(Flow):
    """Real flows: posterior probabilities under Log, gradients under Linear; and expected counts.

    `observed` (nodes, B) says below which nodes anything is observed: only there are counts taken.
    """

    def __init__(
        self,
        values: Values,
        root: Tensor,
        *,
        totals: Totals | None = None,
        observed: Tensor | None = None,
        keep_states: bool = False,
        room: Tensor | None = None,
    ) -> None:
        circuit = values.circuit
        self.buffer = torch.empty_like(values.buffer) if room is None else room
        if not circuit.covers:
            self.buffer.zero_()
        self.buffer[int(circuit.row_of[circuit.root])] = root
        self.totals = totals
        self.observed = observed
        self.add = not circuit.is_tree
        self.states: dict[tuple[int, int], Tensor] | None = {} if keep_states else None
        self.given: dict[tuple[int, int], Tensor] = {}  # the flows of what the values were given
        top = values.lookups.get((len(circuit.layers), 0))
        if top is not None:
            top.take(slice(0, 1), root[None, None])

    def inputs(self, circuit: Circuit) -> Tensor:
        """The flow into every component, (sum of k_j, B)."""
        return self.buffer[CONSTANTS : CONSTANTS + circuit.input_rows]

    def enter(self, values: Values, place: int) -> None:
        self._counters = [] if self.totals is None else self.totals.of(values, place)

    def descend(
        self,
        values: Values,
        place: int,
        step: int,
        factors: Sequence[Factor],
        outside: Tensor,
    ) -> None:
        layer, ring = values.circuit.layers[place], values.ring
        assert isinstance(ring, Linear | Log)
        flow = layer.out(self.buffer)[step]
        counter = None
        if self._counters:
            counter = self._counters[min(step, len(self._counters) - 1)]
            counter.observed = self._observed(layer, step)
        mixing = values.weights[place][step]
        if mixing is not None and self.states is None and not values.whole(place, step):
            pieces = share_pieces(layer, ring, mixing, factors, outside, flow, counter)
            self._hand_on(values, place, step, _taken(values, place, pieces))
            return
        own = all_of(values, factors)
        inside = inside_of(values, place, step, own)
        below = ring.share(mixing, inside, outside, flow, counter)
        if self.states is not None:
            self.states[place, step] = ring.weigh(below, inside)
        for position, weight in values.evidence.get((place, step), ()):
            below[position] = ring.pass_evidence(below[position], weight)
        parts = split_flow(layer, ring, own, below)
        if place in values.looked:
            whole = [(slice(0, layer.nodes), parts)]
            self._hand_on(values, place, step, _taken(values, place, whole))
        else:
            self._hand_on(values, place, step, parts)

    def _observed(self, layer: Layer, step: int) -> Tensor | None:
        if self.observed is None:
            return None
        return self.observed[layer.nodes_of(step)]

    def _hand_on(
        self, values: Values, place: int, step: int, parts: Sequence[Tensor | None]
    ) -> None:
        layer, given = values.circuit.layers[place], place in values.looked
        given = given or any((place, position) in values.given for position in range(len(parts)))
        for position, part in enumerate(parts):
            if part is None:
                continue
            if (place, position) in values.given:
                self.given[place, position] = part
            elif position == layer.carry and step > 0:
                target = layer.out(self.buffer)[step - 1]
                target.add_(part) if self.add else target.copy_(part)
            elif layer.gathered and not given:
                layer.blocks[0].write(self.buffer, position, part, add=self.add)
            else:
                block = layer.each[position] if given else layer.blocks[position]
                block.write(self.buffer, step, part, add=self.add)


def _taken(
    values: Values, place: int, pieces: Iterable[tuple[slice, Sequence[Tensor]]]
) -> list[Tensor | None]:
    """The flows of all nodes, of each child position; lookups are handed theirs at once."""
    found: list[list[Tensor]] = [[] for _ in values.circuit.layers[place].widths]
    for nodes, parts in pieces:
        for position, part in enumerate(parts):
            looked = values.lookups.get((place, position))
            if looked is None:
                found[position].append(part)
            else:
                looked.take(nodes, part)
    return [torch.cat(parts) if len(parts) > 1 else next(iter(parts), None) for parts in found]


def anything_observed(circuit: Circuit, observed: Tensor, evidence: Evidence) -> Tensor:
    """observed (d, B) of the variables -> (nodes, B): whether anything below a node is observed.

    Evidence about a latent that says something (is not the same for all states) counts, too.
    """
    below = torch.zeros(
        (len(circuit.row_of), observed.shape[1]), dtype=torch.bool, device=observed.device
    )
    below[CONSTANTS : CONSTANTS + circuit.variables] = observed
    for place, layer in enumerate(circuit.layers):
        for step in range(layer.steps):
            owners = torch.as_tensor(layer.owners[:, step], device=observed.device)
            found = below.index_select(0, owners.reshape(-1)).view(*owners.shape, -1).any(0)
            for position, weight in evidence.get((place, step), ()):
                found[position] |= (weight != weight[:1]).any(0)
            below[layer.nodes_of(step)] = found
    return below
