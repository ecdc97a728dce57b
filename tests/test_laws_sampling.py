"""Laws of samples: frequencies against exact probabilities, by chi-square tests, fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mixtures import Sample, engine

import oracle
from laws import coefficients, every_model, leaves, tensor, truth, with_evidence
from zoo import made

DRAWS = 2000
LEVEL = 1e-4  # a test this strict fails by chance once in 10 000; seeds are fixed


def assert_frequencies(found, probabilities, draws=DRAWS):
    """Chi-square of counts (cells,) against probabilities; rare cells are pooled."""
    assert not found[probabilities == 0].any(), "something impossible was drawn"
    order = np.argsort(-probabilities)
    expected, found = draws * probabilities[order], found[order]
    common = max(1, int((expected >= 5).sum()))
    expected = np.append(expected[:common], expected[common:].sum())
    found = np.append(found[:common], found[common:].sum())
    if expected[-1] < 5:
        expected[-2] += expected[-1]
        found[-2] += found[-1]
        expected, found = expected[:-1], found[:-1]
    if len(expected) > 1:
        assert stats.chisquare(found, expected / expected.sum() * found.sum()).pvalue > LEVEL


def tally(components, shape):
    cells = np.ravel_multi_index(tuple(components.numpy().T), shape)
    return np.bincount(cells, minlength=int(np.prod(shape)))


@every_model
def test_samples_have_the_frequencies_that_are_the_coefficients(name):
    model = made(name)
    drawn = model.sample(DRAWS, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (DRAWS, model.variables)
    assert drawn.dtype == torch.int64
    assert_frequencies(tally(drawn, model.shape), coefficients(name).ravel())


@every_model
@pytest.mark.parametrize("n", [1, 2])
def test_completions_have_the_conditional_distribution(name, n):
    row = leaves(name)[n]
    logs = oracle.log_terms(coefficients(name), row)
    many = tensor(row).expand(DRAWS, -1, -1)
    drawn = made(name).complete(many, generator=torch.Generator().manual_seed(2))
    assert_frequencies(tally(drawn, made(name).shape), oracle.shares(logs).ravel())


@every_model
def test_completions_keep_the_evidence(name):
    model, listed = made(name), truth(name)
    d = model.variables
    kept = listed.components[:: max(1, len(listed.lines) // 7)]
    rows = torch.zeros(len(kept), d, max(model.shape), dtype=torch.float64)
    known = np.arange(d) % 2 == 0
    for row, components in zip(rows, kept, strict=True):
        for j in np.flatnonzero(known):
            row[j] = -torch.inf
            row[j, components[j]] = 0
    drawn = model.complete(rows, generator=torch.Generator().manual_seed(3)).numpy()
    assert np.array_equal(drawn[:, known], kept[:, known])
    assert (coefficients(name)[tuple(drawn.T)] > 0).all()


@every_model
def test_joint_draws_of_states_and_components_have_the_joint_posterior(name):
    model, listed = made(name), truth(name)
    rows, given = list(with_evidence(name))[1]
    row, about = rows[0], {latent: logs[0] for latent, logs in given.items()}
    source = engine.from_tensor(
        row.expand(DRAWS, -1, -1), {v: logs.expand(DRAWS, -1) for v, logs in about.items()}
    )
    drawn = model.chosen(source, Sample(torch.Generator().manual_seed(4)))
    columns = [*drawn.components.T, *(drawn.states[v] for v in model.latents)]
    place = {
        (*entry.components, *(entry.states.get(v, -1) for v in model.latents)): n
        for n, entry in enumerate(listed.lines)
    }
    found = np.bincount(
        [place[tuple(draw)] for draw in torch.stack(columns, 1).tolist()],
        minlength=len(listed.lines),
    )
    logs = listed.logs(row.numpy(), {v: x.numpy() for v, x in about.items()})
    assert_frequencies(found, oracle.shares(logs))


@every_model
def test_the_same_generator_draws_the_same_and_the_global_seed_is_left_alone(name):
    model, before = made(name), torch.random.get_rng_state()
    one = model.sample(20, generator=torch.Generator().manual_seed(5))
    two = model.sample(20, generator=torch.Generator().manual_seed(5))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before)
