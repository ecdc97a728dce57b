"""Evaluation chunk by chunk: contractions, posteriors with expected counts, and choices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mixtures.chainpass import Again, Chain
from mixtures.chosen import Choices, prior_draws
from mixtures.circuit import Circuit
from mixtures.combining import PIECE
from mixtures.leafrows import buffer_rows, leaf_flows
from mixtures.networkpass import NetworkPass, networks
from mixtures.passes import (
    Evidence,
    Shares,
    Stacks,
    Totals,
    Values,
    anything_observed,
    downward,
    factors_at,
    inside_of,
    layer_weights,
    read_children,
    upward,
)
from mixtures.semiring import Linear, Log, Sample, Semiring
from mixtures.source import Source, located
from mixtures.source import from_tensor as from_tensor
from mixtures.star import Star
from mixtures.stretch import Upward, stretches

STEP_ELEMENTS = 2**19  # numbers a step of a chunk should touch, to outweigh its overhead
CHUNK_ELEMENTS = 2**23  # numbers a chunk may hold at most


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a sweep yields for the rows start..stop-1."""

    start: int
    stop: int
    log_value: Tensor  # (B,)
    inputs: Tensor  # (d, max k, B): posterior of the components, times the row's weight
    states: Mapping[Any, Tensor]  # latent -> (r, B)


@dataclass(frozen=True, eq=False)
class Expected:
    """Posteriors of the components of some rows, to be summed: (which rows, (d, max k, rows)).

    None in the place of rows: of all symbols, summed over the rows that have them.
    """

    start: int
    stop: int
    log_value: Tensor  # (B,)
    inputs: Sequence[tuple[slice | Tensor | None, Tensor]]


def rows_at_once(circuit: Circuit) -> int:
    """How many rows a chunk holds: few enough for the cache, enough to outweigh overheads."""
    held = circuit.held + circuit.absent // 2  # looked up in pieces
    steps = 1 + sum(layer.steps for layer in circuit.layers)
    outer = [layer for layer in circuit.layers if layer.combine == "outer"]
    largest = max((layer.inside for layer in outer), default=1)
    wanted = min(STEP_ELEMENTS * steps // held, PIECE // (2 * largest))  # two nodes: two threads
    return max(1, min(max(32, wanted), CHUNK_ELEMENTS // held))


def chunks(
    circuit: Circuit, stop: int, start: int = 0, *, whole: bool = True
) -> Iterator[tuple[int, int]]:
    """(start, stop) of chunks of about equal size; `whole`: outer products are kept."""
    most = rows_at_once(circuit)
    if whole:
        outer = (layer for layer in circuit.layers if layer.combine == "outer")
        joint = sum(layer.steps * layer.nodes * layer.inside for layer in outer)
        most = max(1, min(most, CHUNK_ELEMENTS // (circuit.held + joint)))
    number = max(1, -(-(stop - start) // most))
    size = max(1, -(-(stop - start) // number))
    for first in range(start, stop, size):
        yield first, min(stop, first + size)


def contract(circuit: Circuit, stacks: Stacks, source: Source, ring: Semiring) -> Tensor:
    """The value of the circuit for every row, (n,)."""
    network = _serving(circuit, stacks, source, ring)
    if network is not None:
        return network.contract(source)
    star = Star.of(circuit, stacks, source, ring)
    if star is not None:
        return star.contract()
    chain = Chain.of(circuit, stacks, source, ring)
    if chain is not None:
        return chain.contract(lambda part: contract(circuit, stacks, part, ring))
    whole = bool(source.evidence)
    found = [
        stretch.up(start, stop).value
        for stretch in stretches(circuit, stacks, source, ring)
        for start, stop in chunks(stretch.circuit, stretch.stop, stretch.start, whole=whole)
    ]
    return torch.cat(found) if found else source.read(0, 0).new_empty(0)


def _serving(
    circuit: Circuit,
    stacks: Stacks,
    source: Source,
    ring: Semiring,
    make: Callable[[Circuit, Stacks], NetworkPass | None] = networks,
) -> NetworkPass | None:
    """The passes of scalar circuits, where they serve: logarithms, no evidence about latents."""
    serves = type(ring) in (Log, Sample) and not source.evidence
    return make(circuit, stacks) if serves else None


def sweep(
    circuit: Circuit,
    stacks: Stacks,
    source: Source,
    *,
    row_weights: Tensor | None = None,
    counts: Sequence[Tensor] | None = None,
    keep_states: bool = False,
    ring: Linear | Log | None = None,
) -> Iterator[Chunk]:
    """One upward and one downward pass of shares over all rows; adds expected counts to `counts`.

    A row of value zero gets no flow: the caller sees its log-value and decides.
    """
    ring = Log() if ring is None else ring
    network = None if keep_states else _serving(circuit, stacks, source, ring, NetworkPass.of)
    if network is not None:
        for start, stop, value, inputs in network.sweep(source, row_weights, counts):
            yield Chunk(start, stop, value, inputs, {})
        return
    chain = Chain.of(circuit, stacks, source, ring)
    if chain is not None:
        for found in chain.sweep(row_weights, _again(circuit, stacks, counts, keep_states)):
            assert found.inputs is not None
            yield Chunk(found.start, found.stop, found.log_value, found.inputs, found.states)
        return
    totals = None if counts is None else Totals(counts)
    for stretch in stretches(circuit, stacks, source, ring, patterns=False):
        whole = keep_states or bool(source.evidence)
        for start, stop in chunks(circuit, stretch.stop, stretch.start, whole=whole):
            up = stretch.up(start, stop)
            first, again = _roots(up, ring, row_weights, start, stop)
            below = stretch.below(up.values, start, stop)
            shares = _down(up.values, first, totals, below, keep_states)
            inputs, states = _found(up.values, shares, up.value)
            if up.again is not None and up.rows is not None:
                if below is not None:
                    below = below.index_select(1, up.rows)
                shares = _down(up.again, again, totals, below, keep_states)
                more, more_states = _found(up.again, shares, up.value)
                inputs.index_copy_(2, up.rows, more)
                for name, state in more_states.items():
                    states[name].index_copy_(1, up.rows, state)
            yield Chunk(start, stop, up.value, inputs, states)
    if totals is not None:
        totals.finish()


def expected(
    circuit: Circuit,
    stacks: Stacks,
    source: Source,
    row_weights: Tensor,
    counts: Sequence[Tensor],
) -> Iterator[Expected]:
    """As `sweep`, for what is summed over rows: nodes with patterns are swept once a pattern."""
    ring = Log()
    network = _serving(circuit, stacks, source, ring, NetworkPass.of)
    if network is not None:
        yield from itertools.starmap(Expected, network.expected(source, row_weights, counts))
        return
    star = Star.of(circuit, stacks, source, ring)
    if star is not None:
        for start, stop, value in star.expected(row_weights, counts):
            yield Expected(start, stop, value, [])
        return
    chain = Chain.of(circuit, stacks, source, ring)
    if chain is not None:
        for part in chain.sweep(row_weights, _again(circuit, stacks, counts), summed=True):
            rows = slice(part.start, part.stop)
            rest = [] if part.inputs is None else [(rows, part.inputs)]
            yield Expected(part.start, part.stop, part.log_value, rest)
        return
    totals, whole = Totals(counts), bool(source.evidence)
    for stretch in stretches(circuit, stacks, source, ring):
        fold, zero = stretch.fold, stretch.start
        for start, stop in chunks(stretch.circuit, stretch.stop, stretch.start, whole=whole):
            up = stretch.up(start, stop)
            first, again = _roots(up, ring, row_weights, start, stop)
            below = stretch.below(up.values, start, stop)
            room = stretch.room("down", up.values.buffer)
            shares = _down(up.values, first, totals, below, room=room)
            found: list[tuple[slice | Tensor | None, Tensor]] = []
            flows = stretch.leaf_flows(up.values, shares)
            if flows is not None:
                found.append((slice(start, stop), flows.to(up.value.dtype)))
            if up.again is not None and up.rows is not None:
                below = stretch.below(up.again, start, stop)
                if below is not None:
                    below = below.index_select(1, up.rows)
                shares = _down(up.again, again, totals, below)
                more = leaf_flows(up.again, shares).to(up.value.dtype)
                found.append((start + up.rows, more))
            yield Expected(start, stop, up.value, found)
        if fold is not None:
            nothing = row_weights[:0]
            yield Expected(zero, zero, nothing, [(None, fold.down(counts).to(row_weights.dtype))])
    totals.finish()


def _again(
    circuit: Circuit, stacks: Stacks, counts: Sequence[Tensor] | None, keep_states: bool = False
) -> Again:
    """What a chain needs for rows that are to be swept in logarithms."""

    def swept(part: Source, weights: Tensor | None) -> Iterator[Chunk]:
        yield from sweep(
            circuit, stacks, part, row_weights=weights, counts=counts, keep_states=keep_states
        )

    return Again(swept, counts, keep_states)


def _roots(
    up: Upward, ring: Linear | Log, row_weights: Tensor | None, start: int, stop: int
) -> tuple[Tensor, Tensor]:
    """The flows into the root (B,), and those of the rows that were evaluated again."""
    root = torch.ones_like(up.value) if row_weights is None else row_weights[start:stop]
    if ring.logarithmic:
        root = root.where(up.value > -torch.inf, 0)
    if up.rows is None:
        return root, root[:0]
    return root.index_fill(0, up.rows, 0), root[up.rows]


def _down(
    values: Values,
    root: Tensor,
    totals: Totals | None,
    observed: Tensor | None,
    keep_states: bool = False,
    room: Tensor | None = None,
) -> Shares:
    """One downward pass of shares; counts are added to `totals`."""
    root = root.to(values.buffer.dtype)
    shares = Shares(
        values, root, totals=totals, observed=observed, keep_states=keep_states, room=room
    )
    downward(values, shares)
    return shares


def _found(values: Values, shares: Shares, like: Tensor) -> tuple[Tensor, dict[Any, Tensor]]:
    """The flows of components (d, max k, B) and of latents."""
    states = named(values.circuit, shares.states or {})
    inputs = leaf_flows(values, shares).to(like.dtype)
    return inputs, {name: state.to(like.dtype) for name, state in states.items()}


def choose(
    circuit: Circuit,
    stacks: Stacks,
    source: Source,
    ring: Log,
    *,
    only_observed: bool = False,
    keep_states: bool = True,
) -> Iterator[Chunk]:
    """One state per node: the best under Max, drawn under Sample; `inputs` holds (d, B) components.

    With `only_observed` what is wholly missing below a node counts as summed out, and is chosen
    last, given the rest: Viterbi paths of rows that end early are then those of shorter sequences.
    """
    network = None if keep_states else _serving(circuit, stacks, source, ring)
    if network is not None and isinstance(ring, Sample):
        for start, stop, value, drawn in network.choose(source, ring):
            yield Chunk(start, stop, value, drawn, {})
        return
    weights = layer_weights(circuit, stacks)
    for start, stop in chunks(circuit, source.rows):
        evidence = located(circuit, source.evidence, ring, start, stop)
        inputs = buffer_rows(circuit, source.read(start, stop))
        below = _below(circuit, source, evidence, start, stop) if only_observed else None
        values = upward(circuit, weights, ring, inputs, evidence, below)
        yield _chosen(values, start, stop, keep_states)


def draw(
    circuit: Circuit,
    stacks: Stacks,
    rows: int,
    generator: torch.Generator | None,
    device: torch.device,
) -> Iterator[Tensor]:
    """The components (d, B) of draws without evidence, some rows at a time."""
    if not rows:
        return iter([torch.empty((circuit.variables, 0), dtype=torch.int64, device=device)])
    network = networks(circuit, stacks)
    if network is not None:
        return network.draw(rows, Sample(generator))
    return prior_draws(circuit, stacks, rows, generator, device)


def joined(parts: Iterator[Tensor], rows: int) -> Tensor:
    """Parts (d, B, ..) one after the other, (d, rows, ..)."""
    first = next(parts)
    if first.shape[1] == rows:
        return first
    found = first.new_empty((len(first), rows, *first.shape[2:]))
    start = 0
    for part in itertools.chain([first], parts):
        found[:, start : start + part.shape[1]] = part
        start += part.shape[1]
    return found


def _chosen(values: Values, start: int, stop: int, keep_states: bool) -> Chunk:
    choices = Choices(values.circuit, stop - start, values.buffer.device)
    downward(values, choices)
    states = named(values.circuit, choices.states) if keep_states else {}
    components = choices.inputs(values.circuit)
    return Chunk(start, stop, values.root.clone(), components, states)


def _below(
    circuit: Circuit, source: Source, evidence: Evidence | None, start: int, stop: int
) -> Tensor | None:
    """(nodes, B): whether there is an observation or evidence below a node; None if everywhere."""
    observed = source.observed(start, stop)
    if observed is None:
        return None
    return anything_observed(circuit, observed, evidence or {})


def insides(
    circuit: Circuit, stacks: Stacks, source: Source
) -> Iterator[tuple[int, int, dict[Any, Tensor]]]:
    """Rows start..stop-1 and, of every latent, the logarithms (r, B) of what is below it, per
    state.
    """
    weights = layer_weights(circuit, stacks)
    for start, stop in chunks(circuit, source.rows):
        evidence = located(circuit, source.evidence, Log(), start, stop)
        inputs = buffer_rows(circuit, source.read(start, stop))
        values = upward(circuit, weights, Log(), inputs, evidence)
        found = {}
        for place, layer in enumerate(circuit.layers):
            children, out = read_children(values, place), layer.out(values.buffer)
            for step in range(layer.steps):
                factors = factors_at(layer, children, out, step)
                found[place, step] = inside_of(values, place, step, factors)
        yield start, stop, named(circuit, found)


def tilt(circuit: Circuit, stacks: Stacks, source: Source) -> list[Tensor | None]:
    """The tables given one row of evidence: every entry times the value of its term over its sum's.

    Per layer (L, N, P, C); None for an identity. Rows that the evidence makes impossible stay as
    they are.
    """
    weights = layer_weights(circuit, stacks)
    evidence = located(circuit, source.evidence, Log(), 0, 1)
    values = upward(circuit, weights, Log(), buffer_rows(circuit, source.read(0, 1)), evidence)
    found: list[Tensor | None] = []
    for place, layer in enumerate(circuit.layers):
        children, out = read_children(values, place), layer.out(values.buffer)
        steps = []
        for step, mixing in enumerate(weights[place]):
            if mixing is None:
                break
            inside = inside_of(values, place, step, factors_at(layer, children, out, step))
            terms = (mixing.logs + inside.mT - out[step]).exp()
            total = terms.sum(-1, keepdim=True)
            steps.append(torch.where(total > 0, terms / total, mixing.values))
        found.append(torch.stack(steps) if steps else None)
    return found


def named(circuit: Circuit, states: Mapping[tuple[int, int], Tensor]) -> dict[Any, Tensor]:
    """States (N, B), or their flows (N, C, B) without padding, by the names of the latents."""
    found = {}
    for name, (layer, step, position) in circuit.latents.items() if states else ():
        state = states[layer, step][position]
        found[name] = state if state.ndim == 1 else state[: circuit.states_of(name)]
    return found
