"""Evaluation chunk by chunk: contractions, posteriors with expected counts, and choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mixtures.alias import alternatives
from mixtures.chosen import Choices, prior_draws
from mixtures.circuit import Circuit
from mixtures.leafrows import buffer_rows, leaf_columns
from mixtures.networkpass import NetworkPass, networks
from mixtures.passes import (
    Evidence,
    LayerWeights,
    Shares,
    Stacks,
    Values,
    anything_observed,
    downward,
    factors_at,
    inside_of,
    layer_weights,
    read_children,
    upward,
)
from mixtures.scaled import Scaled, safe_limit
from mixtures.semiring import Linear, Log, Sample, Semiring

STEP_ELEMENTS = (
    2**17
)  # numbers one step of a chunk should touch: large enough to outweigh its overhead
CHUNK_ELEMENTS = 2**23  # numbers a chunk may hold at most


@dataclass(frozen=True, eq=False)
class Source:
    """Where leaves come from: `read(a, b)` gives rows a..b-1 as (d, max k, b - a), `rows` of
    them.
    """

    rows: int
    read: Callable[[int, int], Tensor]
    observed: Callable[[int, int], Tensor | None] = lambda start, stop: None  # (d, b - a)
    evidence: Mapping[Any, Tensor] | None = None  # latent -> (rows, r) log-weights


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a sweep yields for the rows start..stop-1."""

    start: int
    stop: int
    log_value: Tensor  # (B,)
    inputs: Tensor  # (d, max k, B): posterior of the components, times the row's weight
    states: Mapping[Any, Tensor]  # latent -> (r, B)


def rows_at_once(circuit: Circuit) -> int:
    """How many rows of data a chunk holds: few enough for the cache, enough to outweigh
    overheads.
    """
    steps = sum(layer.steps for layer in circuit.layers)
    wanted = STEP_ELEMENTS * steps // circuit.rows
    allowed = CHUNK_ELEMENTS // circuit.rows
    return max(1, min(max(32, wanted), allowed))


def from_tensor(leaves: Tensor, evidence: Mapping[Any, Tensor] | None = None) -> Source:
    """A source that reads leaves (n, d, k) held in memory."""
    return Source(
        rows=leaves.shape[0],
        read=lambda start, stop: leaves[start:stop].permute(1, 2, 0),
        evidence=evidence,
    )


def chunks(circuit: Circuit, rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the chunks that `rows` rows are cut into."""
    size = rows_at_once(circuit)
    for start in range(0, rows, size):
        yield start, min(rows, start + size)


def contract(circuit: Circuit, stacks: Stacks, source: Source, ring: Semiring) -> Tensor:
    """The value of the circuit for every row, (n,)."""
    network = _serving(circuit, stacks, source, ring)
    if network is not None:
        return network.contract(source)
    prepared = _Prepared(circuit, stacks, ring)
    found = [
        _up(prepared, source, ring, start, stop).value
        for start, stop in chunks(circuit, source.rows)
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


@dataclass(eq=False)
class _Upward:
    """The values of one chunk, and the values anew of the rows for which mantissas do not do."""

    values: Values
    value: Tensor  # (B,)
    again: Values | None = None
    rows: Tensor | None = None  # which rows `again` is about


class _Prepared:
    """The weights of a circuit, laid out for its layers once for all chunks."""

    def __init__(self, circuit: Circuit, stacks: Stacks, ring: Semiring) -> None:
        self.circuit, self.stacks = circuit, stacks
        self.weights = layer_weights(circuit, stacks)
        self.safe = safe_limit(circuit, stacks) if type(ring) is Log else None

    @cached_property
    def double(self) -> LayerWeights:
        """In float64, for the rows for which mantissas do not do."""
        return layer_weights(self.circuit, [stack.double() for stack in self.stacks])


def _up(prepared: _Prepared, source: Source, ring: Semiring, start: int, stop: int) -> _Upward:
    """One upward pass over rows start..stop-1.

    In mantissas where they serve, the rows that underflow may have touched again in logarithms.
    Logarithms of trees are float64 in float32 models, too: their last digits are those of
    posteriors.
    """
    circuit = prepared.circuit
    leaves = source.read(start, stop)
    if prepared.safe is None:
        evidence = located(circuit, source.evidence, ring, start, stop)
        inputs = buffer_rows(circuit, leaves)
        if type(ring) is Log and circuit.is_tree:
            values = upward(circuit, prepared.double, ring, inputs.double(), evidence)
        else:
            values = upward(circuit, prepared.weights, ring, inputs, evidence)
        return _Upward(values, values.root.to(leaves.dtype, copy=True))
    scaled = Scaled(prepared.safe, leaves)
    evidence = located(circuit, source.evidence, scaled, start, stop)
    inputs = buffer_rows(circuit, scaled.inputs(circuit, leaves))
    values = upward(circuit, prepared.weights, scaled, inputs, evidence)
    value = values.root.double().log().add_(scaled.scale).to(leaves.dtype)
    suspect = scaled.suspect
    if not bool(suspect.any()):
        return _Upward(values, value)
    rows = suspect.nonzero().flatten()
    scaled.neutralise(values.buffer)
    evidence = located(circuit, source.evidence, ring, start, stop, rows)
    inputs = buffer_rows(circuit, leaves.index_select(-1, rows)).double()
    again = upward(circuit, prepared.double, ring, inputs, evidence)
    return _Upward(values, value.index_copy(0, rows, again.root.to(value.dtype)), again, rows)


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
    prepared = _Prepared(circuit, stacks, ring)
    for start, stop in chunks(circuit, source.rows):
        up = _up(prepared, source, ring, start, stop)
        root = torch.ones_like(up.value) if row_weights is None else row_weights[start:stop]
        if ring.logarithmic:
            root = root.where(up.value > -torch.inf, 0)
        below = _below(circuit, source, up.values.evidence, start, stop)
        first = root if up.rows is None else root.index_fill(0, up.rows, 0)
        first = first.to(up.values.buffer.dtype)
        inputs, states = _down(up.values, first, counts, below, keep_states)
        inputs = inputs.to(root.dtype)
        states = {name: state.to(root.dtype) for name, state in states.items()}
        if up.again is not None and up.rows is not None:
            if below is not None:
                below = below.index_select(1, up.rows)
            again = root[up.rows].double()
            more, more_states = _down(up.again, again, counts, below, keep_states)
            inputs.index_copy_(2, up.rows, more.to(inputs.dtype))
            for name, state in more_states.items():
                states[name].index_copy_(1, up.rows, state.to(inputs.dtype))
        yield Chunk(start, stop, up.value, inputs, states)


def _down(
    values: Values,
    root: Tensor,
    counts: Sequence[Tensor] | None,
    observed: Tensor | None,
    keep_states: bool,
) -> tuple[Tensor, dict[Any, Tensor]]:
    """The flows of components (d, max k, B) and of latents; counts are added to `counts`."""
    shares = Shares(values, root, counts=counts, observed=observed, keep_states=keep_states)
    downward(values, shares)
    states = named(values.circuit, shares.states or {})
    return leaf_columns(values.circuit, shares.inputs(values.circuit)), states


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
) -> Tensor:
    """The components (rows, d) of draws without evidence."""
    network = networks(circuit, stacks)
    if network is not None:
        return network.draw(rows, Sample(generator))
    tables = alternatives(circuit, stacks)
    found = torch.empty((rows, circuit.variables), dtype=torch.int64, device=device)
    for start, stop in chunks(circuit, rows):
        choices = prior_draws(circuit, tables, stop - start, generator, device)
        found[start:stop] = choices.inputs(circuit).T
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
            children, out = read_children(layer, values.buffer), layer.out(values.buffer)
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
        children, out = read_children(layer, values.buffer), layer.out(values.buffer)
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


def located(
    circuit: Circuit,
    evidence: Mapping[Any, Tensor] | None,
    ring: Semiring,
    start: int,
    stop: int,
    rows: Tensor | None = None,
) -> Evidence | None:
    """Evidence about named latents, for (some of the) rows start..stop-1, where the passes look for
    it.
    """
    if not evidence:
        return None
    found: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    for name, logs in evidence.items():
        layer, step, position = circuit.latents[name]
        part = logs[start:stop] if rows is None else logs[start:stop].index_select(0, rows)
        padding = circuit.layers[layer].inside - part.shape[1]
        weight = ring.evidence(torch.nn.functional.pad(part, (0, padding)).mT)
        found.setdefault((layer, step), []).append((position, weight))
    return found


def named(circuit: Circuit, states: Mapping[tuple[int, int], Tensor]) -> dict[Any, Tensor]:
    """States (N, B), or their flows (N, C, B) without padding, by the names of the latents."""
    found = {}
    for name, (layer, step, position) in circuit.latents.items() if states else ():
        state = states[layer, step][position]
        found[name] = state if state.ndim == 1 else state[: circuit.states_of(name)]
    return found
