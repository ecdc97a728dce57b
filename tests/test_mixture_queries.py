"""Queries of mixtures against sums over all joint assignments, with values missing anywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from mixture_cases import (
    ROWS,
    SOME,
    build,
    case,
    every_mixture,
    generator,
    some_mixtures,
    tensor_of,
)

from mixtures import HMM, TMM, Mixture, engine
from mixtures.components import Categorical, Gaussian, Indicator, Poisson
from mixtures.treetensor import TreeTensor

import oracle
from laws import close


@every_mixture
def test_the_density_is_the_sum_over_all_joint_assignments(name):
    found = case(name)
    expected = found.densities()
    assert expected[0] == pytest.approx(0, abs=1e-12), "a wholly missing row has density one"
    close(found.mixture.log_prob(found.data), expected, atol=1e-12)
    with torch.no_grad():
        close(found.mixture.log_prob(found.data), expected, atol=1e-12)
    with torch.inference_mode():
        close(found.mixture.log_prob(found.x, observed=found.observed), expected, atol=1e-12)
    assert found.mixture.score(found.data) == pytest.approx(expected.mean(), rel=1e-10)


@every_mixture
def test_the_posterior_of_components_is_their_share_of_the_density(name):
    found = case(name)
    posterior = found.mixture.posterior(found.data)
    assert posterior.shape == found.leaves.shape
    assert not posterior.requires_grad
    for row, given in zip(posterior, found.leaves, strict=True):
        close(row, found.truth.posterior(given), atol=1e-12)


@every_mixture
def test_smoothing_gives_the_posterior_of_every_latent(name):
    found = case(name)
    states = by_name(found.mixture, found.mixture.states(found.data))
    assert set(states) == set(found.mixture.coefficients.latents)
    for latent, posterior in states.items():
        for row, given in zip(posterior, found.leaves, strict=True):
            close(row, found.truth.latent_posterior(given, latent), atol=1e-12)


@every_mixture
def test_the_best_states_belong_to_the_best_joint_explanation(name):
    found, listed = case(name), case(name).truth
    best = found.mixture.explain(found.data)
    assert best.components.shape == (ROWS, found.mixture.variables)
    place = {
        (line.components, *(line.states.get(v, -1) for v in listed.latents)): n
        for n, line in enumerate(listed.lines)
    }
    for n, given in enumerate(found.leaves):
        weights = listed.logs(given)
        states = [int(best.states[v][n]) for v in listed.latents]
        chosen = weights[place[(tuple(best.components[n].tolist()), *states)]]
        close(best.log_weight[n], weights.max(), atol=1e-12)
        close(chosen, weights.max(), atol=1e-12)
    whole = found.mixture.complete(found.data, generator=torch.Generator().manual_seed(1))
    stacked = by_name(found.mixture, found.mixture.states(whole, how="best"))
    explained = found.mixture.explain(whole).states
    assert all(torch.equal(stacked[v], explained[v]) for v in listed.latents)


@every_mixture
def test_the_best_states_sum_out_what_is_wholly_missing(name):
    """Viterbi: of all states above something observed, those with the largest weight together."""
    found, listed = case(name), case(name).truth
    if not isinstance(found.mixture.coefficients, TreeTensor):
        return
    tree, scopes = found.mixture.coefficients.tree, {}
    for node in tree.inner:
        below = (scopes.get(child, {child}) for child in tree.children[node])
        scopes[node] = set().union(*below)
    best = by_name(found.mixture, found.mixture.states(found.data, how="best"))
    missing = torch.zeros_like(found.mixture.posterior(found.data)[..., 0], dtype=torch.bool)
    if found.data.any_observed is not None:
        missing = ~found.data.any_observed.T
    for n, given in enumerate(found.leaves):
        seen = [v for v in listed.latents if any(not missing[n, j] for j in scopes[v])]
        components = [j for j in range(tree.variables) if not missing[n, j]]
        totals = {}
        for line, weight in zip(listed.lines, listed.logs(given), strict=True):
            key = (*(line.states[v] for v in seen), *(line.components[j] for j in components))
            totals[key] = np.logaddexp(totals.get(key, -np.inf), weight)
        states = tuple(int(best[v][n]) for v in seen)
        chosen = max(w for key, w in totals.items() if key[: len(seen)] == states)
        close(chosen, max(totals.values()), atol=1e-12)


def by_name(mixture, states):
    """{latent: states}, also of an HMM, whose states come stacked over time."""
    if isinstance(states, dict):
        return states
    d = mixture.variables
    assert states.shape[1] == d
    return {d + t: states[:, t] for t in range(d)}


def test_the_states_of_an_hmm_are_stacked_over_time():
    model = Mixture(HMM(4, 2, 3, generator=generator()), Gaussian(4, 2, generator=generator()))
    x = model.sample(5, generator=generator(1))
    assert model.states(x).shape == (5, 4, 3)
    assert model.states(x, how="best").shape == (5, 4)
    assert model.states(x, how="sample", generator=generator(2)).shape == (5, 4)
    unequal = HMM(3, 2, {3: 2, 4: 3, 5: 2}, generator=generator())
    ragged = Mixture(unequal, Gaussian(3, 2, generator=generator()))
    assert {v: s.shape for v, s in ragged.states(x[:, :3]).items()} == {
        3: (5, 2),
        4: (5, 3),
        5: (5, 2),
    }


@every_mixture
def test_evidence_on_latents_weighs_the_joint_assignments(name):
    found, rng = case(name), np.random.default_rng(3)
    model, listed = found.mixture, found.truth
    sizes = {v: model.coefficients.num_states(v) for v in list(model.coefficients.latents)[::2]}
    given = {v: torch.as_tensor(rng.normal(size=(ROWS, r))) for v, r in sizes.items()}
    close(model.log_prob(found.data, evidence=given), found.densities(given), atol=1e-12)
    posterior = model.posterior(found.data, evidence=given)
    states = by_name(model, model.states(found.data, evidence=given))
    best = model.explain(found.data, evidence=given)
    for n, row in enumerate(found.leaves):
        line = {v: logs[n].numpy() for v, logs in given.items()}
        close(posterior[n], listed.posterior(row, line), atol=1e-12)
        close(best.log_weight[n], listed.logs(row, line).max(), atol=1e-12)
        for v in listed.latents:
            close(states[v][n], listed.latent_posterior(row, v, line), atol=1e-12)


@every_mixture
def test_leaves_stand_in_for_rows(name):
    found = case(name)
    model, leaves = found.mixture, torch.as_tensor(found.leaves)
    data = found.data
    torch.testing.assert_close(model.log_prob(leaves=leaves), model.log_prob(data))
    torch.testing.assert_close(model.log_prob(leaves=leaves.numpy()), model.log_prob(data))
    torch.testing.assert_close(model.posterior(leaves=leaves), model.posterior(data))
    assert model.score(leaves=leaves) == pytest.approx(model.score(data))
    torch.testing.assert_close(
        model.explain(leaves=leaves).log_weight, model.explain(data).log_weight
    )
    by_row, by_leaf = (
        by_name(model, states) for states in (model.states(data), model.states(leaves=leaves))
    )
    for latent, states in by_row.items():
        torch.testing.assert_close(by_leaf[latent], states)


@every_mixture
def test_answers_do_not_depend_on_how_rows_are_cut_into_chunks(name, monkeypatch):
    found = case(name)
    model, data = found.mixture, found.data
    whole = model.posterior(data), model.explain(data).log_weight, model.states(data)
    with torch.no_grad():
        value = model.log_prob(data)
    monkeypatch.setattr(engine, "rows_at_once", lambda circuit: 1 + circuit.rows % 3)
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(data), value)
    torch.testing.assert_close(model.posterior(data), whole[0])
    torch.testing.assert_close(model.explain(data).log_weight, whole[1])
    torch.testing.assert_close(by_name(model, model.states(data)), by_name(model, whole[2]))


@some_mixtures
def test_no_rows_give_empty_answers(name):
    found = case(name)
    model, x = found.mixture, found.x[:0]
    d, k = model.variables, max(model.coefficients.shape)
    assert model.log_prob(x).shape == (0,)
    assert model.posterior(x).shape == (0, d, k)
    assert model.explain(x).components.shape == (0, d)
    assert model.complete(x).shape == found.x[:0].shape
    assert model.sample(0).shape == found.x[:0].shape
    for how in ("posterior", "best", "sample"):
        assert all(len(s) == 0 for s in by_name(model, model.states(x, how=how)).values())
    with pytest.raises(ValueError, match="at least one row"):
        model.score(x)


@some_mixtures
def test_single_precision_is_near_double(name):
    found, single = case(name), build(name).float()
    with torch.no_grad():
        logs = single.log_prob(found.x, observed=found.observed)
    assert logs.dtype == torch.float32
    close(logs.double(), found.densities(), rtol=1e-3, atol=1e-3)
    posterior = single.posterior(found.x, observed=found.observed)
    assert posterior.dtype == torch.float32
    close(posterior.double(), found.mixture.posterior(found.data), rtol=1e-2, atol=1e-3)


# ---------------------------------------------------------------- boxes and expectations


def test_the_mass_of_a_box_of_counts_is_the_sum_over_its_rows():
    for family in (
        Categorical(3, 2, 4, generator=generator()),
        Poisson(3, 2, generator=generator()),
    ):
        model = Mixture(TMM(3, 2, 2, generator=generator()), family).double()
        low, high = [1, 0, 2], [3, 1, 3]
        inside = list(itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))))
        expected = model.log_prob(torch.tensor(inside)).logsumexp(0)
        close(model.log_prob_box(low, high), expected[None])
        open_ends = model.log_prob_box([1, np.nan, 2], [3, np.nan, 3])
        rows = [[a, float("nan"), c] for a in range(1, 4) for c in (2, 3)]
        close(open_ends, model.log_prob(rows).logsumexp(0)[None])


CORRELATED = {f"MultivariateGaussian{kind}" for kind in ("", ", tied", ", shared")}


@pytest.mark.parametrize("name", [n for n in SOME if n.split(" of ")[1] not in CORRELATED])
def test_the_mass_of_a_box_mixes_the_masses_of_the_components(name):
    found = case(name)
    components, x = found.mixture.components, found.x.double()
    low, high = x.amin(0) - 0.5, x.amax(0) + 0.25
    high[1] = torch.nan
    leaves = components.log_prob_box(low, high)[0].detach().numpy()
    expected = oracle.log_density(tensor_of(name), leaves)
    close(found.mixture.log_prob_box(low, high), np.array([expected]), atol=1e-12)


def test_the_mass_of_a_box_is_the_share_of_draws_in_it():
    model = Mixture(HMM(3, 2, 2, generator=generator()), Gaussian(3, 2, generator=generator()))
    draws = model.sample(20_000, generator=generator(1))
    low, high = torch.tensor([-1.0, -0.5, float("nan")]), torch.tensor([1.0, 2.0, 0.5])
    inside = ((draws > low.nan_to_num(-torch.inf)) & (draws <= high)).all(1).double().mean()
    expected = model.log_prob_box(low, high).exp().item()
    assert abs(float(inside) - expected) < 5 * (expected * (1 - expected) / 20_000) ** 0.5


@every_mixture
def test_expectations_are_contractions_of_component_expectations(name):
    found = case(name)
    model, rng = found.mixture, np.random.default_rng(0)
    given = {
        j: torch.as_tensor(rng.normal(size=k))
        for j, k in enumerate(model.coefficients.shape)
        if j % 2 == 0
    }
    W = tensor_of(name)
    vectors = [given.get(j, torch.ones(k)).numpy() for j, k in enumerate(W.shape)]
    close(model.expectation(given), oracle.contract(W, vectors), atol=1e-13)
    close(model.expectation({}), 1.0)


def test_the_expectation_of_a_product_over_symbols_is_a_sum_over_all_rows():
    model = Mixture(HMM(3, 2, 2), Indicator(3, 2)).double()
    rows = torch.tensor(list(itertools.product(range(2), repeat=3)))
    weights = model.log_prob(rows).exp()
    expected = (weights * (rows[:, 0] + 1.0).square() * (rows[:, 2] - 3.0)).sum()
    functions = {0: lambda v: (v + 1).square(), 2: lambda v: v - 3}
    close(model.expectation(functions), expected)
