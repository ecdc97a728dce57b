"""Witnesses of lower bounds: square sub-matrices that are regular modulo a prime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

Indices = Any  # (size, d) integers, -1 for variables of the other side; or vectors (size, d, k)


@dataclass(frozen=True)
class Minor:
    """Rows and columns of a matricization, `size` each, whose minor does not vanish modulo `prime`.

    rows, columns: indices (size, d), -1 at the variables of the other side; where the rows are not
    single entries but contractions, product vectors of residues (size, d, max k) with ones on the
    other side. Then the rank of the tensor is at least `size`; `transforms.subjects.verify_minor`
    checks that from scratch.
    """

    prime: int
    rows: Indices = field(repr=False)
    columns: Indices = field(repr=False)

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def vectors(self, shape: Sequence[int], of_rows: bool) -> numpy.ndarray:
        """Rows (or columns) as product vectors (size, d, max k), ones on the other side."""
        held = numpy.asarray(self.rows if of_rows else self.columns)
        if held.ndim == 3:
            return held.astype(numpy.int64)
        most = max(shape)
        one_hot = (held[..., None] == numpy.arange(most)).astype(numpy.int64)
        one_hot[held < 0] = 1
        return one_hot
