"""Scalar networks whose lower nodes are evaluated once per pattern of what is below them.

A node whose variables have V_j symbols has at most as many values as the product of the V_j, over
all rows of a data set. Nodes with few patterns are numbered by size: N nodes of V patterns are a
table (N, V), all tables lie in one flat list, and a plan is left of the nodes above, some rows of
which are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy
import torch
from torch import Tensor

from mixtures.circuit import CONSTANTS, ZERO, Integers
from mixtures.networkplan import Leaves, Plan, Products, Sums, products_of
from mixtures.sparse import Pattern

MOST_PATTERNS = 4096  # of a node
FEWEST_ROWS = 2048  # in all, of which patterns are worth looking for
KEPT = 8  # that are kept of one plan
WORTH = 2  # nodes with patterns for each whose values are looked up row by row
MOST_ENTRIES = 2**23  # numbers that are read while all patterns are evaluated


@dataclass(frozen=True, eq=False)
class TableSums:
    """N groups of P sums of C nodes of the same table; the sums are its rows from `first` on."""

    patterns: int
    first: int
    children: Tensor  # (N C,)
    places: Integers  # (N, P, C)


@dataclass(frozen=True, eq=False)
class TableProducts:
    """Products of entries (factors, V) of the flat list; rows of a table from `first` on."""

    patterns: int
    first: int
    factors: Pattern  # (products, factors)
    entries: Tensor  # (factors, V)


@dataclass(frozen=True, eq=False)
class Given:
    """Rows of the plan above that are read off a table: entry first[i] + pattern of the flat list.

    Numbers of patterns are below 2^24, so that sums of float32 find them: the quickest there are.
    """

    patterns: int
    rows: slice
    first: Tensor  # (N, 1) int32
    digits: Pattern  # (N, d): which variables have a part in the number of a pattern
    strides: Tensor  # float32: what a symbol of each of those adds to it


@dataclass(frozen=True, eq=False)
class Folded:
    """The tables from the leaf factors up, and the plan of what is above them."""

    symbols: int  # of a leaf factor: the largest number
    starts: dict[int, int]  # patterns -> where their table begins in the flat list
    nodes: dict[int, int]  # patterns -> rows of that table; row 0 is the constant zero
    total: int
    steps: tuple[TableSums | TableProducts, ...]
    above: Plan
    given: tuple[Given, ...]


_FOLDED: WeakKeyDictionary[Plan, dict[Any, Folded | None]] = WeakKeyDictionary()
_COME: WeakKeyDictionary[Plan, Counter[Any]] = WeakKeyDictionary()  # rows, until patterns are known


def folded_of(plan: Plan, sizes: Sequence[int], rows: int) -> Folded | None:
    """As `folded`, for so many rows: worked out once, when enough rows have come, in all calls.

    Of a node at most a quarter as many patterns as rows are worth while.
    """
    known = _FOLDED.setdefault(plan, {})
    most = min(1 << max(0, rows.bit_length() - 3), MOST_PATTERNS)
    key = (tuple(sizes), most)
    if key not in known:
        if _waits(plan, key, rows):
            return None
        if len(known) == KEPT:
            known.pop(next(iter(known)))
        known[key] = folded(plan, sizes, most)
    return known[key]


def _waits(plan: Plan, key: Any, rows: int) -> bool:
    """Whether too few rows have come so far for patterns to be worth looking for."""
    come = _COME.setdefault(plan, Counter())
    if len(come) > 8 * KEPT:
        come.clear()
    come[key] += rows
    return come[key] < FEWEST_ROWS or rows < FEWEST_ROWS // 8


def folded(plan: Plan, sizes: Sequence[int], most: int) -> Folded | None:
    """What is gained by patterns of at most `most` values a node; None if it is little.

    sizes: how many symbols each variable has.
    """
    if plan.leaves is None or min(sizes) < 1:
        return None
    folder = _Folder(plan, plan.leaves, sizes)
    return folder.result() if folder.choose(most) else None


class _Folder:
    """Nodes are the rows of a plan, and after them the leaf factors of rows that have more."""

    def __init__(self, plan: Plan, leaves: Leaves, sizes: Sequence[int]) -> None:
        self.plan, self.leaves = plan, leaves
        self.sizes = numpy.array(sizes, dtype=numpy.int64)
        self.starts: dict[int, int] = {}
        self.nodes: dict[int, int] = {}
        added = [step.rows for step in plan.steps if isinstance(step, Products) and step.add]
        self.mixed = numpy.concatenate([numpy.zeros(0, dtype=numpy.int64), *added])
        self.base = numpy.arange(plan.rows + len(self.mixed))  # of a row, the node of its factors
        self.base[self.mixed] = plan.rows + numpy.arange(len(self.mixed))
        self.carriers = self.base[CONSTANTS + numpy.arange(leaves.carriers)]
        self.logs = numpy.full(plan.rows + len(self.mixed), -numpy.inf)
        own = numpy.zeros(leaves.carriers)
        numpy.add.at(own, leaves.carrier, numpy.log(self.sizes)[leaves.variable])
        self.logs[self.carriers] = own
        for step in plan.steps:
            if isinstance(step, Sums):
                each = self.logs[step.children].max(1)
                parents = step.places.shape[1]
                rows = step.first + numpy.arange(len(each) * parents)
                self.logs[rows] = numpy.repeat(each, parents)
            else:
                below = self.logs[step.factors.columns.numpy()]
                sums = numpy.add.reduceat(below, step.factors.offsets[:-1].numpy())
                self.logs[step.rows] = sums + (self.logs[self.base[step.rows]] if step.add else 0)

    def choose(self, most: int) -> bool:
        """Which nodes have patterns; False if hardly any are below others."""
        self.counts = numpy.rint(numpy.exp(self.logs.clip(max=40))).astype(numpy.int64)
        by_size = numpy.sort(self.counts)
        too_many = by_size[by_size.cumsum() * 4 > MOST_ENTRIES]
        limit = min([most, *(too_many[:1] - 1)])
        self.low = (self.counts <= limit) & (self.logs > -numpy.inf)
        asked = len(self._frontier())
        return asked > 0 and WORTH * asked <= int(self.low.sum())

    def _frontier(self) -> Integers:
        """The nodes with patterns that others without, or the root, ask for."""
        plan, low = self.plan, self.low
        asked = [numpy.array([plan.root])]
        for step in plan.steps:
            if isinstance(step, Sums):
                first = step.first + numpy.arange(len(step.children)) * step.places.shape[1]
                asked.append(step.children[~low[first]].reshape(-1))
            else:
                high = ~low[step.rows]
                factors = numpy.repeat(high, step.factors.offsets.diff().numpy())
                asked.append(step.factors.columns.numpy()[factors])
                if step.add:
                    asked.append(self.base[step.rows[high]])
        found = numpy.unique(numpy.concatenate(asked))
        return found[low[found]]

    # -- tables ----------------------------------------------------------------------------------

    def result(self) -> Folded:
        self.place: dict[int, tuple[int, int]] = {}  # node -> (patterns, row of their table)
        self.scope: dict[int, tuple[int, ...]] = {}
        factors, most = len(self.leaves.variable), int(self.sizes.max())
        self.total = factors * most
        self._number()
        steps = self._leaf_products()
        for step in self.plan.steps:
            if isinstance(step, Sums):
                steps += self._table_sums(step)
            else:
                low = self.low[step.rows].nonzero()[0]
                bounds = step.factors.offsets.numpy()
                columns = step.factors.columns.numpy()
                below = [columns[bounds[i] : bounds[i + 1]].tolist() for i in low]
                rows = step.rows[low].tolist()
                if step.add:
                    below = [[int(self.base[r]), *b] for r, b in zip(rows, below, strict=True)]
                steps += self._table_products(rows, below)
        above, given = self._above()
        return Folded(most, self.starts, self.nodes, self.total, tuple(steps), above, tuple(given))

    def _number(self) -> None:
        """Where every node with patterns goes: those of one step and size after one another."""
        counts = self.counts
        nodes = [self.carriers, *(_rows(step) for step in self.plan.steps)]
        listed: dict[int, list[int]] = {}
        for part in nodes:
            for node in part[self.low[part]].tolist():
                listed.setdefault(int(counts[node]), []).append(node)
        for patterns, members in sorted(listed.items()):
            self.starts[patterns], self.nodes[patterns] = self.total, 1 + len(members)
            self.total += patterns * (1 + len(members))
            self.place.update((node, (patterns, 1 + i)) for i, node in enumerate(members))

    def _leaf_products(self) -> list[TableSums | TableProducts]:
        leaves, most = self.leaves, int(self.sizes.max())
        bounds = numpy.searchsorted(leaves.carrier, numpy.arange(leaves.carriers + 1))
        rows, below = [], []
        for carrier, node in enumerate(self.carriers.tolist()):
            if self.low[node]:
                rows.append(node)
                below.append(range(bounds[carrier], bounds[carrier + 1]))
        factors = leaves.variable.tolist()
        scopes: list[list[tuple[int, ...]]] = [[(factors[f],) for f in part] for part in below]
        starts = [[f * most for f in part] for part in below]
        return self._products(rows, scopes, starts)

    def _table_products(
        self, rows: list[int], below: list[list[int]]
    ) -> list[TableSums | TableProducts]:
        scopes = [[self.scope[child] for child in part] for part in below]
        starts = [[self._start(child) for child in part] for part in below]
        return self._products(rows, scopes, starts)

    def _start(self, node: int) -> int:
        patterns, row = self.place[node]
        return self.starts[patterns] + patterns * row

    def _products(
        self, rows: list[int], scopes: list[list[tuple[int, ...]]], starts: list[list[int]]
    ) -> list[TableSums | TableProducts]:
        """Products of nodes with these scopes, that begin at `starts` of the flat list."""
        by_size: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            self.scope[row] = tuple(sorted(j for scope in scopes[i] for j in scope))
            by_size.setdefault(self.place[row][0], []).append(i)
        found: list[TableSums | TableProducts] = []
        for patterns, members in by_size.items():
            factor: list[int] = []
            at: list[int] = []
            size: list[int] = []
            stride: list[int] = []
            first: list[int] = []
            counts = numpy.zeros(len(members), dtype=numpy.int64)
            for number, i in enumerate(members):
                whole = self._strides(self.scope[rows[i]])
                for scope, start in zip(scopes[i], starts[i], strict=True):
                    for j, own in self._strides(scope).items():
                        factor.append(len(first))
                        at.append(whole[j])
                        size.append(int(self.sizes[j]))
                        stride.append(own)
                    first.append(start)
                    counts[number] += 1
            entries = _entries(patterns, factor, at, size, stride, first)
            columns = torch.arange(len(first))
            matrix = Pattern.of(
                numpy.repeat(numpy.arange(len(members)), counts), columns, len(members), len(first)
            )
            row = self.place[rows[members[0]]][1]
            found.append(TableProducts(patterns, row, matrix, entries))
        return found

    def _strides(self, scope: tuple[int, ...]) -> dict[int, int]:
        """What a symbol of each variable adds to the number of a pattern."""
        found, stride = {}, 1
        for j in scope:
            found[j] = stride
            stride *= int(self.sizes[j])
        return found

    def _table_sums(self, step: Sums) -> list[TableSums | TableProducts]:
        nodes, parents, _ = step.places.shape
        first = step.first + numpy.arange(nodes) * parents
        found: list[TableSums | TableProducts] = []
        low = self.low[first]
        for patterns in numpy.unique(self.counts[first[low]]).tolist():
            chosen = (low & (self.counts[first] == patterns)).nonzero()[0]
            children = step.children[chosen]
            for node, below in zip(first[chosen].tolist(), children.tolist(), strict=True):
                scope = next(self.scope[child] for child in below if child != ZERO)
                self.scope.update((node + p, scope) for p in range(parents))
            rows = [0 if c == ZERO else self.place[c][1] for c in children.reshape(-1).tolist()]
            row = self.place[int(first[chosen[0]])][1]
            found.append(TableSums(patterns, row, torch.tensor(rows), step.places[chosen]))
        return found

    # -- above -----------------------------------------------------------------------------------

    def _above(self) -> tuple[Plan, list[Given]]:
        """The plan of the nodes without patterns; its rows: constants, products of leaf factors,
        what is given, and what its steps compute.
        """
        plan, low = self.plan, self.low
        self.new = numpy.full(len(low), -1)
        self.new[:CONSTANTS] = numpy.arange(CONSTANTS)
        self.rows = CONSTANTS
        row_of = numpy.arange(len(low))
        row_of[plan.rows :] = self.mixed
        high = self.carriers[~low[self.carriers]]
        self._place(row_of[high])
        given = self._given(row_of)
        steps: list[Sums | Products] = []
        for step in plan.steps:
            if isinstance(step, Sums):
                parents = step.places.shape[1]
                first = step.first + numpy.arange(len(step.children)) * parents
                chosen = (~low[first]).nonzero()[0]
                if len(chosen):
                    row = self.rows
                    self._place((first[chosen][:, None] + numpy.arange(parents)).reshape(-1))
                    children = self.new[step.children[chosen]]
                    steps.append(Sums(row, children, step.places[chosen]))
                continue
            keep = ~low[step.rows]
            if keep.any():
                if not step.add:
                    self._place(step.rows[keep])
                each = numpy.repeat(step.rows, step.factors.offsets.diff().numpy())
                chosen = numpy.repeat(keep, step.factors.offsets.diff().numpy())
                above, below = each[chosen], step.factors.columns.numpy()[chosen]
                steps.append(products_of(self.new[above], self.new[below], step.add, self.rows))
        leaves = _some(self.leaves, ~low[self.carriers]) if len(high) else None
        root = int(self.new[plan.root])
        return Plan(self.rows, root, leaves, tuple(steps), plan.unique, plan.starts), given

    def _place(self, rows: Integers) -> None:
        self.new[rows] = self.rows + numpy.arange(len(rows))
        self.rows += len(rows)

    def _given(self, row_of: Integers) -> list[Given]:
        wanted = self._frontier()
        found = []
        for patterns in numpy.unique(self.counts[wanted]).tolist():
            nodes = wanted[self.counts[wanted] == patterns]
            first = self.rows
            self._place(row_of[nodes])
            strides = [self._strides(self.scope[node]) for node in nodes.tolist()]
            rows = numpy.repeat(numpy.arange(len(nodes)), [len(part) for part in strides])
            variables = torch.tensor([j for part in strides for j in part], dtype=torch.int64)
            found.append(
                Given(
                    patterns,
                    slice(first, self.rows),
                    torch.tensor([[self._start(node)] for node in nodes.tolist()]).int(),
                    Pattern.of(rows, variables, len(nodes), len(self.sizes)),
                    torch.tensor([float(s) for part in strides for s in part.values()]),
                )
            )
        return found


def _rows(step: Sums | Products) -> Integers:
    if isinstance(step, Products):
        return step.rows
    return step.first + numpy.arange(step.places.shape[0] * step.places.shape[1])


def _some(leaves: Leaves, kept: numpy.ndarray) -> Leaves:
    """Some of the products of leaf factors, in order."""
    chosen = kept[leaves.carrier]
    number = numpy.cumsum(kept) - 1
    return Leaves(
        int(kept.sum()),
        number[leaves.carrier[chosen]],
        leaves.variable[chosen],
        leaves.places[chosen],
        leaves.columns[chosen],
    )


def _entries(
    patterns: int,
    factor: list[int],
    at: list[int],
    size: list[int],
    stride: list[int],
    first: list[int],
) -> Tensor:
    """Of every factor and pattern the entry of the flat list: where the factor begins, and its own
    pattern, put together from the symbols of its variables.
    """
    number = torch.arange(patterns, dtype=torch.int32)
    columns = [torch.tensor(part, dtype=torch.int32)[:, None] for part in (at, size, stride)]
    found = torch.tensor(first, dtype=torch.int32)[:, None].repeat(1, patterns)
    step = max(1, 2**20 // patterns)
    index = torch.tensor(factor)
    for start in range(0, len(factor), step):
        part = [column[start : start + step] for column in columns]
        digit = number.div(part[0], rounding_mode="floor").remainder_(part[1])
        found.index_add_(0, index[start : start + step], digit.mul_(part[2]))
    return found
