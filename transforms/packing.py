"""Vertex-disjoint paths between two sets of leaves of a tree, and the clamps that separate all
leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import NamedTuple

from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor


class Open(NamedTuple):
    """A path that comes up from a leaf and may go on: what it weighs against the best closed
    packing.
    """

    gain: Fraction
    nodes: tuple[Node, ...]


def disjoint_paths(W: TreeTensor, rows: Collection[int]) -> set[Node]:
    """The nodes (top ones left out) of disjoint paths from `rows` to the other leaves, best by
    product.

    Each path weighs the smallest number of states on it. Bottom up, every node keeps, besides the
    best packing below it, the best one with a path open at it for each side and each number of
    states the path passes.
    """
    tree = W.tree
    opened: dict[Node, dict[tuple[bool, int], Open]] = {}
    closed: dict[Node, list[tuple[Node, ...]]] = {}
    for leaf in range(W.variables):
        width = W.shape[leaf]
        opened[leaf] = {(leaf in rows, width): Open(Fraction(1), (leaf,))}
    for node in tree.inner:
        best, turn = _best_turn(tree.children[node], opened, W.states(node))
        if turn is not None:
            closed[node] = turn
        onward: dict[tuple[bool, int], Open] = {}
        for child in tree.children[node]:
            for (side, width), path in opened[child].items():
                key = (side, min(width, W.states(node)))
                gain = path.gain / best
                if key not in onward or onward[key].gain < gain:
                    onward[key] = Open(gain, (*path.nodes, node))
        opened[node] = onward
    return _unwound(tree, closed)


def _best_turn(
    children: Iterable[Node], opened: dict[Node, dict[tuple[bool, int], Open]], states: int
) -> tuple[Fraction, list[tuple[Node, ...]] | None]:
    """The best pair of open paths, from different children and sides, to be joined at a node."""
    best, found = Fraction(1), None
    leading: dict[tuple[bool, int], list[tuple[Node, Open]]] = {}
    for child in children:
        for key, path in opened[child].items():
            held = leading.setdefault(key, [])
            held.append((child, path))
            held.sort(key=lambda item: -item[1].gain)
            del held[2:]
    for (side, width), above in leading.items():
        for (other, breadth), beyond in leading.items():
            if not side or other:
                continue
            for child, one in above:
                for sibling, two in beyond:
                    value = one.gain * two.gain * min(width, breadth, states)
                    if child != sibling and value > best:
                        best, found = value, [one.nodes, two.nodes]
    return best, found


def _unwound(tree: Tree, closed: dict[Node, list[tuple[Node, ...]]]) -> set[Node]:
    """The nodes of the chosen paths, from the root down: a path that is used unmakes what it
    passes.
    """
    used: set[Node] = set()
    for node in reversed(tree.inner):
        if node in closed and node not in used:
            used.update(*closed[node])
    return used


def clamps(tree: Tree) -> list[Node]:
    """The fewest inner nodes whose clamping separates all leaves; as many as disjoint leaf-to-leaf
    paths.

    Greedy from the bottom: where two open leaves meet, a path closes and the node is clamped.

    >>> len(clamps(Tree.balanced(8))), len(clamps(Tree.chain(8))), len(clamps(Tree.star(8)))
    (4, 4, 1)
    """
    open_at: dict[Node, bool] = dict.fromkeys(range(tree.variables), True)
    found = []
    for node in tree.inner:
        count = sum(open_at[child] for child in tree.children[node])
        if count >= 2:
            found.append(node)
        open_at[node] = count == 1
    return found


def leaf_paths(tree: Tree) -> list[tuple[int, int]]:
    """The ends of a largest set of vertex-disjoint leaf-to-leaf paths, found by the same pass."""
    end: dict[Node, int | None] = {j: j for j in range(tree.variables)}
    found = []
    for node in tree.inner:
        ends = [held for child in tree.children[node] if (held := end[child]) is not None]
        if len(ends) >= 2:
            found.append((ends[0], ends[1]))
        end[node] = ends[0] if len(ends) == 1 else None
    return found
