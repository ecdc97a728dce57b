"""Matricizations: tensors as matrices, written out or known by products with rank-one probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures.errors import SizeError
from transforms.cuts import checked_rows, sides
from transforms.elimination import HIGH
from transforms.exact import Subject, grid
from transforms.subjects import subject

BUDGET = 2**22  # entries of a matrix that is written out


class Matricization:
    """A tensor as a matrix, `rows` indexing its rows (the last fastest), the other variables its
    columns.

    Nothing is computed until asked for. `shape` is a pair of Python integers, however large;
    `dense()` and `numpy.asarray` write it out when it is small; `probe` multiplies it by product
    vectors on both sides without ever writing it out, exactly, modulo a prime.

    >>> from mixtures import HMM
    >>> matricize(HMM(200, components=2, states=2), range(100)).shape == (2**100, 2**100)
    True
    """

    def __init__(
        self, exact: Subject, rows: Sequence[int], columns: Sequence[int] | None = None
    ) -> None:
        self.exact = exact
        self.rows = checked_rows(exact.shape, rows)
        others = [j for j in range(len(exact.shape)) if j not in set(self.rows)]
        self.columns = tuple(others if columns is None else columns)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return sides(self.exact.shape, self.rows)

    @property
    def T(self) -> Matricization:
        """Rows and columns exchanged."""
        return Matricization(self.exact, self.columns, self.rows)

    def dense(self, budget: int = BUDGET) -> numpy.ndarray:
        """All entries in float64; SizeError beyond `budget` entries."""
        height, width = self.shape
        if height * width > budget:
            raise SizeError(
                f"the matrix would have {height * width:.4g} entries, more than the budget of "
                f"{budget}; .probe() multiplies it by product vectors"
            )
        whole = self.exact.dense().transpose([*self.rows, *self.columns])
        return whole.reshape(height, width)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        return self.dense().astype(dtype or numpy.float64)

    def probe(self, left: Tensor, right: Tensor, p: int = HIGH - 1) -> Tensor:
        """(u_1 x u_2 x ..)^T M (v_1 x v_2 x ..) for all pairs of product vectors, modulo a prime p.

        left: (m, number of rows' variables, max k) integers, in the order of `rows`; right: (n, the
        others, max k), in increasing order. Returns (m, n). Costs m n contractions.
        """
        return grid(self.exact, self._spread(left, self.rows), self._spread(right, self.columns), p)

    def apply(self, right: Tensor, p: int = HIGH - 1, budget: int = BUDGET) -> Tensor:
        """M (v_1 x v_2 x ..) for a block of n product vectors, modulo p: (rows, n).

        Raises SizeError where that has more than `budget` entries.
        """
        height = self.shape[0]
        if height * len(right) > budget:
            raise SizeError(
                f"the product would have {height * len(right):.4g} entries, more than "
                f"the budget of {budget}"
            )
        sizes = [self.exact.shape[j] for j in self.rows]
        index = torch.from_numpy(numpy.indices(sizes).reshape(len(sizes), -1).T)
        units = torch.nn.functional.one_hot(index, max(self.exact.shape))
        return self.probe(units, right, p)

    def _spread(self, vectors: Tensor, variables: Sequence[int]) -> Tensor:
        """Vectors of some variables among ones for the others."""
        most = max(self.exact.shape)
        expected = (len(variables), most)
        if tuple(vectors.shape[1:]) != expected or vectors.is_floating_point():
            raise ValueError(
                f"expected integers of shape (n, {expected[0]}, {expected[1]}), got "
                f"{vectors.dtype} of shape {tuple(vectors.shape)}"
            )
        whole = torch.ones((len(vectors), len(self.exact.shape), most), dtype=torch.int64)
        whole[:, list(variables)] = vectors
        return whole


def matricize(W: Any, rows: Sequence[int]) -> Matricization:
    """The matricization of a model, an array or a tensorly tensor along any bipartition, lazily.

    Raises ValueError unless `rows` are distinct variables.

    >>> numpy.asarray(matricize(numpy.arange(8).reshape(2, 2, 2), [1]))
    array([[0., 1., 4., 5.],
           [2., 3., 6., 7.]])
    """
    return Matricization(subject(W), rows)
