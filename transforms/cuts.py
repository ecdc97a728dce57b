"""Cheapest separations of a tensor tree: the products of dimensions that bound the rank of a
matricization.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from mixtures.importing import Later
from transforms.elimination import table_rank
from transforms.tensortree import TensorTree

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")


class Costs(NamedTuple):
    """The cheapest separation below a place, if that place counts to the rows, to the columns, or
    is clamped.
    """

    rows: int
    columns: int
    clamped: int

    def times(self, other: Costs) -> Costs:
        """Costs of two independent parts."""
        return Costs(
            self.rows * other.rows, self.columns * other.columns, self.clamped * other.clamped
        )


FREE = Costs(1, 1, 1)


class Message(NamedTuple):
    """What a link carries toward a vertex: costs, and what is alike (`kind`) and of one side
    (`pure`).
    """

    costs: Costs
    kind: Hashable
    pure: bool | None  # True: only variables of the rows, False: only of the columns


@dataclass(frozen=True)
class Capacities:
    """What it costs to cut each link (the rank of its matrix) and to clamp each vertex (its
    states).
    """

    links: list[int]
    vertices: list[int]  # 0 where a vertex is a core, which is never clamped


def capacities(network: TensorTree, *, generic: bool = False) -> Capacities:
    """Cut costs from the numbers stored, or for almost all numbers with the same zeros
    (`generic`).
    """
    rank = generic_table_rank if generic else table_rank
    links, known = [], dict[Any, int]()
    for number, link in enumerate(network.links):
        cost = min(network.width(end, number) for end in link.ends)
        if link.matrix is not None:
            key = number if link.tie is None else link.tie
            if key not in known:
                known[key] = rank(link.matrix)
            cost = min(cost, known[key])
        for end in link.ends:
            if end in network.cores:
                cost = min(cost, rank(_unfolded(network, end, number)))
        links.append(cost)
    vertices = [
        0 if vertex in network.cores else _alive(network, vertex)
        for vertex in range(len(network.states))
    ]
    return Capacities(links, vertices)


def generic_table_rank(matrix: Any) -> int:
    """The rank of almost all matrices with these zeros: the largest matching of rows and
    columns.
    """
    support = numpy.asarray(matrix != 0)
    height, width = support.shape
    if support.all():
        return int(min(height, width))
    graph = networkx.Graph()
    graph.add_nodes_from(range(height))
    graph.add_edges_from((int(a), height + int(b)) for a, b in zip(*support.nonzero(), strict=True))
    matching = networkx.bipartite.hopcroft_karp_matching(graph, top_nodes=range(height))
    return len(matching) // 2


def _unfolded(network: TensorTree, core: int, link: int) -> Any:
    """A core as a matrix whose rows are the states of one of its links."""
    axis = network.incident[core].index(link)
    array = network.cores[core]
    order = [axis, *(a for a in range(array.ndim) if a != axis)]
    moved = array.permute(order) if not isinstance(array, numpy.ndarray) else array.transpose(order)
    return moved.reshape(array.shape[axis], -1)


def _alive(network: TensorTree, vertex: int) -> int:
    """The states of a vertex that some entry of every matrix around it reaches."""
    alive = numpy.ones(network.states[vertex], dtype=bool)
    if vertex in network.weights:
        alive &= numpy.asarray(network.weights[vertex] != 0)
    for number in network.incident[vertex]:
        matrix = network.links[number].seen_from(vertex)
        if matrix is not None:
            alive &= numpy.asarray((matrix != 0).any(1))
    return int(alive.sum())


class Separation:
    """Cheapest separations of two sets of variables, as costs that the links carry toward any
    vertex.

    Every copy is put to the rows, to the columns, or clamped at the price of its states; a link
    between a vertex of the rows and one of the columns costs the rank of its matrix. m alike
    subtrees whose variables are all on one side, tied to one another, cost binom(D + m - 1, m)
    instead of D^m: their states form a symmetric tensor.
    """

    def __init__(self, network: TensorTree, capacity: Capacities, rows: Collection[int]) -> None:
        self.network, self.capacity, self.rows = network, capacity, frozenset(rows)
        self.messages: dict[tuple[int, int], Message] = {}  # (link, sender)
        self._kinds: dict[Hashable, int] = {}
        self.start = min(network.variables, len(network.states) - 1)
        for link, sender in network.toward(self.start):
            self._send(link, sender)

    def complete(self) -> None:
        """Make the messages away from the start, too."""
        for link, sender in reversed(self.network.toward(self.start)):
            self._send(link, self.network.links[link].other(sender))

    def total(self) -> int:
        """The cheapest separation of the rows from the columns."""
        return self._cheapest(self.start, self.fold(self.start, None))

    def centre(self) -> int:
        """A vertex whose largest incoming message is small; messages toward it are ready."""
        here = self.start
        while True:
            link = max(self.network.incident[here], key=lambda n: self._area(n, here))
            sender = self.network.links[link].other(here)
            if sender < self.network.variables:
                return here
            self._send(link, here)
            back = self.messages[link, here].costs
            if back.rows * back.columns >= self._area(link, here):
                return here
            here = sender

    def costs(self, link: int, receiver: int) -> Costs:
        """The costs that arrive over a link."""
        return self.messages[link, self.network.links[link].other(receiver)].costs

    def fold(self, vertex: int, skip: int | None) -> Costs:
        """The costs of all that arrives at a vertex, one link left out."""
        if vertex < self.network.variables:
            k = self.network.states[vertex]
            return Costs(1, k, 1) if vertex in self.rows else Costs(k, 1, 1)
        groups: dict[Hashable, list[Message]] = {}
        total = FREE
        for number in self.network.incident[vertex]:
            if number == skip:
                continue
            message = self.messages[number, self.network.links[number].other(vertex)]
            total = total.times(message.costs)
            if message.pure is not None and message.kind is not None:
                groups.setdefault(message.kind, []).append(message)
        if vertex in self.network.cores:
            return total
        return self._symmetric(total, list(groups.values()))

    def _symmetric(self, total: Costs, groups: Sequence[Sequence[Message]]) -> Costs:
        """The costs, where alike messages of one side span a symmetric power only."""
        rows, columns, clamped = total
        for alike in groups:
            count, (costs, _, pure) = len(alike), alike[0]
            if pure:  # variables of the rows, seen by a vertex of the columns
                columns = columns // costs.columns**count * _power(costs.columns, count)
            else:
                rows = rows // costs.rows**count * _power(costs.rows, count)
        return Costs(rows, columns, clamped)

    def _send(self, link: int, sender: int) -> None:
        rows, columns, clamped = self.fold(sender, link)
        rank, states = self.capacity.links[link], self.capacity.vertices[sender]
        if sender in self.network.cores:
            sent = Costs(min(rows, columns * rank), min(columns, rows * rank), min(rows, columns))
        else:
            clamped *= states
            sent = Costs(
                min(rows, columns * rank, clamped),
                min(columns, rows * rank, clamped),
                min(rows, columns, clamped),
            )
        kind, pure = self._kind(link, sender)
        self.messages[link, sender] = Message(sent, kind, pure)

    def _kind(self, link: int, sender: int) -> tuple[Hashable, bool | None]:
        """An equal number for equal subtrees with tied tables on one side, None where there is no
        telling.
        """
        network, held = self.network, self.network.links[link]
        if sender < network.variables:
            pure: bool | None = sender in self.rows
            below: Hashable = ("variable", network.states[sender])
        else:
            arrive = [
                self.messages[n, network.links[n].other(sender)]
                for n in network.incident[sender]
                if n != link
            ]
            sides = {message.pure for message in arrive}
            pure = sides.pop() if len(sides) == 1 else None
            kinds = [message.kind for message in arrive]
            if sender in network.cores or sender in network.weights or None in kinds:
                return None, pure
            below = (network.states[sender], tuple(sorted(kinds)))  # type: ignore[type-var]
        if pure is None or (held.matrix is not None and held.tie is None):
            return None, pure
        key = (below, held.tie, held.ends[0] == sender, pure)
        return self._kinds.setdefault(key, len(self._kinds)), pure

    def _cheapest(self, vertex: int, costs: Costs) -> int:
        sides = min(costs.rows, costs.columns)
        if vertex in self.network.cores:
            return sides
        return min(sides, costs.clamped * self.capacity.vertices[vertex])

    def _area(self, link: int, receiver: int) -> int:
        costs = self.costs(link, receiver)
        return costs.rows * costs.columns


def _power(dimension: int, count: int) -> int:
    """The dimension of the symmetric power."""
    return math.comb(dimension + count - 1, count)


def sides(shape: Sequence[int], rows: Collection[int]) -> tuple[int, int]:
    """The numbers of rows and of columns of a matricization, as Python integers."""
    height = math.prod(k for j, k in enumerate(shape) if j in rows)
    return height, math.prod(shape) // height


def checked_rows(shape: Sequence[int], rows: Any) -> tuple[int, ...]:
    """`rows` as distinct variables; ValueError otherwise."""
    found = tuple(int(j) for j in rows)
    if len(set(found)) < len(found) or not all(0 <= j < len(shape) for j in found):
        raise ValueError(f"rows must be distinct variables 0..{len(shape) - 1}, got {list(found)}")
    return found
