"""Leaves along a spine: their mantissas step by step, and on the way back what flows into them.

Steps are arranged in C blocks of L steps each, walked through side by side. Values of one step have
the shape (G, w, M): where tables are the same at all steps blocks are but more columns (G = 1, M =
C B for B rows), where they differ every block is a group of its own (G = C, M = B).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixtures.kernels import Kernels, Native
from mixtures.scratch import Rooms
from mixtures.strides import Array

Sink = Callable[[Tensor, Tensor], None]
SPREAD = 32  # so many fair probabilities do not underflow
WORTH = 4  # looking up pays if there are so many entries for each value in the table


@dataclass(frozen=True, eq=False)
class Arrangement:
    """C blocks of L steps each, from step `first` of a segment on."""

    first: int
    length: int
    blocks: int
    grouped: bool  # G = C
    rows: int  # B

    @property
    def stop(self) -> int:
        """The step of the segment after the last one."""
        return self.first + self.blocks * self.length

    @property
    def groups(self) -> int:
        """G"""
        return self.blocks if self.grouped else 1

    @property
    def columns(self) -> int:
        """M"""
        return self.rows if self.grouped else self.blocks * self.rows

    def steps(self, values: Tensor) -> Tensor:
        """(steps, ..) of a segment -> (L, C, ..); what is said once, (1, ..), -> (1, 1, ..)."""
        if values.shape[0] == 1:
            return values[None]
        part = values[self.first : self.stop]
        return part.view(self.blocks, self.length, *values.shape[1:]).transpose(0, 1)

    def together(self, values: Tensor) -> Tensor:
        """(m, C, w, B) -> (m, G, w, M)."""
        if self.grouped or self.blocks == 1:
            return values
        steps, blocks, width, rows = values.shape
        return values.transpose(1, 2).reshape(steps, 1, width, blocks * rows)

    def apart(self, values: Tensor) -> Tensor:
        """(m, G, w, M) -> (m, C, w, B)."""
        if self.grouped or self.blocks == 1:
            return values
        steps, _, width, _ = values.shape
        return values.view(steps, width, self.blocks, self.rows).transpose(1, 2)

    def by_row(self, values: Tensor) -> Tensor:
        """(G, 1, M) -> (C, B)."""
        return values.reshape(self.blocks, self.rows)

    def of_rows(self, values: Tensor) -> Tensor:
        """(B,) -> (G, 1, M): what is said of a row, of each of its blocks."""
        spread = values.expand(self.blocks, self.rows)
        return spread[:, None] if self.grouped else spread.reshape(1, 1, -1)


class Table:
    """Leaves with few values: mantissas (steps or 1, k, V) of the components and, mixed, of the
    leaves (steps or 1, w, V), with the logarithms of what they were divided by, (.., 1, V);
    `whole` if they were not, since some component gives every symbol a fair probability.
    """

    def __init__(self, logs: Tensor, mixing: Tensor | None) -> None:
        info = torch.finfo(logs.dtype)
        tops = logs.amax(1, keepdim=True).clamp_(min=info.min)
        self.whole = float(tops.amax()) <= 0 and float(tops.amin()) >= math.log(info.tiny) / SPREAD
        components = (logs if self.whole else logs - tops).exp()
        self.mixing = mixing
        self.leaves = components if mixing is None else mixing @ components
        self.components = components.expand(len(self.leaves), -1, -1)
        self.tops = tops.double().expand(len(self.leaves), -1, -1)

    def posteriors(self, sums: Tensor) -> Tensor:
        """Sums of gradients of the leaves -> sums of posteriors of the components."""
        mixed = sums if self.mixing is None else self.mixing.mT.double() @ sums
        return self.components * mixed


class Hanging(ABC):
    """The leaves of one side for the rows of a chunk, step by step of an arrangement.

    Values are natives of the kernels. `sink(variables, weights)` takes posteriors (m, k, B) of the
    components of some variables.
    """

    rows_first: bool  # whether the memory of values (m, G, w, M) runs along w
    takes: bool  # whether posteriors of the components are wanted
    plain: bool = False  # whether the leaves are the components

    def __init__(
        self,
        variables: Tensor,
        arrangement: Arrangement,
        kernels: Kernels,
        rooms: Rooms,
        sink: Sink | None,
    ) -> None:
        self.arrangement, self.kernels, self.rooms, self.sink = arrangement, kernels, rooms, sink
        self.takes = sink is not None
        self.variables = arrangement.steps(variables)  # (L, C)

    @abstractmethod
    def block(self, start: int, stop: int, scale: Tensor | None) -> Native:
        """Mantissas (m, G, w, M) of the steps start..stop-1; log-scales are added to `scale`."""

    def symbols(self) -> tuple[Array, Array] | None:
        """Leaves (V, w) and the symbols (L, M) of all steps, where all steps share the leaves of a
        few symbols.
        """
        return None

    @abstractmethod
    def reset(self) -> None:
        """Forget what was collected."""

    @abstractmethod
    def collect(self, start: int, stop: int, flow: Native) -> None:
        """Take the gradients (m, G, w, M) of what `block` gave."""

    def take(self, start: int, stop: int, weights: Tensor) -> None:
        """Give posteriors (m, G, k, M) of the components to the sink, if there is one."""
        if self.sink is None:
            return
        apart = self.arrangement.apart(weights)
        self.sink(self.variables[start:stop].reshape(-1), apart.flatten(0, 1))


class Looked(Hanging):
    """Leaves that are looked up: codes (steps, B). With `count` gradients are summed over the
    entries of each symbol, in `sums`.
    """

    rows_first = True

    def __init__(
        self,
        variables: Tensor,
        arrangement: Arrangement,
        kernels: Kernels,
        rooms: Rooms,
        sink: Sink | None,
        table: Table,
        codes: Tensor,
        *,
        count: bool,
    ) -> None:
        super().__init__(variables, arrangement, kernels, rooms, sink)
        steps, self.width, self.symbol_count = table.leaves.shape
        self.mixing = table.mixing
        codes = arrangement.steps(codes)[:, :, None]  # (L, C, 1, B)
        if steps > 1:
            number = torch.arange(steps, device=codes.device)
            codes = codes + arrangement.steps(number)[:, :, None, None] * self.symbol_count
        self.codes = arrangement.together(codes).squeeze(2).contiguous()  # (L, G, M)
        self.index = kernels.native(self.codes)
        self.values, self.components = (
            kernels.native(part.mT.reshape(steps * self.symbol_count, -1))
            for part in (table.leaves, table.components)
        )
        self.whole, self.tops = table.whole, kernels.native(table.tops.reshape(-1))
        self._held: Native | None = None
        shape = (steps * self.symbol_count, self.width)
        self.count = count
        self._sums = table.leaves.new_zeros(shape, dtype=torch.float64) if count else None

    @property
    def sums(self) -> Tensor:
        """(steps or 1, w, V)"""
        assert self._sums is not None
        return self._sums.view(-1, self.symbol_count, self.width).mT

    def symbols(self) -> tuple[Array, Array] | None:
        if len(self.values) > self.symbol_count or len(self.codes[0]) > 1:
            return None
        values = self.kernels.tensor(self.values).cpu().numpy()
        return values, self.codes[:, 0].cpu().numpy()

    def reset(self) -> None:
        if self._sums is not None:
            self._sums.zero_()

    def block(self, start: int, stop: int, scale: Tensor | None) -> Native:
        if scale is not None and start == 0 and not self.whole:  # all at once
            tops = self.kernels.tensor(self.kernels.take(self.tops, self.index))
            scale += tops.sum(0)[:, None]
        found = self.kernels.take(self.values, self.index[start:stop], self._room(stop - start))
        return found.swapaxes(-1, -2)

    def collect(self, start: int, stop: int, flow: Native) -> None:
        tensor, native = self.kernels.tensor, self.kernels.native
        given = tensor(flow)
        if self.sink is not None:
            back = given
            if self.mixing is not None:
                mixing = self.arrangement.steps(self.mixing)
                back = (mixing if len(mixing) == 1 else mixing[start:stop]).mT @ given
            found = self._look(self.components, start, stop)
            weights = self.kernels.multiply(found, native(back))
            self.take(start, stop, tensor(weights))
        if self._sums is None:
            return
        flat = given.mT.reshape(-1, self.width)
        index = self.codes[start:stop].reshape(-1)
        if flat.dtype == torch.float64:
            self._sums.index_add_(0, index, flat)
        else:
            self._sums += torch.zeros_like(self._sums, dtype=flat.dtype).index_add_(0, index, flat)

    def _look(self, table: Native, start: int, stop: int) -> Native:
        return self.kernels.take(table, self.index[start:stop]).swapaxes(-1, -2)

    def _room(self, steps: int) -> Native:
        """Memory for the values of so many steps, used again and again."""
        if self._held is None or len(self._held) < steps:
            shape = (steps, *self.codes.shape[1:], self.width)
            self._held = self.kernels.native(self.rooms.take(shape))
        return self._held[:steps]


class Evaluated(Hanging):
    """Leaves computed from the data, kept for the way back if `keep`.

    read(variables) gives log-leaves (m, k, B). With `count` gradients times components are summed
    in `counts`, over the entries that are `observed` (steps, B).
    """

    rows_first = False

    def __init__(
        self,
        variables: Tensor,
        arrangement: Arrangement,
        kernels: Kernels,
        rooms: Rooms,
        sink: Sink | None,
        mixing: Tensor | None,
        read: Callable[[Tensor], Tensor],
        *,
        count: bool,
        observed: Tensor | None,
        keep: bool,
    ) -> None:
        super().__init__(variables, arrangement, kernels, rooms, sink)
        self.read, self.plain = read, mixing is None
        self.mixing = (
            None if mixing is None else arrangement.steps(mixing)
        )  # (L or 1, C or 1, w, k)
        self.counts: Tensor | None = None  # (steps or 1, w, k) float64
        self.observed: Tensor | None = None
        if count and mixing is not None:
            self.counts = torch.zeros_like(mixing, dtype=torch.float64)
            if observed is not None:
                self.observed = arrangement.together(arrangement.steps(observed)[:, :, None])
        self.keep = keep
        self._held: Tensor | None = None
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def reset(self) -> None:
        if self.counts is not None:
            self.counts.zero_()

    def block(self, start: int, stop: int, scale: Tensor | None) -> Native:
        found, tops = self._components(start, stop)
        if scale is not None:
            scale += tops
        native = self.kernels.native(found)
        if self.mixing is None:
            return native
        return self.kernels.matmul(self._mixing(start, stop), native)

    def _mixing(self, start: int, stop: int) -> Native:
        assert self.mixing is not None
        part = self.mixing if len(self.mixing) == 1 else self.mixing[start:stop]
        return self.kernels.native(part)

    def _components(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Mantissas (m, G, k, M), and the logarithms (G, 1, M) of what they were divided by."""
        if start in self.kept:
            return self.kept[start]
        logs = self.read(self.variables[start:stop].reshape(-1))
        shape = (stop - start, self.arrangement.blocks)
        logs = self.arrangement.together(logs.unflatten(0, shape))
        tops = logs.amax(2, keepdim=True).clamp_(min=torch.finfo(logs.dtype).min)
        away = torch.sub(logs, tops, out=self._room(start, stop, logs.shape))
        native = self.kernels.native(away)
        self.kernels.exp(native, out=native)
        found = away, tops.sum(0, dtype=torch.float64)
        if self.keep:
            self.kept[start] = found
        return found

    def _room(self, start: int, stop: int, shape: Sequence[int]) -> Tensor:
        """Memory for the mantissas of some steps."""
        if self._held is None:
            steps = self.arrangement.length if self.keep else shape[0]
            self._held = self.rooms.take((steps, *shape[1:]))
        return self._held[start:stop] if self.keep else self._held[: shape[0]]

    def collect(self, start: int, stop: int, flow: Native) -> None:
        components, _ = self._components(start, stop)
        tensor, native = self.kernels.tensor, self.kernels.native
        given = tensor(flow)
        if self.counts is not None:
            seen = given if self.observed is None else given * self.observed[start:stop]
            found = tensor(self.kernels.matmul(native(seen), native(components.mT)))
            add_steps(self.arrangement.steps(self.counts), start, stop, found)
        if self.takes:
            if self.mixing is not None:
                mixing = self._mixing(start, stop).swapaxes(-1, -2)
                given = tensor(self.kernels.matmul(mixing, flow))
            self.take(start, stop, components * given)


def add_steps(totals: Tensor, start: int, stop: int, found: Tensor) -> None:
    """Add what was found (m, G, ..) at some steps to arranged totals, float64."""
    if totals.shape[0] == 1:
        totals[0, 0] += found.sum((0, 1), dtype=torch.float64)
    else:
        totals[start:stop] += found
