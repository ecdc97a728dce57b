"""Plans of scalar networks with their weights, and where the rows that they are given come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, ONE, ZERO, Circuit
from mixtures.compiled import CompiledPass
from mixtures.leafrows import buffer_rows
from mixtures.leafstatistic import Chosen, LeafStatistic
from mixtures.networkfold import NetworkFold
from mixtures.networkplan import Plan, Sums, pieces
from mixtures.networksteps import ProductStep, Step, SumStep
from mixtures.patterns import Symbols
from mixtures.semiring import Log
from mixtures.walk import Walk

ELEMENTS = 2**21  # numbers the values of a chunk should take
FEWEST, MOST = 64, 512  # rows of a chunk
COMPILED = 1024  # rows of a chunk of compiled loops, which hold a few values at a time
MOST_GIVEN = 0.25  # of the rows of a plan, in compiled loops, which have to take them over
PIECE = 2**10  # children of the sums that are computed together: their values stay in the cache


def rows_at_once(rows: int) -> int:
    """The rows of data whose values are computed together, in a plan of so many rows."""
    return max(FEWEST, min(MOST, ELEMENTS // rows))


def spans(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of all rows, so many at a time."""
    for start in range(0, rows, size):
        yield start, min(rows, start + size)


class Reader(Protocol):
    """Where leaves (d, max k, rows) come from, and which variables are observed, (d, rows)."""

    @property
    def rows(self) -> int: ...
    @property
    def read(self) -> Callable[[int, int], Tensor]: ...
    @property
    def observed(self) -> Callable[[int, int], Tensor | None]: ...
    @property
    def symbols(self) -> Callable[[], Symbols | None]: ...
    @property
    def leaves(self) -> Callable[[], Tensor] | None: ...


class Loaded:
    """A plan with the weights of its sums and leaf factors, and what they have counted.

    fold: what gives the rows that are read off tables of patterns, if there are some.
    """

    def __init__(
        self, plan: Plan, flat: Tensor, circuit: Circuit, fold: NetworkFold | None = None
    ) -> None:
        self.plan, self.circuit, self.flat, self.fold = plan, circuit, flat, fold
        self.ring = Log()
        self._compiled: CompiledPass | None = None
        self.leaves: LeafStatistic | None = None
        self.walk: Walk | None = None
        inputs = circuit.input_rows if fold is None else 0
        given = inputs if plan.leaves is None else plan.leaves.carriers
        if plan.leaves is not None and given:
            self.leaves = LeafStatistic(plan.leaves, flat, circuit)
        self.given = slice(CONSTANTS, CONSTANTS + given)
        self.steps: list[Step] = []
        for step in plan.steps:
            if isinstance(step, Sums):
                self.steps += [SumStep(part, flat) for part in pieces(step, PIECE)]
            else:
                self.steps.append(ProductStep(step, flat.device))

    def fill(self, leaves: Tensor, symbols: Chosen | None, out: Tensor) -> None:
        """Write the rows that come from leaves (d, max k, B), or from the symbols these are."""
        if symbols is None or self.leaves is None:
            out.copy_(buffer_rows(self.circuit, leaves))
        else:
            self.leaves.up(symbols, out)

    @property
    def compiles(self) -> bool:
        """Whether most rows are computed, not given from outside: compiled loops are quicker."""
        return self.given.stop - self.given.start <= MOST_GIVEN * self.plan.rows

    def compiled(self) -> CompiledPass:
        """The same for compiled loops."""
        if self._compiled is None:
            given = self.given.stop - self.given.start
            self._compiled = CompiledPass(self.plan, given, self.flat, self.fold)
        return self._compiled

    def room(self, like: Tensor, rows: int, buffer: Tensor | None) -> Tensor:
        """A buffer for the values of all rows of the plan, which hold the constants already.

        One of the size needed is written over: memory that is new costs more than the sums.
        """
        size = (self.plan.rows, rows)
        if buffer is None or buffer.shape != size:
            buffer = like.new_empty(size)
        buffer[ONE], buffer[ZERO] = 0.0, -torch.inf
        return buffer

    def up(self, buffer: Tensor) -> None:
        """Compute all rows from those that are given."""
        for step in self.steps:
            step.up(buffer, self.ring)

    def down(self, buffer: Tensor, root: Tensor, *, counting: bool, seen: Tensor | None) -> Tensor:
        """The flows through all rows, (rows, B), given that into the root, (B,).

        With `counting` expected counts are collected; seen: how many variables are observed below
        each row, or None where all are.
        """
        flows = torch.zeros_like(buffer)
        flows[self.plan.root] = root
        for step in reversed(self.steps):
            step.down(buffer, flows, self.ring, counting=counting, seen=seen)
        return flows

    def collect(self, total: Tensor) -> None:
        """Add what has been counted to the flat list of weights."""
        for step in self.steps:
            step.collect(total)
        if self.leaves is not None:
            self.leaves.collect(total)

    def observations(
        self, observed: Tensor, tables: Tensor | None = None, entries: Sequence[Tensor] = ()
    ) -> Tensor:
        """How many variables are observed below each row, (rows, B), given (d, B).

        tables, entries: that of patterns as a flat list, and where rows that are given are in it.
        """
        below = torch.zeros(
            (self.plan.rows, observed.shape[1]), device=observed.device, dtype=torch.float32
        )
        seen = observed.to(below.dtype)
        if self.fold is not None and tables is not None:
            self.fold.read(tables, entries, below)
        if self.leaves is not None:
            below[self.given] = self.leaves.by_variable.times(seen)
        elif self.fold is None:
            sizes = torch.as_tensor(self.circuit.inputs, device=observed.device)
            below[self.given] = seen.repeat_interleave(sizes, 0)
        for step in self.steps:
            step.observe(below)
        return below
