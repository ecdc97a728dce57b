"""Latent tree models: diagonal hierarchical Tucker tensors on any tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mixtures.choices import component_sizes, state_sizes
from mixtures.errors import StructureError
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor, drawn, given, known_nodes


class LTM(TreeTensor):
    """A latent tree model: every inner node of the tree is a latent variable, every edge a
    conditional table.

        W[i] = sum over z of T_root[0, z_root] prod_v T_v[z_parent(v), z_v] prod_j T_j[z_parent(j),
        i_j]

    tree: a `Tree`; components: k or one per variable; states: r or {latent: r}. Tables are random,
    rows uniform on the simplex. emission=False: components are the states of the leaf's parent, no
    table. Raises StructureError where the numbers of states do not fit the tree.

    >>> W = LTM(Tree.balanced(4), components=2, states=3)
    >>> W.shape, W.size
    ((2, 2, 2, 2), 63)
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
        r = state_sizes(tree, states)
        sizes = ltm_sizes(tree, k, r)
        keys = {node: node for node in tree.nodes if emission or node in tree.children}
        if not emission:
            check_emission(tree, sizes)
        super().__init__(tree, sizes, keys, drawn(generator, dtype, device))

    @classmethod
    def from_tables(cls, tree: Tree, tables: Mapping[Node, Any]) -> LTM:
        """From {node: table}: root (1, r), latent (r_parent, r), leaf (r_parent, k_j); rows sum to
        one.

        The same table object given to several nodes is one tied table; None, or no table for a
        leaf, is an identity. Raises StructureError and ValueError naming the node that does not
        fit.

        >>> half = torch.tensor([[0.5, 0.5]])
        >>> leaf = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
        >>> LTM.from_tables(Tree.star(2), {2: half, 0: leaf, 1: leaf}).dense()
        tensor([[0.6250, 0.1250],
                [0.1250, 0.1250]])
        """
        known_nodes(tree, tables)
        held, keys, values = given(tables)
        model = cls.__new__(cls)
        sizes = _sizes_given(tree, held)
        TreeTensor.__init__(model, tree, sizes, keys, values)
        return model


def ltm_sizes(
    tree: Tree, components: Sequence[int], states: Mapping[Node, int]
) -> dict[Node, tuple[int, int]]:
    """(rows, columns) of every table: the parent's states, and the node's own states or
    components.
    """
    sizes: dict[Node, tuple[int, int]] = {tree.root: (1, states[tree.root])}
    for node in tree.inner:
        for child in tree.children[node]:
            own = states[child] if child in tree.children else components[child]  # type: ignore[call-overload]
            sizes[child] = (states[node], own)
    return sizes


def check_emission(tree: Tree, sizes: Mapping[Node, tuple[int, int]]) -> None:
    """Without emission tables a leaf has as many components as its parent has states."""
    for leaf in range(tree.variables):
        rows, columns = sizes[leaf]
        if rows != columns:
            raise StructureError(
                f"without emission tables variable {leaf} needs as many components as its parent "
                f"{tree.parent[leaf]!r} has states ({rows}), got {columns}"
            )


def _sizes_given(tree: Tree, tables: Mapping[Node, torch.Tensor]) -> dict[Node, tuple[int, int]]:
    """The sizes that given tables have, checked against the tree from the root down."""
    if tree.root not in tables:
        raise StructureError(f"the root {tree.root!r} needs a table of shape (1, r)")
    sizes: dict[Node, tuple[int, int]] = {}
    above: dict[Node, int] = {tree.root: 1}
    for node in (*reversed(tree.inner), *range(tree.variables)):
        rows = above[node]
        shape = tuple(tables[node].shape) if node in tables else (rows, rows)
        if shape[0] != rows:
            what = "1 row" if node == tree.root else f"{rows} rows, its parent's states"
            raise ValueError(f"the table of node {node!r} must have {what}, got shape {shape}")
        sizes[node] = (shape[0], shape[1])
        above.update((child, shape[1]) for child in tree.children.get(node, ()))
    return sizes
