"""Hierarchical Tucker tensors: a table over the joint state of the children at every inner node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixtures.choices import component_sizes, positive
from mixtures.errors import StructureError
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor, drawn, given, known_nodes


class Diagonal(NamedTuple):
    """A table (b_v, r) for a node whose children, all with bonds r, are in one and the same state.

    It stands for the table (b_v, r^m) that is zero off the diagonal, and stores none of the zeros.
    """

    table: Any


class HT(TreeTensor):
    """A non-negative hierarchical Tucker tensor with normalised tables; on a caterpillar a tensor
    train.

    Every edge v - parent is a bond of dimension b_v (`states`: one number, or {node: b}, leaves
    included); the root's is 1. Inner node v: (b_v, product of its children's bonds, in their order,
    the last fastest); leaf j: (b_j, k_j). emission=False: leaf bonds are components, without a
    table.

    >>> HT(Tree.balanced(4), components=2, states=3).table(4).shape
    torch.Size([3, 9])
    """

    def __init__(
        self,
        tree: Tree,
        components: int | Sequence[int],
        states: int | Mapping[Node, int],
        *,
        emission: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        k = component_sizes(tree.variables, components)
        bonds = _bonds(tree, k, states, emission)
        sizes = ht_sizes(tree, k, bonds)
        keys = {node: node for node in tree.nodes if emission or node in tree.children}
        super().__init__(tree, sizes, keys, drawn(generator, dtype, device), set(tree.inner))

    @classmethod
    def from_tables(cls, tree: Tree, tables: Mapping[Node, Any]) -> HT:
        """From {node: table}; a leaf without one is an identity; `Diagonal(table)` stores a
        diagonal.

        The same table object given to several nodes is one tied table. Raises StructureError and
        ValueError naming the node that does not fit.
        """
        known_nodes(tree, tables)
        diagonal = {node for node, table in tables.items() if isinstance(table, Diagonal)}
        plain = {
            node: table.table if isinstance(table, Diagonal) else table
            for node, table in tables.items()
        }
        held, keys, values = given(plain)
        model = cls.__new__(cls)
        sizes = _sizes_given(tree, held, diagonal)
        TreeTensor.__init__(model, tree, sizes, keys, values, set(tree.inner) - diagonal)
        return model

    def bond(self, node: Node) -> int:
        """b_v, the dimension of the edge above a node."""
        return self.rows(node)


def ht_sizes(
    tree: Tree, components: Sequence[int], bonds: Mapping[Node, int]
) -> dict[Node, tuple[int, int]]:
    """(bond, product of the children's bonds) of inner nodes, (bond, components) of leaves."""
    sizes: dict[Node, tuple[int, int]] = {j: (bonds[j], k) for j, k in enumerate(components)}
    for node in tree.inner:
        columns = 1
        for child in tree.children[node]:
            columns *= bonds[child]
        sizes[node] = (bonds[node], columns)
    return sizes


def _bonds(
    tree: Tree, components: Sequence[int], states: int | Mapping[Node, int], emission: bool
) -> dict[Node, int]:
    bonds: dict[Node, int] = {}
    for node in tree.nodes:
        leaf = node not in tree.children
        if leaf and not emission:
            bonds[node] = components[node]  # type: ignore[call-overload]
        elif node == tree.root:
            bonds[node] = 1
        elif isinstance(states, int):
            bonds[node] = positive(states, "states")
        elif node in states:
            bonds[node] = positive(states[node], f"states of node {node!r}")
        else:
            raise StructureError(f"the bond dimension (states) is missing for node {node!r}")
    return bonds


def _sizes_given(
    tree: Tree, tables: Mapping[Node, Tensor], diagonal: set[Node]
) -> dict[Node, tuple[int, int]]:
    """The sizes that given tables have, checked against the tree."""
    sizes: dict[Node, tuple[int, int]] = {}
    for node in tree.inner:
        if node not in tables:
            raise StructureError(f"inner node {node!r} needs a table")
        sizes[node] = (tables[node].shape[0], tables[node].shape[1])
    if sizes[tree.root][0] != 1:
        raise ValueError(
            f"the table of the root {tree.root!r} must have 1 row, got {sizes[tree.root][0]}"
        )
    leaves = range(tree.variables)
    sizes.update((j, (tables[j].shape[0], tables[j].shape[1])) for j in leaves if j in tables)
    for leaf in leaves:
        if leaf not in tables:
            sizes[leaf] = _identity(tree, leaf, sizes, diagonal)
    for node in tree.inner:
        _check_columns(tree, node, sizes, node in diagonal)
    return sizes


def _identity(
    tree: Tree, leaf: int, sizes: Mapping[Node, tuple[int, int]], diagonal: set[Node]
) -> tuple[int, int]:
    """The bond of a leaf without a table: what is left of its parent's columns."""
    parent = tree.parent[leaf]
    columns = sizes[parent][1]
    if parent in diagonal:
        return columns, columns
    others = [child for child in tree.children[parent] if child != leaf]
    if any(child not in sizes for child in others):
        raise StructureError(
            f"the number of components of variable {leaf} is not determined: give its table "
            f"(an identity if need be)"
        )
    for child in others:
        columns, rest = divmod(columns, sizes[child][0])
        if rest:
            raise ValueError(
                f"the columns of node {parent!r} do not divide into its children's bonds"
            )
    return columns, columns


def _check_columns(
    tree: Tree, node: Node, sizes: Mapping[Node, tuple[int, int]], diagonal: bool
) -> None:
    bonds = [sizes[child][0] for child in tree.children[node]]
    columns = sizes[node][1]
    if diagonal:
        if set(bonds) != {columns}:
            raise ValueError(
                f"the diagonal table of node {node!r} has {columns} columns, but its children's "
                f"bonds are {bonds}"
            )
        return
    product = 1
    for bond in bonds:
        product *= bond
    if columns != product:
        raise ValueError(
            f"the table of node {node!r} must have {product} columns, the product of its "
            f"children's bonds {bonds}, got {columns}"
        )
