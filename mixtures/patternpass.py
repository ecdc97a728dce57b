"""The upward pass over a scalar network whose lower nodes have been evaluated once per pattern."""

from __future__ import annotations

import torch
from torch import Tensor

from mixtures.circuit import ONE, ZERO, Circuit
from mixtures.leafstatistic import Chosen, chosen_of
from mixtures.networkfold import NetworkFold
from mixtures.networkload import COMPILED, Loaded, Reader, rows_at_once, spans


class PatternPass:
    """A plan some rows of which are given by the patterns of symbols, with its weights."""

    def __init__(self, circuit: Circuit, flat: Tensor, fold: NetworkFold) -> None:
        self.loaded, self.fold = Loaded(fold.plan.above, flat, circuit, fold), fold

    def contract(self, source: Reader, *, compiled: bool) -> Tensor:
        """The value of the circuit for every row, (n,)."""
        symbols, loaded = source.symbols(), self.loaded
        assert symbols is not None
        compiled = compiled and self.fold.possible
        found, buffer = self.fold.values.new_empty(source.rows), None
        for start, stop in spans(source.rows, self._size(source.rows, compiled)):
            codes, chosen = symbols.codes[:, start:stop], None
            if loaded.leaves is not None:
                chosen = chosen_of(loaded.circuit, source.read(start, stop))
            if compiled:
                found[start:stop] = self._compiled(codes, chosen)
            else:
                buffer = self._up(codes, chosen, buffer)
                found[start:stop] = buffer[loaded.plan.root]
        return found

    def _size(self, rows: int, compiled: bool) -> int:
        """Compiled loops take all rows at once where they read nothing but symbols."""
        if not compiled:
            return rows_at_once(self.loaded.plan.rows)
        return max(1, rows) if self.loaded.leaves is None else COMPILED

    def _up(self, codes: Tensor, chosen: Chosen | None, buffer: Tensor | None) -> Tensor:
        """The values of all rows of the plan; a buffer of the size needed is written over."""
        loaded, size = self.loaded, (self.loaded.plan.rows, codes.shape[1])
        if buffer is None or buffer.shape != size:
            buffer = self.fold.values.new_empty(size)
        buffer[ONE], buffer[ZERO] = 0.0, -torch.inf
        if chosen is not None and loaded.leaves is not None:
            loaded.leaves.up(chosen, buffer[loaded.given])
        self.fold.read(codes, buffer)
        for step in loaded.steps:
            step.up(buffer, self.fold.ring)
        return buffer

    def _compiled(self, codes: Tensor, chosen: Chosen | None) -> Tensor:
        loaded, given = self.loaded, None
        if chosen is not None and loaded.leaves is not None:
            given = self.fold.values.new_empty(
                (loaded.given.stop - loaded.given.start, codes.shape[1])
            )
            loaded.leaves.up(chosen, given)
        return loaded.compiled().contract(codes.shape[1], given, codes)
