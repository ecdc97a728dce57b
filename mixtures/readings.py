"""What a walk along a chain asks of the leaves: values entry by entry, and who takes posteriors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from mixtures.joint import Joint

Rows = slice | Tensor  # which rows of the data


class Entries:
    """Leaves entry by entry; nothing is known of them but how to read whole rows, (d, max k, B)."""

    tied: bool = False  # whether all variables have the same leaves
    codes: Tensor | None = None  # (d, n) which symbol an entry is, where there are few
    # (k, s) where log-leaves are sums of a few functions, the same for all variables; their largest
    exponents: tuple[Tensor, float] | None = None

    def __init__(self, whole: Callable[[Rows], Tensor]) -> None:
        self._whole = whole
        self._rows: Rows | None = None

    def read(self, variables: Tensor, rows: Rows) -> Tensor:
        """Log-leaves (m, max k, B) of some variables."""
        if rows is not self._rows:
            self._rows, self._leaves = rows, self._whole(rows).contiguous()
        return self._leaves.index_select(0, variables)

    def joint(self) -> Joint | None:
        """The densities of whole rows, if they are known better than as products."""
        return None


class Collecting(Entries, ABC):
    """Entries that know what leaves are made of, and take the posteriors of components."""

    @abstractmethod
    def symbols(self) -> Tensor:
        """Log-leaves (d, or 1 if tied, max k, V) of all symbols; the last is "missing"."""

    @abstractmethod
    def collect(self, variables: Tensor, rows: Rows, weights: Tensor) -> None:
        """Where tied: take posteriors (m, max k, B) of some variables' components."""

    @abstractmethod
    def collect_rows(self, rows: Rows, weights: Tensor) -> None:
        """Take posteriors (d, max k, B) of the components of all variables."""

    @abstractmethod
    def collect_symbols(self, weights: Tensor) -> None:
        """Take posteriors summed over the entries of each symbol, float64, shaped as `symbols`."""

    @abstractmethod
    def basis(self, variables: Tensor, rows: Rows, out: Tensor) -> Tensor:
        """Where there are `exponents`: the functions (m, s, B) of some variables, in the memory of
        `out` (s, m B).
        """

    @abstractmethod
    def collect_basis(self, sums: Tensor) -> None:
        """Take posteriors times functions summed over entries, (k, s) float64."""


Read = TypeVar("Read", Tensor, Tensor | None)


def at_rows(read: Callable[[int, int], Read], rows: Rows) -> Read:
    """What a reader of start..stop-1 gives for a slice of rows, or for ascending rows."""
    if isinstance(rows, slice):
        return read(rows.start, rows.stop)
    first, stop = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
    found = read(first, stop)
    return found if found is None else found.index_select(-1, rows - first)
