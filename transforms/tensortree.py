"""Tensor networks without cycles: variables, copies of a state and cores, joined by links."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import opt_einsum
import torch
from torch import Tensor

from mixtures.residues import modular_bmm
from mixtures.tree import Node
from mixtures.treetensor import TreeTensor


@dataclass(frozen=True, eq=False)
class Link:
    """Two vertices whose states a matrix couples (rows: states of the first); None is an identity.

    Links with equal `tie` hold the same matrix.
    """

    ends: tuple[int, int]
    matrix: Any
    tie: Hashable = None

    def other(self, vertex: int) -> int:
        """The vertex at the other end."""
        return self.ends[1] if self.ends[0] == vertex else self.ends[0]

    def seen_from(self, vertex: int) -> Any:
        """The matrix with the states of `vertex` as its rows."""
        if self.matrix is None or self.ends[0] == vertex:
            return self.matrix
        return self.matrix.T


@dataclass(eq=False)
class TensorTree:
    """Vertices 0..d-1 are the variables; the others are copies or cores.

    All links of a copy are in its state, which may carry `weights`; a core is an array with one
    axis per link, in the order of `incident`. The tensor is the sum over the states of everything
    but the variables.
    """

    shape: tuple[int, ...]
    states: list[int] = field(default_factory=list)  # of variables and copies; 0 for cores
    cores: dict[int, Any] = field(default_factory=dict)
    weights: dict[int, Any] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    incident: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for k in self.shape:
            self._vertex(k)

    @property
    def variables(self) -> int:
        """d."""
        return len(self.shape)

    def _vertex(self, states: int) -> int:
        self.states.append(states)
        self.incident.append([])
        return len(self.states) - 1

    def copy(self, states: int, weights: Any = None) -> int:
        """Add a copy vertex."""
        vertex = self._vertex(states)
        if weights is not None:
            self.weights[vertex] = weights
        return vertex

    def core(self, array: Any) -> int:
        """Add a core; link its axes in their order."""
        vertex = self._vertex(0)
        self.cores[vertex] = array
        return vertex

    def link(self, first: int, second: int, matrix: Any = None, tie: Hashable = None) -> None:
        """Join two vertices."""
        for vertex in (first, second):
            self.incident[vertex].append(len(self.links))
        self.links.append(Link((first, second), matrix, tie))

    def arrays(self) -> list[Any]:
        """Everything that holds numbers."""
        matrices = [link.matrix for link in self.links if link.matrix is not None]
        return [*matrices, *self.cores.values(), *self.weights.values()]

    def toward(self, centre: int, skip: int = -1) -> list[tuple[int, int]]:
        """(link, sender) pairs such that all messages a sender needs come before its own; nothing
        that arrives over the link `skip`.
        """
        order: list[tuple[int, int]] = []
        stack = [(centre, skip)]
        while stack:
            vertex, arrived = stack.pop()
            for link in self.incident[vertex]:
                if link != arrived:
                    sender = self.links[link].other(vertex)
                    order.append((link, sender))
                    stack.append((sender, link))
        return order[::-1]

    def dense(self) -> numpy.ndarray:
        """All entries, as floats: one einsum."""
        operands: list[Any] = []
        label = iter(range(len(self.states), len(self.states) + 2 * len(self.links)))
        axes = {vertex: [vertex] for vertex in range(len(self.states))}
        for core in self.cores:
            axes[core] = [next(label) for _ in self.incident[core]]
            operands += [numpy.asarray(self.cores[core], dtype=numpy.float64), axes[core]]
        for vertex, weights in self.weights.items():
            operands += [numpy.asarray(weights, dtype=numpy.float64), [vertex]]
        for number, link in enumerate(self.links):
            ends = [self._axis(end, number, axes) for end in link.ends]
            width = self.width(link.ends[0], number)
            matrix = numpy.eye(width) if link.matrix is None else numpy.asarray(link.matrix)
            operands += [matrix.astype(numpy.float64), ends]
        whole: numpy.ndarray = opt_einsum.contract(*operands, list(range(self.variables)))
        return whole

    def _axis(self, vertex: int, link: int, axes: dict[int, list[int]]) -> int:
        """The label of a vertex, or of a core's axis, at a link."""
        return axes[vertex][self.incident[vertex].index(link) if vertex in self.cores else 0]

    def width(self, vertex: int, link: int) -> int:
        """The number of states that a link sees at a vertex."""
        if vertex in self.cores:
            return int(self.cores[vertex].shape[self.incident[vertex].index(link)])
        return self.states[vertex]

    def contract(self, vectors: Tensor, residues: Callable[[Any], Tensor], p: int) -> Tensor:
        """Contractions with product vectors (n, d, max k) modulo p, by messages to the last
        vertex.
        """
        centre = len(self.states) - 1
        return self._collected(centre, None, vectors, residues, p).sum(1) % p

    def message(
        self, link: int, sender: int, vectors: Tensor, residues: Callable[[Any], Tensor], p: int
    ) -> Tensor:
        """What product vectors (n, d, max k) make of all that is below a link, (n, states)."""
        value = self._collected(sender, link, vectors, residues, p)
        matrix = self.links[link].seen_from(sender)
        return value if matrix is None else modular_bmm(value[None], residues(matrix)[None], p)[0]

    def _collected(
        self,
        centre: int,
        skip: int | None,
        vectors: Tensor,
        residues: Callable[[Any], Tensor],
        p: int,
    ) -> Tensor:
        """What a vertex makes of all that arrives, but for one link: (n, states)."""
        sent: dict[tuple[int, int], Tensor] = {}
        for link, sender in self.toward(centre, -1 if skip is None else skip):
            held = self.links[link]
            value = self._gather(sender, link, sent, vectors, residues, p)
            if held.matrix is not None:
                value = modular_bmm(value[None], residues(held.seen_from(sender))[None], p)[0]
            sent[link, held.other(sender)] = value
        return self._gather(centre, skip, sent, vectors, residues, p)

    def _gather(
        self,
        vertex: int,
        skip: int | None,
        sent: dict[tuple[int, int], Tensor],
        vectors: Tensor,
        residues: Callable[[Any], Tensor],
        p: int,
    ) -> Tensor:
        """What a vertex makes of all messages but one: (n, states)."""
        if vertex < self.variables:
            return vectors[:, vertex, : self.states[vertex]]
        arrived = [sent[n, vertex] for n in self.incident[vertex] if n != skip]
        if vertex not in self.cores:
            value = torch.ones((len(vectors), self.states[vertex]), dtype=torch.int64)
            if vertex in self.weights:
                value = value * residues(self.weights[vertex])
            for message in arrived:
                value = value * message % p
            return value
        axes = [a for a, n in enumerate(self.incident[vertex]) if n != skip]
        array = residues(self.cores[vertex])
        array = array.permute([*axes, *(a for a in range(array.ndim) if a not in axes)])
        whole = array[None].expand(len(vectors), *array.shape)
        for message in arrived:
            weights = message.reshape(*message.shape, *[1] * (whole.ndim - 2))
            whole = (whole * weights % p).sum(1) % p
        return whole.reshape(len(vectors), -1)


def from_model(model: TreeTensor) -> TensorTree:
    """The network of a tree model: cores where a table is over joint states, copies elsewhere."""
    tree = model.tree
    made: dict[Node, int] = {j: j for j in range(model.variables)}
    network = TensorTree(model.shape)
    joint = {v for v in tree.inner if v in model.joint and len(tree.children[v]) > 1}
    for node in reversed(tree.inner):
        table = model.table(node)
        if node in joint:
            made[node] = network.core(_core(model, node, root=node == tree.root))
        elif node == tree.root:
            made[node] = network.copy(model.states(node), None if table is None else table[0])
        else:
            made[node] = network.copy(model.states(node))
        if node != tree.root:
            held = None if node in joint else table
            tie = None if held is None else model.place(node)
            network.link(made[tree.parent[node]], made[node], held, tie)
    _leaves_last(model, network, made)
    return _ordered(model, network, made, joint)


def _leaves_last(model: TreeTensor, network: TensorTree, made: dict[Node, int]) -> None:
    for j in range(model.variables):
        parent = made[model.tree.parent[j]]
        network.link(parent, j, model.table(j), model.place(j))


def _core(model: TreeTensor, node: Node, *, root: bool) -> Any:
    """The table of a joint node with one axis per bond: the parent's (unless root), then the
    children's.
    """
    widths = [model.rows(child) for child in model.tree.children[node]]
    table = model.table(node)
    if table is None:
        raise ValueError(f"joint node {node!r} has no table")
    return table.reshape(widths if root else [model.rows(node), *widths])


def _ordered(
    model: TreeTensor, network: TensorTree, made: dict[Node, int], joint: set[Node]
) -> TensorTree:
    """List the links of every core in the order of its axes: parent, then children."""
    tree = model.tree
    for node in joint:
        vertex = made[node]
        around = [made[child] for child in tree.children[node]]
        if node != tree.root:
            around.insert(0, made[tree.parent[node]])
        by_other = {network.links[n].other(vertex): n for n in network.incident[vertex]}
        network.incident[vertex] = [by_other[other] for other in around]
    return network


def from_cp(weights: Any, factors: Sequence[Any]) -> TensorTree:
    """sum over s of weights[s] times the outer product of column s of the factors, (k_j, r)
    each.
    """
    factors = [_array(factor) for factor in factors]
    network = TensorTree(tuple(int(factor.shape[0]) for factor in factors))
    held = None if weights is None else _array(weights)
    top = network.copy(int(factors[0].shape[1]), held)
    for j, factor in enumerate(factors):
        network.link(top, j, factor.T)
    return network


def from_train(cores: Sequence[Any]) -> TensorTree:
    """A tensor train: cores (r_j-1, k_j, r_j), the first and the last bond being 1."""
    cores = [_array(core) for core in cores]
    if cores[0].shape[0] != 1 or cores[-1].shape[2] != 1:
        raise ValueError(
            f"expected a tensor train whose outer bonds are 1, got {cores[0].shape[0]} "
            f"and {cores[-1].shape[2]}"
        )
    network = TensorTree(tuple(int(core.shape[1]) for core in cores))
    before: int | None = None
    for j, core in enumerate(cores):
        last = j == len(cores) - 1
        core = core if before is not None else core[0]
        vertex = network.core(core[..., 0] if last else core)
        if before is not None:
            network.link(before, vertex)
        network.link(vertex, j)
        before = vertex
    return network


def from_tucker(core: Any, factors: Sequence[Any]) -> TensorTree:
    """A Tucker tensor: a core and factors (k_j, r_j)."""
    factors = [_array(factor) for factor in factors]
    network = TensorTree(tuple(int(factor.shape[0]) for factor in factors))
    top = network.core(_array(core))
    for j, factor in enumerate(factors):
        network.link(top, j, factor.T)
    return network


def _array(values: Any) -> Any:
    """Numbers as a numpy array; a torch tensor stays one."""
    return values.detach() if isinstance(values, torch.Tensor) else numpy.asarray(values)
