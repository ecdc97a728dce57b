"""Both passes over scalar circuits by their plans: values upward, shares and counts downward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, ONE, ZERO, Circuit
from mixtures.kept import Kept
from mixtures.leafrows import buffer_rows, leaf_columns
from mixtures.leafstatistic import Chosen, LeafStatistic, chosen_of
from mixtures.networkfold import NetworkFold
from mixtures.networkpatterns import folded_of
from mixtures.networkplan import Plan, Sums, pieces, plan_of
from mixtures.networksteps import ProductStep, Step, SumStep
from mixtures.patterns import Symbols
from mixtures.semiring import Log, Sample
from mixtures.walk import Walk

ELEMENTS = 2**21  # numbers the values of a chunk should take
FEWEST, MOST = 64, 512  # rows of a chunk
PIECE = 2**10  # children of the sums that are computed together: their values stay in the cache


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


class NetworkPass:
    """A scalar circuit with its weights under Log, laid out once for all chunks.

    Of rows whose leaves are 0 or -inf (one component, or nothing) no value per leaf factor is made.
    """

    @classmethod
    def of(cls, circuit: Circuit, stacks: Sequence[Tensor]) -> NetworkPass | None:
        """None unless all nodes of the circuit are scalars."""
        sizes = [stack.numel() for stack in stacks]
        plan = plan_of(circuit, sizes, leaves=False) if stacks else None
        return None if plan is None else cls(circuit, stacks)

    def __init__(self, circuit: Circuit, stacks: Sequence[Tensor]) -> None:
        self.circuit, self.ring = circuit, Log()
        self.sizes = [stack.numel() for stack in stacks]
        constants = stacks[0].new_tensor([0.0, 1.0])
        self.flat = torch.cat([*(stack.reshape(-1) for stack in stacks), constants])
        self.loaded: dict[bool, Loaded | None] = {}
        plans = [plan_of(circuit, self.sizes, leaves=leaves) for leaves in (True, False)]
        found = plans[0] or plans[1]
        assert found is not None
        self.rows_at_once = max(FEWEST, min(MOST, ELEMENTS // found.rows))

    def load(self, *, leaves: bool) -> Loaded | None:
        """A plan with its weights: for leaves of any kind, or for symbols, if there is one."""
        if leaves not in self.loaded:
            plan = plan_of(self.circuit, self.sizes, leaves=leaves)
            self.loaded[leaves] = None if plan is None else Loaded(plan, self.flat, self.circuit)
        return self.loaded[leaves]

    def contract(self, source: Reader) -> Tensor:
        """The value of the circuit for every row, (n,)."""
        low = self._by_patterns(source)
        if low is not None:
            return low.contract(source)
        found, buffer = [], None
        for start, stop in self._spans(source.rows):
            values = self.up(source.read(start, stop), buffer)
            buffer = values.buffer
            found.append(values.root.clone())
        return torch.cat(found) if found else source.read(0, 0).new_empty(0)

    def sweep(
        self, source: Reader, row_weights: Tensor | None, counts: Sequence[Tensor] | None
    ) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Of rows start..stop-1 (start, stop, values (B,), flows of the components (d, max k, B)).

        Expected counts are added to `counts` after the last rows.
        """
        buffer: Tensor | None = None
        for start, stop in self._spans(source.rows):
            values = self.up(source.read(start, stop), buffer)
            buffer = values.buffer
            value = values.root.clone()
            root = torch.ones_like(value) if row_weights is None else row_weights[start:stop]
            root = root.where(value > -torch.inf, 0).to(value.dtype)
            seen = source.observed(start, stop)
            inputs = values.down(root, counting=counts is not None, observed=seen)
            yield start, stop, value, inputs
        if counts is not None:
            self._collect(counts)

    def draw(self, rows: int, ring: Sample) -> Iterator[Tensor]:
        """The components (d, B) of draws without evidence, some rows at a time."""
        loaded = self.load(leaves=True) or self.load(leaves=False)
        assert loaded is not None
        for start, stop in self._spans(rows):
            yield self._walk(loaded).down(stop - start, ring)

    def choose(self, source: Reader, ring: Sample) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Of rows start..stop-1 (start, stop, values (B,), components (d, B)) drawn given them."""
        for start, stop in self._spans(source.rows):
            leaves = source.read(start, stop)
            values = self.up(leaves)
            walk = self._walk(values.loaded)
            drawn = walk.down(stop - start, ring, values.buffer, leaves)
            yield start, stop, values.root.clone(), drawn

    def _by_patterns(self, source: Reader) -> PatternPass | None:
        """What evaluates the lower nodes once per pattern of symbols, where that is less work."""
        symbols = source.symbols()
        plan = plan_of(self.circuit, self.sizes, leaves=True)
        if symbols is None or source.leaves is None or plan is None or plan.leaves is None:
            return None
        found = folded_of(plan, symbols.sizes, source.rows)
        if found is None:
            return None
        leaves = source.leaves()
        if found.above.leaves is not None and chosen_of(self.circuit, leaves) is None:
            return None
        fold = NetworkFold(found, self.flat, plan.leaves, leaves)
        return PatternPass(Loaded(found.above, self.flat, self.circuit), fold, symbols)

    def _walk(self, loaded: Loaded) -> Walk:
        if loaded.walk is None:
            loaded.walk = Walk(loaded.plan, loaded.leaves, self.circuit, self.flat)
        return loaded.walk

    def _spans(self, rows: int) -> Iterator[tuple[int, int]]:
        for start in range(0, rows, self.rows_at_once):
            yield start, min(rows, start + self.rows_at_once)

    def up(self, leaves: Tensor, buffer: Tensor | None = None) -> NetworkValues:
        """The values of all rows of the plan, for leaves (d, max k, B).

        A buffer of the size needed is written over: memory that is new costs more than the sums.
        """
        symbols = chosen_of(self.circuit, leaves)
        loaded = None if symbols is None else self.load(leaves=True)
        if loaded is None:
            symbols, loaded = None, self.load(leaves=False)
        assert loaded is not None
        size = (loaded.plan.rows, leaves.shape[-1])
        if buffer is None or buffer.shape != size:
            buffer = leaves.new_empty(size)
        buffer[ONE], buffer[ZERO] = 0.0, -torch.inf
        if symbols is None or loaded.leaves is None:
            buffer[loaded.given] = buffer_rows(self.circuit, leaves)
        else:
            loaded.leaves.up(symbols, buffer[loaded.given])
        for step in loaded.steps:
            step.up(buffer, self.ring)
        return NetworkValues(loaded, self.ring, buffer, symbols)

    def _collect(self, counts: Sequence[Tensor]) -> None:
        """Add what the downward passes have counted to the counts of the tables."""
        total = torch.zeros_like(self.flat, dtype=torch.float64)
        for loaded in self.loaded.values():
            if loaded is not None:
                loaded.collect(total)
        for count, part in zip(counts, total[:-2].split(self.sizes), strict=True):
            count += part.view(count.shape)


class PatternPass:
    """The upward pass over a plan some rows of which are given, from patterns of symbols."""

    def __init__(self, loaded: Loaded, fold: NetworkFold, symbols: Symbols) -> None:
        self.loaded, self.fold, self.symbols = loaded, fold, symbols

    def contract(self, source: Reader) -> Tensor:
        """The value of the circuit for every row, (n,)."""
        loaded, values = self.loaded, self.fold.values
        size = max(FEWEST, min(MOST, ELEMENTS // loaded.plan.rows))
        room = values.new_empty((loaded.plan.rows, size))
        found = values.new_empty(source.rows)
        for start in range(0, source.rows, size):
            stop = min(source.rows, start + size)
            buffer = room if stop - start == size else room[:, : stop - start].contiguous()
            buffer[ONE], buffer[ZERO] = 0.0, -torch.inf
            if loaded.leaves is not None:
                chosen = chosen_of(loaded.circuit, source.read(start, stop))
                assert chosen is not None
                loaded.leaves.up(chosen, buffer[loaded.given])
            self.fold.read(self.symbols.codes[:, start:stop].to(values.dtype), buffer)
            for step in loaded.steps:
                step.up(buffer, self.fold.ring)
            found[start:stop] = buffer[loaded.plan.root]
        return found


networks = Kept(NetworkPass.of)
"""networks(circuit, stacks): a circuit's pass, kept until its tables change. It counts nothing:
a sweep has one of its own."""


class Loaded:
    """A plan with the weights of its sums and leaf factors, and what they have counted."""

    def __init__(self, plan: Plan, flat: Tensor, circuit: Circuit) -> None:
        self.plan, self.circuit = plan, circuit
        self.leaves: LeafStatistic | None = None
        self.walk: Walk | None = None
        given = circuit.input_rows if plan.leaves is None else plan.leaves.carriers
        if plan.leaves is not None and given:
            self.leaves = LeafStatistic(plan.leaves, flat, circuit)
        self.given = slice(CONSTANTS, CONSTANTS + given)
        self.steps: list[Step] = []
        for step in plan.steps:
            if isinstance(step, Sums):
                self.steps += [SumStep(part, flat) for part in pieces(step, PIECE)]
            else:
                self.steps.append(ProductStep(step, flat.device))

    def collect(self, total: Tensor) -> None:
        """Add what has been counted to the flat list of weights."""
        for step in self.steps:
            step.collect(total)
        if self.leaves is not None:
            self.leaves.collect(total)

    def observations(self, observed: Tensor) -> Tensor:
        """How many variables are observed below each row, (rows, B), given (d, B)."""
        below = torch.zeros(
            (self.plan.rows, observed.shape[1]), device=observed.device, dtype=torch.float32
        )
        seen = observed.to(below.dtype)
        if self.leaves is not None:
            below[self.given] = self.leaves.by_variable.times(seen)
        else:
            sizes = torch.as_tensor(self.circuit.inputs, device=observed.device)
            below[self.given] = seen.repeat_interleave(sizes, 0)
        for step in self.steps:
            step.observe(below)
        return below


@dataclass(eq=False)
class NetworkValues:
    """What an upward pass leaves behind for the downward one."""

    loaded: Loaded
    ring: Log
    buffer: Tensor  # (rows, B)
    symbols: Chosen | None

    @property
    def root(self) -> Tensor:
        """The value of the circuit, (B,)."""
        return self.buffer[self.loaded.plan.root]

    def down(self, root: Tensor, *, counting: bool, observed: Tensor | None) -> Tensor:
        """The flow into every component, (d, max k, B), given that into the root, (B,).

        With `counting` expected counts are collected; `observed` (d, B) says where (None:
        everywhere).
        """
        loaded, flows = self.loaded, torch.zeros_like(self.buffer)
        flows[loaded.plan.root] = root
        seen = None if observed is None or not counting else loaded.observations(observed)
        for step in reversed(loaded.steps):
            step.down(self.buffer, flows, self.ring, counting=counting, seen=seen)
        given = flows[loaded.given]
        if loaded.leaves is None or self.symbols is None:
            return leaf_columns(loaded.circuit, given)
        if counting:
            loaded.leaves.count(self.symbols, given, unseen=observed is None)
        return leaf_columns(loaded.circuit, loaded.leaves.inputs(self.symbols, given, root))
