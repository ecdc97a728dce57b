"""Laws of the values of coefficient tensors: contractions under every semiring and the oracle."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from mixtures import Combination, Dense, Linear, Log, Max, Modular, pinned

import oracle
from laws import close, coefficients, every_model, leaves, line, numbers, tensor, truth
from laws import evidence as some_evidence
from oracle_models import listing
from zoo import made

PRIME = 2**31 - 1


def signed(name, rows=3):
    """Leaves of both signs, (rows, d, max k)."""
    model = made(name)
    return numbers(name).normal(size=(rows, model.variables, max(model.shape)))


@every_model
def test_the_dense_tensor_is_the_sum_over_all_latent_states(name):
    close(made(name).dense(), coefficients(name))


@every_model
def test_entries_are_those_of_the_dense_tensor_one_by_one_and_in_batches(name):
    W, model = coefficients(name), made(name)
    indices = np.array(list(np.ndindex(*model.shape)))[:300]
    close(model[indices], W[tuple(indices.T)])
    close(model[tuple(indices[-1].tolist())], W[tuple(indices[-1])])


@every_model
def test_the_entries_sum_to_one(name):
    assert coefficients(name).sum() == pytest.approx(1, rel=1e-12)
    assert made(name).is_normalised()
    close(made(name).contract(torch.zeros_like(tensor(leaves(name)))), np.zeros(5))


@every_model
def test_entries_are_not_negative(name):
    assert (made(name).dense() >= 0).all()


@every_model
def test_a_matricization_holds_the_entries_its_rows_and_columns_name(name):
    model, W = made(name), coefficients(name)
    d = model.variables
    for rows in ([], [0], [d - 1], list(range(0, d, 2)), list(reversed(range(0, d, 2)))):
        close(model.matricize(rows), oracle.matricize(W, rows))


@every_model
def test_a_contraction_is_the_sum_over_all_entries_for_leaves_of_any_sign(name):
    model, W, rows = made(name), coefficients(name), signed(name)
    expected = np.array([oracle.contract(W, row) for row in rows])
    close(model.contract(tensor(rows), Linear()), expected, atol=1e-12)


@every_model
def test_a_contraction_is_linear_in_the_vector_of_each_variable(name):
    model = made(name)
    one, two, _ = tensor(signed(name))
    for j in range(model.variables):
        both, other = one.clone(), one.clone()
        other[j] = two[j]
        both[j] = 0.5 * one[j] - 3 * two[j]
        values = model.contract(torch.stack([one, other, both]), Linear())
        close(0.5 * values[0] - 3 * values[1], values[2], rtol=1e-9, atol=1e-11)


@every_model
def test_log_contractions_are_logarithms_of_linear_ones(name):
    rows = tensor(leaves(name)[:4])
    close(made(name).contract(rows).exp(), made(name).contract(rows.exp(), Linear()))


@every_model
def test_log_contractions_are_right_at_any_scale_with_and_without_evidence(name):
    rows, given = leaves(name), some_evidence(name)
    for about in ({}, given):
        expected = [truth(name).density(row, line(about, n)) for n, row in enumerate(rows)]
        logs = {latent: tensor(value) for latent, value in about.items()}
        close(made(name).contract(tensor(rows), Log(), logs), np.array(expected))


@every_model
def test_evidence_enters_linear_contractions_as_weights(name):
    rows, given = tensor(leaves(name)[:4]), some_evidence(name)
    logs = {latent: tensor(value[:4]) for latent, value in given.items()}
    value = made(name).contract(rows.exp(), Linear(), logs)
    close(value, made(name).contract(rows, Log(), logs).exp())


@every_model
def test_max_contractions_are_the_weight_of_the_best_joint_assignment(name):
    rows = leaves(name)
    expected = [truth(name).logs(row).max() for row in rows]
    close(made(name).contract(tensor(rows), Max()), np.array(expected))


@every_model
def test_columns_beyond_the_components_of_a_variable_are_ignored(name):
    model, rows = made(name), tensor(leaves(name)[:3])
    filled = rows.clone()
    for j, k in enumerate(model.shape):
        filled[:, j, k:] = 7.0
    close(model.contract(filled), model.contract(rows), rtol=1e-15)
    close(model.posterior(filled), model.posterior(rows), rtol=1e-15)
    assert not any(model.posterior(rows)[:, j, k:].any() for j, k in enumerate(model.shape))


@every_model
def test_leaving_variables_out_sums_the_dense_tensor_over_them(name):
    model, W = made(name), coefficients(name)
    d, k = model.variables, max(model.shape)
    for keep in ([0], [d - 1], list(range(0, d, 2))):
        kept = oracle.marginal(W, keep)
        for index in itertools.islice(np.ndindex(*kept.shape), 20):
            row = torch.zeros(d, k, dtype=torch.float64)
            for j, i in zip(keep, index, strict=True):
                row[j] = -torch.inf
                row[j, i] = 0
            close(model.contract(row).exp(), kept[index])


@every_model
def test_mixing_two_tensors_mixes_their_coefficients(name):
    model, W = made(name), coefficients(name)
    other = Dense(torch.full(model.shape, 1 / W.size, dtype=torch.float64))
    mixture = 0.3 * model + 0.7 * other
    assert isinstance(mixture, Combination)
    expected = 0.3 * W + 0.7 / W.size
    close(mixture.dense(), expected)
    rows = leaves(name)[:4]
    close(mixture.contract(tensor(rows)), [oracle.log_density(expected, row) for row in rows])


@every_model
def test_modular_contractions_are_linear_ones_on_small_integers(name):
    model, rng = made(name), numbers(name)
    arrays = [
        torch.as_tensor(rng.integers(1, 4, array.shape)) * (array > 0) for array in model.arrays
    ]
    rows = torch.as_tensor(rng.integers(-3, 4, (3, model.variables, max(model.shape))))
    with pinned(model, arrays):
        W = listing(model, int).tensor(model.shape)
        found = model.contract(rows, Modular(PRIME)).tolist()
    assert found == [int(oracle.contract(W, row)) % PRIME for row in rows.tolist()]
    with pinned(model, [array.double() for array in arrays]):
        floats = model.contract(rows.double(), Linear())
    expected = [float(oracle.contract(W, row)) for row in rows.tolist()]
    close(floats, expected, atol=1e-6)


@every_model
def test_modular_contractions_are_residues_of_the_exact_rational_value(name):
    model, rng = made(name), numbers(name)
    rows = torch.as_tensor(rng.integers(-50, 50, (2, model.variables, max(model.shape))))
    exact = listing(model, Fraction)
    for p in (PRIME, 134217689):
        for row, found in zip(
            rows.tolist(), model.contract(rows, Modular(p)).tolist(), strict=True
        ):
            value = exact_contraction(exact, row)
            assert found == value.numerator * pow(value.denominator, -1, p) % p


def exact_contraction(exact, row):
    total = Fraction(0)
    for weight, index in zip(exact.weight, exact.components.tolist(), strict=True):
        for j, i in enumerate(index):
            weight *= row[j][i]
        total += weight
    return total


@every_model
@pytest.mark.parametrize("batch", [(), (0,), (1,), (4,), (2, 3), (2, 0, 3), (1, 2, 2)])
def test_leaves_of_any_batch_shape_give_values_of_that_shape(name, batch):
    model = made(name)
    rows = tensor(leaves(name)[:4])
    rows = rows[torch.arange(max(1, int(np.prod(batch)))) % 4][: int(np.prod(batch))]
    flat = model.contract(rows)
    wide = rows.reshape(*batch, *rows.shape[1:])
    assert model.contract(wide).shape == batch
    close(model.contract(wide).reshape(-1), flat, rtol=1e-13)
    assert model.posterior(wide).shape == (*batch, *rows.shape[1:])
    best = model.explain(wide)
    assert best.components.shape == (*batch, model.variables)
    assert best.log_weight.shape == batch
    assert all(states.shape == batch for states in best.states.values())
    assert model.complete(wide, generator=torch.Generator()).shape == (*batch, model.variables)


@every_model
def test_many_rows_evaluated_in_chunks_are_the_rows_one_by_one(name, monkeypatch):
    model, rows = made(name), tensor(leaves(name)).repeat(5, 1, 1)
    whole, shares = model.contract(rows), model.posterior(rows)
    monkeypatch.setattr("mixtures.engine.rows_at_once", lambda circuit: 3)
    close(model.contract(rows), whole, rtol=1e-13)
    close(model.posterior(rows), shares, rtol=1e-12)
    best, all_at_once = model.explain(rows), model.explain(rows[:5])
    assert torch.equal(best.components[:5], all_at_once.components)
    close(best.log_weight[-5:], all_at_once.log_weight)


@every_model
def test_an_empty_batch_has_no_values_posteriors_samples_or_entries(name):
    model = made(name)
    none = tensor(leaves(name))[:0]
    assert model.contract(none, Linear()).shape == (0,)
    assert model.contract(none.long(), Modular(PRIME)).shape == (0,)
    assert model.posterior(none).shape == none.shape
    assert model.sample(0).shape == (0, model.variables)
    assert model[np.empty((0, model.variables), dtype=int)].shape == (0,)
