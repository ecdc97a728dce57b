"""Products of leaf factors given symbols: their logarithms are c + M x with M sparse.

A leaf factor is a sum over the components of one variable. Where a row says which component it is
(x one-hot) the logarithm of a product of leaf factors is linear in x. Its offset c takes the
likeliest component of every factor: M has k - 1 entries a factor, of one sign, so nothing cancels.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from mixtures.circuit import Circuit, Integers
from mixtures.leafrows import buffer_rows
from mixtures.networkplan import Leaves
from mixtures.sparse import Pattern

PIECE = 2**10  # carriers whose values are computed together, in the cache
NEVER = -1e30  # stands for the logarithm of zero, which must not be multiplied by zero


class Chosen(NamedTuple):
    """Rows that say one component of a variable, or nothing: one-hot (sum of k_j, B), missing (d,
    B) or None.
    """

    chosen: Tensor
    missing: Tensor | None


def chosen_of(circuit: Circuit, leaves: Tensor) -> Chosen | None:
    """Leaves (d, max k, B) as symbols, if all of them are 0 or -inf and say one component or
    nothing.
    """
    one = leaves == 0
    known = one | (leaves == -torch.inf)
    if not circuit.uniform:
        exists = circuit.existing(leaves.device)[..., None]
        one, known = one & exists, known | ~exists
    if not bool(known.all()):
        return None
    count = one.sum(1)
    single = count == 1
    missing: Tensor | None = None
    if not bool(single.all()):
        sizes = torch.as_tensor(circuit.inputs, device=leaves.device)[:, None]
        if not bool((single | (count == sizes)).all()):
            return None
        missing = (~single).to(leaves.dtype)
        one = one & single[:, None]
    return Chosen(buffer_rows(circuit, one.to(leaves.dtype)), missing)


class LeafStatistic:
    """The leaf factors of a plan with their weights, and what flowed into them."""

    def __init__(self, leaves: Leaves, flat: Tensor, circuit: Circuit) -> None:
        self.leaves, self.circuit = leaves, circuit
        self.device = flat.device
        self.places = torch.as_tensor(leaves.places, device=self.device)
        self.weights = flat[self.places]
        logs = self.weights.log().clamp_(min=NEVER)
        self.best, reference = logs.max(1)
        kept = torch.as_tensor(leaves.columns >= 0, device=self.device)
        kept[torch.arange(len(kept), device=self.device), reference] = False
        self.entries = (logs - self.best[:, None])[kept]
        self.impossible = bool((self.entries < NEVER / 2).any())
        carrier = numpy.repeat(leaves.carrier, (leaves.columns >= 0).sum(1) - 1)
        columns = torch.as_tensor(leaves.columns, device=self.device)[kept]
        matrix = Pattern.of(carrier, columns, leaves.carriers, circuit.input_rows)
        self.parts = list(matrix.parts(PIECE))
        at = torch.as_tensor(leaves.carrier, device=self.device)
        offset = torch.zeros(leaves.carriers, dtype=torch.float64, device=self.device)
        self.offset = offset.index_add_(0, at, self.best.double()).to(flat.dtype)[:, None]
        self.counts: Tensor | None = None  # (F, max k) float64

    def up(self, symbols: Chosen, out: Tensor) -> None:
        """Write the logarithms of all products of leaf factors, (carriers, B)."""
        for rows, part, entries in self.parts:
            found = part.times(symbols.chosen, self.entries[entries])
            torch.add(found, self.offset[rows], out=out[rows])
        if symbols.missing is not None:
            out += self.by_variable.times(symbols.missing, -self.best)
        if self.impossible:
            out.masked_fill_(out < NEVER / 2, -torch.inf)

    def count(self, symbols: Chosen, flow: Tensor, *, unseen: bool) -> None:
        """Collect how much of the flow (carriers, B) every component of every factor got.

        What is missing counts, too, if `unseen`: in proportion to the weights.
        """
        if self.counts is None:
            self.counts = torch.zeros(self.weights.shape, dtype=torch.float64, device=self.device)
        sampled = self.by_component.sampled(flow, symbols.chosen)
        self.counts[self.exists] += sampled
        if unseen and symbols.missing is not None:
            mass = self.by_variable.sampled(flow, symbols.missing)
            self.counts += mass[:, None] * self.weights

    def collect(self, total: Tensor) -> None:
        """Add what has been counted to the flat list of weights."""
        if self.counts is not None:
            total.index_add_(0, self.places.flatten(), self.counts.flatten())

    def inputs(self, symbols: Chosen, flow: Tensor, root: Tensor) -> Tensor:
        """The flow into every component, (sum of k_j, B): all of it where a row says which."""
        found = symbols.chosen * root
        if symbols.missing is None:
            return found
        shared = self.above.times(flow, self._weights_above)
        return torch.where(self._missing(symbols.missing) > 0, shared, found)

    def carried(self, symbols: Chosen, flow: Tensor) -> Tensor:
        """The flow into every component by way of these products alone, (sum of k_j, B)."""
        found = symbols.chosen * self.above.times(flow)
        if symbols.missing is None:
            return found
        return found + self._missing(symbols.missing) * self.above.times(flow, self._weights_above)

    def _missing(self, missing: Tensor) -> Tensor:
        """Whether the variable of every component is missing, (sum of k_j, B)."""
        size = torch.as_tensor(self.circuit.inputs, device=self.device)
        return missing.repeat_interleave(size, 0)

    @cached_property
    def exists(self) -> Tensor:
        """(F, max k): which components the variable of each factor has."""
        return torch.as_tensor(self.leaves.columns >= 0, device=self.device)

    @cached_property
    def by_variable(self) -> Pattern:
        """(carriers, d): of which variables each carrier has a factor."""
        leaves = self.leaves
        return Pattern.of(
            leaves.carrier,
            torch.as_tensor(leaves.variable, device=self.device),
            leaves.carriers,
            self.circuit.variables,
        )

    @cached_property
    def by_component(self) -> Pattern:
        """(carriers, sum of k_j): all components of the variables of each carrier's factors."""
        factor, _ = (self.leaves.columns >= 0).nonzero()
        columns = torch.as_tensor(self.leaves.columns, device=self.device)[self.exists]
        height, width = self.leaves.carriers, self.circuit.input_rows
        return Pattern.of(self.leaves.carrier[factor], columns, height, width)

    @cached_property
    def above(self) -> Pattern:
        """(sum of k_j, carriers): in which carriers each component is."""
        factor, _ = self._order_above
        carriers = torch.as_tensor(self.leaves.carrier[factor], device=self.device)
        rows = self.leaves.columns[self._order_above]
        return Pattern.of(rows, carriers, self.circuit.input_rows, self.leaves.carriers)

    @cached_property
    def _order_above(self) -> tuple[Integers, Integers]:
        """(factor, component) of every entry, in the order of the components."""
        factor, component = (self.leaves.columns >= 0).nonzero()
        order = numpy.argsort(self.leaves.columns[factor, component], kind="stable")
        return factor[order], component[order]

    @cached_property
    def _weights_above(self) -> Tensor:
        factor, component = self._order_above
        index = [torch.as_tensor(part, device=self.device) for part in (factor, component)]
        return self.weights[index[0], index[1]]
