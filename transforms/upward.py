"""Up the hierarchy, table by table: CP into chains, chains into trees, trees into HT."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mixtures import HMM, HT, LTM, TMM
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor
from transforms.fields import Field
from transforms.forms import Form, put_together, take_apart
from transforms.registry import Options, converter


def _same(source: TreeTensor, options: Options) -> int:
    return source.size


def _tree_of_its_own(source: TreeTensor, options: Options) -> str | None:
    if options.tree is None or options.tree == source.tree:
        return None
    return f"it keeps the tree {source.tree!r}, and another one was asked for"


def is_star(tree: Tree) -> bool:
    """Whether there is one latent only."""
    return len(tree.inner) == 1


def _star(source: TMM, options: Options) -> str | None:
    if is_star(source.tree):
        return None
    return f"it needs one latent, but the TMM is deep: {source.tree!r}; convert it to an LTM first"


def _chain_size(source: TMM, options: Options) -> int:
    """R + (d-1) R for identities, products of an emission and what follows, and the factors."""
    d, r = source.variables, source.states(source.tree.root)
    products = 2 * (d - 1) * r
    table = {j: source.table(j) for j in range(d)}
    entries = sum(r if t is None else t.numel() for t in table.values())
    return r + (d - 1) * r + products + entries


@converter(
    TMM,
    HMM,
    size=_chain_size,
    formula="r + 3 (d-1) r + d r k",
    condition="one latent (arity=None)",
    needs=_star,
)
def cp_to_hmm(source: TMM, over: Field, options: Options) -> HMM:
    """A CP model as a chain whose state never changes.

    Identity transitions (none stored), the factors as emissions; ties of factors are kept.
    """
    form = take_apart(source, over)
    d, root = source.variables, source.tree.root
    tree = chain(options.order or tuple(range(d)))
    r = source.states(root)
    tables: dict[Node, Tensor | None] = dict.fromkeys(tree.nodes)
    tables[d] = form.tables[root]
    tables.update((j, form.tables[j]) for j in range(d))
    sizes = dict.fromkeys(tree.inner, (r, r)) | {d: (1, r)}
    sizes |= {j: form.sizes[j] for j in range(d)}
    return put_together(HMM, Form(tree, tables, sizes), over, source)


def chain(order: tuple[int, ...]) -> Tree:
    """The tree of an HMM that emits the variables in the given order."""
    d = len(order)
    children: dict[Node, tuple[Node, ...]] = {
        d + place: (j, d + place + 1) for place, j in enumerate(order[:-1])
    }
    children[2 * d - 1] = (order[-1],)
    return Tree(children)


@converter(TMM, LTM, size=_same, formula="the edges of the source", needs=_tree_of_its_own)
def tmm_to_ltm(source: TMM, over: Field, options: Options) -> LTM:
    """A star or a balanced tree is a tree; tables and ties stay as they are."""
    return put_together(LTM, take_apart(source, over), over, source)


@converter(
    HMM,
    LTM,
    size=_same,
    formula="the edges of the source",
    needs=_tree_of_its_own,
)
def hmm_to_ltm(source: HMM, over: Field, options: Options) -> LTM:
    """A chain is a tree; tables and ties stay as they are."""
    return put_together(LTM, take_apart(source, over), over, source)


@converter(LTM, HT, size=_same, formula="the edges of the source", needs=_tree_of_its_own)
def ltm_to_ht(source: LTM, over: Field, options: Options) -> HT:
    """Transfer tables that are zero off the diagonal, stored without their zeros; ties stay."""
    form = take_apart(source, over)
    return put_together(HT, replace(form, joint=frozenset()), over, source)
