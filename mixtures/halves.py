"""Nodes over the joint state of two children, one of which has few patterns, contracted in halves.

A column sums W[p, i, j] u[i] v[j] over i and j. Where the near child, u, has few patterns,
T[p, j] = sum over i of W[p, i, j] u[i] is worked out once for each of them, and of every column a
product T v is left. Columns lie by their pattern of u, so that both halves are matrix products, and
no outer product is written out. Flows and counts go back the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from mixtures.blocks import Integers

NUMBERS = 2**18  # of T that are worked out at once, to stay in the cache
WORTH = 2**17  # numbers in the outer products of a node that outweigh the calls
FEW = 4  # columns for each pattern of the near child, at least
LONGEST = 2**10  # columns of one pattern that are summed without float64


@dataclass(frozen=True, eq=False)
class Round:
    """The next t columns of each of the first m patterns of a piece."""

    patterns: int  # m
    columns: Tensor  # (m t,); B, which is none, where a pattern has fewer
    far: Tensor  # (m t,) rows of the values of the other child


@dataclass(frozen=True, eq=False)
class Piece:
    """Some patterns of the near child, those with the most columns first."""

    near: Tensor  # (q,) rows of its values
    rounds: tuple[Round, ...]


@dataclass(frozen=True, eq=False)
class Halves:
    """The columns (B,) of one node in the order they are worked out in."""

    near: int  # which child
    pieces: tuple[Piece, ...]
    places: Tensor  # (B,) where each column is in that order


def worthwhile(sizes: Sequence[int], columns: int, inside: int) -> bool:
    """Whether halves pay for a node over two children with so many patterns."""
    return len(sizes) == 2 and FEW * min(sizes) <= columns and columns * inside >= WORTH


def halved(children: Sequence[Tensor], near: int, each: int) -> Halves:
    """The order for columns (B,) that read these rows of two children; T has `each` numbers."""
    device, least = children[near].device, children[near].amin()
    codes = (children[near] - least).numpy(force=True)
    counts = numpy.bincount(codes)
    small = numpy.uint16 if len(counts) <= 2**16 else codes.dtype  # counted, not compared
    order = codes.astype(small).argsort(kind="stable")
    starts, most = counts.cumsum() - counts, (-counts).argsort(kind="stable")
    most = most[: numpy.count_nonzero(counts)]
    starts, counts, none = starts[most], counts[most], len(codes)
    order = numpy.append(order, none)
    far = children[1 - near].numpy(force=True)[order.clip(max=none - 1)]
    rows, size = least + torch.as_tensor(most, device=device), max(1, NUMBERS // each)
    pieces, places, done = [], numpy.empty(none + 1, dtype=numpy.int64), 0
    for first in range(0, len(most), size):
        part, rounds = slice(first, first + size), []
        for patterns, chosen in _rounds(starts[part], counts[part], none):
            columns = order[chosen]
            places[columns] = numpy.arange(done, done + len(columns))
            done += len(columns)
            both = (torch.as_tensor(index, device=device) for index in (columns, far[chosen]))
            rounds.append(Round(patterns, *both))
        pieces.append(Piece(rows[part], tuple(rounds)))
    return Halves(near, tuple(pieces), torch.as_tensor(places[:-1], device=device))


def _rounds(starts: Integers, counts: Integers, none: int) -> Iterator[tuple[int, Integers]]:
    """m, and which columns (m t,) in order: as many at once as a quarter of the patterns that have
    any left need.
    """
    done = 0
    while done < counts[0]:
        active = int(numpy.count_nonzero(counts > done))
        stop = done + min(LONGEST, int(counts[active // 4]) - done)
        offset = numpy.arange(done, stop)
        chosen = starts[:active, None] + offset
        chosen[offset >= counts[:active, None]] = none
        yield active, chosen.reshape(-1)
        done = stop


class Contraction:
    """A node with its table (P, C, C') and the tables of values that its children are rows of."""

    def __init__(self, halves: Halves, table: Tensor, values: Sequence[Tensor]) -> None:
        self.halves, self.near, self.far = halves, values[halves.near], values[1 - halves.near]
        self.states, self.shape = len(table), table.shape
        self.matrix = table.movedim(1 + halves.near, 0).flatten(1)  # (C, P C') of the near child

    def mix(self) -> Tensor:
        """The values (B, P) of the node."""
        found = []
        for piece in self.halves.pieces:
            _, partial = self._partial(piece)
            for own in piece.rounds:
                found.append(torch.bmm(self._far(own), partial[: own.patterns].mT).flatten(0, 1))
        return torch.cat(found).index_select(0, self.halves.places)

    def share(
        self,
        ratio: Tensor,
        give: Callable[[int, Tensor, Tensor], None],
        observed: Tensor | None,
        counts: Tensor | None,
    ) -> None:
        """Hand down the flow of the node by its value, (B, P): give(child, rows, flows (b, w)).

        Sums over columns of that times the values of both children are added to counts (P, C C'),
        float64; but for columns that are not `observed` (B,).
        """
        sums = self.matrix.new_zeros(self.matrix.shape, dtype=torch.float64)
        seen = None if observed is None else _with_none(ratio * observed[:, None])
        ratio = _with_none(ratio)
        for piece in self.halves.pieces:
            near, partial = self._partial(piece)
            for own in piece.rounds:
                far, sent = self._far(own), self._sent(own, ratio)
                back = torch.bmm(sent, partial[: own.patterns]).mul_(far)
                give(1 - self.halves.near, own.far, back.flatten(0, 1))
            joint = self._joint(piece, ratio)
            give(self.halves.near, piece.near, (joint @ self.matrix.T).mul_(near))
            if counts is not None:
                sums += near.T @ (joint if seen is None else self._joint(piece, seen))
        if counts is not None:
            wide = sums.view(-1, self.states, self.far.shape[1])
            counts += wide.movedim(0, 1 + self.halves.near).reshape(counts.shape)

    def _partial(self, piece: Piece) -> tuple[Tensor, Tensor]:
        """The values (q, C) of the near child, and T (q, P, C')."""
        near = self.near.index_select(0, piece.near)
        return near, (near @ self.matrix).view(len(near), self.states, -1)

    def _far(self, own: Round) -> Tensor:
        """The values (m, t, C') of the other child."""
        return self.far.index_select(0, own.far).view(own.patterns, -1, self.far.shape[1])

    def _sent(self, own: Round, ratio: Tensor) -> Tensor:
        """The ratio (m, t, P)."""
        return ratio.index_select(0, own.columns).view(own.patterns, -1, self.states)

    def _joint(self, piece: Piece, ratio: Tensor) -> Tensor:
        """Sums over the columns of each pattern of ratio times the other child, (q, P C')."""
        joint = self.matrix.new_empty(len(piece.near), self.states, self.far.shape[1])
        for number, own in enumerate(piece.rounds):
            sent, far = self._sent(own, ratio).mT, self._far(own)
            if number == 0:  # of all patterns
                torch.bmm(sent, far, out=joint)
            else:
                joint[: own.patterns].baddbmm_(sent, far)
        return joint.flatten(1)


def _with_none(ratio: Tensor) -> Tensor:
    """With a row of zeros for the column that is none."""
    return torch.cat([ratio, ratio.new_zeros(1, ratio.shape[1])])
