"""Rows of data in batches, from arrays, tensors and memory maps larger than memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from mixtures.components import Data
from mixtures.mixture import Mixture


class Batch(NamedTuple):
    """Rows x, and what belongs to them: weights (n,), evidence {latent: (n, r)}, a mask."""

    x: Any
    weights: Any = None
    evidence: Mapping[Hashable, Tensor] | None = None
    observed: Any = None

    def rows(self, index: Tensor | slice) -> Batch:
        """The batch of some of the rows."""
        return Batch(
            _rows(self.x, index),
            None if self.weights is None else _rows(self.weights, index),
            None
            if self.evidence is None
            else {name: logs[index] for name, logs in self.evidence.items()},
            None if self.observed is None else _rows(self.observed, index),
        )


class Batches:
    """Batches of the rows of one source; every walk over them draws a new order."""

    def __init__(self, source: Batch, size: int, shuffle: bool, generator: Any) -> None:
        self.source, self.size, self.shuffle = source, size, shuffle
        self.generator: torch.Generator | None = generator
        self.total = len(source.x)

    def __len__(self) -> int:
        return -(-self.total // self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(self.total, generator=self.generator) if self.shuffle else None
        for start in range(0, self.total, self.size):
            stop = min(self.total, start + self.size)
            # ascending, so that a memory map is read in one direction
            index = slice(start, stop) if order is None else order[start:stop].sort().values
            yield self.source.rows(index)


def batches(
    x: Any,
    size: int,
    *,
    weights: Any = None,
    shuffle: bool = True,
    generator: torch.Generator | None = None,
) -> Batches:
    """Rows x cut into batches of `size`, the last one smaller; only one batch is read at a time.

    x: an array, a tensor, encoded `Data`, or `numpy.load(path, mmap_mode="r")`, of which nothing
    but the rows of the batch is brought into memory. With `shuffle` each walk visits all rows in
    an order of its own, drawn from `generator`; without, in the order of x. Raises ValueError
    unless there are rows and size is at least 1.

    >>> cut = batches(numpy.arange(10).reshape(5, 2), 2, shuffle=False)
    >>> len(cut), [batch.x[:, 0].tolist() for batch in cut]
    (3, [[0, 2], [4, 6], [8]])
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if not isinstance(x, Data | Tensor | numpy.ndarray):
        x = numpy.asarray(x)
    if len(x) == 0:
        raise ValueError("expected at least one row, got none")
    if weights is not None and len(weights) != len(x):
        raise ValueError(f"expected {len(x)} weights, one a row, got {len(weights)}")
    weights = None if weights is None else torch.as_tensor(weights)
    return Batches(Batch(x, weights), size, shuffle, generator)


def as_batch(given: Any, model: Mixture) -> Batch:
    """Anything that `stochastic_em` takes as a batch."""
    if isinstance(given, Batch):
        return given
    if isinstance(given, list | tuple) and len(given) == 1:  # of a TensorDataset
        (only,) = given
        if isinstance(only, Tensor) and only.ndim == 2 + len(model.components.event):
            return Batch(only)
    return Batch(given)


def _rows(x: Any, index: Tensor | slice) -> Any:
    if isinstance(x, Data):
        return x.rows(index)
    if isinstance(x, Tensor) or isinstance(index, slice):
        return x[index]
    return x[index.numpy()]
