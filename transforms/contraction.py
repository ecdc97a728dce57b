"""Ranks of matricizations modulo a prime, by messages that keep a basis of rows and of columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.residues import modular_bmm, modular_dots
from transforms.cuts import FREE, Costs, Separation
from transforms.elimination import pivot_columns, random_residues, reduced
from transforms.tensortree import TensorTree

Places = NDArray[numpy.int32]  # (n, d): an index per variable, -1 for those that do not take part
ENTRIES = 2**25  # of a part
PIECE = 2**20  # entries worked on at a time
SPARE = 5  # more random columns than the rank can be: what elimination modulo p sees of a matrix


@dataclass(frozen=True, eq=False)
class Part:
    """The tensor below a link, restricted to some rows and columns: values (rows, columns, states,
    open).
    """

    values: Tensor
    rows: Places
    columns: Places
    costs: Costs = FREE

    def flipped(self) -> Part:
        """Rows and columns exchanged."""
        costs = Costs(self.costs.columns, self.costs.rows, self.costs.clamped)
        return Part(self.values.transpose(0, 1), self.columns, self.rows, costs)


class Contraction:
    """One matricization of a network modulo p, contracted toward a central vertex.

    Below every link the rows are cut down to a basis (by elimination of random combinations of the
    columns), and so are the columns. That keeps the rank of the whole, up to the chance that
    combinations are degenerate; whatever happens, what is found is a minor of the tensor that does
    not vanish modulo p.
    """

    def __init__(
        self,
        network: TensorTree,
        separation: Separation,
        p: int,
        rng: numpy.random.Generator,
        limit: int,
    ) -> None:
        self.network, self.separation = network, separation
        self.p, self.rng, self.limit = p, rng, limit
        self._residues: dict[Hashable, Tensor] = {}

    def minor(self) -> tuple[Places, Places]:
        """Rows and columns of a largest square sub-matrix found that is regular modulo p."""
        centre = self.separation.centre()
        parts: dict[tuple[int, int], Part] = {}
        for link, sender in self.network.toward(centre):
            around = [n for n in self.network.incident[sender] if n != link]
            below = [parts.pop((n, sender)) for n in around]
            receiver = self.network.links[link].other(sender)
            parts[link, receiver] = self._send(link, sender, below)
        last = [parts[n, centre] for n in self.network.incident[centre]]
        if centre in self.network.cores:
            return self._regular(*self._core_but_last(centre, None, last))
        return self._regular(*self._copy_but_last(centre, last))

    # -- messages ---------------------------------------------------------------------------------

    def _send(self, link: int, sender: int, below: Sequence[Part]) -> Part:
        if sender < self.network.variables:
            part = self._variable(sender)
        elif sender in self.network.cores:
            whole, last = self._core_but_last(sender, link, below)
            part = self._join(whole, last, keep=False)
        else:
            whole, last = self._copy_but_last(sender, below)
            part = self._join(whole, last, keep=True)
        matrix = self.network.links[link].seen_from(sender)
        values = part.values
        if matrix is not None:
            flip = self.network.links[link].ends[0] != sender
            values = self._mixed(values, self._reduced(("link", link, flip), matrix))
        costs = self.separation.costs(link, self.network.links[link].other(sender))
        return self._trimmed(Part(values, part.rows, part.columns, costs))

    def _variable(self, variable: int) -> Part:
        k, d = self.network.states[variable], self.network.variables
        one = numpy.full((1, d), -1, dtype=numpy.int32)
        places = numpy.repeat(one, k, axis=0)
        places[:, variable] = numpy.arange(k)
        values = torch.eye(k, dtype=torch.int64).reshape(k, 1, k, 1)
        part = Part(values, places, one)
        return part if variable in self.separation.rows else part.flipped()

    def _copy_but_last(self, vertex: int, below: Sequence[Part]) -> tuple[Part, Part]:
        """All that arrives at a copy in two parts, the second being the largest message."""
        parts = sorted(below, key=lambda part: part.values.numel())
        whole = self._ones(self.network.states[vertex])
        weights = self.network.weights.get(vertex)
        if weights is not None:
            whole = Part(
                self._reduced(("weights", vertex), weights).reshape(1, 1, -1, 1),
                whole.rows,
                whole.columns,
            )
        if not parts:
            return whole, self._ones(self.network.states[vertex])
        for part in parts[:-1]:
            whole = self._join(whole, part, keep=True)
        return whole, parts[-1]

    def _core_but_last(
        self, vertex: int, link: int | None, below: Sequence[Part]
    ) -> tuple[Part, Part]:
        """All that arrives at a core in two parts, its axes taken one by one; the axis of `link`
        stays.
        """
        axes = [a for a, n in enumerate(self.network.incident[vertex]) if n != link]
        order = sorted(range(len(axes)), key=lambda place: below[place].values.numel())
        array = self._reduced(("core", vertex), self.network.cores[vertex])
        out = [a for a in range(array.ndim) if a not in axes]
        array = array.permute([*(axes[place] for place in order), *out])
        whole = self._ones(1)
        whole = Part(array.reshape(1, 1, 1, -1), whole.rows, whole.columns)
        for place in order[:-1]:
            whole = self._join(self._split(whole, below[place]), below[place], keep=False)
        last = below[order[-1]]
        return self._split(whole, last), last

    def _ones(self, states: int) -> Part:
        """The part without variables."""
        none = numpy.full((1, self.network.variables), -1, dtype=numpy.int32)
        return Part(torch.ones((1, 1, states, 1), dtype=torch.int64), none, none)

    @staticmethod
    def _split(whole: Part, part: Part) -> Part:
        """Take the axis that meets `part` out of the combined states of what is left of a core."""
        a, b = whole.values.shape[:2]
        values = whole.values.reshape(a, b, part.values.shape[2], -1)
        return Part(values, whole.rows, whole.columns, whole.costs)

    def _mixed(self, values: Tensor, matrix: Tensor) -> Tensor:
        """sum over the states of values[a, b, s, 0] matrix[s, t], shape (a, b, t, 1)."""
        a, b, s, _ = values.shape
        mixed = modular_bmm(values.reshape(1, a * b, s), matrix[None], self.p)
        return mixed.reshape(a, b, -1, 1)

    def _reduced(self, key: Hashable, array: Any) -> Tensor:
        """Residues of an array of the network, computed once."""
        if key not in self._residues:
            self._residues[key] = reduced(array, self.p)
        return self._residues[key]

    def _limit(self, states: int) -> int:
        """How many rows or columns a part may keep: a part with many states is to fit in memory,
        too.
        """
        return min(self.limit, math.isqrt(ENTRIES // states))

    # -- bases ------------------------------------------------------------------------------------

    def _trimmed(self, part: Part) -> Part:
        """Only as many rows and columns as a link lets pass."""
        for _ in range(2):
            a, b, states, _ = part.values.shape
            bound = min(part.costs.columns, b * states, self._limit(states))
            if a > bound:
                flat = part.values.reshape(a, -1)
                if flat.shape[1] > bound + SPARE:
                    mixing = random_residues(self.rng, (flat.shape[1], bound + SPARE), self.p)
                    flat = modular_bmm(flat[None], mixing[None], self.p)[0]
                kept = self._some_columns(partial(_transposed, flat), a, bound)
                part = Part(part.values[kept], part.rows[kept.numpy()], part.columns, part.costs)
            part = part.flipped()
        return part

    def _join(self, left: Part, right: Part, *, keep: bool) -> Part:
        """Combine parts that share a state: keep it (a copy), or sum over it (an axis of a
        core).
        """
        costs = left.costs.times(right.costs)
        clamped = costs.clamped * left.values.shape[2] if keep else self.limit
        row = self._basis(left, right, min(costs.columns, clamped), keep=keep)
        flipped = left.flipped(), right.flipped()
        column = self._basis(*flipped, min(costs.rows, clamped), keep=keep)
        places = _merged(left.rows, right.rows, row), _merged(left.columns, right.columns, column)
        if keep:
            one = left.values[row[:, 0]][:, column[:, 0]]
            values = one * right.values[row[:, 1]][:, column[:, 1]] % self.p
        else:
            values = self._summed(left, right, row, column)
        return Part(values, *places, costs)

    def _basis(self, left: Part, right: Part, bound: int, *, keep: bool) -> Tensor:
        """Pairs of rows (n, 2), at most `bound`, on which all others depend."""
        a, c = len(left.rows), len(right.rows)
        width = left.values.shape[2 if keep else 3]
        pairs = torch.cartesian_prod(torch.arange(a), torch.arange(c))
        bound = min(bound, len(left.columns) * len(right.columns) * width, self._limit(width))
        if a * c <= bound:
            return pairs
        one, two = self._sketch(left, right, bound + SPARE, keep=keep)

        def columns(chosen: Tensor) -> Tensor:
            found = torch.empty((len(chosen), bound + SPARE), dtype=torch.int64)
            step = max(1, PIECE // max(1, one[:, :1].numel()))
            for some in torch.arange(len(chosen)).split(step):
                first, second = pairs[chosen[some]].unbind(1)
                chosen_two = two.index_select(1, second)
                found[some] = modular_dots(one.index_select(1, first), chosen_two, self.p)
            return found.T

        return pairs[self._some_columns(columns, a * c, bound)]

    def _some_columns(self, columns: Callable[[Tensor], Tensor], count: int, bound: int) -> Tensor:
        """At most `bound` of `count` columns, that span all of them: looked for in growing random
        pieces.
        """
        order = torch.from_numpy(self.rng.permutation(count))
        found, start, more = order[:0], 0, bound
        while start < count and len(found) < bound:
            tried = torch.cat([found, order[start : start + more]])
            found = tried[pivot_columns(columns(tried), self.p)]
            start, more = start + more, max(4 * (bound - len(found)), more // 4)
        return found[:bound].sort().values

    def _sketch(self, left: Part, right: Part, count: int, *, keep: bool) -> tuple[Tensor, Tensor]:
        """`count` random combinations of the columns, each a product of one per part, (states,
        rows, count) both.

        Multiplied and summed over the states they give the combinations of the joined columns;
        states that stay open are combined at random, too.
        """
        b, states, opened = left.values.shape[1:]
        along = random_residues(self.rng, (b, count), self.p)
        mixing = random_residues(self.rng, (opened, states if keep else 1, 1, count), self.p)
        across = random_residues(self.rng, (right.values.shape[1], count), self.p)
        last = torch.ones((1, 1, 1, 1), dtype=torch.int64)
        return self._combined(left, along, mixing), self._combined(right, across, last)

    def _combined(self, part: Part, along: Tensor, mixing: Tensor) -> Tensor:
        """sum over columns b and open states o of values[a, b, s, o] along[b, n] mixing[o, s, 0,
        n], (states, rows, count), a piece of the rows at a time.
        """
        (a, b, states, opened), count = part.values.shape, along.shape[1]
        found = torch.empty((states, a, count), dtype=torch.int32)
        step = max(1, PIECE // max(1, count * states * opened))
        for start in range(0, a, step):
            some = part.values[start : start + step].permute(3, 2, 0, 1)
            flat = some.reshape(1, -1, b)
            mixed = modular_bmm(flat, along[None], self.p).view(opened, states, -1, count)
            if opened > 1:
                mixed = modular_dots(mixed, mixing.expand(-1, states, -1, -1), self.p)
            elif mixing.shape[1:] != (1, 1, 1):
                mixed = mixed * mixing % self.p
            found[:, start : start + step] = mixed.reshape(states, -1, count)
        return found

    def _summed(self, left: Part, right: Part, row: Tensor, column: Tensor) -> Tensor:
        """Values at pairs of rows and pairs of columns, the shared state summed over: (.., ..,
        open, 1).
        """
        states, opened = left.values.shape[2:]
        found = torch.empty((len(row), len(column), opened, 1), dtype=torch.int64)
        one, two = left.values.permute(2, 0, 1, 3), right.values.permute(2, 0, 1, 3)
        step = max(1, PIECE // max(1, states * len(column) * opened))
        for start in range(0, len(row), step):
            some = row[start : start + step]
            mine = one[:, some[:, 0]].index_select(2, column[:, 0])
            other = two[:, some[:, 1]].index_select(2, column[:, 1])
            found[start : start + step, ..., 0] = modular_dots(mine, other, self.p)
        return found

    def _regular(self, left: Part, right: Part) -> tuple[Places, Places]:
        """A regular minor of the matrix that two parts make when their shared state is summed
        over.
        """
        if len(left.rows) * len(right.rows) > len(left.columns) * len(right.columns):
            column, row = self._regular(left.flipped(), right.flipped())
            return row, column
        bound = self.separation.total()
        chosen = self._basis(left, right, bound, keep=False)
        pairs = torch.cartesian_prod(
            torch.arange(len(left.columns)), torch.arange(len(right.columns))
        )

        def columns(some: Tensor) -> Tensor:
            return self._summed(left, right, chosen, pairs[some])[:, :, 0, 0]

        found = self._some_columns(columns, len(pairs), min(len(chosen), bound))
        if len(chosen) > len(found):
            chosen = chosen[pivot_columns(columns(found).T, self.p)]
        row = _merged(left.rows, right.rows, chosen)
        return row, _merged(left.columns, right.columns, pairs[found])


def _merged(one: Places, two: Places, pairs: Tensor) -> Places:
    """Indices of the union of two sets of variables, for pairs of indices."""
    chosen = pairs.numpy()
    return numpy.maximum(one[chosen[:, 0]], two[chosen[:, 1]])


def _transposed(matrix: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a matrix, as columns."""
    return matrix[rows].T
