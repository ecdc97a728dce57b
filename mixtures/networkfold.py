"""The values of the nodes of scalar networks that are evaluated once per pattern."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.networkpatterns import Folded, TableProducts, TableSums
from mixtures.networkplan import Leaves
from mixtures.semiring import Log
from mixtures.weights import Weights


class NetworkFold:
    """All patterns of all nodes that have some, as logarithms.

    flat: all weights, among them those of the leaf factors; leaves (d, max k, symbols).
    """

    def __init__(self, plan: Folded, flat: Tensor, factors: Leaves, leaves: Tensor) -> None:
        self.plan, self.leaves, self.ring = plan, leaves, Log()
        self.values = leaves.new_empty(plan.total)
        weights = flat[torch.as_tensor(factors.places, device=flat.device)]
        self._read(weights, torch.as_tensor(factors.variable, device=flat.device), leaves)
        for patterns in plan.nodes:
            self.table(self.values, patterns)[0] = -torch.inf
        for step in plan.steps:
            if isinstance(step, TableSums):
                table = Weights(flat[torch.as_tensor(step.places, device=flat.device)])
                self.ring.mix(table, *self.sides(self.values, step))
            else:
                self.multiply(self.values, step)
        self.possible = bool((self.values < torch.inf).all())  # no infinite density, no NaN

    def holds(self, plan: Folded, leaves: Tensor) -> bool:
        """Whether this is the fold of a plan with such leaves."""
        same = leaves.shape == self.leaves.shape and leaves.dtype == self.leaves.dtype
        return plan is self.plan and same and torch.equal(leaves, self.leaves)

    def entries(self, codes: Tensor) -> list[Tensor]:
        """Which entries of the flat list are given to rows of symbols (d, B), (N B,) each."""
        symbols = codes.float()
        found = []
        for given in self.plan.given:
            index = given.digits.times(symbols, given.strides).int().add_(given.first)
            found.append(index.view(-1))
        return found

    def read(self, flat: Tensor, entries: Sequence[Tensor], buffer: Tensor) -> None:
        """Write entries of a flat list to the rows of a contiguous buffer that are given."""
        for given, index in zip(self.plan.given, entries, strict=True):
            torch.index_select(flat, 0, index, out=buffer[given.rows].view(-1))

    def table(self, flat: Tensor, patterns: int) -> Tensor:
        """(N, V): the nodes of so many patterns in a flat list."""
        start, nodes = self.plan.starts[patterns], self.plan.nodes[patterns]
        return flat[start : start + nodes * patterns].view(nodes, patterns)

    def sides(self, flat: Tensor, step: TableSums) -> tuple[Tensor, Tensor]:
        """Of sums a copy of the children's entries (N, C, V), and a view of their own (N, P, V)."""
        table = self.table(flat, step.patterns)
        nodes, parents, terms = step.places.shape
        inside = table.index_select(0, step.children).view(nodes, terms, step.patterns)
        outside = table[step.first : step.first + nodes * parents]
        return inside, outside.view(nodes, parents, step.patterns)

    def products(self, flat: Tensor, step: TableProducts) -> Tensor:
        """A view of the products' entries, (products, V)."""
        size = len(step.factors.offsets) - 1
        return self.table(flat, step.patterns)[step.first : step.first + size]

    def multiply(self, flat: Tensor, step: TableProducts) -> None:
        """Write the sums of the factors' logarithms to the products' entries."""
        factors = flat.index_select(0, step.entries.view(-1)).view(step.entries.shape)
        self.products(flat, step).copy_(step.factors.times(factors))

    def _read(self, weights: Tensor, variables: Tensor, leaves: Tensor) -> None:
        """The leaf factors of all symbols: sums over components."""
        size = len(variables) * self.plan.symbols
        out = self.values[:size].view(len(variables), 1, self.plan.symbols)
        inside = leaves[..., : self.plan.symbols].index_select(0, variables)
        self.ring.mix(Weights(weights[:, None]), inside, out)
