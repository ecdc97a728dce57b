"""One chunk of rows on its way along a spine, up for values and down for posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from mixtures.exponential import Exponential
from mixtures.folded import Folded, folding, parts
from mixtures.readings import Rows, at_rows
from mixtures.scratch import Rooms
from mixtures.sides import Arrangement, Evaluated, Hanging, Looked, Sink
from mixtures.span import Span
from mixtures.spine import Segment, Side, add_to, chosen
from mixtures.tally import Tally

if TYPE_CHECKING:
    from mixtures.chainpass import Chain


S = TypeVar("S", bound=Span)


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of a walk down: counts, like the stacks, are added to.

    `summed`: posteriors of components go to the entries, where they take them.
    """

    counts: Sequence[Tensor] | None
    states: bool
    summed: bool


class Walk:
    """One chunk of rows on its way."""

    def __init__(
        self, chain: Chain, rows: Rows, count: int, run: int, wanted: Wanted | None
    ) -> None:
        self.chain, self.rows, self.count, self.run, self.wanted = chain, rows, count, run, wanted
        self.inputs: Tensor | None = None
        self.states: dict[int, Tensor] = {}  # layer -> (steps, C, B)
        self.hanging: list[tuple[Side, Hanging]] = []
        self.rooms = Rooms(chain.spine.scratch, chain.tables[0])
        if wanted is not None and not self._only_sums and (self._folds or not self._streams):
            shape = chain.circuit.variables, chain.largest, count
            self.inputs = chain.tables[0].new_zeros(shape)
        self.observed = None if wanted is None else at_rows(chain.reader.observed, rows)
        self.spans: list[Span] = []
        for segment, tables in zip(chain.spine.segments, chain.tables, strict=True):
            grouped = len(tables) > 1 or any(chain.varies(side) for side in segment.sides)
            for arrangement in parts(segment, count, chain.columns, run, grouped=grouped):
                self.spans.append(self._span(segment, arrangement, tables))

    @property
    def _streams(self) -> bool:
        """Whether the entries take the posteriors of components."""
        return self.wanted is not None and self.wanted.summed and self.chain.entries.tied

    @property
    def _folds(self) -> bool:
        """Whether time is folded: posteriors are then known at the end only."""
        columns = self.chain.columns
        segments = self.chain.spine.segments
        return any(folding(each, self.count, columns, self.run)[0] > 1 for each in segments)

    @property
    def _only_sums(self) -> bool:
        """Whether the posteriors of components are but summed over the entries of each symbol."""
        chain = self.chain
        known = chain.codes is not None or self._exponents is not None
        return self.wanted is not None and self.wanted.summed and known

    @property
    def _exponents(self) -> tuple[Tensor, float] | None:
        """What leaves are exponentials of; rows that are walked again do without."""
        return self.chain.exponents if self.run > 1 else None

    def _span(self, segment: Segment, arrangement: Arrangement, tables: Tensor) -> Span:
        if arrangement.blocks == 1:
            return self._made(Span, segment, arrangement, tables)
        folded = self._made(Folded, segment, arrangement, tables)
        first, length, blocks = arrangement.first, arrangement.length, arrangement.blocks
        whole = Arrangement(first, length * blocks, 1, False, self.count)
        folded.single = lambda: self._made(Span, segment, whole, tables, keep=False)
        return folded

    def _made(
        self,
        kind: type[S],
        segment: Segment,
        arrangement: Arrangement,
        tables: Tensor,
        *,
        keep: bool = True,
    ) -> S:
        keep = keep and self.wanted is not None
        sides = [self._hang(side, arrangement, keep=keep) for side in segment.sides]
        if keep:
            self.hanging += zip(segment.sides, sides, strict=True)
        kernels, rooms = self.chain.kernels, self.rooms
        return kind(segment, arrangement, tables, sides, kernels, rooms, self.run, keep=keep)

    def _hang(self, side: Side, arrangement: Arrangement, *, keep: bool) -> Hanging:
        chain, wanted = self.chain, self.wanted
        variables = torch.as_tensor(side.variables, device=chain.tables[0].device)
        count = wanted is not None and wanted.counts is not None and side.table is not None
        sink: Sink | None = None
        if wanted is not None and not self._only_sums:
            sink = self._collect if self.inputs is None else self._put
        if chain.codes is not None:
            codes = chosen(chain.codes, side.variables)[:, self.rows]
            table, count = chain.lookups[side], count or self._only_sums
            return Looked(
                variables, arrangement, chain.kernels, self.rooms, sink, table, codes, count=count
            )

        def read(some: Tensor) -> Tensor:
            return chain.entries.read(some, self.rows)[:, : side.components]

        observed = None if self.observed is None else self.observed.index_select(0, variables)
        mixing = chain.mixing[side]
        rest = variables, arrangement, chain.kernels, self.rooms, sink, mixing, read
        exponents = self._exponents
        if exponents is None:
            return Evaluated(*rest, count=count, observed=observed, keep=keep)

        def basis(some: Tensor, out: Tensor) -> Tensor:
            return chain.collecting.basis(some, self.rows, out)

        return Exponential(
            *exponents, basis, *rest,
            summed=self._only_sums, count=count, observed=observed, keep=keep,
        )  # fmt: skip

    def _put(self, variables: Tensor, weights: Tensor) -> None:
        assert self.inputs is not None
        self.inputs[:, : weights.shape[1]].index_copy_(0, variables, weights)

    def _collect(self, variables: Tensor, weights: Tensor) -> None:
        self.chain.collecting.collect(variables, self.rows, weights)

    # -- up and down -----------------------------------------------------------------------------

    def up(self) -> tuple[Tensor, Tensor]:
        """Log-values (B,), and which rows must not be trusted."""
        value: Tensor | None = None
        scale: Tensor | None = None
        low: Tensor | None = None
        for span in self.spans:
            value = span.up(value)
            own = span.arrangement.by_row(span.scale).sum(0)
            least = span.arrangement.by_row(span.low).amin(0)
            scale = own if scale is None else scale + own
            low = least if low is None else torch.minimum(low, least)
        assert value is not None and scale is not None and low is not None
        logs = value.reshape(-1).double().log().add_(scale).to(value.dtype)
        return logs, ~(low >= self.chain.spine.states * self.chain.safe)

    def neutralise(self, suspect: Tensor) -> None:
        """Put ones where rows are suspect, so that no NaN meets a flow of zero."""
        for span in self.spans:
            span.neutralise(suspect)

    def down(self, weights: Tensor) -> None:
        """Share the weights (B,) of the rows among all states, and count."""
        wanted = self.wanted
        assert wanted is not None
        below = self._observed_below()
        flow: Tensor | None = weights.reshape(1, 1, -1)
        for span in reversed(self.spans):
            segment, tables = span.segment, span.like
            totals = states = None
            if wanted.counts is not None:
                totals = torch.zeros_like(tables, dtype=torch.float64)
            if wanted.states:
                shape = (segment.steps, segment.layer.inside, self.count)
                states = self.states.setdefault(segment.place, tables.new_empty(shape))
            assert flow is not None
            tally = Tally(totals, None if below is None else below[segment.place], states)
            flow = span.down(flow, tally)
            if wanted.counts is not None and totals is not None:
                add_to(wanted.counts[segment.table], segment.slots, totals * tables)
        self._finish()

    def named(self) -> dict[Any, Tensor]:
        """The posteriors of the latents, by name."""
        if not self.states:
            return {}
        places = self.chain.circuit.latents.items()
        return {name: self.states[place][step] for name, (place, step, _) in places}

    def _observed_below(self) -> dict[int, Tensor] | None:
        """Of every layer (steps, B): whether anything is observed below; None if everywhere."""
        if self.observed is None:
            return None
        found: dict[int, Tensor] = {}
        before = torch.zeros_like(self.observed[:1])
        for segment in self.chain.spine.segments:
            seen = before.expand(segment.steps, -1)
            for side in segment.sides:
                index = torch.as_tensor(side.variables, device=seen.device)
                seen = seen | self.observed.index_select(0, index)
            seen = seen.cumsum(0) > 0
            found[segment.place] = seen
            before = seen[-1:]
        return None if all(bool(seen.all()) for seen in found.values()) else found

    def _finish(self) -> None:
        """Counts of leaf tables, and sums over the entries of each symbol."""
        wanted, chain = self.wanted, self.chain
        assert wanted is not None
        if self.inputs is not None and self._streams:
            variables = torch.arange(len(self.inputs), device=self.inputs.device)
            chain.collecting.collect(variables, self.rows, self.inputs)
            self.inputs = None
        for side, hanging in self.hanging:
            mixing, counts = chain.mixing[side], wanted.counts
            if isinstance(hanging, Evaluated):
                if isinstance(hanging, Exponential) and hanging.sums is not None:
                    chain.collecting.collect_basis(hanging.sums)
                if hanging.counts is not None and counts is not None and mixing is not None:
                    assert side.table is not None
                    add_to(counts[side.table], side.slots, hanging.counts * mixing)
                continue
            assert isinstance(hanging, Looked)
            if not hanging.count:
                continue
            table, sums = chain.lookups[side], hanging.sums.clone()
            sums[..., -1] = 0  # nothing was observed
            if counts is not None and side.table is not None and mixing is not None:
                found = sums @ table.components.mT.double() * mixing
                add_to(counts[side.table], side.slots, found)
            if self._only_sums:
                chain.add_symbols(side, table.posteriors(sums))
