"""Tree tensor networks: a tree, a table per node, and the circuit they make."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import numpy
import torch
from torch import Tensor
from typing_extensions import Self

from mixtures import dense
from mixtures.circuit import Builder, Circuit, Integers
from mixtures.coefficients import CoefficientTensor
from mixtures.errors import StructureError
from mixtures.tables import Table, check_rows, random_rows
from mixtures.tree import Node, Tree

LONG = 8  # a run of at least so many equal steps becomes one layer

Values = Callable[[Sequence[Hashable], tuple[int, int]], Tensor]


class TreeTensor(CoefficientTensor):
    """A tensor on a tree: node v has a table (out_v, in_v), in_v the states its children combine
    to.

    tables: {node: (rows, columns)} sizes for every node, leaves included; `keys` {node: key} says
    which nodes share a table (equal keys) and which have none (absent: an identity); `values(keys,
    sizes)` gives the tables (len(keys), rows, columns) of one shape. At the nodes in `joint` the
    columns are the joint states of the children (last fastest), elsewhere all children are in the
    node's state.
    """

    def __init__(
        self,
        tree: Tree,
        sizes: Mapping[Node, tuple[int, int]],
        keys: Mapping[Node, Hashable],
        values: Values,
        joint: frozenset[Node] | set[Node] = frozenset(),
    ) -> None:
        plan = _Plan(tree, sizes, keys, joint)
        stacks = []
        for shape, members in plan.members.items():
            stacks.append(Table(values(members, shape)))
        super().__init__(plan.circuit, stacks)
        self.tree = tree
        self.joint = frozenset(joint)
        self._places: dict[Node, tuple[int, int]] = plan.places
        self._sizes = dict(sizes)

    @classmethod
    def _adopt(cls, other: TreeTensor) -> Self:
        """The same tensor, tree and tables as a model of this class."""
        model = cls.__new__(cls)
        CoefficientTensor.__init__(model, other.circuit, list(other.tables))
        model.tree, model.joint = other.tree, other.joint
        model._places, model._sizes = other._places, other._sizes
        return model

    def table(self, node: Node) -> Tensor | None:
        """The table of a node, (rows, columns); None for an identity. Raises ValueError for no
        node.
        """
        if node not in self._sizes:
            raise ValueError(f"there is no node {node!r} in {self.tree!r}")
        place = self._places.get(node)
        return None if place is None else self.arrays[place[0]][place[1]]

    def place(self, node: Node) -> tuple[int, int] | None:
        """Which of `tables`, and which entry of it, a node uses; None for an identity."""
        return self._places.get(node)

    def rows(self, node: Node) -> int:
        """The states a node's table is conditioned on."""
        return self._sizes[node][0]

    def states(self, node: Node) -> int:
        """The states of an inner node: what the columns of its table stand for."""
        return self._sizes[node][1]

    def _dense(self) -> Tensor:
        tables = {node: self.table(node) for node in self.tree.nodes}
        return dense.of_tree(self.tree, tables, self._sizes, self.joint, self.shape)

    def _config(self) -> dict[str, Any]:
        return {
            "children": [[node, list(below)] for node, below in self.tree.children.items()],
            "sizes": [[node, *size] for node, size in self._sizes.items()],
            "places": [[node, *place] for node, place in self._places.items()],
            "joint": [node for node in self.tree.inner if node in self.joint],
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any], tables: Sequence[Table]) -> Self:
        tree = Tree(dict(config["children"]))
        sizes = {node: (rows, columns) for node, rows, columns in config["sizes"]}
        places = {node: (stack, slot) for node, stack, slot in config["places"]}

        def values(members: Sequence[Hashable], size: tuple[int, int]) -> Tensor:
            del size
            places = cast("Sequence[tuple[int, int]]", members)
            return torch.stack([tables[stack].values[slot] for stack, slot in places])

        model = cls.__new__(cls)
        TreeTensor.__init__(model, tree, sizes, places, values, set(config["joint"]))
        if model._places != places:
            raise ValueError("the tables are not in the order in which the tree uses them")
        return model


def drawn(
    generator: torch.Generator | None,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Values:
    """Random tables, rows uniform on the simplex."""

    def values(keys: Sequence[Hashable], sizes: tuple[int, int]) -> Tensor:
        return random_rows((len(keys), *sizes), generator=generator, dtype=dtype, device=device)

    return values


def given(tables: Mapping[Node, Any]) -> tuple[dict[Node, Tensor], dict[Node, Hashable], Values]:
    """Tables as tensors, keys by identity of the objects given, and how to look values up."""
    tensors: dict[int, Tensor] = {}
    keys: dict[Node, Hashable] = {}
    for node, table in tables.items():
        if table is None:
            continue
        if id(table) not in tensors:
            tensors[id(table)] = torch.as_tensor(table)
        keys[node] = id(table)
    held = {node: tensors[key] for node, key in keys.items()}  # type: ignore[index]
    dtypes = {tensor.dtype for tensor in held.values()}
    if len(dtypes) > 1:
        raise ValueError(f"all tables must be of one type, got {sorted(map(str, dtypes))}")
    for node, tensor in held.items():
        if tensor.ndim != 2:
            raise ValueError(
                f"the table of node {node!r} must be a matrix (rows, columns), "
                f"got shape {tuple(tensor.shape)}"
            )
    keep = dict(tables)  # the ids stay valid as long as the objects live

    def values(members: Sequence[Hashable], sizes: tuple[int, int]) -> Tensor:
        del sizes
        assert keep is not None
        stack = torch.stack([tensors[key] for key in members])  # type: ignore[index]
        _check_members(stack, members, keys)
        return stack

    return held, keys, values


def _check_members(
    stack: Tensor, members: Sequence[Hashable], keys: Mapping[Node, Hashable]
) -> None:
    """Check the rows of all tables at once, and name the node where one is wrong."""
    try:
        check_rows(stack)
    except ValueError:
        for tensor, key in zip(stack, members, strict=True):
            node = next(node for node, own in keys.items() if own == key)
            try:
                check_rows(tensor)
            except ValueError as error:
                raise ValueError(f"the table of node {node!r}: {error}") from None
        raise


def known_nodes(tree: Tree, tables: Mapping[Node, Any], *, every: bool = False) -> None:
    """Raise StructureError for a table of no node, and where `every` node needs one for a missing
    one.
    """
    nodes = set(tree.nodes)
    for node in tables:
        if node not in nodes:
            raise StructureError(f"there is a table for {node!r}, which is no node of {tree!r}")
    if every:
        for node in tree.nodes:
            if node not in tables:
                raise StructureError(f"there is no table for node {node!r}")


class _Plan:
    """Groups the nodes of a tree into layers and numbers the tables in the order they are used."""

    def __init__(
        self,
        tree: Tree,
        sizes: Mapping[Node, tuple[int, int]],
        keys: Mapping[Node, Hashable],
        joint: frozenset[Node] | set[Node],
    ) -> None:
        self.tree, self.sizes, self.keys, self.joint = tree, sizes, keys, joint
        self.members: dict[tuple[int, int], list[Hashable]] = {}  # shape -> keys, slot by slot
        self.places: dict[Node, tuple[int, int]] = {}
        self._slots: dict[tuple[tuple[int, int], Hashable], tuple[int, int]] = {}
        self._stack: dict[tuple[int, int], int] = {}
        self._made: dict[Node, int] = {}
        components = [sizes[j][1] for j in range(tree.variables)]
        self.builder = Builder(components)
        self._leaves()
        for runs, carry in self._groups():
            self._layer(runs, carry)
        self.circuit: Circuit = self.builder.build(self._made[tree.root])

    def _place(self, node: Node) -> None:
        if node not in self.keys:
            return
        shape, key = self.sizes[node], self.keys[node]
        found = self._slots.get((shape, key))
        if found is None:
            members = self.members.setdefault(shape, [])
            stack = self._stack.setdefault(shape, len(self._stack))
            found = self._slots[shape, key] = (stack, len(members))
            members.append(key)
        self.places[node] = found

    def _leaves(self) -> None:
        """Layers of leaf tables, in the order of the tree; a leaf without one is its input."""
        groups: dict[tuple[int, int], list[int]] = {}
        for leaf in self.tree.leaves:
            if leaf in self.keys:
                groups.setdefault(self.sizes[leaf], []).append(leaf)
            else:
                self._made[leaf] = self.builder.input(leaf)
        for (out, inside), leaves in groups.items():
            for leaf in leaves:
                self._place(leaf)
            children = numpy.array([self.builder.input(leaf) for leaf in leaves]).reshape(1, 1, -1)
            table, slots = self._tables([leaves])
            made = self.builder.layer("product", children, [inside], out, table, slots)
            self._made.update(zip(leaves, made[0].tolist(), strict=True))

    def _groups(self) -> list[tuple[list[list[Node]], int | None]]:
        """Runs of nodes (bottom to top) of one kind, length and level, level by level."""
        children, inner = self.tree.children, self.tree.children
        floor = 1 if any(leaf in self.keys for leaf in range(self.tree.variables)) else 0
        signature: dict[Node, Hashable] = {}
        run_of: dict[Node, list[Node]] = {}
        runs: list[list[Node]] = []
        for node in self.tree.inner:
            below = [place for place, child in enumerate(children[node]) if child in inner]
            carry = below[0] if len(below) == 1 else None
            signature[node] = self._signature(node, carry)
            follows = None if carry is None else children[node][carry]
            if follows is not None and signature[follows] == signature[node]:
                run = run_of[follows]
                run.append(node)
            else:
                run = [node]
                runs.append(run)
            run_of[node] = run
        cut = [part for run in runs for part in ([run] if len(run) >= LONG else [[v] for v in run])]
        level: dict[Node, int] = {}
        groups: dict[Hashable, list[list[Node]]] = {}
        for run in self._in_order(cut):
            height = 1 + max((level.get(child, floor) for child in children[run[0]]), default=floor)
            level.update((node, height) for node in run)
            groups.setdefault((height, signature[run[0]], len(run)), []).append(run)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])  # type: ignore[index]
        return [(members, self._carry(members[0])) for _, members in ordered]

    def _in_order(self, runs: list[list[Node]]) -> list[list[Node]]:
        """Runs by the place of their lowest node: children before parents, from the left."""
        place = {node: number for number, node in enumerate(self.tree.inner)}
        return sorted(runs, key=lambda run: place[run[0]])

    def _signature(self, node: Node, carry: int | None) -> Hashable:
        below = self.tree.children[node]
        joint = node in self.joint and len(below) > 1
        widths = tuple(self.sizes[child][0] for child in below) if joint else len(below)
        return (self.sizes[node], node in self.keys, joint, widths, carry)

    def _carry(self, run: Sequence[Node]) -> int | None:
        if len(run) == 1:
            return None
        return self.tree.children[run[1]].index(run[0])

    def _layer(self, runs: list[list[Node]], carry: int | None) -> None:
        """One layer: L steps (a run from the bottom up) of N parallel runs."""
        first = runs[0][0]
        below = self.tree.children[first]
        joint = first in self.joint and len(below) > 1
        steps = [[run[step] for run in runs] for step in range(len(runs[0]))]
        for step in steps:
            for node in step:
                self._place(node)
        made, sizes = self._made, self.sizes
        children = numpy.array(
            [
                [[made.get(self.tree.children[node][place], 0) for node in step] for step in steps]
                for place in range(len(below))
            ],
            dtype=numpy.int64,
        )
        widths = [sizes[child][0] for child in below]
        table, slots = self._tables(steps)
        nodes = self.builder.layer(
            "outer" if joint else "product", children, widths, sizes[first][0], table, slots,
            carry=carry, identity=table is None,
        )  # fmt: skip
        for number, (step, ids) in enumerate(zip(steps, nodes.tolist(), strict=True)):
            for position, (node, made_node) in enumerate(zip(step, ids, strict=True)):
                made[node] = made_node
                self.builder.name(node, number, position)

    def _tables(self, steps: Sequence[Sequence[Node]]) -> tuple[int | None, Integers | None]:
        first = self.places.get(steps[0][0])
        if first is None:
            return None, None
        slots = numpy.array([[self.places[node][1] for node in step] for step in steps])
        return first[0], slots.astype(numpy.int64)
