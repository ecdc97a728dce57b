"""Products of tables with named axes, and their sums over some of the names, over any field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import torch
from torch import Tensor

from mixtures.tree import Node
from transforms.fields import Field
from transforms.forms import Form

Label = Hashable


@dataclass(frozen=True, eq=False)
class Factor:
    """A table, one label per axis."""

    labels: tuple[Label, ...]
    values: Tensor

    def along(self, labels: Sequence[Label]) -> Tensor:
        """The values with axes for `labels`, of length one where the factor has none."""
        places = [self.labels.index(label) for label in labels if label in self.labels]
        shape = [
            self.values.shape[self.labels.index(label)] if label in self.labels else 1
            for label in labels
        ]
        return self.values.permute(places).reshape(shape)


@dataclass(frozen=True, eq=False)
class Factors:
    """A tensor as a sum of products of factors over labels; labels 0..d-1 are its variables."""

    factors: list[Factor]
    sizes: dict[Label, int]
    variables: int


def product(over: Field, factors: Sequence[Factor], labels: Sequence[Label]) -> Factor:
    """The product of factors, with axes in the order of `labels`."""
    values = [factor.along(labels) for factor in factors]
    return Factor(tuple(labels), reduce(over.multiply, values))


def contracted(
    over: Field, factors: Sequence[Factor], keep: Sequence[Label], sizes: Mapping[Label, int]
) -> Tensor:
    """The product of factors summed over all labels not in `keep`: shape of `keep`, one per label.

    Labels are summed out one at a time, the one whose product is smallest first.
    """
    left = list(factors)
    away = {label for factor in left for label in factor.labels} - set(keep)
    while away:
        label = min(away, key=lambda x: (prod(sizes[y] for y in _around(left, x)), str(x)))
        scope = _around(left, label)
        touched = [factor for factor in left if label in factor.labels]
        merged = product(over, touched, scope)
        rest = tuple(x for x in scope if x != label)
        summed = Factor(rest, over.total(merged.values, [scope.index(label)]))
        left = [factor for factor in left if label not in factor.labels] + [summed]
        away.discard(label)
    full = over.ones(*(sizes[label] for label in keep))
    return reduce(over.multiply, [factor.along(keep) for factor in left], full)


def _around(factors: Sequence[Factor], label: Label) -> tuple[Label, ...]:
    """All labels of the factors that have a label, each once."""
    found = dict.fromkeys(x for factor in factors if label in factor.labels for x in factor.labels)
    return tuple(found)


def of_form(form: Form, over: Field) -> Factors:
    """The factors of a tree model: a label per state, shared by all that are in it.

    The label of a latent whose children copy its state is the node itself (its parent's label,
    where it has no table); the bond above a child of a node with a joint table is ("bond", child).
    """
    outside, inside = states(form)
    sizes: dict[Label, int] = {}
    factors: list[Factor] = []
    for node in (*reversed(form.tree.inner), *range(form.tree.variables)):
        table, below = form.tables[node], form.tree.children.get(node)
        labels = (*outside[node], *((node,) if below is None else inside[node]))
        if table is None:
            if below is not None:
                continue
            table = over.eye(form.sizes[node][0])
        axes = [sizes[label] for label in outside[node]]
        if node in form.joint and below is not None:
            axes += [form.sizes[child][0] for child in below]
        else:
            axes.append(form.sizes[node][1])
        factors.append(Factor(labels, table.reshape(axes)))
        sizes.update(zip(labels, axes, strict=True))
    return Factors(factors, sizes, form.tree.variables)


def states(form: Form) -> tuple[dict[Node, tuple[Label, ...]], dict[Node, tuple[Label, ...]]]:
    """The labels of the state each node's rows stand for (none at the root), and its columns."""
    outside: dict[Node, tuple[Label, ...]] = {form.tree.root: ()}
    inside: dict[Node, tuple[Label, ...]] = {}
    for node in reversed(form.tree.inner):
        below = form.tree.children[node]
        if node in form.joint:
            inside[node] = tuple(("bond", child) for child in below)
            outside.update((child, (("bond", child),)) for child in below)
            continue
        inside[node] = outside[node] if form.tables[node] is None else (node,)
        outside.update((child, inside[node]) for child in below)
    return outside, inside


def of_dense(tensor: Tensor) -> Factors:
    """One factor: the tensor itself."""
    labels = tuple(range(tensor.ndim))
    return Factors([Factor(labels, tensor)], dict(enumerate(tensor.shape)), tensor.ndim)


def diagonal(over: Field, values: Tensor, shared: Sequence[int]) -> Tensor:
    """Repeat some axes at the end; off the diagonal of an axis and its repetition all is zero."""
    for axis in shared:
        size = values.shape[axis]
        shape = [1] * values.ndim + [size]
        shape[axis] = size
        values = over.multiply(values[..., None], over.eye(size).reshape(shape))
    return values


def as_matrix(values: Tensor, rows: int) -> Tensor:
    """Axes as a matrix: the first `rows` of them index rows."""
    height = prod(values.shape[:rows])
    return torch.reshape(values, (height, -1))
