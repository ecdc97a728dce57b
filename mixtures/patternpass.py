"""The upward pass over a scalar network whose lower nodes have been evaluated once per pattern."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.leafstatistic import Chosen, chosen_of
from mixtures.networkfold import NetworkFold
from mixtures.networkload import COMPILED, Loaded, Reader, rows_at_once, spans


class PatternPass:
    """A plan some rows of which are given by the patterns of symbols, with its weights."""

    def __init__(self, circuit: Circuit, flat: Tensor, fold: NetworkFold) -> None:
        self.loaded, self.fold = Loaded(fold.plan.above, flat, circuit, fold), fold

    def contract(self, source: Reader, *, compiled: bool) -> Tensor:
        """The value of the circuit for every row, (n,)."""
        symbols = source.symbols()
        assert symbols is not None
        compiled = compiled and self.fold.possible and self.loaded.compiles
        found, buffer = self.fold.values.new_empty(source.rows), None
        for start, stop in spans(source.rows, self._size(source.rows, compiled)):
            codes, chosen = symbols.codes[:, start:stop], self.chosen(source, start, stop)
            if compiled:
                found[start:stop] = self._compiled(codes, chosen)
            else:
                buffer = self.up(self.fold.entries(codes), chosen, stop - start, buffer)
                found[start:stop] = buffer[self.loaded.plan.root]
        return found

    def chosen(self, source: Reader, start: int, stop: int) -> Chosen | None:
        """Rows as symbols, if there are leaf factors without patterns."""
        if self.loaded.leaves is None:
            return None
        return chosen_of(self.loaded.circuit, source.read(start, stop))

    def up(
        self,
        entries: Sequence[Tensor],
        chosen: Chosen | None,
        rows: int,
        buffer: Tensor | None = None,
    ) -> Tensor:
        """The values of all rows of the plan, for so many rows of data; see `Loaded.room`."""
        loaded, fold = self.loaded, self.fold
        buffer = loaded.room(fold.values, rows, buffer)
        if chosen is not None and loaded.leaves is not None:
            loaded.leaves.up(chosen, buffer[loaded.given])
        fold.read(fold.values, entries, buffer)
        loaded.up(buffer)
        return buffer

    def _size(self, rows: int, compiled: bool) -> int:
        """Compiled loops take all rows at once where they read nothing but symbols."""
        if not compiled:
            return rows_at_once(self.loaded.plan.rows)
        return max(1, rows) if self.loaded.leaves is None else COMPILED

    def _compiled(self, codes: Tensor, chosen: Chosen | None) -> Tensor:
        loaded, given = self.loaded, None
        if chosen is not None and loaded.leaves is not None:
            given = self.fold.values.new_empty(
                (loaded.given.stop - loaded.given.start, codes.shape[1])
            )
            loaded.leaves.up(chosen, given)
        return loaded.compiled().contract(codes.shape[1], given, codes)
