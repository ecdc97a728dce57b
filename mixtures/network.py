"""Sum-product networks as integer arrays, checked for completeness and decomposability."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
from numpy.typing import NDArray

from mixtures.circuit import CONSTANTS, ONE, ZERO, Builder, Circuit, Integers
from mixtures.errors import StructureError

if TYPE_CHECKING:
    import networkx

SUM, PRODUCT, INPUT = 0, 1, 2
KINDS = ("sum", "product", "input")


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in topological order, children first; the children of node v are
    `child[start[v]:start[v+1]]`.

    Inputs carry (variable, component); `weight` has one entry per edge (1 for the edges of
    products). The last node is the root. `names` are what messages call the nodes, `keys` what
    their latents are called.
    """

    kind: Integers
    start: Integers
    child: Integers
    weight: NDArray[Any]
    variable: Integers
    component: Integers
    shape: tuple[int, ...]
    names: Sequence[str] = field(default=(), repr=False)
    keys: Sequence[Hashable] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.kind)

    def name(self, node: int) -> str:
        """What to call a node in a message."""
        return self.names[node] if len(self.names) else str(node)

    def key(self, node: int) -> Hashable:
        """What the latent of a sum node is called."""
        return self.keys[node] if len(self.keys) else node

    @cached_property
    def scopes(self) -> list[int]:
        """The scope of every node as a bitset; StructureError where a node is not complete or
        decomposable.
        """
        known: dict[int, int] = {}
        scopes: list[int] = []
        for node in range(len(self)):
            below = self.child[self.start[node] : self.start[node + 1]].tolist()
            if self.kind[node] == INPUT:
                scope = 1 << int(self.variable[node])
            elif self.kind[node] == SUM:
                scope = self._sum_scope(node, below, scopes)
            else:
                scope = self._product_scope(node, below, scopes)
            scopes.append(known.setdefault(scope, scope))
        return scopes

    def _sum_scope(self, node: int, below: Sequence[int], scopes: Sequence[int]) -> int:
        scope = scopes[below[0]]
        for child in below[1:]:
            if scopes[child] is not scope and scopes[child] != scope:
                raise StructureError(
                    f"sum node {self.name(node)} is not complete: its children "
                    f"{self.name(below[0])} and {self.name(child)} have the scopes "
                    f"{members(scope)} and {members(scopes[child])}"
                )
        return scope

    def _product_scope(self, node: int, below: Sequence[int], scopes: Sequence[int]) -> int:
        scope = 0
        for child in below:
            if scope & scopes[child]:
                shared = members(scope & scopes[child])
                raise StructureError(
                    f"product node {self.name(node)} is not decomposable: its children share the "
                    f"variables {shared}, child {self.name(child)} among them"
                )
            scope |= scopes[child]
        return scope

    def check(self) -> None:
        """Raise unless the root is over all variables and all sums are over alternatives."""
        d = len(self.shape)
        missing = [j for j in range(d) if not self.scopes[-1] >> j & 1]
        if missing:
            raise StructureError(f"the root's scope lacks the variables {missing[:10]}")

    def compile(self) -> Compiled:
        """The circuit, the table stacks (slots, 1, fan-in), and where each sum's weights went.

        Nodes of one level, kind and about equal fan-in are one layer: fan-ins are rounded up and
        padded with the ring's zero (sums) or one (products).
        """
        return _Compiler(self).result()

    def config(self) -> dict[str, Any]:
        """Every field, ready to be written down."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        """The network that a `config()` describes; whoever uses it checks it."""
        return cls(**{each.name: config[each.name] for each in fields(cls)})

    def to_networkx(self, weights: NDArray[Any] | None = None) -> networkx.DiGraph:
        """A graph with node attributes kind, variable, component and edge attribute weight (of
        sums).
        """
        import networkx

        weight = self.weight if weights is None else weights
        graph = networkx.DiGraph(shape=self.shape)
        for node in range(len(self)):
            kind = KINDS[self.kind[node]]
            if kind == "input":
                place = {
                    "variable": int(self.variable[node]),
                    "component": int(self.component[node]),
                }
                graph.add_node(node, kind=kind, **place)
            else:
                graph.add_node(node, kind=kind)
            for edge in range(self.start[node], self.start[node + 1]):
                more = {"weight": float(weight[edge])} if kind == "sum" else {}
                graph.add_edge(node, int(self.child[edge]), **more)
        return graph


def from_networkx(graph: networkx.DiGraph, shape: Sequence[int] | None = None) -> Network:
    """Read a graph with node attribute kind (sum, product, input), inputs with variable and
    component, and edges with weight below sums; what the root does not reach is left out.

    shape: (k_1, .., k_d); default: the graph's attribute `shape`, else the largest numbers that
    occur.
    """
    import networkx

    if not graph.is_directed():
        raise StructureError("expected a directed graph with edges from a node to its children")
    try:
        order = list(reversed(list(networkx.topological_sort(graph))))
    except networkx.NetworkXUnfeasible:
        cycle = networkx.find_cycle(graph)
        raise StructureError(f"there is a cycle through node {cycle[0][0]!r}") from None
    roots = [node for node in order if graph.in_degree(node) == 0]
    if len(roots) != 1:
        raise StructureError(f"expected one root, got {len(roots)}: {roots[:5]}")
    order.remove(roots[0])
    order.append(roots[0])
    place = {node: number for number, node in enumerate(order)}
    maker = NetworkMaker()
    for node in order:
        _read(graph, node, maker, place)
    given = shape if shape is not None else graph.graph.get("shape")
    return maker.finish(given, [repr(node) for node in order], order)


def _read(
    graph: networkx.DiGraph, node: Hashable, maker: NetworkMaker, place: Mapping[Hashable, int]
) -> None:
    data = graph.nodes[node]
    kind = data.get("kind")
    if kind not in KINDS:
        raise StructureError(f"node {node!r} needs kind 'sum', 'product' or 'input', got {kind!r}")
    children = [place[child] for child in graph.successors(node)]
    if kind == "input":
        if children:
            raise StructureError(f"input node {node!r} has children")
        if "variable" not in data or "component" not in data:
            raise StructureError(f"input node {node!r} needs a variable and a component")
        maker.input(int(data["variable"]), int(data["component"]))
        return
    if not children:
        raise StructureError(f"{kind} node {node!r} has no children")
    if kind == "product":
        maker.product(children)
        return
    edges = [graph.edges[node, child] for child in graph.successors(node)]
    if any("weight" not in edge for edge in edges):
        raise StructureError(f"an edge below sum node {node!r} has no weight")
    maker.sum(children, [float(edge["weight"]) for edge in edges])


class NetworkMaker:
    """Collects nodes, children before parents."""

    def __init__(self) -> None:
        self.kind: list[int] = []
        self.start = [0]
        self.child: list[int] = []
        self.weight: list[float] = []
        self.variable: list[int] = []
        self.component: list[int] = []

    def input(self, variable: int, component: int) -> int:
        return self._node(INPUT, (), (), variable, component)

    def product(self, children: Sequence[int]) -> int:
        return self._node(PRODUCT, children, [1.0] * len(children))

    def sum(self, children: Sequence[int], weights: Sequence[float]) -> int:
        return self._node(SUM, children, weights)

    def _node(
        self,
        kind: int,
        children: Sequence[int],
        weights: Sequence[float],
        variable: int = -1,
        component: int = -1,
    ) -> int:
        self.kind.append(kind)
        self.child.extend(children)
        self.weight.extend(weights)
        self.start.append(len(self.child))
        self.variable.append(variable)
        self.component.append(component)
        return len(self.kind) - 1

    def finish(
        self,
        shape: Sequence[int] | None = None,
        names: Sequence[str] = (),
        keys: Sequence[Hashable] = (),
    ) -> Network:
        """The network, checked; the shape is read off the inputs if it is not given."""
        variable, component = numpy.array(self.variable), numpy.array(self.component)
        is_input = numpy.array(self.kind) == INPUT
        network = Network(
            numpy.array(self.kind),
            numpy.array(self.start),
            numpy.array(self.child, dtype=numpy.int64),
            numpy.array(self.weight),
            variable,
            component,
            _shape(variable[is_input], component[is_input], shape),
            names,
            keys,
        )
        network.check()
        return network


def _shape(variable: Integers, component: Integers, shape: Sequence[int] | None) -> tuple[int, ...]:
    """(k_1, .., k_d): as given, checked against the inputs, or the least that fits them."""
    if variable.size == 0:
        raise StructureError("a network needs at least one input")
    if variable.min() < 0 or component.min() < 0:
        raise StructureError("variables and components of inputs must not be negative")
    d = int(variable.max()) + 1 if shape is None else len(shape)
    most = numpy.zeros(max(d, int(variable.max()) + 1), dtype=numpy.int64)
    numpy.maximum.at(most, variable, component + 1)
    if shape is None:
        if (most == 0).any():
            raise StructureError(f"no input is about variable {int((most == 0).argmax())}")
        return tuple(int(k) for k in most)
    if len(most) > d or any(k > given for k, given in zip(most, shape, strict=False)):
        raise StructureError(f"inputs need the shape {tuple(most.tolist())}, got {tuple(shape)}")
    return tuple(int(k) for k in shape)


def members(scope: int) -> str:
    """A bitset in words: {0, 3, 4}, shortened where it is long."""
    found: list[int] = []
    while scope and len(found) < 8:
        low = scope & -scope
        found.append(low.bit_length() - 1)
        scope ^= low
    return "{" + ", ".join(map(str, found)) + (", ..}" if scope else "}")


def padded(fan_in: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, .. that is at least `fan_in`."""
    if fan_in <= 4:
        return fan_in
    power = 1 << (fan_in - 1).bit_length()
    return power * 3 // 4 if fan_in <= power * 3 // 4 else power


class Compiled(NamedTuple):
    """A network as a circuit with tables."""

    circuit: Circuit
    stacks: list[NDArray[Any]]  # (slots, 1, fan-in) weights for each padded fan-in
    absent: list[NDArray[Any]]  # where those only pad
    places: list[tuple[int, int, int]]  # (sum node, stack, slot)


class _Compiler:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.builder = Builder(network.shape)
        self.owner = numpy.full(len(network), -1, dtype=numpy.int64)
        self.row = numpy.full(len(network), -1, dtype=numpy.int64)
        self.stack: dict[int, int] = {}  # padded fan-in -> table
        self.stacks: list[list[NDArray[Any]]] = []
        self.absent: list[list[NDArray[Any]]] = []
        self.filled: list[int] = []  # slots of each stack
        self.places: list[tuple[int, int, int]] = []  # (sum node, table, slot)

    def result(self) -> Compiled:
        network = self.network
        inputs = network.kind == INPUT
        self.owner[inputs] = CONSTANTS + network.variable[inputs]
        first = CONSTANTS + numpy.cumsum([0, *network.shape[:-1]])
        self.row[inputs] = first[network.variable[inputs]] + network.component[inputs]
        for kind, width, nodes in self._groups():
            self._layer(kind, width, nodes)
        root = len(network) - 1
        if inputs[root]:
            self._alone(root)
        circuit = self.builder.build(int(self.owner[root]))
        stacks = [numpy.concatenate(parts) for parts in self.stacks]
        absent = [numpy.concatenate(parts) for parts in self.absent]
        return Compiled(circuit, stacks, absent, self.places)

    def _groups(self) -> list[tuple[int, int, list[int]]]:
        network = self.network
        level = numpy.zeros(len(network), dtype=numpy.int64)
        groups: dict[tuple[int, int, int], list[int]] = {}
        for node in range(len(network)):
            below = network.child[network.start[node] : network.start[node + 1]]
            if below.size:
                level[node] = 1 + level[below].max()
                key = (int(level[node]), int(network.kind[node]), padded(below.size))
                groups.setdefault(key, []).append(node)
        return [(kind, width, nodes) for (_, kind, width), nodes in sorted(groups.items())]

    def _layer(self, kind: int, width: int, nodes: list[int]) -> None:
        """One layer of sums or products with about the same fan-in."""
        network = self.network
        pad = ZERO if kind == SUM else ONE
        owners = numpy.full((width, 1, len(nodes)), pad, dtype=numpy.int64)
        rows = owners.copy()
        weights = numpy.zeros((len(nodes), 1, width))
        for position, node in enumerate(nodes):
            edges = slice(network.start[node], network.start[node + 1])
            below = network.child[edges]
            owners[: below.size, 0, position] = self.owner[below]
            rows[: below.size, 0, position] = self.row[below]
            weights[position, 0, : below.size] = network.weight[edges]
        if kind == SUM:
            table, first = self._stack(width, weights, (owners == ZERO).transpose(2, 1, 0))
            slots = first + numpy.arange(len(nodes)).reshape(1, -1)
            self.places.extend((node, table, first + n) for n, node in enumerate(nodes))
            made = self.builder.layer(
                "concatenate", owners, [1] * width, 1, table, slots, rows=rows
            )
            for position, node in enumerate(nodes):
                self.builder.name(network.key(node), 0, position)
        else:
            made = self.builder.layer("product", owners, [1] * width, 1, rows=rows)
        self.owner[nodes] = made[0]
        self.row[nodes] = self.builder.first_row(made[0])

    def _stack(self, width: int, weights: NDArray[Any], absent: NDArray[Any]) -> tuple[int, int]:
        if width not in self.stack:
            self.stack[width] = len(self.stacks)
            self.stacks.append([])
            self.absent.append([])
            self.filled.append(0)
        table = self.stack[width]
        first = self.filled[table]
        self.stacks[table].append(weights)
        self.absent[table].append(absent)
        self.filled[table] += len(weights)
        return table, first

    def _alone(self, root: int) -> None:
        """A network that is one input: a product of one factor, so that the root is a scalar."""
        owners = numpy.array(self.owner[root]).reshape(1, 1, 1)
        rows = numpy.array(self.row[root]).reshape(1, 1, 1)
        self.owner[root] = self.builder.layer("product", owners, [1], 1, rows=rows)[0, 0]
