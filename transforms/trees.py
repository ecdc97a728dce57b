"""The same tensor on other trees: rerooted, binary, without redundant latents."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor

from mixtures import LTM
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor
from transforms.fields import Field, Floats
from transforms.forms import Form, normalised, put_together, take_apart
from transforms.registry import Converter, Options, always
from transforms.routes import Route, Step, remember


def reroot(model: TreeTensor, root: Node) -> LTM:
    """The same tensor with the latent `root` at the top.

    Tables are turned around along the way to it.

    All other tables stay as they are, bit for bit. A former root with one child is summed out.
    Takes an LTM (TMM, HMM) and returns an LTM; raises ValueError unless `root` is one of its
    latents. Linear.

    >>> W = LTM(Tree.balanced(4), 2, 3)
    >>> reroot(W, 4).tree.children[4]
    (0, 1, 6)
    """
    if root not in model.tree.children:
        raise ValueError(f"expected one of the latents {model.tree.inner[:5]}.., got {root!r}")
    return _mapped(model, "Another root", lambda form, over: rerooted(form, root, over))


def binary(model: TreeTensor) -> LTM:
    """The same tensor on a tree with at most two children at every node.

    A latent with m > 2 children passes its state on to m - 2 copies of itself, by identity tables,
    in a balanced way: 3 r more edges for each. The copies are named by the next free whole
    numbers.

    >>> binary(LTM(Tree.star(4), 2, 3)).tree.children
    {4: (5, 6), 5: (0, 1), 6: (2, 3)}
    """
    return _mapped(model, "At most two children", lambda form, over: halved(form))


def suppress(model: TreeTensor) -> LTM:
    """The same tensor without redundant latents.

    Copies of a parent are redundant. A latent with two neighbours is redundant if it has at least
    as many states as one of them (a root: as a latent one); if it has fewer it bounds the rank of
    W, and stays. Tables never get larger. A root that goes hands over to that child.
    """
    return _mapped(model, "No redundant latents", suppressed)


def _mapped(model: TreeTensor, name: str, change: Callable[[Form, Field], Form]) -> LTM:
    """Apply a map of forms, and remember it."""
    if model.joint:
        raise ValueError(
            f"expected a tree whose latents are copied to their children, got a "
            f"{type(model).__name__} with joint tables; convert(.., LTM) makes one"
        )

    def function(source: TreeTensor, over: Field, options: Options) -> LTM:
        return put_together(LTM, change(take_apart(source, over), over), over, source)

    found = function(model, Floats(), Options())
    made = Converter(
        type(model), LTM, function, _edges, "as many as it has", "linear", "", always, name
    )
    remember(found, Route((Step(made, found.size),), Options()))
    return found


def _edges(source: TreeTensor, options: Options) -> int:
    return source.size


# -- roots --------------------------------------------------------------------------------------


def rerooted(form: Form, root: Node, over: Field) -> Form:
    """A form with another latent at the top."""
    form = _without_unary_root(form, over)
    way = [root, *_way(form.tree, root)] if root in form.tree.children else [form.tree.root]
    if len(way) == 1:
        return form
    children = {node: list(below) for node, below in form.tree.children.items()}
    tables, sizes = dict(form.tables), dict(form.sizes)
    top = tables[way[-1]]
    assert top is not None
    for below, above in itertools.pairwise(way):
        children[above].remove(below)
        children[below].append(above)
        table = form.tables[below]
        tables[above] = None if table is None else table.T
        sizes[above] = form.sizes[below][::-1]
    turned = tables[way[-1]]
    turned = over.eye(top.shape[1]) if turned is None else turned
    tables[way[-1]] = over.multiply(turned, top)
    tables[root] = over.ones(1, form.sizes[root][1])
    sizes[root] = (1, form.sizes[root][1])
    return normalised(Form(Tree(children), tables, sizes), over, set(way))


def _without_unary_root(form: Form, over: Field) -> Form:
    """As long as the root has a single latent below, that one becomes the root."""
    children, tables = dict(form.tree.children), dict(form.tables)
    sizes, root = dict(form.sizes), form.tree.root
    while len(children[root]) == 1 and children[root][0] in children:
        below = children.pop(root)[0]
        tables[below] = _after(over, tables.pop(root), tables[below])
        sizes[below] = (1, sizes[below][1])
        del sizes[root]
        root = below
    return form if root == form.tree.root else Form(Tree(children), tables, sizes)


def _after(over: Field, first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The product of two tables; None is an identity."""
    if first is None or second is None:
        return second if first is None else first
    return over.total(over.multiply(first[:, :, None], second), [1])


def _way(tree: Tree, node: Node) -> list[Node]:
    """The ancestors of a node, the nearest first."""
    found = []
    while node != tree.root:
        node = tree.parent[node]
        found.append(node)
    return found


# -- copies -------------------------------------------------------------------------------------


def halved(form: Form) -> Form:
    """Copies between a latent and its children, so that no node has more than two."""
    children: dict[Node, Sequence[Node]] = {}
    tables, sizes = dict(form.tables), dict(form.sizes)
    taken = [node for node in form.tree.nodes if isinstance(node, int)]
    names = itertools.count(max(taken) + 1)
    for node, below in form.tree.children.items():
        states = form.sizes[node][1]
        left: list[tuple[Node, Sequence[Node]]] = [(node, below)]
        for top, parts in left:  # grows while it is read
            children[top] = parts
            if len(parts) <= 2:
                continue
            half = (len(parts) + 1) // 2
            halves = (parts[:half], parts[half:])
            children[top] = [part[0] if len(part) == 1 else next(names) for part in halves]
            for copy, part in zip(children[top], halves, strict=True):
                if len(part) > 1:
                    tables[copy], sizes[copy] = None, (states, states)
                    left.append((copy, part))
    return Form(Tree(children), tables, sizes)


def without_copies(form: Form) -> Form:
    """A latent without a table is its parent: its children hang there, in its place."""
    children: dict[Node, list[Node]] = {}
    for node in form.tree.inner:
        children[node] = []
        for child in form.tree.children[node]:
            if child in form.tree.children and form.tables[child] is None:
                children[node] += children.pop(child)
            else:
                children[node].append(child)
    if len(children) == len(form.tree.children):
        return form
    tree = Tree(children)
    tables = {node: form.tables[node] for node in tree.nodes}
    return Form(tree, tables, {node: form.sizes[node] for node in tree.nodes}, form.joint)


def suppressed(form: Form, over: Field) -> Form:
    """A form without copies and without redundant latents of two neighbours."""
    form = _without_unary_root(without_copies(form), over)
    form = _handed_over(form, over)
    children, tables = dict(form.tree.children), dict(form.tables)
    sizes = dict(form.sizes)
    changed: set[Node] = set()
    products: dict[tuple[int, int], Tensor | None] = {}
    keep = [form.tables[node] for node in form.tree.nodes]  # ids stay valid
    for node in form.tree.inner:
        if len(children[node]) != 1 or node == form.tree.root:
            continue
        (below,) = children[node]
        rows, states, columns = sizes[node][0], sizes[node][1], sizes[below][1]
        if states < min(rows, columns):
            continue
        key = (id(tables[node]), id(tables[below]))
        if key not in products:
            products[key] = _after(over, tables[node], tables[below])
            keep.append(products[key])
        tables[below], sizes[below] = products[key], (rows, columns)
        above = form.tree.parent[node]
        children[above] = tuple(below if child == node else child for child in children[above])
        del children[node], tables[node], sizes[node]
        changed.add(below)
    return normalised(Form(Tree(children), tables, sizes), over, changed)


def _handed_over(form: Form, over: Field) -> Form:
    """A root with two neighbours goes if a latent one of them has no more states; that is next."""
    root, below = form.tree.root, form.tree.children[form.tree.root]
    states = form.sizes[root][1]
    heirs = [v for v in below if v in form.tree.children and form.sizes[v][1] <= states]
    if len(below) != 2 or not heirs:
        return form
    return rerooted(form, min(heirs, key=lambda node: form.sizes[node][1]), over)
