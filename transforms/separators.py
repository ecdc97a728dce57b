"""Cheapest sets of latents that separate all variables, or the past from the future."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from mixtures.tree import Node, Tree

FUTURE, HELD, PAST = 0, 1, 2


def separating_all(tree: Tree, states: Mapping[Node, int], shape: Sequence[int]) -> list[Node]:
    """The latents and variables, of the least product of states, that separate all other variables.

    With every one of them held fixed, the remaining variables are independent. For r <= k states
    everywhere it is a least set of latents, as many as there are vertex-disjoint paths between
    leaves. One pass up, one pass down.

    >>> tree = Tree.balanced(8)
    >>> len(separating_all(tree, dict.fromkeys(tree.inner, 2), [2] * 8))
    4
    """
    table: dict[Node, Entry] = {j: (None, 1, shape[j]) for j in range(tree.variables)}
    best: dict[Node, Node | None] = {}  # the child through which an open node sees its open leaf
    for node in tree.inner:
        below = [table[child] for child in tree.children[node]]
        held = states[node] * prod(_least(entry) for entry in below)
        table[node], best[node] = _open(tree.children[node], below, held)
    return list(_held(tree, table, best))


Entry = tuple[
    int | None, int, int
]  # costs with no open leaf (None: impossible), with one, when held


def _least(entry: Entry) -> int:
    return min(cost for cost in entry if cost is not None)


def _closed(entry: Entry) -> int:
    """The least cost at which no open leaf is seen from above."""
    return entry[2] if entry[0] is None else min(entry[0], entry[2])


def _open(children: Sequence[Node], below: Sequence[Entry], held: int) -> tuple[Entry, Node]:
    """The costs of a node that is not held: at most one of its children shows an open leaf."""
    shut = prod(_closed(entry) for entry in below)
    place = 0
    for number, entry in enumerate(below):  # the best ratio of open to closed
        if entry[1] * _closed(below[place]) < below[place][1] * _closed(entry):
            place = number
    one = shut // _closed(below[place]) * below[place][1]
    return (shut, one, held), children[place]


def _held(
    tree: Tree, table: Mapping[Node, Entry], best: Mapping[Node, Node | None]
) -> Iterator[Node]:
    """Walk down the choices: what is held."""
    free, any_state = 0, -1
    wanted: list[tuple[Node, int]] = [(tree.root, any_state)]
    while wanted:
        node, choice = wanted.pop()
        entry = table[node]
        options = {any_state: (0, 1, 2), free: (0, 2), 1: (1,)}[choice]
        state = min((s for s in options if entry[s] is not None), key=lambda s: entry[s] or 0)
        if state == 2:
            yield node
        children = tree.children.get(node, ())
        if state == 2:
            wanted += [(child, any_state) for child in children]
        else:
            wanted += [
                (child, 1 if state == 1 and child == best[node] else free) for child in children
            ]


def along(tree: Tree, states: Mapping[Node, int], order: Sequence[int]) -> list[tuple[Node, ...]]:
    """For every variable in order, latents that separate it, the past and the future.

    Each is a set of least product of states among those that contain the variable's parent; of
    several the one closest to the past. Closest cuts for growing pasts are nested, so every latent
    is held for an interval of time: the sets are the states of a Markov chain. Cost: the depth of
    the tree per variable, and one walk over what is not yet, or no longer, of interest.
    """
    cuts = _Cuts(tree, states)
    found = []
    for place, variable in enumerate(order):
        if place:
            cuts.settle(order[place - 1])
        cuts.ask(variable)
        found.append(cuts.held())
    return found


class _Cuts:
    """The least cost of each subtree with FUTURE, HELD or PAST at its top, kept up to date.

    A cost of 0 says that a label is impossible.
    """

    def __init__(self, tree: Tree, states: Mapping[Node, int]) -> None:
        self.tree = tree
        self.weight = {node: max(2, states[node]) for node in tree.inner}
        self.cost: dict[Node, Costs] = dict.fromkeys(range(tree.variables), (1, 0, 0))
        self.forced: Node | None = None
        for node in tree.inner:
            self._update(node)

    def ask(self, variable: int) -> None:
        """The variable is now; its parent is held."""
        self.forced = self.tree.parent[variable]
        self.cost[variable] = (1, 1, 1)
        self._update_above(variable)

    def settle(self, variable: int) -> None:
        """The variable is past."""
        self.forced = None
        self.cost[variable] = (0, 0, 1)
        self._update_above(variable)

    def held(self) -> tuple[Node, ...]:
        """The held latents of the labelling of least cost that is closest to the past."""
        found = []
        stack = [(self.tree.root, _first(self.cost[self.tree.root], NEXT[HELD]))]
        while stack:
            node, label = stack.pop()
            if label == HELD:
                found.append(node)
            if self.cost[node][label] == 1:
                continue  # nothing is held below
            for child in self.tree.children.get(node, ()):
                stack.append((child, _first(self.cost[child], NEXT[label])))
        return tuple(found)

    def _update_above(self, node: Node) -> None:
        while node != self.tree.root:
            node = self.tree.parent[node]
            self._update(node)

    def _update(self, node: Node) -> None:
        future, held, past = 1, self.weight[node], 1
        for child in self.tree.children[node]:
            f, h, p = self.cost[child]
            early = h if not f or 0 < h < f else f  # the least of FUTURE and HELD
            late = h if not p or 0 < h < p else p  # the least of PAST and HELD
            future, past = future * early, past * late
            held *= late if not early or 0 < late < early else early
        self.cost[node] = (0, held, 0) if node == self.forced else (future, held, past)


Costs = tuple[int, int, int]
NEXT = {
    FUTURE: (FUTURE, HELD),
    HELD: (FUTURE, HELD, PAST),
    PAST: (HELD, PAST),
}  # never side by side


def _first(costs: Costs, labels: Sequence[int]) -> int:
    """The first of some labels with the least cost."""
    least = min(costs[label] for label in labels if costs[label])
    return next(label for label in labels if costs[label] == least)
