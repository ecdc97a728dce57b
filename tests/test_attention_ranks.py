"""Separation ranks: coefficient matrices written out are the truth, formulas what is proved."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy
import pytest
import torch
from flint import nmod_mat

from mixtures.errors import SizeError
from transforms.attention import (
    AttentionArchitecture,
    SelfAttention,
    separation_bound,
    separation_rank,
)
from transforms.attention_counts import free_counts, narrow_bound, side_counts
from transforms.attention_grid import degree_parts

F64 = torch.float64
BIG = 2**61 - 1


def multiply(left, right):
    """The product of two polynomials, {exponents: coefficient}."""
    found = Counter()
    for (a, u), (b, v) in itertools.product(left.items(), right.items()):
        found[tuple(i + j for i, j in zip(a, b, strict=True))] += u * v % BIG
    return Counter({power: value % BIG for power, value in found.items()})


def combined(matrix, vector):
    """A matrix of numbers times a vector of polynomials."""
    rows = []
    for row in matrix.tolist():
        total = Counter()
        for number, polynomial in zip(row, vector, strict=True):
            for power, value in polynomial.items():
                total[power] = (total[power] + number * value) % BIG
        rows.append(total)
    return rows


def added(polynomials):
    total = Counter()
    for polynomial in polynomials:
        for power, value in polynomial.items():
            total[power] = (total[power] + value) % BIG
    return total


def written_out_rank(plan, tokens, side, position=0):
    """The rank of f's matrix of coefficients, for random weights; f by definition, in symbols.

    Independent of grids, degrees and S: polynomials are dictionaries, monomials on one side are
    rows, those on the other side columns.
    """
    weights = plan.weights_modulo(2**31 - 1, numpy.random.default_rng(1))
    names = list(itertools.product(range(tokens), range(plan.coordinates)))
    units = {n: tuple(int(n == m) for m in names) for n in names}
    x = [[Counter({units[i, k]: 1}) for k in range(plan.coordinates)] for i in range(tokens)]
    if weights.embedding is not None:
        x = [combined(weights.embedding, token) for token in x]
    for layer in zip(weights.queries, weights.keys, weights.values, weights.outputs, strict=True):
        outputs = [[] for _ in x]
        for q, k, v, o in zip(*layer, strict=True):
            asked, keys = [combined(q, t) for t in x], [combined(k, t) for t in x]
            shown = [combined(o, combined(v, t)) for t in x]
            for i, j in itertools.product(range(tokens), repeat=2):
                score = added(multiply(a, b) for a, b in zip(asked[i], keys[j], strict=True))
                outputs[i].append([multiply(score, part) for part in shown[j]])
        x = [[added(parts) for parts in zip(*terms, strict=True)] for terms in outputs]
    f = x[position][0]
    inside = [name[0] in side for name in names]
    rows, columns = {}, {}
    entries = []
    for power, value in f.items():
        row = tuple(itertools.compress(power, inside))
        column = tuple(itertools.compress(power, [not here for here in inside]))
        place = rows.setdefault(row, len(rows)), columns.setdefault(column, len(columns))
        entries.append((place, value))
    matrix = nmod_mat(len(rows), len(columns), BIG)
    for (i, j), value in entries:
        matrix[i, j] = value
    return int(matrix.rank())


CASES = [
    ({"width": 2, "depth": 1}, 4, [0, 1]),
    ({"width": 3, "depth": 1, "heads": 3}, 3, [0]),
    ({"width": 2, "depth": 2}, 2, [0]),
    ({"width": 2, "depth": 2}, 3, [0]),
    ({"width": 2, "depth": 2}, 3, [1, 2]),
    ({"width": 2, "depth": 2, "heads": 2}, 2, [0]),
    ({"width": 2, "depth": 2, "heads": 2}, 3, [0, 2]),
    ({"width": 2, "depth": 2, "head_width": 1}, 3, [0, 1]),
    ({"width": 3, "depth": 2, "embedding": 2}, 3, [0]),
    ({"width": 1, "depth": 3}, 2, [0]),
    ({"width": 3, "depth": 2, "heads": 3, "embedding": 1}, 3, [0]),
    ({"width": 3, "depth": 2}, 2, [0]),
]


@pytest.mark.parametrize(("sizes", "tokens", "side"), CASES)
def test_separation_ranks_are_those_of_the_coefficients_written_out(sizes, tokens, side):
    plan = AttentionArchitecture(**sizes)
    expected = written_out_rank(plan, tokens, side)
    found = separation_rank(plan, side, tokens)
    assert found.exact == expected


def test_a_token_alone_under_one_head_falls_short_of_its_monomials():
    """One token read, two others: neither bound is the other, and both are right."""
    plan = AttentionArchitecture(width=3, depth=2)
    found = separation_rank(plan, [0], 3)
    assert found.probable == found.lower <= found.upper
    assert found.error is not None
    assert found.error < 1e-6
    assert separation_rank(plan, [1, 2], 3, position=0).lower == found.lower


def formula(width, depth):
    """The closed form for full heads and many tokens, straight from its statement."""
    d, top = width * (width + 1) // 2, (3**depth - 1) // 2
    free = [math.comb(c + d - 1, d - 1) for c in range(top + 1)]
    return sum(min(free[c], width * free[top - c]) for c in range(top + 1))


@pytest.mark.parametrize(
    ("width", "depth", "expected"), [(2, 2, 18), (3, 2, 49), (2, 3, 232), (1, 4, 41)]
)
def test_full_heads_reach_the_formula(width, depth, expected):
    assert formula(width, depth) == expected
    for plan in (AttentionArchitecture(width, depth), SelfAttention(width, depth, dtype=F64)):
        found = separation_rank(plan)
        assert found.exact == expected
        assert separation_bound(plan.architecture) == expected


def test_several_heads_of_full_width_reach_the_same_formula():
    found = separation_rank(AttentionArchitecture(2, 2, heads=3, head_width=2))
    assert found.exact == formula(2, 2)


def test_narrow_heads_fall_short():
    found = separation_rank(SelfAttention(2, 2, heads=2))
    assert found.exact == 17
    assert separation_rank(AttentionArchitecture(4, 2, heads=2)).exact == 107
    assert formula(4, 2) == 110


@pytest.mark.slow
def test_width_three_and_depth_three_are_certified():
    assert separation_rank(AttentionArchitecture(3, 3)).exact == formula(3, 3) == 3102


def test_an_embedding_of_low_rank_takes_the_place_of_the_width():
    for width, heads in [(3, 1), (4, 2)]:
        for r in range(1, width):
            found = separation_rank(AttentionArchitecture(width, 2, heads, embedding=r))
            assert found.exact == formula(r, 2)
    drawn = SelfAttention(3, 2, dtype=F64)
    held = [drawn.queries, drawn.keys, drawn.values, drawn.outputs]
    bottleneck = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 1.0]], dtype=F64)
    assert separation_rank(SelfAttention.from_weights(*held, bottleneck)).exact == formula(2, 2)


def test_more_tokens_than_coordinates_change_nothing_and_fewer_lower_the_rank():
    plan = AttentionArchitecture(2, 2)
    by_tokens = {
        (a, b): separation_rank(plan, range(a), a + b).exact
        for a, b in itertools.product((1, 2, 4), repeat=2)
    }
    assert {by_tokens[a, b] for a in (2, 4) for b in (2, 4)} == {18}
    assert by_tokens[1, 1] < by_tokens[1, 2] == by_tokens[1, 4] < 18


def test_which_side_is_named_does_not_matter_and_where_the_read_token_stands_does():
    plan = AttentionArchitecture(3, 2)
    one, others = [1], [0, 2, 3]
    for position in (0, 1):
        first = separation_rank(plan, one, 4, position=position)
        second = separation_rank(plan, others, 4, position=position)
        assert (first.lower, first.upper) == (second.lower, second.upper)
    assert separation_bound(plan, one, 4, position=1) < separation_bound(plan, one, 4, position=0)


def test_weights_that_vanish_have_rank_zero_and_one_that_ignores_tokens_is_found_out():
    """The lower bound is that of the very weights, not of the architecture."""
    zero = torch.zeros(1, 1, 2, 2, dtype=F64)
    eye = torch.eye(2, dtype=F64).expand(1, 1, 2, 2)
    assert separation_rank(SelfAttention.from_weights(zero, eye, eye, eye)).lower == 0
    ones = torch.ones(1, 1, 1, 2, dtype=F64)
    network = SelfAttention.from_weights(ones, ones, ones, ones.mT)
    # f = s (s_1^2 + .. + s_n^2) with s the sum of a token's coordinates: 1 + 1 terms.
    assert separation_rank(network).exact == 2


def test_every_witness_is_verified_by_the_definition_and_a_false_one_is_not():
    plan = AttentionArchitecture(2, 2, heads=2)
    found = separation_rank(plan, range(2), 4)
    assert found.witness.verify()
    assert sum(found.witness.ranks) == found.lower
    ranks = (found.witness.ranks[0] + 1, *found.witness.ranks[1:])
    assert not type(found.witness)(**{**vars(found.witness), "ranks": ranks}).verify()


def test_grids_that_are_not_grown_still_certify_lower_bounds():
    found = separation_rank(AttentionArchitecture(2, 3), budget=10_000)
    assert found.probable is None
    assert 0 < found.lower < found.upper == 232
    assert "not grown" in found.how
    deep = separation_rank(AttentionArchitecture(2, 7), budget=2**20)
    assert 0 < deep.lower < deep.upper == formula(2, 7)


def test_wide_networks_of_one_layer_are_certified():
    """Once limited by a cost that was counted for every entry and arises once for a row."""
    assert separation_rank(AttentionArchitecture(81, 1)).exact == formula(81, 1) == 82


def test_a_network_too_deep_to_split_is_certified_whole():
    assert separation_rank(AttentionArchitecture(1, 7, embedding=1)).exact == formula(1, 7) == 1094


def test_draws_repeat_with_their_generator():
    plan = AttentionArchitecture(2, 2)
    first, again, other = (
        separation_rank(plan, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.how == again.how != other.how
    assert torch.equal(first.witness.left, again.witness.left)


def functions(rank, tokens, degree):
    """The dimensions of the polynomials of a degree in X X^T, X of rank x tokens, and of those
    times an entry of the first token: ranks of their values at more random points than there are.
    """
    rng = numpy.random.default_rng(degree)
    pairs = list(itertools.combinations_with_replacement(range(rank), 2))
    powers = list(itertools.combinations_with_replacement(range(len(pairs)), degree))
    without, with_read = [], []
    for x in rng.integers(-99, 99, (rank * len(powers) + 3, rank, tokens)):
        second = (x @ x.T).tolist()
        entries = [second[i][j] for i, j in pairs]
        values = [math.prod(entries[i] for i in power) for power in powers]
        without.append(values)
        with_read.append([int(entry) * value for value in values for entry in x[:, 0]])
    return rank_of(without), rank_of(with_read)


def rank_of(rows):
    flat = [entry % BIG for row in rows for entry in row]
    return int(nmod_mat(len(rows), len(rows[0]), flat, BIG).rank())


@pytest.mark.parametrize(("rank", "tokens"), [(2, 1), (3, 1), (3, 2), (2, 2), (4, 3)])
def test_functions_of_few_tokens_are_counted(rank, tokens):
    without, with_read = side_counts(2, rank, tokens, tokens)
    for degree in range(3 if rank > 3 else 4):
        assert (without[degree], with_read[degree]) == functions(rank, tokens, degree)


def test_side_counts_are_free_with_as_many_tokens_as_coordinates():
    for rank in (1, 2, 3):
        free = free_counts(3, rank)
        assert side_counts(3, rank, rank, rank) == free
        assert free[1] == [rank * count for count in free[0]]


def test_narrow_heads_that_see_everything_bound_nothing():
    """With no raw functionals the staircase is full: the least side."""
    top = 4
    for c in range(top + 1):
        free = [math.comb(c + 2, 2), 2 * math.comb(top - c + 2, 2)]
        assert narrow_bound(c, top, 1, 3, 0, 2) == min(free)


def test_parts_by_degree_are_the_coefficients():
    p = 2**29 - 3
    rng = numpy.random.default_rng(0)
    coefficients = torch.from_numpy(rng.integers(0, p, (5, 2, 3)))
    places = [1, 4, 9, 16, 25]
    values = [sum(c * pow(s, k, p) for k, c in enumerate(coefficients)) % p for s in places]
    assert torch.equal(degree_parts(torch.stack(values), places, p), coefficients)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"partition": [0, 0], "tokens": 4}, "expected distinct positions from 0 to 3"),
        ({"partition": [4], "tokens": 4}, "expected distinct positions from 0 to 3"),
        ({"partition": [-1], "tokens": 4}, "expected distinct positions"),
        ({"partition": [], "tokens": 4}, "tokens on both sides, got 0 of 4"),
        ({"partition": [0, 1], "tokens": 2}, "tokens on both sides, got 2 of 2"),
        ({"tokens": 1}, "tokens on both sides, got 0 of 1"),
        ({"position": 4, "tokens": 4}, "expected a position from 0 to 3, got 4"),
        ({"coordinate": 2}, "expected a coordinate from 0 to 1, got 2"),
    ],
)
def test_partitions_and_positions_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        separation_rank(AttentionArchitecture(2, 2), **arguments)


def test_bounds_of_networks_beyond_counting_are_refused():
    with pytest.raises(SizeError, match="depth of at most 11, got 12"):
        separation_bound(AttentionArchitecture(2, 12))
