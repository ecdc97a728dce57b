"""Claims about ranks at cuts: odd | even, nodes, prefixes, levels, ties, witnesses."""

from __future__ import annotations

import math

import numpy
import torch

from mixtures import HMM, HT, LTM, TMM, Tree
from mixtures.tree import Node
from transforms.bounds import min_cut
from transforms.claims import Verdict, claim, decide
from transforms.formulas import alternate_blocks, prefix_rank
from transforms.generic import generic_rank
from transforms.profiles import all_cuts
from transforms.ranks import rank
from transforms.witness import witness

COHEN = "Cohen, Sharir, Shashua, COLT 2016"
OWN = "derived for this project"


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random_tree(seed: int, d: int, arity: int = 3) -> Tree:
    return Tree.random(d, arity=arity, generator=_generator(seed))


@claim(
    COHEN,
    "quoted",
    "a shallow model is returned for the deep one",
)
def odd_even_deep(mutated: bool) -> Verdict:
    """The odd | even cut of a deep TMM (balanced binary tree) has rank min(r, k)^(d/2)."""
    arity = None if mutated else 2
    models = [TMM(8, 3, 3, arity), TMM(8, 2, 3, arity), TMM(16, 2, 2, arity)]
    found = [
        generic_rank(W, alternate_blocks(W.variables, 1), generator=_generator()).exact
        for W in models
    ]
    return decide([81, 16, 256], found, "(d, k, r) = (8, 3, 3), (8, 2, 3), (16, 2, 2)")


@claim(
    COHEN,
    "quoted",
    "the order of the leaves is changed, so that odd | even is a cut along a node",
)
def odd_even_tied(mutated: bool) -> Verdict:
    """Tied deep models have the odd | even rank of untied ones for r <= k."""
    found = []
    for d, k, r in ((8, 3, 3), (16, 2, 2)):
        W = TMM(d, k, r, arity=2, shared=True)
        rows = tuple(range(d // 2)) if mutated else alternate_blocks(d, 1)
        found.append(generic_rank(W, rows, generator=_generator()).exact)
    return decide([81, 256], found, "(d, k, r) = (8, 3, 3), (16, 2, 2)")


@claim(
    "Khrulkov, Novikov, Oseledets, ICLR 2018",
    "verified",
    "the transitions forget the state",
)
def odd_even_chain(mutated: bool) -> Verdict:
    """The odd | even cut of an HMM has rank min(r, k)^floor(d/2)."""
    found = []
    for d, k, r in ((8, 3, 3), (9, 2, 2), (8, 3, 2)):
        W = HMM(d, k, r, dtype=torch.float64, generator=_generator())
        if mutated:
            flat = [torch.full((r, r), 1 / r, dtype=torch.float64)] * (d - 1)
            emission = [torch.full((r, k), 1 / k, dtype=torch.float64)] * d
            W = HMM.from_tables(W.initial, flat, emission)
        found.append(rank(W, alternate_blocks(d, 1), generator=_generator()).exact)
    return decide([81, 16, 16], found, "(d, k, r) = (8, 3, 3), (9, 2, 2), (8, 3, 2)")


@claim(
    "Khrulkov, Novikov, Oseledets, ICLR 2018",
    "verified",
    "an HMM is taken for the train",
)
def odd_even_train(mutated: bool) -> Verdict:
    """A general tensor train has odd | even rank at least min(r, k)^floor(d/2), not equal for r <
    k.
    """
    W = HMM(6, 4, 2) if mutated else HT(Tree.caterpillar(6), 4, 2, emission=False)
    found = generic_rank(W, alternate_blocks(6, 1), generator=_generator())
    kind = found.lower > 2**3
    return decide(True, kind, "(d, k, r) = (6, 4, 2)")


@claim(
    OWN,
    "derived",
    "the tie is forgotten",
)
def tied_symmetric(mutated: bool) -> Verdict:
    """CP(r), untied, has rank min(r, k^|A|, k^|B|); tied with k = 2, r = 4 the cut {0, 1} has rank
    3.
    """
    free = [generic_rank(TMM(4, 2, r), [0, 1], generator=_generator()).exact for r in (2, 3, 4, 5)]
    tied = generic_rank(TMM(4, 2, 4, shared=not mutated), [0, 1], generator=_generator()).exact
    return decide([2, 3, 4, 4, 3], [*free, tied], "d = 4, k = 2, r = 2..5, |A| = 2")


@claim(
    OWN,
    "derived",
    "the inner edges are flattened: only the cuts along nodes notice",
)
def node_cuts(mutated: bool) -> Verdict:
    """Cuts along a node have rank at most min(r, k^|A|, k^|B|), which odd | even does not show."""
    W = LTM(Tree.balanced(8), 2, 2, dtype=torch.float64, generator=_generator())
    if mutated:
        half = torch.full((2, 2), 0.5, dtype=torch.float64)
        tables = {v: W.table(v) for v in W.tree.nodes}
        tables |= {v: half for v in W.tree.inner if v != W.tree.root}
        W = LTM.from_tables(W.tree, tables)
    cuts = [alternate_blocks(8, 1), (0, 1), (0, 1, 2, 3)]
    found = [rank(W, rows, generator=_generator()).exact for rows in cuts]
    return decide([16, 2, 2], found, "balanced d = 8, r = k = 2")


@claim(
    OWN,
    "derived",
    "one variable is left out of the rows when the cut is priced",
)
def cut_law(mutated: bool) -> Verdict:
    """For uniform r and k >= r the generic rank is the cheapest cut, at every cut."""
    wrong = count = 0
    for seed in range(8):
        W = LTM(_random_tree(seed, 6), 2 + seed % 2, 2)
        for rows in all_cuts(6):
            priced = min_cut(W, rows[1:] if mutated else rows)
            wrong += generic_rank(W, rows, generator=_generator()).probable != priced
            count += 1
    return decide(0, wrong, f"{count} cuts of 8 random trees, d = 6")


@claim(
    OWN,
    "derived",
    "all sizes are made equal",
)
def cut_law_unequal(mutated: bool) -> Verdict:
    """With unequal sizes the generic rank can lie strictly below the cheapest cut."""
    W = strict_model(equal=mutated)
    bound = min_cut(W, STRICT_ROWS)
    found = rank(W, STRICT_ROWS, generator=_generator()).exact
    return decide((7, 8), (found, bound), "a tree with 5 leaves: rank and cheapest cut")


STRICT_ROWS = (0, 1)


def strict_model(*, equal: bool = False) -> LTM:
    """A tree with 5 leaves whose generic rank at {0, 1} is 7 although its cheapest cut is 8."""
    tree = Tree({5: (1, 4), 6: (3, 0), 7: (6, 2), 8: (7, 5)})
    states: dict[Node, int] = dict.fromkeys(tree.inner, 3) if equal else {6: 4, 7: 2, 5: 3, 8: 5}
    components = [3] * 5 if equal else [3, 3, 3, 2, 2]
    return LTM(tree, components, states, dtype=torch.float64, generator=_generator())


@claim(
    "Grasedyck and Hackbusch; the formula derived for this project",
    "derived",
    "the number of ones in the binary form is taken for w (wrong from d = 32 on)",
)
def prefix_ranks(mutated: bool) -> Verdict:
    """Prefix ranks of a balanced binary tree are r^min(w(q), w(d - q)), w the signed-digit
    weight.
    """
    wrong = 0
    for d, step in ((16, 1), (32, 1), (128, 9)):
        W = LTM(Tree.balanced(d), 2, 2)
        for q in range(1, d, step):
            claimed = prefix_rank(d, q, 2)
            if mutated:
                claimed = 2 ** min(q.bit_count(), (d - q).bit_count())
            wrong += generic_rank(W, range(q), generator=_generator()).exact != claimed
    return decide(0, wrong, "r = k = 2, d = 16, 32 at every q, 128 at every ninth")


@claim(
    "Grasedyck and Hackbusch",
    "quoted",
    "the variables are taken in odd-even order",
)
def balanced_as_chain(mutated: bool) -> Verdict:
    """The largest prefix rank of a balanced tree is r^ceil(log2(d)/2): polynomial in d for fixed
    r.
    """
    found = []
    for d in (8, 16, 32, 64):
        W = LTM(Tree.balanced(d), 2, 2)
        order = [*range(0, d, 2), *range(1, d, 2)] if mutated else list(range(d))
        cuts = {q: min_cut(W, order[:q]) for q in range(1, d)}
        worst = max(cuts, key=lambda q: cuts[q])
        found.append(generic_rank(W, order[:worst], generator=_generator()).lower)
    expected = [2 ** math.ceil(math.log2(d) / 2) for d in (8, 16, 32, 64)]
    return decide(expected, found, "r = k = 2, d = 8, 16, 32, 64")


@claim(
    COHEN,
    "quoted",
    "odd | even is taken at every level: it does not see the upper half",
)
def fewer_levels(mutated: bool) -> Verdict:
    """A balanced tree cut off after L levels needs r^(N/2^L) states."""
    W = LTM(Tree.balanced(16), 2, 2)
    blocks = [1, 1, 1, 1] if mutated else [1, 2, 4, 8]
    found = [generic_rank(W, alternate_blocks(16, b), generator=_generator()).exact for b in blocks]
    return decide([256, 16, 4, 2], found, "N = 16, r = 2, L = 1..4")


@claim(
    OWN,
    "derived",
    "one table of the witness is replaced by a uniform one",
)
def huge_witness(mutated: bool) -> Verdict:
    """A Kronecker witness gives 2^512 for the odd | even cut of a balanced tree with 1024
    leaves.
    """
    W = LTM(Tree.balanced(1024), 2, 2)
    found = witness(W, alternate_blocks(1024, 1))
    if mutated:
        found.tables[7] = numpy.full_like(found.tables[7], found.tables[W.tree.root][0, 0])
    verified = found.verify(W, generator=_generator())
    return decide((2**512, True), (found.rank, verified), "d = 1024, r = k = 2")


@claim(
    OWN,
    "verified",
    "the certified rank is asked instead",
)
def floats_lie(mutated: bool) -> Verdict:
    """Floating point lies: float64 matrix_rank of a chain with k = r = 3, d = 10 is not its rank,
    243.
    """
    W = HMM(10, 3, 3, dtype=torch.float64, generator=_generator())
    rows = alternate_blocks(10, 1)
    truth = rank(W, rows, generator=_generator()).exact
    said = truth if mutated else int(numpy.linalg.matrix_rank(W.matricize(rows).numpy()))
    return decide(
        (243, True), (truth, said != 243), "d = 10, k = r = 3: the rank, matrix_rank differs"
    )
