"""Tree models taken apart into a tree with tables over a field, and put together again."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor
from transforms.fields import Field

Model = TypeVar("Model", bound=TreeTensor)


@dataclass(frozen=True, eq=False)
class Form:
    """A tree, a table for every node (None: an identity) and its sizes (rows, columns).

    The same tensor object at several nodes is one tied table. At the nodes in `joint` columns are
    the joint states of the children, last fastest; elsewhere all children are in the node's state.
    """

    tree: Tree
    tables: Mapping[Node, Tensor | None]
    sizes: Mapping[Node, tuple[int, int]]
    joint: frozenset[Node] = field(default_factory=frozenset)


def take_apart(model: TreeTensor, over: Field) -> Form:
    """The form of a tree model, its stored numbers read as elements of the field."""
    arrays = [over.read(array) for array in model.arrays]
    held: dict[tuple[int, int], Tensor] = {}
    tables: dict[Node, Tensor | None] = {}
    for node in model.tree.nodes:
        place = model.place(node)
        if place is not None and place not in held:
            held[place] = arrays[place[0]][place[1]]
        tables[node] = None if place is None else held[place]
    sizes = {node: (model.rows(node), model.states(node)) for node in model.tree.nodes}
    return Form(model.tree, tables, sizes, model.joint)


def put_together(kind: type[Model], form: Form, over: Field, like: CoefficientTensor) -> Model:
    """A model of a class from a form; tables take the type and device of `like`."""
    held = {id(table): table for table in form.tables.values() if table is not None}
    keys: dict[Node, Hashable] = {
        node: id(table) for node, table in form.tables.items() if table is not None
    }
    stacks: list[Tensor] = []

    def values(members: Sequence[Hashable], sizes: tuple[int, int]) -> Tensor:
        stack = torch.stack([held[key] for key in members])  # type: ignore[index]
        assert stack.shape[1:] == sizes
        stacks.append(stack)
        return over.shown(stack, like)

    model = kind.__new__(kind)
    TreeTensor.__init__(model, form.tree, form.sizes, keys, values, form.joint)
    over.install(model, stacks)
    return model


def normalised(form: Form, over: Field, changed: Collection[Node] | None = None) -> Form:
    """The same tensor with tables whose rows sum to one.

    Mass moves up, from a row to the parent's column. changed: the nodes whose rows may not sum to
    one (default: all); what has none of them at or below it is kept bit for bit. Ties survive
    where the masses below are tied, too. Over a prime field the root keeps its mass. Cost: one
    pass over the tables.
    """
    tables: dict[Node, Tensor | None] = dict(form.tables)
    mass: dict[Node, Tensor | None] = {}
    done: dict[Hashable, tuple[Tensor, Tensor]] = {}
    for node in form.tree.nodes:
        below = [mass[child] for child in form.tree.children.get(node, ())]
        table = tables[node]
        if changed is not None and node not in changed and not any(p is not None for p in below):
            mass[node] = None
            continue
        if table is None:
            mass[node] = _product(over, [part for part in below if part is not None])
            continue
        key = (id(table), node in form.joint, *map(id, below), form.sizes[node])
        if key not in done:
            done[key] = over.rows(over.multiply(table, _factor(form, node, over, below)))
        tables[node], mass[node] = done[key]
    top = tables[form.tree.root]
    total = mass[form.tree.root]
    if top is None or total is None:
        return form
    share = over.divide(total, over.whole(total))
    tables[form.tree.root] = over.multiply(top, share[:, None])
    return Form(form.tree, tables, form.sizes, form.joint)


def _factor(form: Form, node: Node, over: Field, below: Sequence[Tensor | None]) -> Tensor:
    """The mass that the children of a node give to each of its columns."""
    if node not in form.joint:
        found = _product(over, [part for part in below if part is not None])
        return over.ones(1) if found is None else found
    factor = over.ones(1)
    for child, part in zip(form.tree.children[node], below, strict=True):
        wide = over.ones(form.sizes[child][0]) if part is None else part
        factor = over.multiply(factor[:, None], wide).reshape(-1)
    return factor


def _product(over: Field, factors: Sequence[Tensor]) -> Tensor | None:
    """The product of vectors; None of none."""
    return reduce(over.multiply, factors) if factors else None
