"""The truth about a model of the library: its public tables read, every joint assignment listed.

`listing(model)` reads tables, trees and graphs and hands them to `oracle_joint.py`; no value is
ever computed by the library. Answers about a row of leaves are sums and maxima over the list.
Tables are read as floats, or exactly with number=Fraction (floats) or number=int (pinned integers).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtures import SPN, Combination, Dense, pinned
from mixtures.coefficients import CoefficientTensor
from mixtures.treetensor import TreeTensor

from oracle import log_sum, shares
from oracle_circuit import circuit_joint
from oracle_joint import Joint, ht_joint, spn_joint, tree_joint

Number = Callable[[Any], Any]
Entry = tuple[int, int, int, int]  # (table, slot, row, column) of a number a model holds


@dataclass
class Line:
    """One joint assignment: its weight, what was chosen, which stored numbers were multiplied."""

    weight: Any
    components: tuple[int, ...]
    states: dict[Hashable, int]  # of the latents that take part
    uses: list[tuple[Entry, frozenset[int]]]  # with the variables below


class Listing:
    """All joint assignments of a model, as columns: one entry, or line, for each."""

    def __init__(self, lines: Sequence[Line], latents: Mapping[Hashable, int]) -> None:
        self.lines = lines
        self.latents = latents  # {name: number of states}
        self.weight = np.array([line.weight for line in lines])
        self.components = np.array([line.components for line in lines])
        self.states = {
            name: np.array([line.states.get(name, -1) for line in lines]) for name in latents
        }

    def tensor(self, shape: Sequence[int]) -> np.ndarray:
        """W: the total weight of the assignments with the same components."""
        W = np.zeros(shape, dtype=self.weight.dtype)
        np.add.at(W, tuple(self.components.T), self.weight)
        return W

    def logs(self, leaves: np.ndarray, evidence: Mapping[Any, Any] | None = None) -> np.ndarray:
        """The log-weight of every assignment given log-leaves (d, k), evidence {latent: (r,)}."""
        total = np.log(self.weight)
        for j, column in enumerate(self.components.T):
            total = total + leaves[j][column]
        for name, line in (evidence or {}).items():
            state = self.states[name]
            total = total + np.where(state >= 0, line[state], 0.0)
        return total

    def density(self, leaves: np.ndarray, evidence: Mapping[Any, Any] | None = None) -> float:
        """The log of the total weight."""
        return log_sum(self.logs(leaves, evidence))

    def posterior(
        self, leaves: np.ndarray, evidence: Mapping[Any, Any] | None = None
    ) -> np.ndarray:
        """P(component | row) of every variable, in the shape of the leaves."""
        share, found = shares(self.logs(leaves, evidence)), np.zeros(leaves.shape)
        for j, column in enumerate(self.components.T):
            np.add.at(found[j], column, share)
        return found

    def latent_posterior(
        self, leaves: np.ndarray, name: Hashable, evidence: Mapping[Any, Any] | None = None
    ) -> np.ndarray:
        """P(state of a latent, and that it takes part | row)."""
        share, state = shares(self.logs(leaves, evidence)), self.states[name]
        return np.bincount(state[state >= 0], share[state >= 0], minlength=self.latents[name])

    def counts(
        self,
        leaves: np.ndarray,
        observed: Sequence[bool],
        evidence: Mapping[Any, Any] | None = None,
    ) -> dict[Entry, float]:
        """Expected uses of every stored number, where anything below it is observed."""
        total: dict[Entry, float] = {}
        for line, share in zip(self.lines, shares(self.logs(leaves, evidence)), strict=True):
            for entry, scope in line.uses:
                if any(observed[j] for j in scope):
                    total[entry] = total.get(entry, 0.0) + float(share)
        return total


def listing(model: CoefficientTensor, number: Number = float) -> Listing:
    """Every joint assignment of a model, from its public tables."""
    sizes = {name: model.num_states(name) for name in model.latents}
    return Listing(_lines(model, number), sizes)


def numbers(array: Any, number: Number) -> np.ndarray:
    """A table of the library as floats, or as exact numbers."""
    values = array.detach().cpu().numpy()
    if number is float:
        return values.astype(float)
    return np.array([number(v) for v in values.ravel().tolist()], dtype=object).reshape(
        values.shape
    )


@functools.singledispatch
def _lines(model: CoefficientTensor, number: Number) -> list[Line]:
    """A class of its own: its circuit is read node by node."""
    arrays = [numbers(array, number) for array in model.arrays]
    return [Line(*parts) for parts in circuit_joint(model.circuit, arrays)]


@_lines.register
def _tree_lines(model: TreeTensor, number: Number) -> list[Line]:
    tree, d = model.tree, model.variables
    tables = {
        node: numbers(table, number)
        for node in tree.nodes
        if (table := model.table(node)) is not None
    }
    if model.joint:
        wide = {node: _written_out(model, node, table) for node, table in tables.items()}
        joint = ht_joint(tree.children, tree.root, d, wide, model.shape)
    else:
        joint = tree_joint(tree.parent, tree.root, d, tables)
    return [_tree_line(model, joint, *assignment) for assignment in joint.assignments]


def _is_diagonal(model: TreeTensor, node: Hashable) -> bool:
    """Whether a table over one state stands for one over the joint state of several children."""
    return node not in model.joint and len(model.tree.children.get(node, ())) > 1


def _step(model: TreeTensor, node: Hashable) -> int:
    """How far apart the columns are in which all children of a node are in the same state."""
    return sum(model.states(node) ** m for m in range(len(model.tree.children[node])))


def _written_out(model: TreeTensor, node: Hashable, table: np.ndarray) -> np.ndarray:
    """A diagonal table with its zeros."""
    if not _is_diagonal(model, node):
        return table
    states = table.shape[1]
    wide = np.zeros((table.shape[0], states ** len(model.tree.children[node])), dtype=table.dtype)
    wide[:, :: _step(model, node)] = table
    return wide


def _tree_line(
    model: TreeTensor, joint: Joint, weight: Any, states: dict, components: tuple, uses: tuple
) -> Line:
    found: list[tuple[Entry, frozenset[int]]] = []
    chosen = dict(states)
    for node, row, column in uses:
        if model.joint and node in model.tree.children:
            column //= _step(model, node) if _is_diagonal(model, node) else 1
            chosen[node] = column
        found.append(((*model.place(node), row, column), joint.scopes[node]))
    return Line(weight, components, {v: chosen[v] for v in model.tree.inner}, found)


@_lines.register
def _network_lines(model: SPN, number: Number) -> list[Line]:
    graph = model.to_networkx()
    for *_, edge in graph.edges(data=True):
        if "weight" in edge:
            edge["weight"] = number(edge["weight"])
    entry, joint = _entries(model), spn_joint(graph)
    below = {node: list(graph.successors(node)) for node in graph}
    lines = []
    for weight, states, components, uses in joint.assignments:
        places = {v: below[v].index(child) for v, child in states.items()}
        used = [(entry[v, below[v].index(child)], joint.scopes[v]) for v, child in uses]
        named = {model.network.key(v): place for v, place in places.items()}
        lines.append(Line(weight, components, named, used))
    return lines


def _entries(model: SPN) -> dict[tuple[int, int], Entry]:
    """Where the weight of the i-th child of every sum is held."""
    return {
        (node, child): (table, slot, 0, child)
        for node, table, slot in model._sums
        for child in range(int(model.network.start[node + 1] - model.network.start[node]))
    }


@_lines.register
def _dense_lines(model: Dense, number: Number) -> list[Line]:
    W, scope = numbers(model.arrays[0], number).ravel(), frozenset(range(model.variables))
    return [
        Line(W[place], index, {}, [((0, 0, 0, place), scope)])
        for place, index in enumerate(np.ndindex(*model.shape))
        if W[place] > 0
    ]


@_lines.register
def _combination_lines(model: Combination, number: Number) -> list[Line]:
    weights, scope = numbers(model.weights, number), frozenset(range(model.variables))
    place = {id(table): number for number, table in enumerate(model.tables)}
    lines, first = [], np.zeros(model.variables, dtype=int)
    for m, (share, part) in enumerate(zip(weights, model.parts, strict=True)):
        tables = [place[id(table)] for table in part.tables]
        with pinned(part, [model.arrays[t] for t in tables]):
            below = _lines(part, number) if share > 0 else []
        for line in below:
            uses = [((tables[t], *rest), variables) for (t, *rest), variables in line.uses]
            states = {(m, name): state for name, state in line.states.items()} | {"part": m}
            used = [((0, 0, 0, m), scope), *uses]
            components = tuple((first + line.components).tolist())
            lines.append(Line(share * line.weight, components, states, used))
        first += np.array(part.shape) * model.side_by_side
    return lines
