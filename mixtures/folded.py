"""Long chains with their time folded: blocks of steps side by side, until their ends fit.

Every block starts from a guess, the values after a warm-up over the steps before it. Where the end
of each block is the start of the next, all values are exact, and to see that costs nothing. If it
does not come about soon, the chain forgets slowly: then one column after the other is walked for
the starts alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mixtures.sides import Arrangement
from mixtures.span import Span, Tally
from mixtures.spine import Segment

WARM = 128  # steps of the warm-up
SHORTEST = 256  # steps of a block
PASSES = 3
ROUNDING = 64  # units in the last place that two ends may differ by


def folding(segment: Segment, rows: int, columns: int, run: int) -> tuple[int, int]:
    """(C, L) blocks and steps of a block for so many rows if `columns` are wanted; C = 1 for no
    folding.
    """
    blocks = min(columns // max(1, rows), segment.steps // SHORTEST)
    if blocks < 2 or segment.carry is None:
        return 1, segment.steps
    length = segment.steps // blocks // run * run
    return segment.steps // length, length


class Folded(Span):
    """A span whose blocks follow one another; `single` makes the same span unfolded."""

    single: Callable[[], Span]

    def up(self, below: Tensor | None) -> Tensor:
        """The values (1, P, B) after the last step of the last block."""
        assert below is not None
        starts = self._joined(below, self.warmed(WARM))
        for _ in range(PASSES):
            ends = super().up(starts)
            expected = self._joined(below, ends)
            if self._same(expected, starts):
                return self._apart(ends)[-1:]
            starts = expected
        marks = self.single().marks(below, self.arrangement.length)
        ends = super().up(self._together(torch.cat([below, *marks[:-1]])))
        return self._apart(ends)[-1:]

    def down(self, flow: Tensor, tally: Tally) -> Tensor | None:
        """The gradient (1, P, B) of what is below the first block."""
        ends = self._apart(self.history[-1])
        total = (flow * ends[-1:]).sum(1, keepdim=True)  # of every row the same at all steps
        guess = self._apart(self.cooled(torch.ones_like(self.history[-1]), WARM))
        flows = self._scaled(torch.cat([guess[1:], flow]), ends, total)
        for _ in range(PASSES):
            found = self._tried(flows, tally)
            expected = self._scaled(torch.cat([found[1:], flow]), ends, total)
            if self._same(self._together(expected), self._together(flows)):
                return found[:1]
            flows = expected
        marks = self.single().marks_down(flow, self.arrangement.length)
        flows = self._scaled(torch.cat([*marks[1:], flow]), ends, total)
        return self._tried(flows, tally)[:1]

    def _tried(self, flows: Tensor, tally: Tally) -> Tensor:
        """The gradients (C, P, B) before each block, given those after it; tallied anew."""
        if tally.counts is not None:
            tally.counts.zero_()
        found = super().down(self._together(flows), tally)
        assert found is not None
        return self._apart(found)

    def _scaled(self, flows: Tensor, ends: Tensor, total: Tensor) -> Tensor:
        """Gradients (C, P, B) with the sums that they have with the values."""
        factor = total / (flows * ends).sum(1, keepdim=True)
        return flows * factor.where(total != 0, 0)

    def _joined(self, below: Tensor, ends: Tensor) -> Tensor:
        """The starts of the blocks, given their ends."""
        return self._together(torch.cat([below, self._apart(ends)[:-1]]))

    def _same(self, first: Tensor, second: Tensor) -> bool:
        """Whether all entries agree up to rounding; of lost columns it does not matter."""
        near = ROUNDING * torch.finfo(first.dtype).eps * first.abs()
        same = (first - second).abs() <= near
        return bool((same | ~(self.low > 0)).all())

    def _apart(self, values: Tensor) -> Tensor:
        """(G, w, M) -> (C, w, B)."""
        return self.arrangement.apart(values[None])[0]

    def _together(self, values: Tensor) -> Tensor:
        """(C, w, B) -> (G, w, M)."""
        return self.arrangement.together(values[None])[0]


def parts(
    segment: Segment, rows: int, columns: int, run: int, *, grouped: bool
) -> list[Arrangement]:
    """The arrangements that a segment is walked in, one after the other."""
    blocks, length = folding(segment, rows, columns, run)
    rest = segment.steps - blocks * length
    found = [Arrangement(0, rest, 1, False, rows)] if rest else []
    return [*found, Arrangement(rest, length, blocks, grouped and blocks > 1, rows)]
