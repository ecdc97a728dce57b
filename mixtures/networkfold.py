"""The values of the nodes of scalar networks that are evaluated once per pattern."""

from __future__ import annotations

import torch
from torch import Tensor

from mixtures.networkpatterns import Folded, TableSums
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
            self._table(patterns)[0] = -torch.inf
        for step in plan.steps:
            if isinstance(step, TableSums):
                self._sum(step, flat)
                continue
            entries = self.values.index_select(0, step.entries.view(-1)).view(step.entries.shape)
            size = len(step.factors.offsets) - 1
            out = self._table(step.patterns)[step.first : step.first + size]
            out.copy_(step.factors.times(entries))

        self.possible = bool((self.values < torch.inf).all())  # no infinite density, no NaN

    def holds(self, plan: Folded, leaves: Tensor) -> bool:
        """Whether this is the fold of a plan with such leaves."""
        same = leaves.shape == self.leaves.shape and leaves.dtype == self.leaves.dtype
        return plan is self.plan and same and torch.equal(leaves, self.leaves)

    def read(self, codes: Tensor, buffer: Tensor) -> None:
        """Write what is given for rows of symbols (d, B) to rows of a contiguous buffer."""
        symbols = codes.float()
        for given in self.plan.given:
            index = given.digits.times(symbols, given.strides).int().add_(given.first)
            out = buffer[given.rows].view(-1)
            torch.index_select(self.values, 0, index.view(-1), out=out)

    def _table(self, patterns: int) -> Tensor:
        """(N, V): the nodes of so many patterns."""
        start, nodes = self.plan.starts[patterns], self.plan.nodes[patterns]
        return self.values[start : start + nodes * patterns].view(nodes, patterns)

    def _read(self, weights: Tensor, variables: Tensor, leaves: Tensor) -> None:
        """The leaf factors of all symbols: sums over components."""
        size = len(variables) * self.plan.symbols
        out = self.values[:size].view(len(variables), 1, self.plan.symbols)
        inside = leaves[..., : self.plan.symbols].index_select(0, variables)
        self.ring.mix(Weights(weights[:, None]), inside, out)

    def _sum(self, step: TableSums, flat: Tensor) -> None:
        table = self._table(step.patterns)
        nodes, parents, terms = step.places.shape
        inside = table.index_select(0, step.children).view(nodes, terms, step.patterns)
        out = table[step.first : step.first + nodes * parents]
        weights = Weights(flat[torch.as_tensor(step.places, device=flat.device)])
        self.ring.mix(weights, inside, out.view(nodes, parents, step.patterns))
