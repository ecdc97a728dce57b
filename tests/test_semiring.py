"""Laws of the semirings: each operation against its definition, one sum or product at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixtures import Linear, Log, Max, Modular, Sample
from mixtures.residues import modular_bmm
from mixtures.weights import Weights

P = 2**31 - 1


def table(seed, nodes=2, parents=3, children=4, zeros=0.0):
    rng = np.random.default_rng(seed)
    values = rng.random((nodes, parents, children)) * (
        rng.random((nodes, parents, children)) >= zeros
    )
    values[..., 0] += 0.01
    return torch.tensor(values / values.sum(-1, keepdims=True))


def values(seed, nodes=2, children=4, rows=5):
    return torch.tensor(np.random.default_rng(seed).normal(size=(nodes, children, rows)))


def mixed(ring, weights, inside):
    """The semiring's mixture, in a tensor of its own."""
    out = inside.new_empty((*weights.values.shape[:2], inside.shape[2]))
    ring.mix(weights, inside, out)
    return out


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("ring", [Linear(), Log(), Max(), Modular(P)])
def test_a_product_multiplies_all_its_factors(ring, count):
    factors = [values(seed) for seed in range(count)]
    if isinstance(ring, Modular):
        factors = [(100 * factor).long() % P for factor in factors]
        expected = [
            math.prod(column) % P
            for column in zip(*(f.flatten().tolist() for f in factors), strict=True)
        ]
        assert ring.product(factors).flatten().tolist() == expected
        return
    combine = sum if ring.logarithmic else math.prod
    torch.testing.assert_close(ring.product(factors), combine(factors[1:], start=factors[0]))


@pytest.mark.parametrize("count", [2, 5, 7])
@pytest.mark.parametrize("ring", [Linear(), Log()])
def test_factors_may_broadcast_however_many_there_are(ring, count):
    factors = [values(seed).unsqueeze(place % 2) for place, seed in enumerate(range(count))]
    expected = factors[0]
    for factor in factors[1:]:
        expected = expected + factor if ring.logarithmic else expected * factor
    torch.testing.assert_close(ring.product(factors), expected)


def test_mixing_is_a_matrix_product_in_each_semiring():
    weights, inside = Weights(table(1, zeros=0.4)), values(2)
    linear = mixed(Linear(), weights, inside)
    torch.testing.assert_close(linear, torch.einsum("npc,ncb->npb", weights.values, inside))
    logs = mixed(Log(), weights, inside)
    torch.testing.assert_close(
        logs.exp(), torch.einsum("npc,ncb->npb", weights.values, inside.exp())
    )
    terms = weights.values.log()[..., None] + inside[:, None]
    torch.testing.assert_close(mixed(Max(), weights, inside), terms.amax(2))


def test_nothing_mixed_is_minus_infinity_never_nan():
    nothing = torch.full((2, 4, 3), -torch.inf, dtype=torch.float64)
    for ring in (Log(), Max()):
        assert (mixed(ring, Weights(table(3)), nothing) == -torch.inf).all()


def test_a_structural_zero_times_anything_is_nothing():
    weights = Weights(torch.tensor([[[0.0, 1.0]]], dtype=torch.float64))
    inside = torch.tensor([[[900.0], [-900.0]]], dtype=torch.float64)
    for ring in (Log(), Max()):
        assert mixed(ring, weights, inside).item() == -900


def test_max_picks_exactly_one_of_several_best():
    weights = Weights(torch.full((1, 1, 4), 0.25, dtype=torch.float64))
    inside = torch.zeros((1, 4, 6), dtype=torch.float64)
    picked = Max().pick(weights, inside, torch.zeros((1, 6), dtype=torch.int64))
    assert picked.shape == (1, 6)
    assert ((picked >= 0) & (picked < 4)).all()


def test_a_draw_never_falls_on_a_term_that_is_zero():
    terms = torch.tensor([0.0, 1e-300, 0.0, 1.0, 0.0], dtype=torch.float64).reshape(1, 5, 1)
    terms = terms.expand(1, 5, 20_000)
    drawn = Sample(torch.Generator().manual_seed(0)).draw(terms)
    assert set(drawn.flatten().tolist()) <= {1, 3}


def test_draws_are_uniform_where_all_terms_are_equal():
    drawn = Sample(torch.Generator().manual_seed(1)).draw(torch.ones(1, 4, 40_000))
    share = torch.bincount(drawn.flatten(), minlength=4) / 40_000
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.01, rtol=0)


@pytest.mark.parametrize("children", [1, 31, 32, 33, 100])
def test_modular_products_are_exact(children):
    rng = np.random.default_rng(children)
    left = torch.as_tensor(rng.integers(P - 1000, P, (1, 3, children)))
    right = torch.as_tensor(rng.integers(P - 1000, P, (1, children, 2)))
    expected = (left[0].numpy().astype(object) @ right[0].numpy().astype(object)) % P
    assert modular_bmm(left, right, P)[0].tolist() == expected.tolist()


@pytest.mark.parametrize("p", [0, 1, 4, 2**31, 2**31 + 11, 100])
def test_modular_needs_a_prime_below_two_to_the_31(p):
    with pytest.raises(ValueError, match=f"expected a prime below 2\\^31, got {p}"):
        Modular(p)


def test_evidence_is_no_residue():
    with pytest.raises(ValueError, match="use Log or Linear"):
        Modular(7).evidence(torch.zeros(1))


def test_log_and_sample_share_no_pick():
    with pytest.raises(TypeError, match="Max and Sample pick one"):
        Log().pick(Weights(table(1)), values(2), torch.zeros((2, 5), dtype=torch.int64))
