"""Chains and caterpillars under Log: mantissas walked along the spine, up and down.

What the generic passes do node by node in one buffer is done here step by step with what stays in
the cache; leaves with few values are looked up. Rows whose mantissas may have lost something are
walked again, renormalised at every step; what is suspect even then is left to logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.kernels import PRODUCT, kernels_for
from mixtures.passes import RUN
from mixtures.readings import Collecting, Entries, Rows, at_rows
from mixtures.scaled import safe_limit
from mixtures.semiring import Log, Semiring
from mixtures.sides import WORTH, Table
from mixtures.source import Source
from mixtures.spine import Side, Spine, chosen, spine_of
from mixtures.spinewalk import Walk, Wanted

COLUMNS = 1024  # rows walked at once at most: enough to outweigh the overhead of a step
LEAST = 32  # and at least
HISTORY = 2**23  # numbers that may be kept for the way down


@dataclass(frozen=True, eq=False)
class Again:
    """Sweeps of the engine over part of a source, and what they collect."""

    sweep: Callable[[Source, Tensor | None], Iterator[Any]]
    counts: Sequence[Tensor] | None
    keep_states: bool


@dataclass(eq=False)
class Found:
    """What a sweep yields for some rows, as a chunk of the engine does."""

    start: int
    stop: int
    log_value: Tensor  # (B,)
    suspect: Tensor  # (B,) which rows it is not about
    inputs: Tensor | None  # (d, max k, B); None if the entries took them
    states: dict[Any, Tensor]  # latent -> (r, B)


class Chain:
    """A spine with its tables and leaves, ready for chunks of rows."""

    @classmethod
    def of(
        cls, circuit: Circuit, stacks: Sequence[Tensor], reader: Source, ring: Semiring
    ) -> Chain | None:
        """None unless the circuit is a spine that mantissas serve, without evidence."""
        if type(ring) is not Log or reader.evidence or not (reader.rows and reader.by_spine):
            return None
        spine = spine_of(circuit)
        safe = None if spine is None else safe_limit(circuit, stacks)
        return None if spine is None or safe is None else cls(circuit, spine, stacks, safe, reader)

    def __init__(
        self,
        circuit: Circuit,
        spine: Spine,
        stacks: Sequence[Tensor],
        safe: float,
        reader: Source,
    ) -> None:
        self.circuit, self.spine, self.reader = circuit, spine, reader
        self.entries = reader.entries or Entries(lambda rows: at_rows(reader.read, rows))
        self.tables = [chosen(stacks[segment.table], segment.slots) for segment in spine.segments]
        self.sides = [side for segment in spine.segments for side in segment.sides]
        self.mixing: dict[Side, Tensor | None] = {
            side: None if side.table is None else chosen(stacks[side.table], side.slots)
            for side in self.sides
        }
        self.kernels = kernels_for(self.tables[0])
        # Values alone are renormalised half as often where the range of the type leaves room.
        self.run = 2 * RUN if self.tables[0].dtype == torch.float64 else RUN
        self.safe = safe * (self.run // RUN)
        entries = max(table.shape[1] * table.shape[2] for table in self.tables)
        self.columns = max(LEAST, min(COLUMNS, PRODUCT // entries))
        self.largest = max(side.components for side in self.sides)
        self.codes = self.entries.codes
        if self.codes is not None:
            looked = self.symbols.numel() * WORTH
            self.codes = self.codes if looked <= self.codes.numel() * self.largest else None
        self.symbol_sums: Tensor | None = None
        self.exponents = None if self.codes is not None else self.entries.exponents

    @property
    def collecting(self) -> Collecting:
        """The entries, where they are known to take posteriors."""
        assert isinstance(self.entries, Collecting)
        return self.entries

    @cached_property
    def symbols(self) -> Tensor:
        """Log-leaves of all symbols."""
        return self.collecting.symbols()

    @cached_property
    def lookups(self) -> dict[Side, Table]:
        """The values of the leaves of each side, for all symbols."""
        found = {}
        for side in self.sides:
            logs = self.symbols[:, : side.components]
            if len(logs) > 1:
                logs = logs.index_select(0, torch.as_tensor(side.variables, device=logs.device))
            found[side] = Table(logs, self.mixing[side])
        return found

    # -- all rows --------------------------------------------------------------------------------

    def contract(self, anew: Callable[[Source], Tensor]) -> Tensor:
        """The log-values of all rows, (n,); `anew` gives those of rows that need logarithms."""
        values = []
        for start, stop in self._chunks(keep=False):
            found = self._value(slice(start, stop), stop - start)
            values.append(found.log_value)
            for again, place in _suspects(found, start):
                second = self._value(again, len(again), run=1)
                found.log_value[place] = second.log_value
                for left, left_place in _suspects(second, again):
                    found.log_value[place[left_place]] = anew(self._part(left))
        return torch.cat(values)

    def sweep(
        self, weights: Tensor | None, again: Again, *, summed: bool = False
    ) -> Iterator[Found]:
        """Posteriors, times the weights (n,) of rows; counts are added.

        `summed`: posteriors of components go to the entries, where they take them.
        """
        wanted = Wanted(again.counts, again.keep_states, summed)
        for start, stop in self._chunks(keep=True):
            own = self.tables[0].new_ones(stop - start) if weights is None else weights[start:stop]
            found = self._posterior(slice(start, stop), stop - start, own, wanted)
            for rows, place in _suspects(found, start):
                second = self._posterior(rows, len(rows), own[place], wanted, run=1)
                _put(found, place, second)
                for left, left_place in _suspects(second, rows):
                    self._anew(found, left, place[left_place], own, again)
            yield found
        if self.symbol_sums is not None:
            self.collecting.collect_symbols(self.symbol_sums)

    def _anew(
        self, found: Found, rows: Tensor, place: Tensor, weights: Tensor, again: Again
    ) -> None:
        """Put rows in their place that were swept in logarithms."""
        for part in again.sweep(self._part(rows), weights[place]):
            which = slice(part.start, part.stop)
            _put(found, place[which], part)
            if found.inputs is None:
                self.collecting.collect_rows(rows[which], part.inputs)

    def _part(self, rows: Tensor) -> Source:
        """Some rows, for the passes that serve any circuit."""
        reader = self.reader
        return Source(
            len(rows),
            lambda start, stop: at_rows(reader.read, rows[start:stop]),
            lambda start, stop: at_rows(reader.observed, rows[start:stop]),
            by_spine=False,
        )

    # -- some rows -------------------------------------------------------------------------------

    def _chunks(self, *, keep: bool) -> Iterator[tuple[int, int]]:
        """(start, stop) of the rows to walk at once."""
        width = self.spine.states
        if self.codes is None:
            width += sum(side.components for side in self.spine.segments[-1].sides)
        size, rows = self.columns, self.reader.rows
        if keep:
            size = max(1, min(size, HISTORY // (self.spine.steps * width)))
        size = -(-rows // -(-rows // size))  # chunks of about the same size
        for start in range(0, rows, size):
            yield start, min(rows, start + size)

    def _value(self, rows: Rows, count: int, run: int | None = None) -> Found:
        with self.kernels.walking():
            walk = Walk(self, rows, count, self.run if run is None else run, None)
            found = Found(0, count, *walk.up(), None, {})
            walk.rooms.release()
        return found

    def _posterior(
        self, rows: Rows, count: int, weights: Tensor, wanted: Wanted, run: int = RUN
    ) -> Found:
        """Posteriors and counts of some rows, times their weights (B,)."""
        with self.kernels.walking():
            walk = Walk(self, rows, count, run, wanted)
            value, suspect = walk.up()
            if bool(suspect.any()):
                walk.neutralise(suspect)
                weights = weights.masked_fill(suspect, 0)
            walk.down(weights)
            walk.rooms.release()
        start = rows.start if isinstance(rows, slice) else 0
        return Found(start, start + count, value, suspect, walk.inputs, walk.named())

    def varies(self, side: Side) -> bool:
        """Whether the tables of a side differ from step to step."""
        mixing = self.mixing[side]
        return mixing is not None and len(mixing) > 1

    def add_symbols(self, side: Side, sums: Tensor) -> None:
        """Add posteriors summed over the entries of each symbol, (steps or 1, k, V)."""
        if self.symbol_sums is None:
            self.symbol_sums = torch.zeros_like(self.symbols, dtype=torch.float64)
        part = self.symbol_sums[:, : side.components]
        if len(part) == 1:
            part += sums.sum(0, keepdim=True)
        else:
            part.index_add_(0, torch.as_tensor(side.variables, device=sums.device), sums)


def _suspects(found: Found, rows: int | Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """At most once: the rows that must be walked again, and their places in what was found.

    `rows`: the first row, or all of them.
    """
    if bool(found.suspect.any()):
        place = found.suspect.nonzero().flatten()
        yield place + rows if isinstance(rows, int) else rows[place], place


def _put(found: Found, place: Tensor, part: Any) -> None:
    """Put what was found anew in its place."""
    found.log_value[place] = part.log_value
    if found.inputs is not None and part.inputs is not None:
        found.inputs.index_copy_(2, place, part.inputs)
    for name, state in part.states.items():
        found.states[name].index_copy_(1, place, state)
