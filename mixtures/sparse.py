"""Sparse matrices in rows, times dense ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

Integers = NDArray[numpy.int64]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where a matrix of `columns` columns may be non-zero: row i in columns[offsets[i] :
    offsets[i+1]].
    """

    offsets: Tensor  # (rows + 1,) int64
    columns: Tensor  # (entries,) int64
    width: int

    @classmethod
    def of(cls, rows: Integers, columns: Tensor, height: int, width: int) -> Pattern:
        """From entries in the order of their rows; it lives where `columns` does."""
        offsets = numpy.zeros(height + 1, dtype=numpy.int64)
        numpy.cumsum(numpy.bincount(rows, minlength=height), out=offsets[1:])
        return cls(torch.as_tensor(offsets, device=columns.device), columns.long(), width)

    def to(self, device: torch.device) -> Pattern:
        """The same pattern elsewhere."""
        return Pattern(self.offsets.to(device), self.columns.to(device), self.width)

    def parts(self, height: int) -> Iterator[tuple[slice, Pattern, slice]]:
        """The same matrix, so many rows at a time: (rows, pattern, entries)."""
        for start in range(0, len(self.offsets) - 1, height):
            offsets = self.offsets[start : start + height + 1]
            entries = slice(int(offsets[0]), int(offsets[-1]))
            part = Pattern(offsets - offsets[0], self.columns[entries], self.width)
            yield slice(start, start + height), part, entries

    def times(self, dense: Tensor, values: Tensor | None = None) -> Tensor:
        """The matrix of these values (ones by default) times (width, B).

        `embedding_bag` is the fastest such product of torch on a CPU: in float32 it runs at nearly
        the speed of a dense product.
        """
        if not len(self.columns):
            return dense.new_zeros((len(self.offsets) - 1, dense.shape[1]))
        return embedding_bag(
            self.columns,
            dense,
            self.offsets,
            mode="sum",
            per_sample_weights=values,
            include_last_offset=True,
        )

    def sampled(self, left: Tensor, right: Tensor) -> Tensor:
        """Of left (rows, B) times right^T (B, width) the entries of the pattern."""
        return torch.sparse.sampled_addmm(self._zeros(left), left, right.mT, beta=0.0).values()

    def _zeros(self, like: Tensor) -> Tensor:
        """The matrix with zeros on the pattern."""
        values = like.new_zeros(len(self.columns))
        size = (len(self.offsets) - 1, self.width)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                self.offsets, self.columns, values, size=size, check_invariants=False
            )
