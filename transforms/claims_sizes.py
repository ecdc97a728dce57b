"""Claims about shallow sizes, dimensions and non-negative ranks."""

from __future__ import annotations

import itertools
import math

import numpy
import torch
from torch import Tensor

from mixtures import LTM, TMM, Tree
from mixtures.dimension import dimension
from mixtures.tree import Node
from transforms.claims import Verdict, claim, decide
from transforms.cp import cp_rank
from transforms.koszul import koszul_bound
from transforms.matchings import three_matchings
from transforms.nonnegative import nonnegative_rank
from transforms.profiles import all_cuts
from transforms.ranks import rank
from transforms.rectangles import cover_bound, sperner
from transforms.shallow import clamping, generic_cp_rank

OWN = "derived for this project"


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@claim(
    OWN,
    "derived",
    "a star is taken for the tree",
)
def shallow_size(mutated: bool) -> Verdict:
    """The CP rank and the non-negative CP rank of an LTM with r <= k are r^nu, nu disjoint
    leaf-to-leaf paths.
    """
    found, expected = [], []
    trees = [Tree.star(6), Tree.chain(6), Tree.balanced(8), Tree.balanced(9, 3)]
    for tree, nu in zip(trees, (1, 3, 4, 3), strict=True):
        own = Tree.star(tree.variables) if mutated else tree
        W = LTM(own, 2, 2, dtype=torch.float64, generator=_generator())
        found.append((cp_rank(W).exact, nonnegative_rank(W).exact, generic_cp_rank(W).exact))
        expected.append((2**nu,) * 3)
    return decide(expected, found, "star and chain d = 6, balanced d = 8, ternary d = 9, r = k = 2")


@claim(
    OWN,
    "derived",
    "one node less is clamped",
)
def shallow_size_large(mutated: bool) -> Verdict:
    """Nu, and so r^nu, is certified on random trees of any size."""
    wrong = 0
    for seed in range(20):
        W = LTM(Tree.random(40, arity=4, generator=_generator(seed)), 2, 2)
        above = clamping(W).size // (2 if mutated else 1)
        wrong += generic_cp_rank(W).lower != above
    return decide(0, wrong, "20 random trees, d = 40, r = k = 2")


@claim(
    OWN,
    "derived",
    "r = k, where the two meet",
)
def shallow_size_open(mutated: bool) -> Verdict:
    """For r > k the CP rank lies between the largest matricization and the cheapest clamping."""
    W = LTM(Tree.balanced(8), 2, 2 if mutated else 3, dtype=torch.float64, generator=_generator())
    found = cp_rank(W)
    if found.exact is not None:
        return Verdict("confirmed", "balanced d = 8, k = 2", f"{found.exact}")
    return Verdict("only a bound", "balanced d = 8, r = 3, k = 2", f"{found.lower}..{found.upper}")


@claim(
    OWN,
    "derived",
    "the outer products are taken for the matrix product",
)
def chain_as_tree(mutated: bool) -> Verdict:
    """An HMM is no balanced tree with r^2 states: its inner blocks carry the matrix-multiplication
    tensor.
    """
    tensor = numpy.zeros((4, 4, 4), dtype=object)
    for i, j, k in itertools.product(range(2), repeat=3):
        tensor[2 * i + j, 2 * j + k, 2 * k + i if not mutated else 2 * i + j] = 1
    if mutated:
        tensor = tensor * (numpy.arange(4)[:, None, None] == numpy.arange(4)[:, None])
    return decide(True, koszul_bound(tensor) > 4, "r = 2: rank above 4 by a Koszul flattening")


@claim(
    OWN,
    "derived",
    "the stored free parameters are counted instead",
)
def identifiable(mutated: bool) -> Verdict:
    """For k >= r, d >= 3 a tree model has (r-1) + E r(r-1) + d r(k-1) identifiable parameters."""
    found, expected = [], []
    for tree, edges, r, k in (
        (Tree.balanced(4), 1, 2, 2),
        (Tree.balanced(8), 5, 3, 3),
        (Tree.chain(5), 2, 2, 3),
        (Tree.star(3), 0, 2, 3),
    ):
        W = LTM(tree, k, r)
        found.append(W.num_parameters if mutated else dimension(W))
        expected.append((r - 1) + edges * r * (r - 1) + tree.variables * r * (k - 1))
    return decide(expected, found, "balanced d = 4, 8, chain d = 5, star d = 3")


@claim(
    OWN,
    "derived",
    "d = 5, which is not defective",
)
def defective(mutated: bool) -> Verdict:
    """Some CP models are defective: d = 4, k = 2, r = 3 has dimension 13, not 14."""
    d = 5 if mutated else 4
    W = TMM(d, 2, 3)
    return decide(1, 3 * d + 2 - dimension(W), f"d = {d}, k = 2, r = 3: missing dimensions")


@claim(
    "Hrubes 2012; Beasley and Laffey 2009",
    "quoted",
    "|i - j| is taken for its square",
)
def linear_distances(mutated: bool) -> Verdict:
    """(i - j)^2 has rank 3 and non-negative rank from the Sperner number to 2 ceil(log2 n)."""
    held = True
    for n in (4, 8, 16):
        M = numpy.array([[abs(i - j) ** (1 if mutated else 2) for j in range(n)] for i in range(n)])
        found = nonnegative_rank(M)
        held = held and rank(M, [0]).exact == 3 and found.lower >= sperner(n)
        held = held and found.upper <= 2 * math.ceil(math.log2(n))
    return decide(True, held, "n = 4, 8, 16")


@claim(
    "Kaibel and Weltge 2015",
    "quoted",
    "the zeros are filled: (1 + a.b)^2 has the same rank and no cover",
)
def unique_disjointness(mutated: bool) -> Verdict:
    """Unique disjointness has rank 1 + n + n(n-1)/2 and non-negative rank at least (3/2)^n."""
    held = True
    for n in (2, 3, 4):
        sets = numpy.array(list(itertools.product((0, 1), repeat=n)))
        meet = sets @ sets.T
        M = (1 + meet) ** 2 if mutated else (1 - meet) ** 2
        cover, _ = cover_bound(M != 0, (meet == 0).astype(object))
        held = held and rank(M, [0]).exact == 1 + n + n * (n - 1) // 2
        held = held and cover >= math.ceil(1.5**n)
    return decide(True, held, "n = 2, 3, 4: by weighted rectangles")


@claim(
    OWN,
    "derived",
    "one matching, taken three times",
)
def matchings(mutated: bool) -> Verdict:
    """A mixture of three matchings is cheap as a network and cheap on no tree."""
    least = [states_of_any_tree(d, same=mutated) for d in (6, 8, 10)]
    if min(least) < 4:
        return Verdict("refuted", "d = 6, 8, 10", f"least ranks {least}")
    return Verdict("only a bound", "d = 6, 8, 10", f"at least {least} states on any tree")


def states_of_any_tree(d: int, *, same: bool) -> int:
    """The least rank over balanced cuts: every tree has an edge that makes one."""
    W = three_matchings(d, same=same)
    low = math.ceil(d / 3)
    least = 2**d
    for rows in all_cuts(d):
        if low <= len(rows) <= d - low and least > 1:
            least = min(least, rank(W, rows, generator=_generator(), limit=least).lower)
    return least


@claim(
    OWN,
    "derived",
    "three independent densities",
)
def dependent_components(mutated: bool) -> Verdict:
    """With k = 3 densities over 2 symbols: the rank is that of 2 components (4, not 9)."""
    g = _generator()
    spans = torch.rand((3, 3 if mutated else 2), dtype=torch.float64, generator=g)
    spans = spans / spans.sum(1, keepdim=True)
    W = LTM(Tree.balanced(4), 3, 3, dtype=torch.float64, generator=g)
    tree = Tree({**{4 + j: (j,) for j in range(4)}, 8: (4, 5), 9: (6, 7), 10: (8, 9)})
    tables: dict[Node, Tensor | None] = dict.fromkeys(range(4), spans)
    tables |= {4 + j: W.table(j) for j in range(4)}
    tables |= {8: W.table(4), 9: W.table(5), 10: W.table(6)}
    found = rank(LTM.from_tables(tree, tables), [0, 2], generator=g).exact
    return decide(4, found, "d = 4, r = 3")
