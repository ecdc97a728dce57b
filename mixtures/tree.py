"""Rooted trees whose leaves are the variables 0..d-1."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mixtures.errors import StructureError

if TYPE_CHECKING:
    import networkx

Node = Hashable


class Tree:
    """A rooted tree: leaves are named 0..d-1, inner nodes carry any names, children keep their
    order.

    `children` maps every inner node to its children. Raises StructureError, naming the node, where
    that is no tree or where the leaves are not the variables 0..d-1.

    >>> tree = Tree({"top": [0, "pair"], "pair": [1, 2]})
    >>> tree.root, tree.variables, tree.children["pair"]
    ('top', 3, (1, 2))
    """

    def __init__(self, children: Mapping[Node, Iterable[Node]]) -> None:
        self.children: dict[Node, tuple[Node, ...]] = {
            node: tuple(below) for node, below in children.items()
        }
        self.parent = _parents(self.children)
        self.root = _root(self.children, self.parent)
        self.inner = _bottom_up(self.children, self.root)
        self.variables = _variables(self.children, self.parent)

    # -- constructors ---------------------------------------------------------------------------

    @classmethod
    def star(cls, variables: int) -> Tree:
        """One inner node above all variables: the tree of a mixture of products (CP)."""
        _check_variables(variables)
        return cls({variables: range(variables)})

    @classmethod
    def chain(cls, variables: int) -> Tree:
        """The tree of a hidden Markov model: latent d + j has the children j and d + j + 1."""
        _check_variables(variables)
        d = variables
        children: dict[Node, Sequence[Node]] = {d + j: (j, d + j + 1) for j in range(d - 1)}
        children[2 * d - 1] = (d - 1,)
        return cls(children)

    @classmethod
    def caterpillar(cls, variables: int) -> Tree:
        """The binary tree with one spine: the root splits off variable 0, the next one variable 1,
        ..

        The tree of a tensor train; inner nodes d..2d-2 from the bottom, the root last.
        """
        _check_variables(variables)
        d = variables
        if d == 1:
            return cls.star(1)
        children: dict[Node, Sequence[Node]] = {d: (d - 2, d - 1)}
        for step in range(1, d - 1):
            children[d + step] = (d - 2 - step, d + step - 1)
        return cls(children)

    @classmethod
    def balanced(cls, variables: int, arity: int = 2) -> Tree:
        """All leaves as equally deep as can be; the blocks of a node differ by at most one, larger
        first.
        """
        _check_variables(variables)
        if arity < 2:
            raise ValueError(f"arity must be at least 2, got {arity}")
        if variables == 1:
            return cls.star(1)
        return cls._by_splitting(list(range(variables)), lambda block: _halves(block, arity))

    @classmethod
    def quad(cls, height: int, width: int) -> Tree:
        """The quad tree of an image whose pixel (row, column) is variable row * width + column."""
        _check_variables(height)
        _check_variables(width)
        if height * width == 1:
            return cls.star(1)

        def split(block: Any) -> list[Any]:
            rows, columns = block
            return [(r, c) for r in _halves(rows, 2) for c in _halves(columns, 2)]

        def name(block: Any) -> int | None:
            (rows, columns) = block
            return rows[0] * width + columns[0] if len(rows) * len(columns) == 1 else None

        block = (list(range(height)), list(range(width)))
        return cls._by_splitting(block, split, name, height * width)

    @classmethod
    def random(
        cls, variables: int, *, arity: int = 2, generator: torch.Generator | None = None
    ) -> Tree:
        """A random tree: as long as more than one subtree is left, 2 to `arity` of them are
        joined.
        """
        _check_variables(variables)
        if arity < 2:
            raise ValueError(f"arity must be at least 2, got {arity}")
        if variables == 1:
            return cls.star(1)
        children: dict[Node, Sequence[Node]] = {}
        left: list[Node] = list(range(variables))
        while len(left) > 1:
            most = min(arity, len(left))
            count = int(torch.randint(2, most + 1, (), generator=generator))
            chosen = []
            for _ in range(count):
                place = int(torch.randint(len(left), (), generator=generator))
                left[place], left[-1] = left[-1], left[place]
                chosen.append(left.pop())
            node = variables + len(children)
            children[node] = chosen
            left.append(node)
        return cls(children)

    @classmethod
    def from_parents(cls, parents: Mapping[Node, Node]) -> Tree:
        """From {child: parent}; the children of a node keep the order of the mapping.

        >>> Tree.from_parents({0: "a", 1: "a"}).children
        {'a': (0, 1)}
        """
        children: dict[Node, list[Node]] = {}
        for child, parent in parents.items():
            children.setdefault(parent, []).append(child)
        return cls(children)

    @classmethod
    def from_networkx(cls, graph: networkx.DiGraph) -> Tree:
        """From a directed graph whose edges run from parent to child."""
        if not graph.is_directed():
            raise ValueError(
                "expected a directed graph with edges parent -> child, got an undirected one; "
                "Tree.from_graph takes an undirected tree over the variables"
            )
        return cls(
            {node: list(graph.successors(node)) for node in graph if graph.out_degree(node) > 0}
        )

    @classmethod
    def from_newick(cls, text: str, names: Sequence[str] | None = None) -> Tree:
        """From Newick notation; leaves are integers, or `names` lists which name is which variable.

        Branch lengths are read over; inner nodes keep their labels, unlabelled ones are named d, d
        + 1, .. from the left, bottom up.

        >>> Tree.from_newick("((0,1),2);").children
        {3: (0, 1), 4: (3, 2)}
        """
        from mixtures.newick import parse

        return cls(parse(text, names))

    def to_newick(self, names: Sequence[str] | None = None) -> str:
        """The tree in Newick notation, leaves by their `names` or numbers, inner nodes unnamed.

        Raises ValueError unless there are as many different names as variables.

        >>> Tree.balanced(4).to_newick("ABCD")
        '((A,B),(C,D));'
        """
        from mixtures.newick import text

        return text(self, names)

    @classmethod
    def from_graph(cls, graph: networkx.Graph, root: int | None = None) -> Tree:
        """From an undirected tree over the variables 0..d-1: each gets a latent of its own, d + j.

        Variable j is the first child of latent d + j; latents are joined as the variables are, and
        the tree hangs from the latent of `root` (default: a centre of the graph).
        """
        import networkx

        d = graph.number_of_nodes()
        if set(graph.nodes) != set(range(d)):
            raise StructureError(f"the graph's nodes must be the variables 0..{d - 1}")
        if d == 0 or graph.number_of_edges() != d - 1 or not networkx.is_connected(graph):
            raise StructureError(
                f"expected an undirected tree over {d} variables ({d - 1} edges, connected), got "
                f"{graph.number_of_edges()} edges"
            )
        top = min(networkx.center(graph)) if root is None else root
        if top not in graph:
            raise ValueError(f"root must be one of the variables 0..{d - 1}, got {root!r}")
        below: dict[Node, list[Node]] = {d + j: [j] for j in range(d)}
        for parent, child in networkx.bfs_edges(graph, top):
            below[d + parent].append(d + child)
        return cls(below)

    @classmethod
    def _by_splitting(
        cls,
        whole: Any,
        split: Any,
        name: Any = lambda block: block[0] if len(block) == 1 else None,
        variables: int | None = None,
    ) -> Tree:
        """Split blocks level by level; inner nodes are numbered from the deepest level up."""
        d = len(whole) if variables is None else variables
        levels, level = [], [whole]
        while level:
            levels.append(level)
            level = [part for block in level if name(block) is None for part in split(block)]
        children: dict[Node, Sequence[Node]] = {}
        below: list[Node] = []
        for level in reversed(levels):
            here: list[Node] = []
            start = 0
            for block in level:
                leaf = name(block)
                if leaf is not None:
                    here.append(leaf)
                    continue
                count = len(split(block))
                node = d + len(children)
                children[node] = below[start : start + count]
                start += count
                here.append(node)
            below = here
        return cls(children)

    # -- queries --------------------------------------------------------------------------------

    @property
    def leaves(self) -> tuple[int, ...]:
        """The variables in the order a walk from left to right meets them."""
        found: list[Any] = []
        stack = [self.root]
        while stack:
            node = stack.pop()
            below = self.children.get(node)
            if below is None:
                found.append(node)
            else:
                stack.extend(reversed(below))
        return tuple(found)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, the variables first, then inner nodes with children before parents."""
        return (*range(self.variables), *self.inner)

    @property
    def depth(self) -> int:
        """The number of edges from the root to the deepest leaf."""
        height: dict[Node, int] = {}
        for node in self.inner:
            height[node] = 1 + max(height.get(child, 0) for child in self.children[node])
        return height[self.root]

    def to_networkx(self) -> networkx.DiGraph:
        """A directed graph with edges parent -> child, in the children's order."""
        import networkx

        graph = networkx.DiGraph()
        graph.add_nodes_from(self.nodes)
        for node in reversed(self.inner):
            graph.add_edges_from((node, child) for child in self.children[node])
        return graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.children == other.children

    def __hash__(self) -> int:
        return hash((self.root, self.variables, len(self.inner)))

    def __repr__(self) -> str:
        return (
            f"Tree({self.variables} variables, {len(self.inner)} inner nodes, depth {self.depth})"
        )


def _parents(children: Mapping[Node, tuple[Node, ...]]) -> dict[Node, Node]:
    parent: dict[Node, Node] = {}
    for node, below in children.items():
        for child in below:
            if child in parent:
                raise StructureError(
                    f"node {child!r} has two parents, {parent[child]!r} and {node!r}: not a tree"
                )
            parent[child] = node
    return parent


def _root(children: Mapping[Node, tuple[Node, ...]], parent: Mapping[Node, Node]) -> Node:
    if not children:
        raise StructureError("a tree needs at least one inner node")
    roots = [node for node in children if node not in parent]
    if not roots:
        raise StructureError(f"there is a cycle through node {next(iter(children))!r}: no root")
    if len(roots) > 1:
        raise StructureError(
            f"nodes {roots[0]!r} and {roots[1]!r} both have no parent: a tree has one root"
        )
    return roots[0]


def _bottom_up(children: Mapping[Node, tuple[Node, ...]], root: Node) -> tuple[Node, ...]:
    """The inner nodes, children before parents, from the left; a cycle never reaches the root."""
    order: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(child for child in children[node] if child in children)
    if len(order) < len(children):
        lost = next(node for node in children if node not in set(order))
        raise StructureError(f"there is a cycle through node {lost!r}, out of reach of the root")
    return tuple(reversed(order))


def _variables(children: Mapping[Node, tuple[Node, ...]], parent: Mapping[Node, Node]) -> int:
    empty = [node for node, below in children.items() if not below]
    if empty:
        raise StructureError(f"inner node {empty[0]!r} has no children")
    leaves = {node for node in parent if node not in children}
    for leaf in leaves:
        if isinstance(leaf, bool) or not isinstance(leaf, int) or not 0 <= leaf < len(leaves):
            numbers = {other for other in leaves if type(other) is int}
            missing = next(j for j in range(len(leaves)) if j not in numbers)
            raise StructureError(
                f"leaf {leaf!r} is none of the variables 0..{len(leaves) - 1}, and variable "
                f"{missing} is missing: the leaves of a tree are its variables"
            )
    return len(leaves)


def _check_variables(variables: int) -> None:
    if variables < 1:
        raise ValueError(f"expected at least one variable, got {variables}")


def _halves(block: list[int], parts: int) -> list[list[int]]:
    """Cut into at most `parts` consecutive pieces whose sizes differ by at most one, larger
    first.
    """
    parts = min(parts, len(block))
    size, more = divmod(len(block), parts)
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + size + (part < more))
    return [block[a:b] for a, b in itertools.pairwise(ends)]
