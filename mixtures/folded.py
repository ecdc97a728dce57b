"""Long chains with their time folded: blocks of steps side by side, until their ends fit.

Every block starts from a guess, the values after a warm-up over the steps before it. Where the end
of each block is the start of the next, all values are exact, and to see that costs nothing. Where
the ends move as those of a chain do that forgets slowly, one column after the other is walked for
the starts alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from mixtures.sides import Arrangement
from mixtures.span import Span
from mixtures.spine import Segment
from mixtures.tally import Tally

WARM = 128  # steps of the warm-up at most
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

    slow: bool = False  # whether the way up found that the chain forgets slowly

    def up(self, below: Tensor | None) -> Tensor:
        """The values (1, P, B) after the last step of the last block."""
        assert below is not None
        starts = self._joined(below, self.warmed(self.warm))
        for left in reversed(range(PASSES)):
            ends = super().up(starts)
            expected = self._joined(below, ends)
            gap = self._gap(expected, starts)
            if gap <= self._near:
                return self._apart(ends)[-1:]
            if self._hopeless(gap, left):
                break
            starts = expected
        self.slow = True
        marks = self.single().marks(below, self.arrangement.length)
        ends = super().up(self._together(torch.cat([below, *marks[:-1]])))
        return self._apart(ends)[-1:]

    def down(self, flow: Tensor, tally: Tally) -> Tensor | None:
        """The gradient (1, P, B) of what is below the first block."""
        ends = self._apart(self.history[-1])
        total = (flow * ends[-1:]).sum(1, keepdim=True)  # of every row the same at all steps
        if not self.slow:
            guess = self._apart(self.cooled(torch.ones_like(self.history[-1]), self.warm))
            flows = self._scaled(torch.cat([guess[1:], flow]), ends, total)
            for left in reversed(range(PASSES)):
                found = self._tried(flows, tally)
                expected = self._scaled(torch.cat([found[1:], flow]), ends, total)
                gap = self._gap(self._together(expected), self._together(flows))
                if gap <= self._near:
                    return found[:1]
                if self._hopeless(gap, left):
                    break
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

    @cached_property
    def warm(self) -> int:
        """Steps after which it should not matter where a block began: as many as the powers of a
        table take until their rows are equal, and half as many more.
        """
        table = self.like[0].double()
        if len(self.like) > 1 or table.shape[0] != table.shape[1]:
            return WARM
        steps = 1
        while steps * 3 // 2 < WARM and bool((table.amax(0) - table.amin(0)).amax() > self._near):
            table, steps = table @ table, 2 * steps
        return min(WARM, max(2 * self.run, steps * 3 // 2))

    @property
    def _near(self) -> float:
        return ROUNDING * torch.finfo(self.like.dtype).eps

    def _gap(self, first: Tensor, second: Tensor) -> float:
        """How far apart entries are, relative to the first; of lost columns it does not matter."""
        away = (first - second).abs_()
        away = torch.where(away == 0, away, away.div(first.abs()))
        return float(away.where(self.low > 0, 0).amax())

    def _hopeless(self, gap: float, left: int) -> bool:
        """Whether a gap, if it goes on to close as it did, is still there so many passes later."""
        length = self.arrangement.length
        walked = self.warm + (PASSES - 1 - left) * length
        return not gap ** (1 + left * length / walked) <= self._near

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
