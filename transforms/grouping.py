"""New latents made of old ones: a tree whose latents stand for joint states of groups of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from torch import Tensor

from mixtures import ConversionError
from mixtures.tree import Node, Tree
from transforms.factors import Factor, Factors, Label, as_matrix, contracted, diagonal
from transforms.fields import Field
from transforms.forms import Form, normalised

Groups = Mapping[Node, tuple[Label, ...]]


@dataclass(frozen=True, eq=False)
class Grouping:
    """A plan: the latent t of `tree` stands for the joint state of the labels groups[t].

    It represents the source's tensor if every label's latents are connected and every factor (with
    the labels that are in no group summed out) fits between two neighbours: a tree decomposition.
    Nothing is computed before `form`; `size` says what it will take.
    """

    source: Factors
    tree: Tree
    groups: Groups
    work: Mapping[Node, list[Factor]]  # what is multiplied into the table of each node

    @property
    def size(self) -> int:
        """Edges of the target at most: entries of its tables, and factors of its products."""
        total = 0
        for node in self.tree.nodes:
            rows, columns = self.rows(node), self.columns(node)
            total += rows if self._copies(node) else rows * columns
            children = self.tree.children.get(node, ())
            total += columns * len(children) if len(children) > 1 else 0
        return total

    @property
    def states(self) -> int:
        """The largest number of states of a latent."""
        return max(self.columns(node) for node in self.tree.inner)

    def rows(self, node: Node) -> int:
        """The number of joint states of the latent above a node."""
        return 1 if node == self.tree.root else self._counts[self.tree.parent[node]]

    def columns(self, node: Node) -> int:
        """The number of joint states of a latent, or the components of a variable."""
        return self._counts[node]

    @cached_property
    def _counts(self) -> dict[Node, int]:
        sizes = self.source.sizes
        return {node: prod(sizes[x] for x in self._own(node)) for node in self.tree.nodes}

    def form(self, over: Field) -> Form:
        """The tables over a field, rows summing to one."""
        tables: dict[Node, Tensor | None] = {
            node: None if self._copies(node) else self._table(node, over)
            for node in self.tree.nodes
        }
        sizes = {node: (self.rows(node), self.columns(node)) for node in self.tree.nodes}
        return normalised(Form(self.tree, tables, sizes), over)

    def _above(self, node: Node) -> tuple[Label, ...]:
        return () if node == self.tree.root else self.groups[self.tree.parent[node]]

    def _own(self, node: Node) -> tuple[Label, ...]:
        return self.groups[node] if node in self.tree.children else (node,)

    def _copies(self, node: Node) -> bool:
        """Whether a node repeats the state of its parent, with nothing to multiply."""
        same = node != self.tree.root and self._above(node) == self._own(node)
        return same and not self.work.get(node)

    def _table(self, node: Node, over: Field) -> Tensor:
        """What is multiplied in, where the labels that both ends have agree."""
        above, own = self._above(node), self._own(node)
        fresh = [label for label in own if label not in above]
        values = contracted(over, self.work.get(node, []), (*above, *fresh), self.source.sizes)
        shared = [label for label in own if label in above]
        values = diagonal(over, values, [above.index(label) for label in shared])
        axes = [*above, *fresh, *(("copy", label) for label in shared)]
        wanted = [("copy", label) if label in shared else label for label in own]
        order = [*range(len(above)), *(axes.index(label) for label in wanted)]
        return as_matrix(values.permute(order), len(above))


def grouping(source: Factors, tree: Tree, groups: Groups) -> Grouping:
    """The plan for given groups; ConversionError where they are no tree decomposition."""
    top = _tops(tree, groups)
    levels = {tree.root: 0}
    for node in reversed(tree.inner):
        levels.update((child, levels[node] + 1) for child in tree.children[node])
    sets = {node: frozenset(group) for node, group in groups.items()}
    work: dict[Node, list[Factor]] = {}
    for cluster in _clusters(source, top):
        node = _place(cluster, source, tree, top, levels)
        labels = {label for factor in cluster for label in factor.labels if label in top}
        reach = [sets[v] for v in (node, tree.parent.get(node)) if v in sets]
        labels = labels.difference(*reach)
        if labels:
            raise ConversionError(
                f"the states {sorted(map(str, labels))[:5]} do not meet the table of node "
                f"{node!r}: the groups are no tree decomposition"
            )
        work.setdefault(node, []).extend(cluster)
    return Grouping(source, tree, groups, work)


def _tops(tree: Tree, groups: Groups) -> dict[Label, Node]:
    """The highest latent of every label; its latents are connected."""
    top: dict[Label, Node] = {}
    for node in reversed(tree.inner):
        above = () if node == tree.root else groups[tree.parent[node]]
        for label in groups[node]:
            if label not in above:
                if label in top:
                    raise ConversionError(f"the latents of state {label!r} are not connected")
                top[label] = node
    for leaf in range(tree.variables):
        if leaf in top and leaf not in groups[tree.parent[leaf]]:
            raise ConversionError(f"variable {leaf} is in a group, but not in that of its parent")
    return top


def _clusters(source: Factors, top: Mapping[Label, Node]) -> list[list[Factor]]:
    """Factors joined by labels that are in no group, and so are summed out together."""
    owner: dict[Label, int] = {}
    leader = list(range(len(source.factors)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for number, factor in enumerate(source.factors):
        for label in factor.labels:
            if label not in top and not _is_variable(label, source):
                leader[find(number)] = find(owner.setdefault(label, number))
    found: dict[int, list[Factor]] = {}
    for number, factor in enumerate(source.factors):
        found.setdefault(find(number), []).append(factor)
    return list(found.values())


def _place(
    cluster: Sequence[Factor],
    source: Factors,
    tree: Tree,
    top: Mapping[Label, Node],
    levels: Mapping[Node, int],
) -> Node:
    """The node whose table a cluster is multiplied into: its variable, else its lowest label's."""
    labels = {label for factor in cluster for label in factor.labels}
    variables = [x for x in labels if _is_variable(x, source) and x not in top]
    if len(variables) > 1:
        raise ConversionError(f"the groups do not separate the variables {variables[:5]}")
    if variables:
        return variables[0]
    heads = [top[label] for label in labels if label in top]
    return max(heads, key=levels.__getitem__, default=tree.root)


def _is_variable(label: Label, source: Factors) -> bool:
    return isinstance(label, int) and 0 <= label < source.variables
