"""A span of a spine: some of its steps for some rows, walked up and down in mantissas.

Upward a step multiplies the value from below by its leaves and mixes; downward the gradient of the
root goes back through the same products. Gradient times value is a posterior, gradient times inside
an expected count that lacks the factor of its table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy
import torch
from torch import Tensor

from mixtures.kernels import Kernels, Native
from mixtures.scratch import Rooms
from mixtures.sides import Arrangement, Hanging, add_steps
from mixtures.spine import Segment
from mixtures.strides import Array, Strides
from mixtures.tally import Placed, Tally

FEW = 4  # rows that are walked in strides, one after the other


class Span:
    """The steps of an arrangement; values (G, w, M) are renormalised every `run` steps.

    tables: (steps or 1, P, C) of the segment. `keep`: leave behind what the way down needs.
    """

    def __init__(
        self,
        segment: Segment,
        arrangement: Arrangement,
        tables: Tensor,
        sides: Sequence[Hanging],
        kernels: Kernels,
        rooms: Rooms,
        run: int,
        *,
        keep: bool,
    ) -> None:
        layer = segment.layer
        self.rooms = rooms
        self.segment, self.arrangement, self.sides, self.keep = segment, arrangement, sides, keep
        self.kernels, self.like = kernels, tables
        length, groups, columns = arrangement.length, arrangement.groups, arrangement.columns
        self.run = run
        self.rows_first = any(side.rows_first for side in sides)
        self.shape = (groups, layer.width, columns)
        self.inside = (groups, layer.inside, columns)
        self.outer = layer.combine == "outer"
        self.scale = tables.new_zeros((groups, 1, columns), dtype=torch.float64)
        self.low = tables.new_empty(0)
        self.tops = tables.new_empty((-(-length // run), groups, 1, columns))  # see `_settle`
        self.divisors = kernels.native(self.tops)
        self.ones = kernels.native(tables.new_ones((1, layer.width)))
        self.below: Tensor | None = None
        self.room = kernels.native(self._room(self.inside))
        if keep:
            steps = min(run, length)
            shapes = (self.shape, self.inside, self.inside, self.inside)
            rooms_of_run = [kernels.native(self._room((steps, *s))) for s in shapes]
            self.flows, self.backs, self.insides, self.products = rooms_of_run
            self.above, self.inner = list(self.flows), list(self.backs)
            carried = self._carried_width
            self.result = kernels.native(self._room((groups, carried, columns)))
        # What is before each step and after the last; else only what is after some step.
        self.history = self._room((length + 1 if keep else 1, *self.shape))
        self.past = kernels.native(self.history)

    def _room(self, shape: Sequence[int]) -> Tensor:
        """Memory for values (.., w, M)."""
        if not self.rows_first:
            return self.rooms.take(shape)
        return self.rooms.take((*shape[:-2], shape[-1], shape[-2])).mT

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(start, stop) of the steps between two renormalisations."""
        length = self.arrangement.length
        stops = range(self.run, length + self.run, self.run)
        return [(stop - self.run, min(stop, length)) for stop in stops]

    @cached_property
    def upward(self) -> list[Native]:
        """The tables (G, P, C) of every step."""
        return self._per_step(self.like)

    @cached_property
    def downward(self) -> list[Native]:
        """Their transposes."""
        return self._per_step(self.like.mT)

    def _per_step(self, tables: Tensor) -> list[Native]:
        """The tables (G, P, C) of every step, a single one in the order that products like."""
        if len(tables) == 1:
            tables = tables.mT.contiguous().mT if self.rows_first else tables.contiguous()
        placed = self.arrangement.steps(tables)
        wide = placed.expand(placed.shape[0], self.arrangement.groups, *placed.shape[2:])
        natives = list(self.kernels.native(wide))
        return natives * self.arrangement.length if len(natives) == 1 else natives

    # -- up --------------------------------------------------------------------------------------

    def up(self, below: Tensor | None) -> Tensor:
        """The values (G, P, M) after the last step, given those before the first."""
        self.scale.zero_()
        self.below = below
        if self.keep and below is not None and below.shape == self.shape:
            self.history[0].copy_(below)
        after = list(self.past)
        after = after[1:] if self.keep else after * self.arrangement.length
        value = None if below is None else self.kernels.native(below)
        for (start, stop), top in zip(self.runs, self.divisors, strict=True):
            value = self._walk(start, stop, value, after, self.scale)
            self._settle(value, top)
        self.low = self.tops.amin(0)
        self.scale += self.tops.log().sum(0, dtype=torch.float64)
        return self.kernels.tensor(value)

    def warmed(self, steps: int) -> Tensor:
        """The values after the last step, started from equal ones about `steps` before it."""
        first = max(0, self.arrangement.length - steps) // self.run
        room = self._room(self.shape).fill_(1.0)
        value = self.kernels.native(room)
        after = [value] * self.arrangement.length
        top = self.kernels.native(torch.empty_like(self.tops[0]))
        for start, stop in self.runs[first:]:
            value = self._walk(start, stop, value, after, None)
            self._settle(value, top)
        return room

    def marks(self, below: Tensor, every: int) -> list[Tensor]:
        """The values (1, P, B) after every so many steps, a multiple of those of a run."""
        quick = self._strided(below, lambda strides, column: strides.marks(column, every))
        if quick is not None:
            return quick
        buffer = self._room(self.shape)
        value, after = self.kernels.native(below), self.kernels.native(buffer)
        top = self.kernels.native(torch.empty_like(self.tops[0]))
        everywhere = [after] * self.arrangement.length
        found = []
        for start, stop in self.runs:
            value = self._walk(start, stop, value, everywhere, None)
            self._settle(value, top)
            if stop % every == 0:
                found.append(buffer.clone())
        return found

    def marks_down(self, flow: Tensor, every: int) -> list[Tensor]:
        """The gradients before every so many steps, each up to a factor."""
        quick = self._strided(flow, lambda strides, column: strides.marks_down(column, every))
        if quick is not None:
            return quick
        native, matmul = self.kernels.native, self.kernels.matmul
        flows = self._room(self.shape).copy_(flow)
        back, value = native(self._room(self.inside)), native(flows)
        top = native(torch.empty_like(self.tops[0]))
        found = []
        for start, stop in reversed(self.runs):
            leaves = self._leaves(start, stop, None)
            for step in reversed(range(start, stop)):
                matmul(self.downward[step], value, out=back)
                self._to_carry(back, None if leaves is None else leaves[step - start], value)
            self._settle(value, top)
            if start % every == 0:
                found.append(flows.clone())
        return found[::-1]

    def _strided(
        self, given: Tensor, marks: Callable[[Strides, Array], list[Array] | None]
    ) -> list[Tensor] | None:
        """What `marks` finds for each of a few rows, in strides; None where these do not serve."""
        table = self.like[0]
        square = len(self.like) == 1 and table.shape[0] == table.shape[1]
        plain = square and len(self.sides) == 1 and not self.outer
        known = self.sides[0].symbols() if plain and self.arrangement.columns <= FEW else None
        if known is None:
            return None
        leaves, codes = known
        found = []
        for row, column in enumerate(given[0].T.cpu().numpy()):
            part = marks(Strides(table.cpu().numpy(), leaves, codes[:, row]), column)
            if part is None:
                return None
            found.append(numpy.stack(part))
        values = torch.from_numpy(numpy.stack(found, -1)).to(given)  # (blocks, P, B)
        return list(values[:, None])

    def _walk(
        self,
        start: int,
        stop: int,
        value: Native | None,
        after: Sequence[Native],
        scale: Tensor | None,
    ) -> Native:
        leaves = self._leaves(start, stop, scale)
        room = self.room
        tables, matmul, multiply = self.upward, self.kernels.matmul, self.kernels.multiply
        plain = value is not None and leaves is not None and not self.outer
        for step in range(start, stop):
            leaf = None if leaves is None else leaves[step - start]
            if plain:
                inside = multiply(value, leaf, out=room)
            else:
                inside = self._combined(value, leaf, room)
            value = matmul(tables[step], inside, out=after[step])
        return value

    def _settle(self, value: Native, top: Native) -> None:
        """Divide by the sum of each column, (G, 1, M), and write that to `top`."""
        self.kernels.matmul(self.ones, value, out=top)
        self.kernels.divide(value, top, out=value)

    def _leaves(self, start: int, stop: int, scale: Tensor | None) -> Native | None:
        """What the leaves of each step combine to, (m, G, w, M)."""
        found: Native | None = None
        for side in self.sides:
            part = side.block(start, stop, scale)
            if found is None:
                found = part
            else:
                found = self._outer(found, part) if self.outer else self._times(found, part)
        return found

    def _times(self, first: Native, second: Native) -> Native:
        return self.kernels.multiply(first, second)

    def _outer(self, first: Native, second: Native) -> Native:
        tensor = self.kernels.tensor
        spread = tensor(first).unsqueeze(-2) * tensor(second).unsqueeze(-3)
        return self.kernels.native(spread.flatten(-3, -2))

    def _combined(self, value: Native | None, leaves: Native | None, room: Native) -> Native:
        """What the children combine to, (.., C, M)."""
        if value is None:
            return leaves
        if leaves is None:
            self.kernels.tensor(room).copy_(self.kernels.tensor(value))
            return room
        if self.outer:
            return self._outer(*((value, leaves) if self.segment.carry == 0 else (leaves, value)))
        return self.kernels.multiply(value, leaves, out=room)

    # -- down ------------------------------------------------------------------------------------

    def down(self, flow: Tensor, tally: Tally) -> Tensor | None:
        """The gradient of `below`, given that of the values after the last step."""
        placed = Placed(self.arrangement, tally)
        for side in self.sides:
            side.reset()
        found = self._backwards(flow, len(self.runs), placed)
        return found if self.segment.carry is not None else None

    def cooled(self, flow: Tensor, steps: int) -> Tensor:
        """The gradient of `below` if that after about so many steps were `flow`."""
        return self._backwards(flow, max(1, steps // self.run), None)

    def _backwards(self, flow: Tensor, runs: int, tally: Placed | None) -> Tensor:
        """The gradient before the first runs, given that after them."""
        spread = flow.expand(self.shape).clone()  # it may be what is written to
        value = self.kernels.native(spread)
        for place in reversed(range(runs)):
            value = self._back(*self.runs[place], value, self.divisors[place], tally)
        return self.kernels.tensor(value).clone()

    def _back(
        self, start: int, stop: int, flow: Native, top: Native, tally: Placed | None
    ) -> Native:
        matmul, multiply, downward = self.kernels.matmul, self.kernels.multiply, self.downward
        leaves = self._leaves(start, stop, None)
        steps = stop - start
        above, inner = self.above, self.inner
        self.kernels.divide(flow, top, out=above[steps - 1])
        outs = [self.result, *above]
        carried = self.segment.carry is not None
        for place in reversed(range(steps)):
            back = matmul(downward[start + place], above[place], out=inner[place])
            leaf = None if leaves is None else leaves[place]
            if not carried:
                continue
            if leaf is None or self.outer:
                self._to_carry(back, leaf, outs[place])
            else:
                multiply(back, leaf, out=outs[place])
        if tally is not None:
            self._collect(start, stop, self.flows[:steps], self.backs[:steps], leaves, tally)
        return self.result

    @property
    def _carried_width(self) -> int:
        carry = self.segment.carry
        return 1 if carry is None else self.segment.layer.widths[carry]

    def _to_carry(self, back: Native, leaf: Native | None, out: Native) -> None:
        """Write the gradient of the carried factor."""
        tensor = self.kernels.tensor
        if leaf is None:
            tensor(out).copy_(tensor(back))
        elif self.outer:
            tensor(out).copy_(tensor(self._contracted(back, leaf, self.segment.carry)))
        else:
            self.kernels.multiply(back, leaf, out=out)

    def _contracted(self, back: Native, other: Native, place: int | None) -> Native:
        """The gradient of the factor at a place of an outer product, given the other factor."""
        tensor = self.kernels.tensor
        wide = tensor(back).unflatten(-2, self.segment.layer.widths)
        own, away = (-3, -2) if place == 0 else (-2, -3)
        return self.kernels.native((wide * tensor(other).unsqueeze(own)).sum(away))

    def _collect(
        self,
        start: int,
        stop: int,
        flows: Native,
        backs: Native,
        leaves: Native | None,
        tally: Placed,
    ) -> None:
        kernels = self.kernels
        before = self._before(start, stop)
        if tally.counts is not None or tally.states is not None:
            inside = self._combined(before, leaves, self.insides[: stop - start])
            if tally.states is not None:
                tally.add_states(start, stop, kernels.tensor(kernels.multiply(backs, inside)))
            if tally.counts is not None:
                seen = flows
                if tally.observed is not None:
                    seen = kernels.native(tally.seen(start, stop, kernels.tensor(flows)))
                found = kernels.matmul(seen, inside.swapaxes(-1, -2))  # (m, G, P, C)
                add_steps(tally.counts, start, stop, kernels.tensor(found))
            if len(self.sides) == 1 and self.sides[0].plain and before is not None:
                room = self.products[: stop - start]
                posteriors = kernels.multiply(backs, inside, out=room)
                self.sides[0].take(start, stop, kernels.tensor(posteriors))
                return
        for place, side in enumerate(self.sides):
            others = [] if before is None else [before]
            others += [o.block(start, stop, None) for o in self.sides if o is not side]
            flow, room = backs, self.products[: stop - start]
            for other in others:
                if self.outer:
                    own = place if before is None else 1 - (self.segment.carry or 0)
                    flow = self._contracted(flow, other, own)
                else:
                    flow = kernels.multiply(flow, other, out=room)
            side.collect(start, stop, flow)

    def _before(self, start: int, stop: int) -> Native | None:
        """The values from below of each step, (m, G, w, M)."""
        if self.below is None:
            return None
        if self.below.shape != self.shape:
            return self.kernels.native(self.below[None])
        return self.past[start:stop]

    def neutralise(self, rows: Tensor) -> None:
        """Put ones where rows (B,) are lost, so that no NaN meets a flow of zero."""
        mask = self.arrangement.of_rows(rows)
        self.history.masked_fill_(mask, 1.0)
        if self.below is not None:
            self.below = self.below.masked_fill(mask, 1.0)
        self.tops.masked_fill_(mask, 1.0)
