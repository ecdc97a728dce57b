"""Network polynomials written in Python: 0.3 * a[0][1] * a[1][0] + 0.7 * a[0][0] * a[1][1]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mixtures.errors import StructureError
from mixtures.network import Network, NetworkMaker

CLOSED = 1e-9  # a sum whose weights are this close to one in all is a node of its own


def inputs(variables: int, components: int | Sequence[int]) -> list[list[Expression]]:
    """The inputs of a network over d variables: a[j][i] is component i of variable j.

    >>> a = inputs(2, 2)
    >>> 0.3 * a[0][1] * a[1][0] + 0.7 * a[0][0] * a[1][1]
    0.3*a[0][1]*a[1][0] + 0.7*a[0][0]*a[1][1]
    """
    from mixtures.choices import component_sizes

    sizes = component_sizes(variables, components)
    return [[Expression(Input(j, i, sizes)) for i in range(k)] for j, k in enumerate(sizes)]


class Node:
    """A node of the network an expression stands for; equal only to itself, so that it can be
    shared.
    """

    below: tuple[Node, ...] = ()


class Input(Node):
    """Component `component` of variable `variable`."""

    def __init__(self, variable: int, component: int, shape: tuple[int, ...]) -> None:
        self.variable, self.component, self.shape = variable, component, shape

    def __repr__(self) -> str:
        return f"a[{self.variable}][{self.component}]"


class Product(Node):
    """A product of nodes."""

    def __init__(self, factors: Sequence[Node]) -> None:
        self.below = tuple(factors)

    def __repr__(self) -> str:
        return "*".join(f"({f})" if isinstance(f, Sum) else repr(f) for f in self.below)


class Sum(Node):
    """A weighted sum of nodes."""

    def __init__(self, weights: Sequence[float], terms: Sequence[Node]) -> None:
        self.weights, self.below = tuple(weights), tuple(terms)

    @property
    def total(self) -> float:
        return sum(self.weights)

    def __repr__(self) -> str:
        terms = zip(self.weights, self.below, strict=True)
        return " + ".join(f"{w:g}*{_bracketed(t)}" for w, t in terms)


class Expression:
    """scale times a node; sums and products of expressions are expressions, and share their nodes.

    A sum is open as long as its weights do not sum to one: scaling it scales its terms, and adding
    to it adds terms.
    """

    def __init__(self, node: Node, scale: float = 1.0) -> None:
        self.node, self.scale = node, scale

    def __add__(self, other: Any) -> Expression:
        if isinstance(other, int | float) and other == 0:
            return self
        if not isinstance(other, Expression):
            return NotImplemented
        weights, terms = _terms(self)
        more_weights, more_terms = _terms(other)
        return Expression(Sum(weights + more_weights, terms + more_terms))

    __radd__ = __add__

    def __mul__(self, other: Any) -> Expression:
        if isinstance(other, int | float):
            if not 0 <= other < float("inf"):
                raise ValueError(f"weights must be non-negative numbers, got {other!r}")
            return _scaled(self, float(other))
        if not isinstance(other, Expression):
            return NotImplemented
        factors: list[Node] = []
        scale = 1.0
        for part in (self, other):
            node, more = _lifted(part)
            scale *= more
            factors += node.below if isinstance(node, Product) else (node,)
        return Expression(Product(factors), scale)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        if self.scale == 1:
            return repr(self.node)
        return f"{self.scale:g}*{_bracketed(self.node)}"


def to_network(root: Expression) -> Network:
    """The network of an expression, shared nodes once; ValueError unless all weights sum to one."""
    top, scale = _lifted(root)
    if abs(scale - 1) > CLOSED:
        raise ValueError(f"the weights must sum to one, but they sum to {scale:.12g}")
    maker, made, names = NetworkMaker(), {}, []
    inputs_made: dict[tuple[int, int], int] = {}
    shape: tuple[int, ...] | None = None
    for node in _children_first(top):
        if isinstance(node, Input):
            if shape is not None and node.shape != shape:
                raise StructureError("the inputs come from two different calls of inputs()")
            shape = node.shape
            place = (node.variable, node.component)
            if place not in inputs_made:
                inputs_made[place] = maker.input(*place)
                names.append(repr(node))
            made[id(node)] = inputs_made[place]
        elif isinstance(node, Sum):
            made[id(node)] = maker.sum(*_merged([made[id(t)] for t in node.below], node.weights))
            names.append(_short(node))
        else:
            made[id(node)] = maker.product([made[id(f)] for f in node.below])
            names.append(_short(node))
    return maker.finish(shape, names)


def _terms(part: Expression) -> tuple[tuple[float, ...], tuple[Node, ...]]:
    """The weights and terms an expression contributes to a sum; an open sum is dissolved."""
    node = part.node
    if isinstance(node, Sum) and abs(node.total - 1) > CLOSED:
        return tuple(part.scale * w for w in node.weights), node.below
    return (part.scale,), (node,)


def _scaled(part: Expression, factor: float) -> Expression:
    node = part.node
    if isinstance(node, Sum) and abs(node.total - 1) > CLOSED:
        return Expression(Sum([factor * w for w in node.weights], node.below), part.scale)
    return Expression(node, factor * part.scale)


def _lifted(part: Expression) -> tuple[Node, float]:
    """A node whose weights sum to one, and the scalar that was lifted out of it."""
    node = part.node
    if not isinstance(node, Sum) or abs(node.total - 1) <= CLOSED:
        return node, part.scale
    if not node.total > 0:
        raise ValueError(f"the weights of {_short(node)} sum to {node.total}")
    return Sum([w / node.total for w in node.weights], node.below), part.scale * node.total


def _children_first(top: Node) -> Iterable[Node]:
    """Every node once, children before parents, without recursion."""
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(top, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.below))


def _merged(children: Sequence[int], weights: Sequence[float]) -> tuple[list[int], list[float]]:
    """Terms that are the same node become one; terms of weight zero stay."""
    merged: dict[int, float] = {}
    for child, weight in zip(children, weights, strict=True):
        merged[child] = merged.get(child, 0.0) + weight
    return list(merged), list(merged.values())


def _bracketed(node: Node) -> str:
    return f"({node})" if isinstance(node, Sum) else repr(node)


def _short(node: Node, most: int = 60) -> str:
    text = repr(node)
    return text if len(text) <= most else text[: most - 3] + "..."
