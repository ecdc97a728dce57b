"""Onto trees: joint states of the cuts of a chain, of children's bonds, of the variables below."""

from __future__ import annotations

from mixtures import HMM, HT, LTM, TMM, Dense
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor
from transforms.factors import Factors, Label, of_dense, states
from transforms.fields import Field, Floats
from transforms.forms import Form, put_together
from transforms.grouping import Grouping, grouping
from transforms.planning import carried_out, planned
from transforms.registry import Options, converter
from transforms.upward import chain

# -- chains onto trees --------------------------------------------------------------------------


def _needs_tree(source: TreeTensor, options: Options) -> str | None:
    return None if options.tree is not None else "it needs tree=, the tree of the LTM"


def _cuts(source: Factors, form: Form, options: Options) -> Grouping:
    """A latent of the tree holds a state of the chain for each end of its children's blocks."""
    assert options.tree is not None
    tree, d = options.tree, source.variables
    latent = _latents(form)
    place = {j: number for number, j in enumerate(form.tree.leaves)}
    groups: dict[Node, tuple[Label, ...]] = {}
    ends: dict[Node, set[int]] = {j: {place[j], place[j] + 1} for j in range(d)}
    for node in tree.inner:
        below = tree.children[node]
        cuts: dict[Label, None] = {}
        for child in below:
            if child in tree.children:
                cuts.update((latent[cut], None) for cut in sorted(ends[child]) if 0 < cut < d)
            else:
                cuts[latent[place[child]]] = None  # type: ignore[index]
        ends[node] = set()
        for child in below:
            ends[node] ^= ends[child]  # blocks that touch lose the end they share
        groups[node] = tuple(cuts)
    return grouping(source, tree, groups)


def _latents(form: Form) -> list[Label]:
    """The state that each variable of a chain is emitted from, in the chain's order."""
    outside, _ = states(form)
    return [outside[j][0] for j in form.tree.leaves]


@converter(
    HMM,
    LTM,
    size=planned(_cuts),
    formula="I S^2 + d S k + products, with S = r^3 on a balanced binary tree: the ends and the "
    "middle of a block",
    cost="polynomial",
    condition="tree= is given",
    needs=_needs_tree,
)
def hmm_onto_tree(source: HMM, over: Field, options: Options) -> LTM:
    """States are those of the chain at the ends of the blocks that the tree makes of it.

    r at the root of a balanced binary tree, r^2 for blocks at an end of the chain and for blocks
    of two variables, r^3 elsewhere; exponential for a tree with scattered blocks.
    """
    return carried_out(LTM, _cuts, source, over, options)


# -- full hierarchical Tucker -------------------------------------------------------------------


def _bonds(source: Factors, form: Form, options: Options) -> Grouping:
    """A latent of the tree holds the bonds of its children."""
    _, inside = states(form)
    return grouping(source, form.tree, {node: inside[node] for node in form.tree.inner})


def _tree_of_its_own(source: TreeTensor, options: Options) -> str | None:
    if options.tree is None or options.tree == source.tree:
        return None
    return f"it keeps the tree {source.tree!r}, and another one was asked for"


@converter(
    HT,
    LTM,
    size=planned(_bonds),
    formula="(I-1) S^2 + S + d S k + products, with S = r^m for m children",
    cost="polynomial",
    needs=_tree_of_its_own,
)
def ht_to_ltm(source: HT, over: Field, options: Options) -> LTM:
    """States are the joint states of the children's bonds; of a diagonal table the one state."""
    return carried_out(LTM, _bonds, source, over, options)


# -- dense tensors ------------------------------------------------------------------------------


def _entries(source: Factors, tree: Tree) -> Grouping:
    """Latents hold all variables below; the root all but those of its largest child."""
    below: dict[Node, tuple[Label, ...]] = {j: (j,) for j in range(tree.variables)}
    for node in tree.inner:
        below[node] = tuple(j for child in tree.children[node] for j in below[child])
    top = tree.children[tree.root]
    largest = max(top, key=lambda child: len(below[child]))
    groups = {node: below[node] for node in tree.inner}
    groups[tree.root] = tuple(j for child in top if child != largest for j in below[child])
    return grouping(source, tree, groups)


def _halves(source: Factors, order: tuple[int, ...]) -> Grouping:
    """Latents hold what has been emitted, from the middle on what is still to be."""
    d = len(order)
    middle = d // 2
    groups: dict[Node, tuple[Label, ...]] = {
        d + place: order[: place + 1] if place < middle else order[place:] for place in range(d)
    }
    return grouping(source, chain(order), groups)


def _plan(source: Dense, over: Field, options: Options, kind: type) -> Grouping:
    factors = of_dense(over.read(source.arrays[0]).reshape(source.shape))
    d = source.variables
    if kind is HMM:
        return _halves(factors, options.order or tuple(range(d)))
    if kind is TMM:
        return _entries(factors, Tree.star(d))
    return _entries(factors, options.tree or Tree.balanced(d))


@converter(
    Dense,
    TMM,
    size=lambda source, options: _plan(source, Floats(), options, TMM).size,
    formula="R + d R + d R k with R = k^(d-1)",
    cost="polynomial",
)
def dense_to_tmm(source: Dense, over: Field, options: Options) -> TMM:
    """One component for every joint state of all variables but one of the largest."""
    return put_together(TMM, _plan(source, over, options, TMM).form(over), over, source)


@converter(
    Dense,
    HMM,
    size=lambda source, options: _plan(source, Floats(), options, HMM).size,
    formula="k^d + 2 k^(d-1) + .. : states are the first variables, then the last ones",
    cost="polynomial",
)
def dense_to_hmm(source: Dense, over: Field, options: Options) -> HMM:
    """States are the variables emitted so far; from the middle on those still to come."""
    return put_together(HMM, _plan(source, over, options, HMM).form(over), over, source)


@converter(
    Dense,
    LTM,
    size=lambda source, options: _plan(source, Floats(), options, LTM).size,
    formula="at most m k^d for the root's m children, and less below",
    cost="polynomial",
)
def dense_to_ltm(source: Dense, over: Field, options: Options) -> LTM:
    """States are the joint states of all variables below (default tree: balanced)."""
    return put_together(LTM, _plan(source, over, options, LTM).form(over), over, source)
