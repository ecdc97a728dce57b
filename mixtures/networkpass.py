"""Both passes over scalar circuits by their plans: values upward, shares and counts downward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.compiled import serves
from mixtures.kept import Kept
from mixtures.leafrows import leaf_columns
from mixtures.leafstatistic import Chosen, chosen_of
from mixtures.networkflows import PatternFlows
from mixtures.networkfold import NetworkFold
from mixtures.networkload import COMPILED, Loaded, Reader, rows_at_once, spans
from mixtures.networkpatterns import folded_of
from mixtures.networkplan import plan_of
from mixtures.patternpass import PatternPass
from mixtures.semiring import Log, Sample
from mixtures.walk import Walk


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
        self.low: PatternPass | None = None
        plans = [plan_of(circuit, self.sizes, leaves=leaves) for leaves in (True, False)]
        found = plans[0] or plans[1]
        assert found is not None
        self.rows_at_once = rows_at_once(found.rows)

    def load(self, *, leaves: bool) -> Loaded | None:
        """A plan with its weights: for leaves of any kind, or for symbols, if there is one."""
        if leaves not in self.loaded:
            plan = plan_of(self.circuit, self.sizes, leaves=leaves)
            self.loaded[leaves] = None if plan is None else Loaded(plan, self.flat, self.circuit)
        return self.loaded[leaves]

    def contract(self, source: Reader) -> Tensor:
        """The value of the circuit for every row, (n,)."""
        large = serves(self.circuit.rows * source.rows, self.flat.device)
        low = self._by_patterns(source)
        if low is not None:
            return low.contract(source, compiled=large)
        found, buffer = [], None
        for start, stop in spans(source.rows, COMPILED if large else self.rows_at_once):
            leaves = source.read(start, stop)
            values = self._compiled(leaves) if large else None
            if values is not None:
                found.append(values)
                continue
            for first, last in spans(stop - start, self.rows_at_once):
                above = self.up(leaves[..., first:last], buffer)
                buffer = above.buffer
                found.append(above.root.clone())
        return torch.cat(found) if found else source.read(0, 0).new_empty(0)

    def _compiled(self, leaves: Tensor) -> Tensor | None:
        """The values of rows in compiled loops; None where steps are quicker, or a leaf is infinite
        or NaN.
        """
        loaded, symbols = self._loaded_for(leaves)
        if not loaded.compiles:
            return None
        given = leaves.new_empty((loaded.given.stop - loaded.given.start, leaves.shape[-1]))
        loaded.fill(leaves, symbols, given)
        possible = bool((given < torch.inf).all())
        return loaded.compiled().contract(leaves.shape[-1], given) if possible else None

    def sweep(
        self, source: Reader, row_weights: Tensor | None, counts: Sequence[Tensor] | None
    ) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Of rows start..stop-1 (start, stop, values (B,), flows of the components (d, max k, B)).

        Expected counts are added to `counts` after the last rows.
        """
        buffer: Tensor | None = None
        for start, stop in spans(source.rows, self.rows_at_once):
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

    def expected(
        self, source: Reader, row_weights: Tensor, counts: Sequence[Tensor]
    ) -> Iterator[tuple[int, int, Tensor, list[tuple[slice | None, Tensor]]]]:
        """As `sweep`, for what is summed over rows: the flows of the components (d, max k, B) of
        these rows, if they have some of their own; after the last rows, where nodes have patterns,
        those of all symbols for no rows.
        """
        low, symbols = self._by_patterns(source), source.symbols()
        if low is None or source.leaves is None or symbols is None:
            for start, stop, value, inputs in self.sweep(source, row_weights, counts):
                yield start, stop, value, [(slice(start, stop), inputs)]
            return
        factors = plan_of(self.circuit, self.sizes, leaves=True)
        assert factors is not None and factors.leaves is not None
        flows = PatternFlows(low, self.flat, factors.leaves, symbols.observed)
        for start, stop, value, carried in flows.rows(source, row_weights):
            yield start, stop, value, [] if carried is None else [(slice(start, stop), carried)]
        found = flows.down(source.leaves())
        self._add(counts, flows.total)
        rows = source.rows
        yield rows, rows, row_weights[:0], [(None, found.to(row_weights.dtype))]

    def draw(self, rows: int, ring: Sample) -> Iterator[Tensor]:
        """The components (d, B) of draws without evidence, some rows at a time."""
        loaded = self.load(leaves=True) or self.load(leaves=False)
        assert loaded is not None
        for start, stop in spans(rows, self.rows_at_once):
            yield self._walk(loaded).down(stop - start, ring)

    def choose(self, source: Reader, ring: Sample) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Of rows start..stop-1 (start, stop, values (B,), components (d, B)) drawn given them."""
        for start, stop in spans(source.rows, self.rows_at_once):
            leaves = source.read(start, stop)
            values = self.up(leaves)
            walk = self._walk(values.loaded)
            drawn = walk.down(stop - start, ring, values.buffer, leaves)
            yield start, stop, values.root.clone(), drawn

    def _by_patterns(self, source: Reader) -> PatternPass | None:
        """What evaluates the lower nodes once per pattern of symbols, where that is less work.

        The patterns' values are kept for the next rows with the same symbols and leaves.
        """
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
        if self.low is None or not self.low.fold.holds(found, leaves):
            fold = NetworkFold(found, self.flat, plan.leaves, leaves)
            self.low = PatternPass(self.circuit, self.flat, fold)
        return self.low

    def _walk(self, loaded: Loaded) -> Walk:
        if loaded.walk is None:
            loaded.walk = Walk(loaded.plan, loaded.leaves, self.circuit, self.flat)
        return loaded.walk

    def up(self, leaves: Tensor, buffer: Tensor | None = None) -> NetworkValues:
        """The values of all rows of the plan, for leaves (d, max k, B); see `Loaded.room`."""
        loaded, symbols = self._loaded_for(leaves)
        buffer = loaded.room(leaves, leaves.shape[-1], buffer)
        loaded.fill(leaves, symbols, buffer[loaded.given])
        loaded.up(buffer)
        return NetworkValues(loaded, buffer, symbols)

    def _loaded_for(self, leaves: Tensor) -> tuple[Loaded, Chosen | None]:
        """The plan for such leaves, and the symbols they stand for, if it is one for symbols."""
        symbols = chosen_of(self.circuit, leaves)
        loaded = None if symbols is None else self.load(leaves=True)
        if loaded is None:
            symbols, loaded = None, self.load(leaves=False)
        assert loaded is not None
        return loaded, symbols

    def _collect(self, counts: Sequence[Tensor]) -> None:
        """Add what the downward passes have counted to the counts of the tables."""
        total = torch.zeros_like(self.flat, dtype=torch.float64)
        for loaded in self.loaded.values():
            if loaded is not None:
                loaded.collect(total)
        self._add(counts, total)

    def _add(self, counts: Sequence[Tensor], total: Tensor) -> None:
        """Take what belongs to the tables from the flat list of weights."""
        for count, part in zip(counts, total[:-2].split(self.sizes), strict=True):
            count += part.view(count.shape)


networks = Kept(NetworkPass.of)
"""networks(circuit, stacks): a circuit's pass, kept until its tables change. It counts nothing:
a sweep has one of its own."""


@dataclass(eq=False)
class NetworkValues:
    """What an upward pass leaves behind for the downward one."""

    loaded: Loaded
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
        loaded = self.loaded
        seen = None if observed is None or not counting else loaded.observations(observed)
        given = loaded.down(self.buffer, root, counting=counting, seen=seen)[loaded.given]
        if loaded.leaves is None or self.symbols is None:
            return leaf_columns(loaded.circuit, given)
        if counting:
            loaded.leaves.count(self.symbols, given, unseen=observed is None)
        return leaf_columns(loaded.circuit, loaded.leaves.inputs(self.symbols, given, root))
