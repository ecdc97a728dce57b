"""The nodes of one kind of one level of a plan: their values, and what flows through them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy
import torch
from torch import Tensor

from mixtures.circuit import Integers
from mixtures.networkplan import Products, Sums
from mixtures.semiring import Log
from mixtures.weights import Counts, Weights


class Step(ABC):
    """The nodes of one kind of one level."""

    @abstractmethod
    def up(self, buffer: Tensor, ring: Log) -> None:
        """Compute its rows from those of its children."""

    @abstractmethod
    def observe(self, below: Tensor) -> None:
        """How many variables are observed below its rows, from those below their children."""

    @abstractmethod
    def down(
        self, buffer: Tensor, flows: Tensor, ring: Log, *, counting: bool, seen: Tensor | None
    ) -> None:
        """Hand the flows of its rows on to their children."""

    def collect(self, total: Tensor) -> None:  # noqa: B027
        """Add what has been counted to the flat list of weights."""


class SumStep(Step):
    """N groups of P sums over the same C children: one matrix product."""

    def __init__(self, sums: Sums, flat: Tensor) -> None:
        self.nodes, self.parents, self.terms = sums.places.shape
        self.rows = slice(sums.first, sums.first + self.nodes * self.parents)
        self.children = Rows(sums.children.reshape(-1), flat.device)
        self.places = torch.as_tensor(sums.places, device=flat.device)
        self.weights = Weights(flat[self.places])
        self.counts: Counts | None = None

    def up(self, buffer: Tensor, ring: Log) -> None:
        ring.mix(self.weights, self._inside(buffer), self._outside(buffer))

    def observe(self, below: Tensor) -> None:
        most = self._inside(below).amax(1, keepdim=True)  # alternatives see the same; pads nothing
        self._outside(below).copy_(most.expand(-1, self.parents, -1))

    def down(
        self, buffer: Tensor, flows: Tensor, ring: Log, *, counting: bool, seen: Tensor | None
    ) -> None:
        if counting and self.counts is None:
            shape, device = self.places.shape, buffer.device
            self.counts = Counts(torch.zeros(shape, dtype=torch.float64, device=device))
        counts = self.counts if counting else None
        if counts is not None:
            counts.observed = None if seen is None else self._outside(seen)[:, 0] > 0
        inside, outside = self._inside(buffer), self._outside(buffer)
        below = ring.share(self.weights, inside, outside, self._outside(flows), counts)
        self.children.add(flows, below.view(-1, below.shape[-1]))

    def collect(self, total: Tensor) -> None:
        if self.counts is not None:
            found = self.counts.finish(self.weights)
            total.index_add_(0, self.places.flatten(), found.flatten())

    def _inside(self, buffer: Tensor) -> Tensor:
        return self.children.read(buffer).view(self.nodes, self.terms, -1)

    def _outside(self, buffer: Tensor) -> Tensor:
        return buffer[self.rows].view(self.nodes, self.parents, -1)


class ProductStep(Step):
    """Sums of logarithms: a sparse matrix of ones."""

    def __init__(self, products: Products, device: torch.device) -> None:
        self.rows, self.below = Rows(products.rows, device), Rows(products.below, device)
        self.factors, self.above = products.factors.to(device), products.above.to(device)
        self.more = products.add

    def up(self, buffer: Tensor, ring: Log) -> None:
        self._combine(buffer)

    def observe(self, below: Tensor) -> None:
        self._combine(below)

    def down(
        self, buffer: Tensor, flows: Tensor, ring: Log, *, counting: bool, seen: Tensor | None
    ) -> None:
        self.below.add(flows, self.above.times(self.rows.read(flows)))

    def _combine(self, buffer: Tensor) -> None:
        found = self.factors.times(buffer)
        self.rows.add(buffer, found) if self.more else self.rows.write(buffer, found)


class Rows:
    """Rows of a buffer: a view where they are consecutive."""

    def __init__(self, rows: Integers, device: torch.device) -> None:
        first = int(rows[0])
        even = numpy.array_equal(rows, first + numpy.arange(len(rows)))
        self.whole = slice(first, first + len(rows)) if even else None
        self.index = torch.as_tensor(rows, device=device)

    def read(self, buffer: Tensor) -> Tensor:
        """Their values (rows, B)."""
        return buffer.index_select(0, self.index) if self.whole is None else buffer[self.whole]

    def write(self, buffer: Tensor, values: Tensor) -> None:
        """Put values there."""
        if self.whole is None:
            buffer.index_copy_(0, self.index, values)
        else:
            buffer[self.whole] = values

    def add(self, buffer: Tensor, values: Tensor) -> None:
        """Add values there."""
        if self.whole is None:
            buffer.index_add_(0, self.index, values)
        else:
            buffer[self.whole] += values
