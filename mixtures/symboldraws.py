"""Draws of symbols without evidence: all that is below a node of a tree at once, where that takes
few values.

A node above m leaves of V symbols has V^m patterns of symbols. Where these are few, the states
below the node are summed out, and of its own row for the parent's state one pattern is drawn: one
random number in place of one for every node and every leaf. Levels of 64 bits keep what is rare:
probabilities are rounded to multiples of 2^-54 at most, zero stays zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.alias import MOST, Alternatives
from mixtures.chosen import prior_draws
from mixtures.circuit import CONSTANTS, Circuit, Integers, Layer
from mixtures.combining import combine
from mixtures.kept import Kept
from mixtures.semiring import Linear
from mixtures.unfolded import unfolded

Bytes = NDArray[numpy.uint8]

SMALL, CELLS = 16, 8  # patterns of a node: as few, or so many for each state of its parent
NUMBERS = 2**24  # that combined patterns may be
WORD = 8  # symbols are copied so many at a time


@dataclass(frozen=True, eq=False)
class Drawn:
    """Nodes (G) with equally many states and patterns: what is drawn of each, and what it means."""

    places: Tensor  # (G,) which inputs of the circuit above they are
    rows: Alternatives
    words: Tensor  # (G patterns, W) int64, the symbols of 8 W leaves in each
    variables: Tensor  # (G L,) the leaves of each node
    whole: bool  # these are all variables, in their order, and fill the words


class SymbolDraws:
    """What of a mixture is drawn at once, and the circuit of all above it."""

    def __init__(self, circuit: Circuit, stacks: Sequence[Tensor], below: _Below) -> None:
        above = unfolded(circuit, below.sizes > 0)
        self.circuit, self.stacks, self.variables = above.circuit, stacks, circuit.variables
        nodes = numpy.concatenate([nodes for _, nodes in above.given.values()])
        kinds: dict[tuple[int, ...], list[int]] = {}
        by_leaf = sorted(enumerate(nodes.tolist()), key=lambda pair: below.leaves[pair[1]][0])
        for place, node in by_leaf:
            kind = (*below.values[node].shape, len(below.leaves[node]))
            kinds.setdefault(kind, []).append(place)
        self.parts = [below.drawn(nodes, numpy.array(places)) for places in kinds.values()]

    def draw(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Symbols (rows, d) int64."""
        device, start = self.parts[0].words.device, 0
        found = torch.empty((rows, self.variables), dtype=torch.uint8, device=device)
        for states in prior_draws(self.circuit, self.stacks, rows, generator, device):
            for part in self.parts:
                self._write(part, states, found[start : start + states.shape[1]], generator)
            start += states.shape[1]
        return found.long()

    def _write(
        self, part: Drawn, states: Tensor, out: Tensor, generator: torch.Generator | None
    ) -> None:
        own = states.index_select(0, part.places).mT.to(torch.int32)
        number = torch.arange(own.shape[1], dtype=torch.int32, device=own.device)
        pattern = part.rows.draw(own + number * part.rows.parents, generator)
        pattern += number * part.rows.terms
        words = part.words.index_select(0, pattern.reshape(-1)).view(torch.uint8)
        if part.whole:
            out.copy_(words.view(out.shape))
            return
        held = words.view(*own.shape, -1)[:, :, : len(part.variables) // own.shape[1]]
        out.index_copy_(1, part.variables, held.reshape(len(own), -1))


class _Below:
    """The probabilities (P, B) of the patterns of nodes that have few, and their symbols."""

    def __init__(self, circuit: Circuit, stacks: Sequence[Tensor], symbols: Sequence[Tensor]):
        self.circuit, self.stacks = circuit, stacks
        self.sizes = numpy.zeros(len(circuit.row_of), dtype=numpy.int64)
        self.values: dict[int, Tensor] = {}
        self.leaves: dict[int, list[int]] = {}
        self.codes: dict[int, Bytes] = {}  # (B, L)
        for variable, table in enumerate(symbols):
            node = CONSTANTS + variable
            self.values[node], self.sizes[node] = table, table.shape[1]
            self.leaves[node] = [variable]
            self.codes[node] = numpy.arange(table.shape[1], dtype=numpy.uint8)[:, None]
        self.folds = 0
        for layer in circuit.layers:
            for step in range(layer.steps):
                for members in self._served(layer, step):
                    self._fold(layer, step, members)
                    self.folds += 1

    def _served(self, layer: Layer, step: int) -> Iterator[Integers]:
        """Nodes of one step whose children have equally many patterns, which combine to few."""
        sizes = self.sizes[layer.owners[:, step]]
        limit = min(MOST, max(SMALL, CELLS * layer.width))
        product = sizes.astype(float).prod(0)
        kinds: dict[bytes, list[int]] = {}
        for place in ((product > 0) & (product <= limit)).nonzero()[0].tolist():
            kinds.setdefault(sizes[:, place].tobytes(), []).append(place)
        for places in kinds.values():
            if len(places) * layer.inside * product[places[0]] <= NUMBERS:
                yield numpy.array(places)

    def _fold(self, layer: Layer, step: int, members: Integers) -> None:
        owners = layer.owners[:, step, members]
        digits = numpy.indices(self.sizes[owners[:, 0]].tolist()).reshape(len(owners), -1)
        factors = []
        for line, digit in zip(owners, digits, strict=True):
            value = torch.stack([self.values[node] for node in line.tolist()])
            factors.append(value.index_select(2, torch.as_tensor(digit, device=value.device)))
        found = combine(layer, Linear(), factors)
        if layer.table is not None and layer.slots is not None:
            slots = torch.as_tensor(layer.slots[step, members], device=found.device)
            found = _normal(self.stacks[layer.table].index_select(0, slots)) @ found
        nodes = layer.nodes_of(step).start + members
        self.sizes[nodes] = found.shape[2]
        for node, children, value in zip(nodes.tolist(), owners.T.tolist(), found, strict=True):
            self.values[node] = value
            self.leaves[node] = [j for child in children for j in self.leaves[child]]
            codes = [self.codes[child][d] for child, d in zip(children, digits, strict=True)]
            self.codes[node] = numpy.concatenate(codes, 1)

    def drawn(self, nodes: Integers, places: Integers) -> Drawn:
        """What is drawn of nodes with equally many states and patterns."""
        own = nodes[places].tolist()
        weights = torch.stack([self.values[node] for node in own])
        device, leaves = weights.device, len(self.leaves[own[0]])
        words = numpy.zeros((len(own), weights.shape[2], -(-leaves // WORD) * WORD), numpy.uint8)
        for number, node in enumerate(own):
            words[number, :, :leaves] = self.codes[node]
        held = words.reshape(-1, words.shape[2]).view(numpy.int64)
        variables = [j for node in own for j in self.leaves[node]]
        return Drawn(
            torch.as_tensor(places, device=device),
            Alternatives(weights, wide=leaves > 1),
            torch.as_tensor(held, device=device),
            torch.tensor(variables, device=device),
            leaves % WORD == 0 and variables == [*range(self.circuit.variables)],
        )


def _normal(weights: Tensor) -> Tensor:
    """Rows as float64 that sum to one."""
    weights = weights.double()
    return weights / weights.sum(-1, keepdim=True)


def _made(circuit: Circuit, stacks: Sequence[Tensor]) -> SymbolDraws | None:
    """The last one of the stacks holds the symbols (d or 1, k, V) of all variables."""
    *tables, symbols = stacks
    if symbols.shape[2] > MOST or not circuit.has_patterns:
        return None
    whole = _normal(symbols).expand(circuit.variables, -1, -1)
    number = torch.arange(1, whole.shape[2] + 1, device=whole.device)
    most = (number * (whole > 0).any(1)).amax(1).tolist()  # symbols of each variable
    sizes = zip(circuit.inputs, most, strict=True)
    below = _Below(circuit, tables, [whole[j, :k, :m] for j, (k, m) in enumerate(sizes)])
    return SymbolDraws(circuit, tables, below) if below.folds else None


symbol_draws = Kept(_made)
"""symbol_draws(circuit, [*stacks, symbols]): kept until the tables change; None without gain."""
