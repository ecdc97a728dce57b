"""`rank` says the truth about the very tensor: against elimination over Fractions."""

from fractions import Fraction

import numpy as np
import pytest
import tensorly
import torch
from tensorly.random import random_cp, random_tt, random_tucker

from mixtures import HMM, HT, LTM, SPN, TMM, Combination, Dense, Diagonal, Tree, inputs
from mixtures.components import Categorical
from mixtures.errors import SizeError
from mixtures.mixture import Mixture
from transforms.generic import generic_rank
from transforms.matricize import matricize
from transforms.minors import Minor
from transforms.profiles import numerical_tt_ranks, spectra
from transforms.ranks import Rank, numerical_rank, rank, spectrum
from transforms.subjects import subject, verify_minor

import oracle
from test_ranks_truth import cuts, exact_tensor, generator, rank_of, unfolded


def small_models():
    f = {"dtype": torch.float64, "generator": generator(1)}
    yield "LTM", LTM(Tree.random(5, arity=3, generator=generator(2)), 2, 2, **f)
    yield "unequal", LTM(Tree.balanced(4), [2, 3, 2, 3], {4: 2, 5: 4, 6: 3}, **f)
    yield "float32", LTM(Tree.balanced(4), 2, 2, generator=generator(3))
    yield "HMM", HMM(5, 2, 3, **f)
    yield "shared HMM", HMM(4, 2, 2, shared=True, **f)
    yield "no emission", HMM(4, 2, 2, emission=False, **f)
    yield "CP", TMM(4, 2, 3, **f)
    yield "tied CP", TMM(4, 2, 4, shared=True, **f)
    yield "HT", HT(Tree.balanced(4), 2, 3, **f)
    yield "TT", HT(Tree.caterpillar(4), 3, 2, emission=False, **f)
    yield "ternary HT", HT(Tree.balanced(5, 3), 2, 2, **f)
    table = torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
    top = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    tree = Tree({4: (0, 1), 5: (2, 3), 6: (4, 5)})
    yield "zeros, tied", LTM.from_tables(tree, {6: top, 4: table, 5: table, 0: table, 3: table})
    diagonal = {6: Diagonal(top), 4: Diagonal(table), 5: Diagonal(table), 1: table, 2: table}
    yield "diagonal HT", HT.from_tables(tree, diagonal)
    one = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    yield "a dead state", LTM.from_tables(tree, {6: one, 4: table, 5: table})
    flat = torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
    yield "a flat edge", LTM.from_tables(tree, {6: top, 4: flat, 5: table, 0: table, 1: table})


MODELS = dict(small_models())


def check_ranks(W, rank=rank):
    """The law: at every cut the bounds hold, meet, and the minor is regular."""
    T = exact_tensor(W)
    for rows in cuts(W.variables):
        truth = rank_of(unfolded(T, rows))
        found = rank(W, rows, generator=generator())
        assert found.lower <= truth <= found.upper, rows
        assert found.exact == truth, rows
        assert verify_minor(W, found.witness), rows


@pytest.mark.parametrize("name", MODELS)
def test_the_rank_of_a_model_is_that_of_its_stored_numbers(name):
    check_ranks(MODELS[name])


@pytest.mark.parametrize("name", ["LTM", "HT", "zeros, tied", "shared HMM"])
def test_integers_of_a_model_are_its_exact_entries(name):
    W = MODELS[name]
    scale, height = subject(W).scaling()
    whole = subject(W).integers()
    assert (whole == exact_tensor(W) * scale).all()
    assert max(whole.reshape(-1)) <= 2**height


def test_integers_of_a_network_are_its_exact_entries_at_uneven_depths():
    a = inputs(3, 2)
    deep = 0.375 * a[0][0] * a[1][1] + 0.625 * a[0][1] * a[1][0]
    deeper = 0.1 * deep + 0.9 * a[0][0] * a[1][0]
    S = SPN(0.3 * deeper * a[2][0] + 0.7 * a[0][1] * a[1][1] * a[2][1], dtype=torch.float64)
    graph = S.to_networkx()
    for _, _, data in graph.edges(data=True):
        data["weight"] = Fraction(data.get("weight", 1))
    scale, height = subject(S).scaling()
    assert (subject(S).integers() == oracle.spn_tensor(graph, S.shape) * scale).all()
    assert scale <= 2**height


def test_the_rank_of_an_spn_a_combination_and_a_dense_tensor_is_exact():
    a = inputs(4, 2)
    pairs = 0.5 * a[0][0] * a[1][0] + 0.5 * a[0][1] * a[1][1]
    others = 0.25 * a[2][0] * a[3][1] + 0.75 * a[2][1] * a[3][0]
    crossed = 0.5 * a[0][0] * a[2][0] + 0.5 * a[0][1] * a[2][1]
    rest = 0.5 * a[1][0] * a[3][0] + 0.5 * a[1][1] * a[3][1]
    S = SPN(0.5 * (pairs * others) + 0.5 * (crossed * rest), dtype=torch.float64)
    L = LTM(Tree.balanced(4), 2, 2, dtype=torch.float64, generator=generator())
    for W in (S, 0.25 * L + 0.75 * S, Dense(L.dense())):
        truth = W.dense().double().numpy()
        for rows in cuts(4):
            found = rank(W, rows, generator=generator())
            held = np.array([[Fraction(x) for x in row] for row in unfolded(truth, rows).tolist()])
            if not isinstance(W, Combination):  # its dense entries are rounded, W's are not
                assert found.exact == rank_of(held)
            assert found.exact is not None
            assert verify_minor(W, found.witness)


def test_a_combination_of_products_has_the_rank_of_its_parts():
    g = generator()
    parts = [TMM(6, 2, 1, dtype=torch.float64, generator=g) for _ in range(3)]
    found = rank(0.5 * parts[0] + 0.5 * parts[1], [0, 1, 2], generator=g)
    assert found.exact == 2
    nested = Combination([0.5, 0.5], [Combination([0.5, 0.5], parts[:2]), parts[2]])
    assert rank(nested, [0, 1, 2], generator=g).exact == 3


@pytest.mark.parametrize(
    ("draw", "dense"),
    [
        (lambda: random_cp((3, 2, 4), 2, random_state=0), tensorly.cp_to_tensor),
        (lambda: random_tt((3, 2, 4, 2), [1, 2, 3, 2, 1], random_state=0), tensorly.tt_to_tensor),
        (lambda: random_tucker((3, 2, 4), [2, 2, 2], random_state=0), tensorly.tucker_to_tensor),
    ],
)
def test_tensorly_tensors_are_read_as_they_are(draw, dense):
    T = draw()
    np.testing.assert_allclose(subject(T).dense(), dense(T), atol=1e-12)
    for rows in cuts(len(T.shape)):
        found = rank(T, rows, generator=generator())
        assert found.exact == np.linalg.matrix_rank(unfolded(np.asarray(dense(T)), rows))
        assert verify_minor(T, found.witness)


def test_integer_and_fraction_arrays_are_exact_and_float_arrays_are_refused():
    M = np.array([[(i - j) ** 2 for j in range(6)] for i in range(6)])
    assert rank(M, [0]).exact == 3
    assert rank(torch.as_tensor(M), [1]).exact == 3
    thirds = np.array([[Fraction(x, 3) for x in row] for row in M.tolist()], dtype=object)
    assert rank(thirds, [0]).exact == 3
    with pytest.raises(ValueError, match=r"integers or Fractions, got float64.*within"):
        rank(M / 3, [0])
    with pytest.raises(ValueError, match="finite"):
        rank(np.array([[np.nan, 1.0]]), [0])
    with pytest.raises(ValueError, match="expected a coefficient tensor"):
        rank("text", [0])


def test_the_zero_tensor_has_rank_zero():
    found = rank(np.zeros((2, 3, 2), dtype=int), [0, 2])
    assert found.exact == 0
    assert verify_minor(np.zeros((2, 3, 2), dtype=int), found.witness)
    large = tensorly.cp_tensor.CPTensor((np.zeros(2), [np.ones((3, 2))] * 12))
    assert rank(large, range(6)).exact == 0


def test_terms_that_cancel_and_rows_that_agree_are_seen():
    v = np.arange(1, 4).reshape(3, 1)
    nothing = tensorly.cp_tensor.CPTensor((np.array([1, -1]), [np.hstack([v, v])] * 4))
    assert rank(nothing, [0, 1]).exact == 0
    g = generator()
    factor = torch.rand((4, 2), dtype=torch.float64, generator=g)
    factor = factor / factor.sum(1, keepdim=True)
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    W = TMM.from_factors(weights, [factor.clone() for _ in range(4)])  # equal, but not tied
    found = rank(W, [0, 1])
    assert (found.exact, found.witness.size) == (3, 3)
    assert verify_minor(W, found.witness)


def test_within_eps_counts_singular_values_above_eps():
    g = np.random.default_rng(0)
    U, V = np.linalg.qr(g.normal(size=(6, 6)))[0], np.linalg.qr(g.normal(size=(6, 6)))[0]
    M = (U * [3, 2, 1, 0.5, 1e-3, 0]) @ V
    assert [rank(M, [0], within=eps).lower for eps in (1e-6, 0.01, 0.7, 5)] == [5, 4, 3, 0]
    found = rank(M, [0], within=0.01)
    assert (found.upper, found.exact) == (6, None)
    assert "Weyl" in found.how
    with pytest.raises(ValueError, match="within"):
        rank(M, [0], within=-1)
    with pytest.raises(ValueError, match="exact"):
        rank(MODELS["LTM"], [0], within=0.1)


def test_the_rank_of_a_mixture_is_that_of_its_coefficients():
    W = LTM(Tree.balanced(8), 3, 3, dtype=torch.float64, generator=generator())
    mixture = Mixture(W, Categorical(8, 3, 5, dtype=torch.float64, generator=generator()))
    assert rank(mixture, [0, 2, 4, 6]).exact == generic_rank(mixture, [0, 2, 4, 6]).exact == 81


def test_a_rounded_dense_array_is_not_the_model_it_came_from():
    W = TMM(4, 3, 3, dtype=torch.float64, generator=generator())
    assert rank(W, [0, 1]).exact == 3
    assert rank(Dense(W.dense()), [0, 1]).exact == 9


def test_rows_must_be_distinct_variables():
    for rows in ([0, 0], [-1], [9]):
        with pytest.raises(ValueError, match="distinct variables"):
            rank(MODELS["LTM"], rows)
    assert rank(MODELS["LTM"], []).exact == rank(MODELS["LTM"], range(5)).exact == 1


def test_a_false_minor_is_found_out():
    W = MODELS["LTM"]
    found = rank(W, [0, 1]).witness
    rows = np.array(found.rows)
    rows[1] = rows[0]
    assert verify_minor(W, found)
    assert not verify_minor(W, Minor(found.prime, rows, found.columns))
    assert not verify_minor(W, Minor(2**31 - 3, found.rows, found.columns))  # no prime
    assert not verify_minor(W, Minor(found.prime, found.rows, found.rows))


def test_a_small_limit_cuts_the_search_off_and_says_so():
    W = HMM(14, 2, 2, dtype=torch.float64, generator=generator())
    found = rank(W, range(0, 14, 2), limit=10)
    assert (found.lower, found.upper, found.exact, found.probable) == (10, 128, None, None)
    assert "not looked for" in found.how


def test_probable_ranks_state_their_risk():
    # 1/3-like weights make the cheapest cut 5 where the tensor, too large to write out, has rank 3
    g = generator()
    cp = random_cp((3,) * 12, 5, random_state=0)
    factors = [np.rint(8 * f) for f in cp.factors]
    factors = [np.column_stack([f[:, :3], f[:, 0], f[:, 1]]) for f in factors]
    T = tensorly.cp_tensor.CPTensor((np.ones(5), factors))
    found = rank(T, range(6), generator=g)
    assert (found.lower, found.upper, found.probable, found.exact) == (3, 5, 3, None)
    assert 0 < found.error < 1e-9
    assert "between 3 and 5" in str(found)


def test_bounds_that_contradict_each_other_are_an_error():
    with pytest.raises(ArithmeticError):
        Rank(3, 2, "")


def test_matricizations_are_lazy_and_agree_with_the_model():
    W = MODELS["unequal"]
    for rows in ([1], [2, 0], [3, 1, 0]):
        M = matricize(W, rows)
        np.testing.assert_allclose(np.asarray(M), W.matricize(rows).numpy(), atol=1e-15)
        np.testing.assert_allclose(M.T.dense(), M.dense().T)
    assert matricize(HMM(300, 2, 2), range(150)).shape == (2**150, 2**150)
    with pytest.raises(SizeError):
        matricize(HMM(300, 2, 2), range(150)).dense()


def test_probes_of_a_matricization_are_products_with_the_dense_matrix():
    T = np.arange(24).reshape(2, 3, 4)
    M = matricize(T, [2, 0])
    u = torch.randint(0, 9, (3, 2, 4), generator=generator())
    v = torch.randint(0, 9, (5, 1, 4), generator=generator())
    expected = np.einsum("abc,nc,na,mb->nm", T, u[:, 0], u[:, 1, :2], v[:, 0, :3])
    assert (M.probe(u, v).numpy() == expected).all()
    assert (M.apply(v).numpy() == M.dense() @ v[:, 0, :3].numpy().T).all()
    with pytest.raises(ValueError, match="expected integers"):
        M.probe(u.double(), v)


def test_numerical_ranks_and_spectra_are_those_of_the_dense_matrix():
    W = MODELS["HMM"]
    values = np.linalg.svd(W.matricize([0, 2]).numpy(), compute_uv=False)
    np.testing.assert_allclose(spectrum(W, [0, 2]), values, atol=1e-14)
    assert numerical_rank(W, [0, 2], 1e-12) == 4


@pytest.mark.parametrize("make", ["low", "full", "graded", "zero"])
def test_one_sweep_gives_the_singular_values_of_every_prefix(make):
    rng, sizes, order = np.random.default_rng(0), (3, 4, 2, 5, 3), [2, 0, 4, 3, 1]
    tensor = rng.normal(size=sizes)
    if make in ("low", "graded"):
        factors = [rng.normal(size=(3, k)) for k in sizes]
        scales = np.array([1.0, 1e-3, 1e-9] if make == "graded" else [1.0, 1.0, 1.0])
        tensor = np.einsum("r,ra,rb,rc,rd,re->abcde", scales, *factors)
    if make == "zero":
        tensor[:] = 0
    for chosen in (None, order):
        found, places = spectra(tensor, chosen), chosen or range(5)
        assert len(found) == 4
        for q, values in enumerate(found, 1):
            expected = np.linalg.svd(unfolded(tensor, list(places)[:q]), compute_uv=False)
            np.testing.assert_allclose(values[: len(expected)], expected, atol=1e-13)
            assert len(values) == len(expected)
        ranks = [numerical_rank(tensor, list(places)[:q], 1e-11) for q in range(1, 5)]
        assert numerical_tt_ranks(tensor, 1e-11, chosen) == ranks
    with pytest.raises(ValueError, match="permutation"):
        spectra(tensor, [0, 1, 2, 3, 3])


# ---------------------------------------------------------------- wrong libraries go red


def wrong(change):
    return lambda W, rows, **options: rank(change(W), rows, **options)


def transposed(W):
    tables = {v: W.table(v) for v in W.tree.nodes}
    tables[0] = tables[0].flip(1).contiguous()
    tables[W.tree.inner[0]] = torch.full_like(tables[W.tree.inner[0]], 0.5)
    return LTM.from_tables(W.tree, tables)


def permuted(W):
    order = [0, *range(2, W.variables), 1]
    names = dict(enumerate(order))
    children = {v: [names.get(c, c) for c in W.tree.children[v]] for v in W.tree.inner}
    tables = {names.get(v, v): W.table(v) for v in W.tree.nodes}
    return LTM.from_tables(Tree(children), tables)


@pytest.mark.parametrize("change", [transposed, permuted])
def test_the_law_fails_for_a_wrong_tensor(change):
    W = LTM(Tree.balanced(4), 2, 2, dtype=torch.float64, generator=generator())
    check_ranks(W)
    with pytest.raises(AssertionError):
        check_ranks(W, rank=wrong(change))
