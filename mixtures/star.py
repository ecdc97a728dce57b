"""One latent whose states are the components of all variables: products of densities of whole rows.

Where log f is linear in features of x, their logarithms are one matrix product, and what posteriors
add up to is another: no density per variable is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, Circuit
from mixtures.joint import Joint
from mixtures.semiring import Log, Semiring
from mixtures.source import Source
from mixtures.weights import Counts, Weights

NUMBERS = 2**17  # that a chunk should take


class Star:
    """The passes over such a circuit under Log."""

    @classmethod
    def of(
        cls, circuit: Circuit, stacks: Sequence[Tensor], source: Source, ring: Semiring
    ) -> Star | None:
        """None unless the circuit is one mix of one product of all variables, whose densities are
        known for whole rows.
        """
        if type(ring) is not Log or source.evidence or source.entries is None:
            return None
        if not _serves(circuit):
            return None
        joint = source.entries.joint()
        return None if joint is None else cls(circuit, stacks, source, joint)

    def __init__(
        self, circuit: Circuit, stacks: Sequence[Tensor], source: Source, joint: Joint
    ) -> None:
        self.source, self.joint, self.ring = source, joint, Log()
        (self.layer,) = circuit.layers
        assert self.layer.table is not None and self.layer.slots is not None
        self.slots = torch.as_tensor(self.layer.slots[0], device=stacks[0].device)
        self.weights = Weights(stacks[self.layer.table].index_select(0, self.slots))
        self.size = max(32, NUMBERS // (joint.features + self.layer.inside))

    def contract(self) -> Tensor:
        """The value of the circuit for every row, (n,)."""
        found = self.weights.values.new_empty(self.source.rows)
        for rows in self._spans():
            self._up(rows, found[rows])
        return found

    def expected(
        self, row_weights: Tensor, counts: Sequence[Tensor]
    ) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, values (B,)) of all rows; counts of the table, and what the posteriors of
        components add up to, go where they are collected.
        """
        counter = Counts(torch.zeros_like(self.weights.values, dtype=torch.float64))
        for rows in self._spans():
            value = row_weights.new_empty(rows.stop - rows.start)
            inside = self._up(rows, value)
            flow = row_weights[rows].where(value > -torch.inf, 0).to(inside.dtype)
            seen = self.source.observed(rows.start, rows.stop)
            counter.observed = None if seen is None else seen.any(0)[None]
            out = value.view(1, 1, -1)
            below = self.ring.share(self.weights, inside, out, flow.view(1, 1, -1), counter)
            self.joint.collect(rows, below[0])
            yield rows.start, rows.stop, value
        assert self.layer.table is not None
        counts[self.layer.table].index_add_(0, self.slots, counter.finish(self.weights))

    def _up(self, rows: slice, out: Tensor) -> Tensor:
        inside = self.joint.logs(rows)[None]
        self.ring.mix(self.weights, inside, out.view(1, 1, -1))
        return inside

    def _spans(self) -> Iterator[slice]:
        for start in range(0, self.source.rows, self.size):
            yield slice(start, min(self.source.rows, start + self.size))


def _serves(circuit: Circuit) -> bool:
    """One mix over one product of all variables."""
    if len(circuit.layers) != 1:
        return False
    (layer,) = circuit.layers
    below = sorted(layer.owners.reshape(-1).tolist())
    return (
        layer.combine == "product"
        and layer.table is not None
        and layer.width == 1
        and (layer.steps, layer.nodes) == (1, 1)
        and below == [CONSTANTS + j for j in range(circuit.variables)]
        and set(circuit.inputs) == {layer.inside}
    )
