"""The upward pass over stretches of rows: with patterns or without, in mantissas or logarithms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mixtures.circuit import Circuit, Integers
from mixtures.folds import Fold, Looked
from mixtures.leafrows import buffer_rows, leaf_flows, leaves_of
from mixtures.passes import (
    LayerWeights,
    Shares,
    Stacks,
    Values,
    anything_observed,
    layer_weights,
    upward,
)
from mixtures.patterns import Place, Plan
from mixtures.planner import plans
from mixtures.scaled import Scaled, safe_limit
from mixtures.semiring import Log, Semiring
from mixtures.source import Source, located


@dataclass(eq=False)
class Upward:
    """The values of one chunk, and the values anew of the rows for which mantissas do not do."""

    values: Values
    value: Tensor  # (B,)
    again: Values | None = None
    rows: Tensor | None = None  # which rows `again` is about


class Prepared:
    """The weights of a circuit, laid out for its layers once for all chunks."""

    def __init__(self, circuit: Circuit, stacks: Stacks) -> None:
        self.circuit, self.stacks = circuit, stacks

    @cached_property
    def weights(self) -> LayerWeights:
        """In the type of the tables."""
        return layer_weights(self.circuit, self.stacks)

    @cached_property
    def double(self) -> LayerWeights:
        """In float64, for logarithms."""
        return layer_weights(self.circuit, [stack.double() for stack in self.stacks])


class Stretch:
    """Rows start..stop-1, and how they are evaluated.

    Under Log on trees of few factors in mantissas, the rows that underflow may have touched again
    in logarithms. Logarithms of trees are float64 in float32 models, too: their last digits are
    those of posteriors.
    """

    def __init__(
        self,
        whole: Prepared,
        source: Source,
        ring: Semiring,
        rows: tuple[int, int],
        plan: Plan | None = None,
    ) -> None:
        self.whole, self.source, self.ring = whole, source, ring
        self.start, self.stop = rows
        self.plan = plan
        self.prepared = whole if plan is None else Prepared(plan.above, whole.stacks)
        self.safe = safe_limit(whole.circuit, whole.stacks) if type(ring) is Log else None
        self.fold = None if plan is None else self._folded(plan)
        self._rooms: dict[str, Tensor] = {}

    @property
    def circuit(self) -> Circuit:
        """What is evaluated row by row."""
        return self.prepared.circuit

    def _folded(self, plan: Plan) -> Fold:
        assert self.source.leaves is not None
        leaves, stacks = self.source.leaves(plan.symbols), self.whole.stacks
        self._none = leaves[:0, :1, :1]
        if self.safe is None:
            leaves, stacks = leaves.double(), [stack.double() for stack in stacks]
        return Fold(plan, stacks, leaves, self.safe)

    def up(self, start: int, stop: int) -> Upward:
        """One upward pass over rows start..stop-1."""
        if self.safe is None:
            return self._in_logarithms(start, stop)
        leaves = self._leaves(start, stop)
        scaled = Scaled(self.safe, leaves)
        evidence = located(self.circuit, self.source.evidence, scaled, start, stop)
        given: dict[Place, Tensor] = {}
        if self.fold is not None:
            scaled.scale += self.fold.scale(start - self.start, stop - self.start)
        insides, direct = self._direct(leaves, scaled, given)
        inputs = leaves[:0, 0] if direct else self._rows(scaled.inputs(leaves, self._existing))
        weights = self.prepared.weights
        values = upward(
            self.circuit, weights, scaled, inputs, evidence,
            given=given, insides=insides, direct=direct, room=self.room("up", leaves),
            lookups=self._lookups(start, stop),
        )  # fmt: skip
        value = values.root.double().log().add_(scaled.scale).to(leaves.dtype)
        suspect = scaled.suspect
        if not bool(suspect.any()):
            return Upward(values, value)
        scaled.neutralise(values)
        return self._again(Upward(values, value), suspect.nonzero().flatten(), start, stop)

    def room(self, name: str, like: Tensor) -> Tensor:
        """Memory (S, B) for values or flows of one chunk after another: fresh memory costs more
        than much of what is done in it.
        """
        shape = (self.circuit.held, like.shape[-1])
        known = self._rooms.get(name)
        if known is None or known.dtype != like.dtype or known.numel() < shape[0] * shape[1]:
            known = self._rooms[name] = like.new_empty(shape[0] * shape[1])
        return known[: shape[0] * shape[1]].view(shape)

    def _lookups(self, start: int, stop: int) -> dict[Place, Looked]:
        if self.fold is None:
            return {}
        return self.fold.given(start - self.start, stop - self.start)

    def _direct(
        self, leaves: Tensor, scaled: Scaled, given: dict[Place, Tensor]
    ) -> tuple[dict[Place, Tensor], dict[Place, Integers]]:
        """Puts leaves to what layers are `given`, if that serves; the products of leaves alone, and
        where leaves are.
        """
        looked_up = () if self.plan is None else self.plan.given
        direct = {at: own for at, own in self.circuit.direct.items() if at not in looked_up}
        insides = {}
        for place in sorted({place for place, _ in direct}):
            layer = self.circuit.layers[place]
            own = [at for at in direct if at[0] == place]
            logs = [leaves_of(leaves, direct[at], layer.widths[at[1]]) for at in own]
            if layer.combine == "product" and len(own) == len(layer.widths):
                given.update(zip(own, logs, strict=True))
                insides[place, 0] = scaled.joined(logs)
            else:
                given.update((at, scaled.joined([log])) for at, log in zip(own, logs, strict=True))
        return insides, direct

    def _in_logarithms(self, start: int, stop: int) -> Upward:
        leaves = self._leaves(start, stop)
        evidence = located(self.circuit, self.source.evidence, self.ring, start, stop)
        inputs, weights = self._rows(leaves), self.prepared.weights
        if type(self.ring) is Log and self.circuit.is_tree:
            inputs, weights = inputs.double(), self.prepared.double
        looked_up = self._lookups(start, stop)
        values = upward(self.circuit, weights, self.ring, inputs, evidence, lookups=looked_up)
        return Upward(values, values.root.to(leaves.dtype, copy=True))

    def _again(self, first: Upward, rows: Tensor, start: int, stop: int) -> Upward:
        """Some rows once more, in logarithms."""
        circuit, source = self.whole.circuit, self.source
        evidence = located(circuit, source.evidence, self.ring, start, stop, rows)
        leaves = source.read(start, stop).index_select(-1, rows).double()
        inputs = buffer_rows(circuit, leaves)
        again = upward(circuit, self.whole.double, self.ring, inputs, evidence)
        first.value.index_copy_(0, rows, again.root.to(first.value.dtype))
        first.again, first.rows = again, rows
        return first

    def below(self, values: Values, start: int, stop: int) -> Tensor | None:
        """(nodes, B): whether there is an observation or evidence below a node; None if
        everywhere.
        """
        observed = self.source.observed(start, stop)
        if observed is None:
            return None
        if self.plan is not None and values.circuit is self.plan.above:
            rows = start - self.start, stop - self.start
            observed = torch.cat([observed[self.plan.variables], *self.plan.observed(*rows)])
        return anything_observed(values.circuit, observed, values.evidence)

    # -- leaves of the variables that are read row by row ----------------------------------------

    def _leaves(self, start: int, stop: int) -> Tensor:
        if self.plan is None:
            return self.source.read(start, stop)
        if len(self.plan.variables) == 0:
            return self._none.expand(0, self.plan.shape[1], stop - start)
        return self.source.read(start, stop).index_select(0, self.plan.variables)

    def leaf_flows(self, values: Values, shares: Shares) -> Tensor | None:
        """The flows (d, max k, B) of the components of the variables that are read row by row."""
        if self.plan is None:
            return leaf_flows(values, shares)
        if len(self.plan.variables) == 0:
            return None
        if values.direct:
            flows = leaf_flows(values, shares)
            found = flows.new_zeros((*self.plan.shape[:2], flows.shape[2]))
            found[:, : flows.shape[1]].index_copy_(0, self.plan.variables, flows)
            return found
        existing = self._existing
        kept = self.plan.variables[:, None] < torch.inf if existing is None else existing
        kept = kept.expand(-1, self.plan.shape[1]).to(shares.buffer.device)
        flows = shares.inputs(self.circuit)[: int(kept.sum())]
        wide = flows.new_zeros((*kept.shape, flows.shape[1]))
        wide[kept] = flows
        found = flows.new_zeros((*self.plan.shape[:2], flows.shape[1]))
        found[self.plan.variables] = wide
        return found

    @cached_property
    def _existing(self) -> Tensor | None:
        circuit = self.whole.circuit
        if circuit.uniform:
            return None
        existing = circuit.existing(self.source.read(0, 0).device)
        return existing if self.plan is None else existing[self.plan.variables]

    def _rows(self, leaves: Tensor) -> Tensor:
        """(V, max k, B) -> (sum of k_j, B): the columns that exist."""
        if self._existing is None:
            return leaves.reshape(-1, leaves.shape[-1])
        return leaves.flatten(0, 1)[self._existing.flatten()]


def stretches(
    circuit: Circuit, stacks: Stacks, source: Source, ring: Semiring, *, patterns: bool = True
) -> Iterator[Stretch]:
    """The stretches that all rows are cut into."""
    whole = Prepared(circuit, stacks)
    wanted = patterns and type(ring) is Log and circuit.is_tree and circuit.has_patterns
    symbols = source.symbols() if wanted else None
    for start, stop, plan in plans(circuit, symbols, source.evidence, source.rows):
        yield Stretch(whole, source, ring, (start, stop), plan)
