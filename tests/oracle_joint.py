"""The truth about latents: every joint assignment of states and components, listed one by one.

`tree_joint`, `ht_joint` and `spn_joint` list them from a model's tables, in the formats of
`oracle.py`; posteriors, best explanations and expected counts are sums, maxima and tallies over the
list. Nothing of the library is imported.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from oracle import (
    Node,
    Tables,
    bond_sizes,
    children_of,
    log_sum,
    row,
    shares,
    top,
    tree_sizes,
    unit,
)


class Assignment(NamedTuple):
    """One way to choose everything that is hidden: its weight, and what was chosen."""

    weight: Any
    states: dict[Node, Any]  # of a latent (LTM), of the bond above a node (HT), a sum's child (SPN)
    components: tuple[int, ...]  # one per variable
    uses: tuple[tuple, ...]  # the stored numbers multiplied: (node, row, column) or (sum, child)


class Joint(NamedTuple):
    """All joint assignments of a model with positive weight, and the variables below each node."""

    assignments: list[Assignment]
    scopes: dict[Node, frozenset[int]]


def tree_joint(parents: Mapping[Node, Node], root: Node, d: int, tables: Tables) -> Joint:
    """Every choice of latent states and components of a latent tree model (see `tree_tensor`).

    The choices are listed from the root down; one of weight zero is left out as soon as it is made.
    """
    sizes = tree_sizes(parents, root, tables)
    found = [Assignment(1, {}, (), ())]
    for node in sizes:
        grown = []
        for weight, chosen, _, uses in found:
            above = chosen.get(parents.get(node), 0)
            for state, value in enumerate(row(node, parents, chosen, sizes, tables)):
                used = ((node, above, state),) if node in tables else ()
                grown.append(Assignment(weight * value, chosen | {node: state}, (), uses + used))
        found = [assignment for assignment in grown if assignment.weight > 0]
    return Joint([_parted(a, d) for a in found], _scopes(children_of(parents), root))


def ht_joint(
    children: Mapping[Node, Sequence[Node]],
    root: Node,
    d: int,
    tables: Tables,
    components: Sequence[int] | None = None,
) -> Joint:
    """Every choice of bonds and components of a hierarchical Tucker model (see `ht_tensor`).

    A node's table says, given its bond, in which bonds its children are; so from the root down.
    """
    sizes = bond_sizes(children, root, d, tables, components)
    found = [Assignment(1, {root: 0}, (), ())]
    for node in sizes:
        grown = []
        for weight, bond, _, uses in found:
            line = tables[node][bond[node]] if node in tables else unit(sizes[node], bond[node])
            for column, value in enumerate(line):
                below = _bonds_of(children.get(node, ()), column, sizes)
                chosen = bond | below if node in children else bond | {("component", node): column}
                used = ((node, bond[node], column),) if node in tables else ()
                grown.append(Assignment(weight * value, chosen, (), uses + used))
        found = [assignment for assignment in grown if assignment.weight > 0]
    bonds = [v for v in sizes if v != root]
    assignments = [
        Assignment(
            a.weight,
            {v: a.states[v] for v in bonds},
            tuple(a.states["component", j] for j in range(d)),
            a.uses,
        )
        for a in found
    ]
    return Joint(assignments, _scopes(children, root))


def spn_joint(graph: Any) -> Joint:
    """Every induced tree of a sum-product network (see `spn_tensor`): one child for each sum."""
    children = {node: list(graph.successors(node)) for node in graph.nodes}

    def trees(node: Node) -> Iterator[tuple[Any, dict, dict[int, int], tuple]]:
        attributes = graph.nodes[node]
        if attributes["kind"] == "input":
            yield 1, {}, {attributes["variable"]: attributes["component"]}, ()
        elif attributes["kind"] == "sum":
            for child in children[node]:
                weight = graph.edges[node, child]["weight"]
                for value, states, leaves, uses in trees(child):
                    yield weight * value, states | {node: child}, leaves, ((node, child), *uses)
        else:
            for parts in itertools.product(*(trees(child) for child in children[node])):
                weight = math.prod(part[0] for part in parts)
                states, leaves = ({k: v for p in parts for k, v in p[i].items()} for i in (1, 2))
                yield weight, states, leaves, tuple(use for part in parts for use in part[3])

    named = {n: graph.nodes[n]["variable"] for n in children if graph.nodes[n]["kind"] == "input"}
    found = [
        Assignment(weight, states, tuple(leaves[j] for j in sorted(leaves)), uses)
        for weight, states, leaves, uses in trees(top(graph))
        if weight > 0
    ]
    return Joint(found, _scopes({n: c for n, c in children.items() if c}, top(graph), named))


# ---------------------------------------------------------------- from assignments to answers

Evidence = Mapping[Node, Sequence[float]]


def joint_log_density(joint: Joint, logs: Sequence, evidence: Evidence | None = None) -> float:
    """The log of the total weight; `evidence` adds log-weights {latent node: (r,)} on states."""
    return log_sum(_joint_logs(joint, logs, evidence))


def latent_posterior(
    joint: Joint, logs: Sequence, node: Node, states: int, evidence: Evidence | None = None
) -> np.ndarray:
    """P(state of `node` | row), shape (states,)."""
    share = shares(_joint_logs(joint, logs, evidence))
    return _tally((a.states[node] for a in joint.assignments), share, states)


def component_posterior(
    joint: Joint, logs: Sequence, variable: int, components: int, evidence: Evidence | None = None
) -> np.ndarray:
    """P(component of `variable` | row), shape (components,)."""
    share = shares(_joint_logs(joint, logs, evidence))
    return _tally((a.components[variable] for a in joint.assignments), share, components)


def best_joint(
    joint: Joint, logs: Sequence, evidence: Evidence | None = None, tolerance: float = 1e-10
) -> tuple[float, list[tuple[dict[Node, Any], tuple[int, ...]]]]:
    """The largest joint log-weight, and every pair (states, components) that reaches it."""
    terms = _joint_logs(joint, logs, evidence)
    best = float(terms.max())
    ties = [a for a, term in zip(joint.assignments, terms, strict=True) if term >= best - tolerance]
    return best, [(a.states, a.components) for a in ties]


def expected_counts(
    joint: Joint, logs: Sequence, observed: Sequence[bool], evidence: Evidence | None = None
) -> dict[tuple, float]:
    """Expected number of uses of each stored number in one row, counts only into the observed part.

    A table above which no variable is observed is not counted. Keys (node, row, column) for tables,
    (sum, child) for networks; `count_table` makes arrays of the former.
    """
    share = shares(_joint_logs(joint, logs, evidence))
    seen = {node for node, scope in joint.scopes.items() if any(observed[j] for j in scope)}
    counts: dict[tuple, float] = {}
    for assignment, part in zip(joint.assignments, share, strict=True):
        for use in assignment.uses:
            if use[0] in seen:
                counts[use] = counts.get(use, 0.0) + float(part)
    return counts


def count_table(counts: Mapping[tuple, float], node: Node, shape: Sequence[int]) -> np.ndarray:
    """The counts of one node's table as an array of its shape."""
    table = np.zeros(shape)
    for (owner, *index), count in counts.items():
        if owner == node:
            table[tuple(index)] += count
    return table


# ---------------------------------------------------------------- weights, tallies, scopes


def _parted(assignment: Assignment, d: int) -> Assignment:
    """States of latents and components of variables, which are the nodes 0..d-1."""
    chosen = assignment.states
    states = {node: state for node, state in chosen.items() if node not in range(d)}
    components = tuple(chosen[j] for j in range(d))
    return assignment._replace(states=states, components=components)


def _bonds_of(below: Sequence[Node], column: int, sizes: Mapping[Node, int]) -> dict[Node, int]:
    """The bonds of the children that a column stands for, the last child's running fastest."""
    places = np.unravel_index(column, [sizes[child] for child in below]) if below else ()
    return dict(zip(below, map(int, places), strict=True))


def _joint_logs(joint: Joint, logs: Sequence, evidence: Evidence | None) -> np.ndarray:
    """The log-weight of every assignment, given a row and evidence on states."""
    return np.array(
        [
            math.log(a.weight)
            + sum(logs[j][i] for j, i in enumerate(a.components))
            + sum(line[a.states[node]] for node, line in (evidence or {}).items())
            for a in joint.assignments
        ]
    )


def _tally(values: Iterable[int], weights: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(list(values), weights, minlength=size)


def _scopes(
    children: Mapping[Node, Sequence[Node]], node: Node, named: Mapping[Node, int] | None = None
) -> dict[Node, frozenset[int]]:
    """The variables below every node; `named` gives a leaf's variable where it is not its name."""
    if not children.get(node):
        return {node: frozenset([named[node] if named is not None else node])}
    below = [_scopes(children, child, named) for child in children[node]]
    union = frozenset().union(*(s[c] for s, c in zip(below, children[node], strict=True)))
    return {k: v for scopes in below for k, v in scopes.items()} | {node: union}
