"""Fewer states, a mixture still, at a price that is reported and proven."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixtures import HMM, HT, LTM, TMM, Tree
from transforms import lossy
from transforms.lossy import reduce

from test_convert_down import W, random_ltm
from zoo import rows

F64 = torch.float64
MODELS = {
    "TMM": lambda: TMM(5, 3, 6, dtype=F64, generator=torch.Generator().manual_seed(0)),
    "HMM": lambda: HMM(4, 2, 4, dtype=F64, generator=torch.Generator().manual_seed(1)),
    "LTM": lambda: LTM(
        Tree.balanced(5), 2, 3, dtype=F64, generator=torch.Generator().manual_seed(2)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("states", [1, 2, 3])
def test_a_reduced_model_is_a_mixture_of_the_asked_size(name, states):
    source = MODELS[name]()
    found = reduce(source, states=states)
    assert type(found.model) is type(source)
    assert all(found.model.states(node) == states for node in found.model.tree.inner)
    before, after = W(source), W(found.model)
    assert (after >= 0).all()
    assert after.sum() == pytest.approx(1)
    assert found.exact
    assert found.kl == pytest.approx((before * np.log(before / after)).sum(), abs=1e-12)
    assert found.total_variation == pytest.approx(np.abs(before - after).sum() / 2, abs=1e-12)
    assert found.kl <= found.bound + 1e-12


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_the_bound_on_the_divergence_holds(seed, states):
    source = random_ltm(seed)
    found = reduce(source, states=states)
    assert found.kl <= found.bound + 1e-12
    assert W(found.model).sum() == pytest.approx(1)


def test_the_bound_of_a_single_latent_is_what_it_tells_of_each_variable():
    """One state: the sum over variables of I(x_j; z)."""
    source = MODELS["TMM"]()
    weights, total = source.weights[:, None], 0.0
    for factor in source.factors:
        total += float((weights * factor * (factor / (weights * factor).sum(0)).log()).sum())
    assert reduce(source, states=1).bound == pytest.approx(total, abs=1e-12)


@given(st.integers(0, 10**6), st.floats(0, 0.5))
def test_an_error_is_never_exceeded(seed, error):
    found = reduce(random_ltm(seed), error=error)
    assert found.kl <= found.bound + 1e-12 <= error + 2e-12


def test_equal_states_are_merged_at_no_price():
    g = torch.Generator().manual_seed(0)
    factors = rows(g, F64, 4, 3, 2)
    doubled = factors[:, [0, 1, 2, 1, 0]]
    source = TMM.from_factors(rows(g, F64, 5), doubled)
    found = reduce(source, error=1e-12)
    assert len(found.model.weights) == 3
    np.testing.assert_allclose(W(found.model), W(source), atol=1e-15)


def test_a_larger_model_loses_less():
    source = MODELS["TMM"]()
    losses = [reduce(source, states=r).kl for r in (1, 2, 4, 6)]
    assert losses[0] > losses[1] > losses[2] > losses[3] == pytest.approx(0, abs=1e-12)


def test_one_state_everywhere_is_the_product_of_marginals():
    source = MODELS["LTM"]()
    tensor = W(source)
    marginals = [tensor.sum(tuple(i for i in range(5) if i != j)) for j in range(5)]
    product = np.einsum("a,b,c,d,e->abcde", *marginals)
    np.testing.assert_allclose(W(reduce(source, states=1).model), product, atol=1e-14)


def test_latents_may_have_limits_of_their_own():
    source = MODELS["LTM"]()
    node = source.tree.inner[0]
    found = reduce(source, states={node: 2}).model
    assert found.states(node) == 2
    assert all(found.states(v) == 3 for v in found.tree.inner if v != node)
    away = [v for v in source.tree.nodes if node not in (v, source.tree.parent.get(v))]
    assert all(torch.equal(found.table(v), source.table(v)) for v in away)


def test_draws_agree_with_the_sum_over_all_entries(monkeypatch):
    source = MODELS["TMM"]()
    exact = reduce(source, states=2)
    monkeypatch.setattr(lossy, "EXACT", 1)
    drawn = reduce(source, states=2, draws=20_000, generator=torch.Generator().manual_seed(0))
    assert not drawn.exact
    assert abs(drawn.kl - exact.kl) < 4 * drawn.kl_error
    gap = abs(drawn.total_variation - exact.total_variation)
    assert gap < 4 * drawn.total_variation_error
    assert "Monte Carlo" in str(drawn)
    assert "exact" in str(exact)


def test_large_models_are_reduced_too():
    found = reduce(HMM(300, 3, 5), states=3, draws=64)
    assert found.model.states(300) == 3
    assert found.kl_error > 0


def test_what_is_asked_must_make_sense():
    source = MODELS["TMM"]()
    for options, words in [
        ({}, "either states= or error="),
        ({"states": 2, "error": 0.1}, "either states= or error="),
        ({"error": -1.0}, "non-negative"),
        ({"states": 0}, "at least one state"),
    ]:
        with pytest.raises(ValueError, match=words):
            reduce(source, **options)
    with pytest.raises(ValueError, match="got HT"):
        reduce(HT(Tree.balanced(4), 2, 2), states=1)
