"""The cut law: min_cut bounds every rank, and is the generic rank where sizes are uniform."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from mixtures import HMM, HT, LTM, SPN, TMM, Tree, inputs
from mixtures.tree import Tree as TreeClass
from transforms.bounds import min_cut
from transforms.claims_cuts import strict_model
from transforms.generic import architecture, generic_rank
from transforms.ranks import rank
from transforms.subjects import verify_minor

from test_ranks_truth import cuts, flow_cut, generator


@st.composite
def trees(draw, largest=7):
    d = draw(st.integers(2, largest))
    arity = draw(st.integers(2, 4))
    return TreeClass.random(d, arity=arity, generator=generator(draw(st.integers(0, 10**6))))


@hypothesis.given(trees(), st.integers(2, 4), st.integers(0, 10**6))
def test_the_cheapest_cut_is_a_maximum_flow(tree, largest, seed):
    g = generator(seed)
    states = {v: int(torch.randint(1, largest + 1, (), generator=g)) for v in tree.inner}
    k = [int(torch.randint(1, largest + 1, (), generator=g)) for _ in range(tree.variables)]
    W = LTM(tree, k, states, dtype=torch.float64, generator=g)
    for rows in cuts(tree.variables)[:12]:
        assert min_cut(W, rows) == flow_cut(W, rows), rows


@hypothesis.given(trees(6), st.integers(1, 2), st.integers(0, 1), st.integers(0, 10**6))
def test_with_equal_sizes_and_k_at_least_r_the_rank_is_the_cheapest_cut(tree, r, more, seed):
    W = LTM(tree, r + more, r, dtype=torch.float64, generator=generator(seed))
    for rows in cuts(tree.variables)[::3]:
        found = rank(W, rows, generator=generator())
        assert found.exact == min_cut(W, rows) == flow_cut(W, rows)


@hypothesis.settings(max_examples=15)
@hypothesis.given(trees(5), st.integers(0, 10**6))
def test_with_unequal_sizes_bounds_hold_or_the_value_is_right(tree, seed):
    g = generator(seed)
    states = {v: int(torch.randint(1, 6, (), generator=g)) for v in tree.inner}
    k = [int(torch.randint(1, 5, (), generator=g)) for _ in range(tree.variables)]
    W = LTM(tree, k, states, dtype=torch.float64, generator=g)
    for rows in cuts(tree.variables)[::2]:
        mine, almost = rank(W, rows, generator=g), generic_rank(W, rows, generator=g)
        assert mine.exact is not None
        assert almost.lower <= mine.exact == almost.probable <= almost.upper
        assert verify_minor(W, mine.witness)
        assert almost.witness.verify(W)


def test_a_generic_rank_strictly_below_the_cheapest_cut_is_not_called_exact():
    W = strict_model()
    mine = rank(W, (0, 1))
    assert mine.exact == mine.witness.size == 7
    assert verify_minor(W, mine.witness)
    found = generic_rank(W, (0, 1))
    assert (found.lower, found.upper, found.exact, found.probable) == (7, 8, None, 7)
    assert 0 < found.error < 1e-9


@pytest.mark.parametrize(
    ("W", "rows", "expected"),
    [
        (TMM(8, 3, 3, arity=2), range(0, 8, 2), 81),
        (TMM(8, 3, 3, arity=2, shared=True), range(0, 8, 2), 81),
        (TMM(16, 2, 2, arity=2), range(0, 16, 2), 256),
        (TMM(16, 2, 2, arity=2, shared=True), range(0, 16, 2), 256),
        (TMM(8, 2, 3, arity=2), range(0, 8, 2), 16),
        (HT(Tree.balanced(8), 3, 3), range(0, 8, 2), 81),
        (HMM(8, 3, 3), range(0, 8, 2), 81),
        (HMM(8, 3, 3, shared=True), range(0, 8, 2), 81),
        (HMM(9, 2, 2), range(0, 9, 2), 16),
        (TMM(6, 2, 5), range(3), 5),
        (TMM(6, 2, 5), range(2), 4),
        (TMM(4, 2, 4, shared=True), (0, 1), 3),
        (TMM(5, 2, 9, shared=True), (0, 1), 3),
        (TMM(8, 3, 3), range(0, 8, 2), 3),
        (LTM(Tree.balanced(8), 3, 3), (0, 1, 2, 3), 3),
    ],
)
def test_generic_ranks_of_the_theory(W, rows, expected):
    found = generic_rank(W, tuple(rows), generator=generator())
    assert found.exact == expected
    assert found.witness.verify(W)


def test_a_general_train_has_a_larger_odd_even_rank_than_an_hmm():
    train = generic_rank(HT(Tree.caterpillar(6), 4, 2, emission=False), (0, 2, 4))
    assert train.lower > generic_rank(HMM(6, 4, 2), (0, 2, 4)).upper == 8


def test_the_generic_rank_does_not_look_at_the_tables_but_keeps_their_zeros():
    tree = Tree.balanced(4)
    flat = torch.full((2, 2), 0.5, dtype=torch.float64)
    top = torch.full((1, 2), 0.5, dtype=torch.float64)
    tables = {6: top, 4: flat, 5: flat.clone(), 0: flat.clone(), 1: flat, 2: flat.clone(), 3: flat}
    W = LTM.from_tables(tree, tables)
    assert rank(W, (0, 2)).exact == 1
    assert generic_rank(W, (0, 2)).exact == 4
    dead = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert generic_rank(LTM.from_tables(tree, tables | {0: dead}), (0, 2)).exact == 2


def test_the_generic_rank_of_networks_and_combinations():
    a = inputs(4, 2)
    pair = 0.5 * a[0][0] * a[1][0] + 0.5 * a[0][1] * a[1][1]
    other = 0.5 * a[2][0] * a[3][0] + 0.5 * a[2][1] * a[3][1]
    S = SPN(1.0 * (pair * other))
    found = generic_rank(S, (0, 2), generator=generator())
    assert found.exact == 4
    assert found.witness.verify(S)
    assert generic_rank(0.5 * TMM(6, 2, 1) + 0.5 * TMM(6, 2, 2), (0, 1, 2)).exact == 3


def test_a_dense_array_has_no_architecture():
    with pytest.raises(ValueError, match="no architecture"):
        generic_rank(torch.zeros((2, 2)), (0,))
    plan = architecture(HMM(4, 2, 2))
    assert architecture(plan) is plan


def test_a_generic_witness_with_another_table_is_found_out():
    W = HMM(6, 2, 2)
    found = generic_rank(W, (0, 2, 4)).witness
    assert found.verify(W)
    found.tables[-1][:, :, 1:] = 0
    assert not found.verify(W)


# ---------------------------------------------------------------- wrong libraries go red


def test_a_cut_that_forgets_the_copies_is_not_the_flow(monkeypatch):
    """Without clamping a star would cost the product of its edges, not r once."""
    from transforms import cuts as module

    W = TMM(6, 2, 3)
    assert min_cut(W, (0, 1, 2)) == flow_cut(W, (0, 1, 2)) == 3
    monkeypatch.setattr(module, "_alive", lambda network, vertex: 10**6)
    assert min_cut(W, (0, 1, 2)) != flow_cut(W, (0, 1, 2))


def test_untying_changes_the_answer_of_the_symmetric_case():
    assert generic_rank(TMM(4, 2, 4), (0, 1)).exact == 4


def test_flattened_inner_edges_are_seen_by_node_cuts_only():
    W = LTM(Tree.balanced(8), 2, 2, dtype=torch.float64, generator=generator())
    half = torch.full((2, 2), 0.5, dtype=torch.float64)
    tables = {v: W.table(v) for v in W.tree.nodes}
    tables |= {v: half for v in W.tree.inner if v != W.tree.root}
    V = LTM.from_tables(W.tree, tables)
    odd, node = (0, 2, 4, 6), (0, 1, 2, 3)
    assert rank(W, odd).exact == rank(V, odd).exact == 16
    assert (rank(W, node).exact, rank(V, node).exact) == (2, 1)
