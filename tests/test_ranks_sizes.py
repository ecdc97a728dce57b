"""CP ranks, non-negative ranks and dimensions: bounds with witnesses, exact where the theory is."""

import itertools
import math
from fractions import Fraction

import networkx
import numpy as np
import pytest
import torch

from mixtures import HMM, HT, LTM, SPN, TMM, Dense, Tree, inputs
from mixtures.dimension import dimension
from mixtures.errors import SizeError
from transforms.cp import cp_rank
from transforms.folding import factorise
from transforms.koszul import koszul_bound
from transforms.nonnegative import nonnegative_rank
from transforms.packing import clamps, leaf_paths
from transforms.ranks import rank
from transforms.rectangles import antichain, cover_bound, fooling_set, sperner
from transforms.shallow import clamping, generic_cp_rank

from test_ranks_truth import generator


def draw(model, *arguments, seed=0, **options):
    return model(*arguments, dtype=torch.float64, generator=generator(seed), **options)


# ---------------------------------------------------------------- latent trees


def most_paths(tree):
    """nu by brute force: the largest set of pairs of leaves whose paths share no node."""
    graph = tree.to_networkx().to_undirected()
    ways = {
        (a, b): set(networkx.shortest_path(graph, a, b))
        for a, b in itertools.combinations(range(tree.variables), 2)
    }

    def best(held, taken):
        most = 0
        for n, pair in enumerate(held):
            if not ways[pair] & taken:
                most = max(most, 1 + best(held[n + 1 :], taken | ways[pair]))
        return most

    return best(list(ways), set())


@pytest.mark.parametrize("seed", range(15))
def test_disjoint_paths_and_clamps_are_as_many_and_the_most(seed):
    tree = Tree.random(7, arity=2 + seed % 3, generator=generator(seed))
    nu = most_paths(tree)
    assert len(clamps(tree)) == len(leaf_paths(tree)) == nu
    found = generic_cp_rank(LTM(tree, 3, 3))
    assert found.exact == 3**nu
    assert found.witness.above.verify(tree)
    assert found.witness.below.verify(LTM(tree, 3, 3))


@pytest.mark.parametrize("seed", range(6))
def test_the_cp_rank_of_a_random_tree_is_certified_and_constructed(seed):
    tree = Tree.random(6, arity=3, generator=generator(seed))
    W = draw(LTM, tree, 2, 2, seed=seed)
    mine, non_negative = cp_rank(W), nonnegative_rank(W)
    assert mine.exact == non_negative.exact == 2 ** most_paths(tree)
    built = mine.witness.above.construct(W)
    assert len(built.weights) == mine.exact
    torch.testing.assert_close(built.dense(), W.dense(), atol=1e-14, rtol=0)


@pytest.mark.parametrize("seed", range(8))
def test_the_cheapest_clamping_of_unequal_sizes_is_the_cheapest_of_all(seed):
    g = generator(seed)
    tree = Tree.random(5, arity=3, generator=g)
    states = {v: int(torch.randint(2, 6, (), generator=g)) for v in tree.inner}
    k = [int(torch.randint(2, 5, (), generator=g)) for _ in range(5)]
    W = draw(LTM, tree, k, states, seed=seed)
    found = clamping(W)
    assert found.verify(tree)
    best = math.prod(k)
    for count in range(len(tree.nodes) + 1):
        for nodes in itertools.combinations(tree.nodes, count):
            if type(found)(nodes, 0).verify(tree):
                best = min(best, math.prod(W.states(v) for v in nodes))
    assert found.size == best
    built = found.construct(W)
    torch.testing.assert_close(built.dense(), W.dense(), atol=1e-14, rtol=0)


def test_a_clamping_that_separates_nothing_is_found_out():
    tree = Tree.balanced(8)
    found = clamping(LTM(tree, 2, 2))
    assert found.verify(tree)
    assert not type(found)(found.nodes[1:], 8).verify(tree)
    with pytest.raises(SizeError):
        clamping(LTM(Tree.balanced(64), 2, 2)).construct(LTM(Tree.balanced(64), 2, 2))


def test_for_r_above_k_the_bounds_of_the_theory_do_not_meet():
    found = cp_rank(draw(LTM, Tree.balanced(8), 2, 3))
    assert (found.lower, found.upper) == (16, 54)
    assert found.exact is None


def test_a_shallow_model_is_not_taken_for_a_deep_one():
    assert cp_rank(draw(TMM, 8, 3, 3)).exact == 3
    assert cp_rank(draw(TMM, 8, 3, 3, arity=2)).exact == 81


# ---------------------------------------------------------------- tensors and matrices


def matrix_multiplication():
    T = np.zeros((4, 4, 4), dtype=int)
    for i, j, k in itertools.product(range(2), repeat=3):
        T[2 * i + j, 2 * j + k, 2 * k + i] = 1
    return T


def test_koszul_flattenings_go_beyond_matricizations():
    T = matrix_multiplication()
    found = cp_rank(T)
    assert max(rank(T, [j]).exact for j in range(3)) == 4
    assert 5 <= found.lower <= 7 <= found.upper
    rng = np.random.default_rng(0)
    for r in (1, 2, 3):
        factors = rng.integers(-5, 6, (3, r, 3))
        T = np.einsum("ra,rb,rc->abc", *factors).astype(object)
        assert koszul_bound(T) <= r


def test_the_cp_rank_of_a_matrix_is_its_rank():
    rng = np.random.default_rng(0)
    M = rng.integers(0, 9, (5, 3)) @ rng.integers(0, 9, (3, 6))
    found = cp_rank(M)
    assert found.lower == 3


def test_tensorly_finds_a_decomposition_that_certifies_nothing():
    T = np.zeros((4, 4, 4), dtype=int)
    T[:2, :2, :2], T[2:, 2:, 1:3] = 5, [[[1, 2]], [[3, 6]]]
    found = cp_rank(T, restarts=3, generator=generator())
    assert (found.lower, found.upper, found.probable, found.error) == (2, 16, 2, None)
    assert found.witness.above.error < 1e-9
    bold = nonnegative_rank(T, restarts=3, generator=generator())
    assert (bold.lower, bold.probable) == (2, 2)
    assert min(factor.min() for factor in bold.witness.above.factors) >= 0


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8, 12, 16])
def test_linear_distances_have_rank_three_and_a_logarithmic_non_negative_rank(n):
    M = np.array([[(i - j) ** 2 for j in range(n)] for i in range(n)])
    found = nonnegative_rank(M)
    assert rank(M, [0]).exact == 3
    assert max(3, sperner(n)) <= found.lower <= found.upper <= max(3, 2 * math.ceil(math.log2(n)))
    assert found.witness.above.verify(M)
    assert not found.witness.above.verify(M + np.eye(n, dtype=int))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_unique_disjointness_needs_more_terms_than_three_halves_to_the_n(n):
    sets = np.array(list(itertools.product((0, 1), repeat=n)))
    meet = sets @ sets.T
    M = (1 - meet) ** 2
    assert rank(M, [0]).exact == 1 + n + n * (n - 1) // 2
    assert cover_bound(M != 0, (meet == 0).astype(object))[0] >= 1.5**n
    found = nonnegative_rank(M)
    assert found.lower >= max(1.5**n, 1 + n + n * (n - 1) // 2)
    assert found.upper <= 2**n


@pytest.mark.parametrize("seed", range(10))
def test_factorisations_are_exact_and_non_negative(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 7, 2)
    M = rng.integers(0, 3, shape) * rng.integers(0, 2, shape)
    if seed % 2:
        M = M + M[::-1, ::-1]
    left, right = factorise(M)
    assert ((left @ right) == M).all()
    assert (left >= 0).all()
    assert (right >= 0).all()
    assert left.shape[1] <= min(M.shape)
    assert left.shape[1] >= np.linalg.matrix_rank(M)


def test_rank_two_matrices_need_two_terms():
    rng = np.random.default_rng(0)
    M = rng.integers(0, 9, (6, 2)) @ rng.integers(0, 9, (2, 5))
    assert nonnegative_rank(M).exact == 2
    halves = np.array([[Fraction(x, 7) for x in row] for row in M.tolist()], dtype=object)
    assert nonnegative_rank(halves).exact == 2


def least_cover(support):
    """The Boolean rank by brute force over maximal rectangles."""
    height = support.shape[0]
    rectangles = []
    for count in range(1, height + 1):
        for rows in itertools.combinations(range(height), count):
            inside = support[list(rows)].all(0)
            if inside.any():
                rectangles.append({(i, int(j)) for i in rows for j in inside.nonzero()[0]})
    whole = {(int(i), int(j)) for i, j in zip(*support.nonzero(), strict=True)}
    for count in range(len(whole) + 1):
        if any(set().union(*some) == whole for some in itertools.combinations(rectangles, count)):
            return count
    raise AssertionError


@pytest.mark.parametrize("seed", range(12))
def test_bounds_from_zeros_never_exceed_the_least_cover(seed):
    support = np.random.default_rng(seed).random((4, 5)) < 0.6
    truth = least_cover(support)
    entries = fooling_set(support)
    for (i, j), (k, m) in itertools.combinations(entries, 2):
        assert not (support[i, m] and support[k, j])
    assert len(entries) <= truth
    assert sperner(antichain(support)) <= truth
    assert cover_bound(support)[0] <= truth


def test_the_crown_and_the_identity_are_where_the_bounds_are_sharp():
    assert len(fooling_set(np.eye(5, dtype=bool))) == 5
    assert antichain(~np.eye(6, dtype=bool)) == 6
    assert sperner(6) == least_cover(~np.eye(6, dtype=bool)[:, :6]) == 4
    assert cover_bound(np.eye(4, dtype=bool))[0] == 4


def test_negative_entries_have_no_non_negative_rank():
    with pytest.raises(ValueError, match="non-negative"):
        nonnegative_rank(np.array([[1, -1], [0, 1]]))


# ---------------------------------------------------------------- dimensions


def jacobian_rank(W, d, r, k):
    """The rank of a CP model's Jacobian at small random integers, over Fractions."""
    from test_ranks_truth import rank_of

    rng = np.random.default_rng(0)
    factors = rng.integers(1, 50, (d, r, k)).astype(object)
    columns = []
    for j, s, i in itertools.product(range(d), range(r), range(k)):
        parts = [factors[m, s] for m in range(d)]
        parts[j] = np.array([int(i == n) for n in range(k)], dtype=object)
        columns.append(np.array(outer(parts)).reshape(-1))
    return rank_of(np.array(columns))


def outer(vectors):
    whole = vectors[0]
    for vector in vectors[1:]:
        whole = np.multiply.outer(whole, vector)
    return whole


@pytest.mark.parametrize(("d", "k", "r"), [(3, 2, 2), (4, 2, 3), (3, 3, 2), (2, 3, 2), (5, 2, 3)])
def test_the_dimension_of_a_cp_model_is_that_of_its_cone_less_one(d, k, r):
    W = TMM(d, k, r)
    assert dimension(W) == jacobian_rank(W, d, r, k) - 1


@pytest.mark.parametrize(
    ("W", "expected"),
    [
        (LTM(Tree.balanced(4), 2, 2), 11),
        (LTM(Tree.balanced(8), 3, 3), 80),
        (HMM(5, 3, 2), 25),
        (TMM(4, 2, 3), 13),
        (TMM(2, 3, 2), 7),
        (HT(Tree.balanced(4), 2, 2), 11),
        (Dense(torch.full((2, 3), 1 / 6)), 5),
        (LTM(Tree.star(6), 2, 1), 6),
        (TMM(4, 2, 1, shared=True), 1),
        (TMM(3, 2, 3, shared=True), 3),  # symmetric tensors of two symbols
        (TMM(5, 2, 2, shared=True), 3),
    ],
)
def test_dimensions_of_the_theory(W, expected):
    assert dimension(W) == expected <= W.num_parameters


def test_the_dimension_of_networks_and_combinations():
    a = inputs(2, 2)
    one = (0.5 * a[0][0] + 0.5 * a[0][1]) * (0.5 * a[1][0] + 0.5 * a[1][1])
    two = (0.2 * a[0][0] + 0.8 * a[0][1]) * (0.2 * a[1][0] + 0.8 * a[1][1])
    free = SPN(0.5 * one + 0.5 * two)
    assert (dimension(free), free.num_parameters) == (3, 5)
    assert dimension(0.5 * TMM(4, 2, 1) + 0.5 * TMM(4, 2, 1)) == dimension(TMM(4, 2, 2)) == 9


def test_beyond_the_budget_the_number_of_parameters_bounds_the_dimension():
    W = LTM(Tree.balanced(8), 3, 3)
    assert dimension(W, budget=10) == W.num_parameters > dimension(W)
