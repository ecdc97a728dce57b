"""Laws of queries: posteriors, smoothing, explanations and counts against all joint assignments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mixtures import LTM, Linear, Tree, engine

import oracle
from laws import close, coefficients, every_model, line, observed, tensor, truth, with_evidence
from zoo import made


@every_model
def test_posteriors_of_components_are_shares_of_the_joint_assignments(name):
    for rows, given in with_evidence(name):
        found = made(name).posterior(rows, given)
        for n, row in enumerate(rows.numpy()):
            close(found[n], truth(name).posterior(row, line(given, n)))


@every_model
def test_posteriors_of_components_are_those_of_the_coefficients_alone(name):
    W = coefficients(name)
    rows, _ = next(with_evidence(name))
    for row, found in zip(rows.numpy(), made(name).posterior(rows), strict=True):
        for j, expected in enumerate(oracle.posterior(W, row)):
            close(found[j, : len(expected)], expected)


@every_model
def test_smoothing_gives_the_posterior_of_every_latent_state(name):
    model = made(name)
    for rows, given in with_evidence(name):
        source = engine.from_tensor(rows, given)
        with torch.no_grad():
            (chunk,) = engine.sweep(model.circuit, model.arrays, source, keep_states=True)
        assert set(chunk.states) == set(model.latents)
        for latent, found in chunk.states.items():
            for n, row in enumerate(rows.numpy()):
                expected = truth(name).latent_posterior(row, latent, line(given, n))
                close(found[:, n], expected)


@every_model
def test_the_best_explanation_attains_the_largest_joint_weight(name):
    listed, model = truth(name), made(name)
    place = {key(entry.components, entry.states): n for n, entry in enumerate(listed.lines)}
    for rows, given in with_evidence(name):
        best = model.explain(rows, given)
        for n, row in enumerate(rows.numpy()):
            weights = listed.logs(row, line(given, n))
            states = {v: int(s[n]) for v, s in best.states.items() if s[n] >= 0}
            chosen = key(best.components[n].tolist(), states)
            close(best.log_weight[n], weights.max())
            close(weights[place[chosen]], weights.max())


def key(components, states):
    return tuple(components), frozenset(states.items())


@every_model
def test_counts_flow_only_into_the_observed_part(name):
    rows, given = next(with_evidence(name))
    check_counts(name, rows, given, observed(name))


@every_model
def test_counts_with_evidence_about_latents_are_those_of_the_joint_assignments(name):
    rows, given = list(with_evidence(name))[1]
    check_counts(name, rows, given, np.ones_like(observed(name)[: len(rows)]))


def test_evidence_about_a_latent_counts_as_an_observation_below_the_edges_above_it():
    model = LTM(Tree.balanced(4), 2, 3, dtype=torch.float64)  # latents 4 and 5 under the root 6
    says, nothing = torch.tensor([[0.0, -1.0, -2.0]]).double(), torch.zeros(1, 3).double()
    leaves, missing = torch.zeros(1, 4, 2).double(), torch.zeros(4, 1, dtype=torch.bool)
    for evidence, expected in (({4: says}, {4, 6}), ({4: nothing}, set())):
        source = engine.from_tensor(leaves, evidence)
        source = dataclasses.replace(source, observed=lambda start, stop: missing[:, start:stop])
        counts = [torch.zeros(array.shape, dtype=torch.float64) for array in model.arrays]
        with torch.no_grad():
            list(engine.sweep(model.circuit, model.arrays, source, counts=counts))
        totals = {n: float(counts[model.place(n)[0]][model.place(n)[1]].sum()) for n in range(7)}
        assert totals == pytest.approx({n: float(n in expected) for n in range(7)})


def check_counts(name, rows, given, seen):
    """Expected counts, each row with a weight of its own, against the oracle's tally."""
    model, weights = made(name), torch.arange(1.0, len(rows) + 1, dtype=torch.float64)
    source = engine.from_tensor(rows, given)
    mask = torch.as_tensor(seen).T
    source = dataclasses.replace(source, observed=lambda start, stop: mask[:, start:stop])
    found = [torch.zeros(array.shape, dtype=torch.float64) for array in model.arrays]
    with torch.no_grad():
        for _ in engine.sweep(
            model.circuit, model.arrays, source, row_weights=weights, counts=found
        ):
            pass
    expected = [np.zeros(array.shape) for array in model.arrays]
    for n, row in enumerate(rows.numpy()):
        for (table, *entry), count in truth(name).counts(row, seen[n], line(given, n)).items():
            expected[table][tuple(entry)] += float(weights[n]) * count
    for counted, true in zip(found, expected, strict=True):
        close(counted, true, atol=1e-13)


@every_model
def test_counts_without_a_mask_treat_everything_as_observed(name):
    model, (rows, _) = made(name), next(with_evidence(name))
    found = [torch.zeros(array.shape, dtype=torch.float64) for array in model.arrays]
    with torch.no_grad():
        list(engine.sweep(model.circuit, model.arrays, engine.from_tensor(rows), counts=found))
    expected = [np.zeros(array.shape) for array in model.arrays]
    for row in rows.numpy():
        for (table, *entry), count in truth(name).counts(row, [True] * model.variables).items():
            expected[table][tuple(entry)] += count
    for counted, true in zip(found, expected, strict=True):
        close(counted, true, atol=1e-13)


@every_model
def test_an_expectation_of_a_product_is_a_contraction_with_signed_leaves(name):
    model, W = made(name), coefficients(name)
    rows = np.cos(np.arange(model.variables * max(model.shape))).reshape(model.variables, -1)
    expected = sum(
        W[i] * np.prod([rows[j, c] for j, c in enumerate(i)]) for i in np.ndindex(*W.shape)
    )
    close(model.contract(tensor(rows), Linear()), expected, atol=1e-13)


@every_model
def test_rows_of_probability_zero_have_no_value_and_the_queries_name_them(name):
    model, (rows, _) = made(name), next(with_evidence(name))
    rows = rows.clone()
    rows[[1, 3], 0] = -torch.inf
    values = model.contract(rows)
    assert torch.equal(values == -torch.inf, torch.tensor([False, True, False, True, False]))
    assert not values.isnan().any()
    for query in (model.posterior, model.explain, model.complete):
        with pytest.raises(ValueError, match=r"probability zero.*rows 1, 3$"):
            query(rows)
