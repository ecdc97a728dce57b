"""Down the hierarchy and across it: latents that stand for groups of the source's states."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor

from mixtures import HMM, HT, LTM, TMM
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor
from transforms.factors import Factors, Label, states
from transforms.fields import Field
from transforms.forms import Form, put_together, take_apart
from transforms.grouping import Grouping, grouping
from transforms.planning import carried_out, planned
from transforms.registry import Options, converter
from transforms.separators import along, separating_all
from transforms.trees import without_copies
from transforms.upward import chain, is_star

# -- one latent ---------------------------------------------------------------------------------


def _needs_star(source: LTM, options: Options) -> str | None:
    return None if is_star(source.tree) else f"{source.tree!r} has more than one latent"


def _same(source: TreeTensor, options: Options) -> int:
    return source.size


@converter(
    LTM, TMM, size=_same, formula="the edges of the source", condition="a star", needs=_needs_star
)
def star_to_tmm(source: LTM, over: Field, options: Options) -> TMM:
    """A star is a CP model; tables and ties stay as they are."""
    form = take_apart(source, over)
    d, root = source.variables, source.tree.root
    tables: dict[Node, Tensor | None] = {j: form.tables[j] for j in range(d)}
    tables[d] = form.tables[root]
    sizes: dict[Node, tuple[int, int]] = {j: form.sizes[j] for j in range(d)}
    sizes[d] = form.sizes[root]
    star = Tree({d: source.tree.children[root]})
    return put_together(TMM, Form(star, tables, sizes), over, source)


def _clamped(source: Factors, form: Form, options: Options) -> Grouping:
    """One latent: the joint state of the cheapest set that separates all variables."""
    tree = without_copies(form).tree
    d = source.variables
    held = separating_all(tree, source.sizes, [source.sizes[j] for j in range(d)])
    return grouping(source, Tree.star(d), {d: tuple(sorted(held, key=str))})


SHALLOW = "R + d R + d R k with R = r^nu, nu the number of disjoint paths between leaves (r <= k)"


@converter(LTM, TMM, size=planned(_clamped), formula=SHALLOW, cost="exponential")
def ltm_to_tmm(source: LTM, over: Field, options: Options) -> TMM:
    """One component for every joint state of a cheapest set that separates all variables.

    R = r^nu components for r <= k, the least possible for almost all tables; for r > k the least
    product of states and components over such sets, which need not be the least R.
    """
    return carried_out(TMM, _clamped, source, over, options)


@converter(
    HMM,
    TMM,
    size=planned(_clamped),
    formula="R + d R + d R k with R = r^floor(d/2) (r <= k)",
    cost="exponential",
)
def hmm_to_tmm(source: HMM, over: Field, options: Options) -> TMM:
    """One component for every joint state of every second latent."""
    return carried_out(TMM, _clamped, source, over, options)


# -- chains -------------------------------------------------------------------------------------


def spine(tree: Tree) -> list[Node] | None:
    """The latents of a caterpillar from the root down, each above some variable; else None."""
    found, node = [], tree.root
    while True:
        found.append(node)
        inner = [child for child in tree.children[node] if child in tree.children]
        if len(inner) > 1 or len(inner) == len(tree.children[node]):
            return None
        if not inner:
            return found
        node = inner[0]


def _spine_order(tree: Tree, wanted: Sequence[int] | None) -> tuple[int, ...] | None:
    """An order in which a caterpillar can emit its variables: the wanted one if it is possible."""
    nodes = spine(tree)
    if nodes is None:
        return None
    groups = [_variables(tree, node) for node in nodes]
    if wanted is None:
        return tuple(j for group in groups for j in sorted(group))
    place = {j: number for number, group in enumerate(groups) for j in group}
    numbers = [place[j] for j in wanted]
    return tuple(wanted) if numbers == sorted(numbers) else None


def _variables(tree: Tree, node: Node) -> list[int]:
    """The variables right below a latent."""
    return [c for c in tree.children[node] if isinstance(c, int) and 0 <= c < tree.variables]


def _needs_spine(source: LTM, options: Options) -> str | None:
    if _spine_order(source.tree, options.order) is not None:
        return None
    return f"{source.tree!r} is no caterpillar in the order asked for"


def _spine_size(source: LTM, options: Options) -> int:
    nodes = spine(source.tree) or []
    extra = 0
    for node in nodes:
        extra += 3 * source.states(node) * (len(_variables(source.tree, node)) - 1)
    return source.size + extra


@converter(
    LTM,
    HMM,
    size=_spine_size,
    formula="the edges of the source, and 3 r for every further variable of a latent",
    condition="a caterpillar in the order asked for",
    needs=_needs_spine,
)
def caterpillar_to_hmm(source: LTM, over: Field, options: Options) -> HMM:
    """A caterpillar is a chain; a latent with several variables keeps its state for some steps."""
    form = take_apart(source, over)
    order = _spine_order(source.tree, options.order)
    assert order is not None
    tree = chain(order)
    tables: dict[Node, Tensor | None] = {j: form.tables[j] for j in range(source.variables)}
    sizes: dict[Node, tuple[int, int]] = {j: form.sizes[j] for j in range(source.variables)}
    before = None
    for place, j in enumerate(order):
        node, here = source.variables + place, source.tree.parent[j]
        stays = here == before
        tables[node] = None if stays else form.tables[here]
        sizes[node] = (form.sizes[here][1],) * 2 if stays else form.sizes[here]
        before = here
    return put_together(HMM, Form(tree, tables, sizes), over, source)


def _in_order(source: Factors, form: Form, options: Options) -> Grouping:
    """The latents of a chain: separators of past, present and future."""
    tree = without_copies(form).tree
    natural = tuple(range(tree.variables))
    orders = [natural, tree.leaves, light_first(tree)] if options.order is None else [options.order]
    plans = []
    for order in dict.fromkeys(orders):
        held = along(tree, source.sizes, order)  # type: ignore[arg-type]
        groups = {tree.variables + place: labels for place, labels in enumerate(held)}
        plans.append(grouping(source, chain(order), groups))  # type: ignore[arg-type]
    return min(plans, key=lambda plan: plan.size)


def light_first(tree: Tree) -> tuple[int, ...]:
    """The variables as a walk meets them that visits smaller subtrees first."""
    leaves: dict[Node, int] = dict.fromkeys(range(tree.variables), 1)
    for node in tree.inner:
        leaves[node] = sum(leaves[child] for child in tree.children[node])
    children = {
        node: sorted(below, key=leaves.__getitem__) for node, below in tree.children.items()
    }
    return Tree(children).leaves


@converter(
    LTM,
    HMM,
    size=planned(_in_order),
    formula="the sum over places of S S' + 2 S + S k, S the states of the separator: "
    "at most r^ceil(log2(d)/2) on a balanced tree",
    cost="polynomial",
)
def ltm_to_hmm(source: LTM, over: Field, options: Options) -> HMM:
    """States are the joint states of small separators between past, present and future.

    Default order: the best of 0..d-1, the tree's own and lighter subtrees first. Polynomial in d
    for fixed r on a balanced tree in its own order (Grasedyck and Hackbusch); a bad order is
    exponential.
    """
    return carried_out(HMM, _in_order, source, over, options)


def _needs_train(source: HT, options: Options) -> str | None:
    order = train_order(source.tree)
    if order is None:
        return f"{source.tree!r} is no caterpillar with one variable at every node but the last"
    if options.order is not None and options.order != order:
        return f"a tensor train keeps its order {order[:8]}.."
    return None


def train_order(tree: Tree) -> tuple[int, ...] | None:
    """The variables along a tensor train; None for a tree that is none."""
    nodes = spine(tree)
    if nodes is None:
        return None
    groups = [_variables(tree, node) for node in nodes]
    if any(len(group) != 1 for group in groups[:-1]) or len(groups[-1]) > 2:
        return None
    return tuple(j for group in groups for j in group)


def _train(source: Factors, form: Form, options: Options) -> Grouping:
    """Latents (bond before, bond after) or (bond before, symbol), whichever has fewer states."""
    order = train_order(form.tree)
    assert order is not None
    outside, inside = states(form)
    groups: dict[Node, tuple[Label, ...]] = {}
    for place, j in enumerate(order):
        node = form.tree.parent[j]
        last = place == len(order) - 1
        before = outside[node] if place == 0 or form.tree.parent[order[place - 1]] != node else ()
        if node not in form.joint or (last and not before):
            groups[form.tree.variables + place] = outside[j]
            continue
        after = tuple(label for label in inside[node] if label not in outside[j])
        options_here = [(*before, *after), (*before, *outside[j])]
        groups[form.tree.variables + place] = min(
            options_here, key=lambda labels: prod(source.sizes[x] for x in labels)
        )
    return grouping(source, chain(order), groups)


@converter(
    HT,
    HMM,
    size=planned(_train),
    formula="d S (S + 2 + k) with S = min(r k, r^2)",
    cost="polynomial",
    condition="a tensor train (a caterpillar)",
    needs=_needs_train,
)
def train_to_hmm(source: HT, over: Field, options: Options) -> HMM:
    """States are pairs (bond before, bond after) or (bond before, symbol) (Glasser et al. 2019)."""
    return carried_out(HMM, _train, source, over, options)
