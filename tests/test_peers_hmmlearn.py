"""Hidden Markov models against hmmlearn: likelihood, smoothing, Viterbi, EM on ragged rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mixtures import HMM, Mixture
from mixtures.components import Categorical, Indicator
from mixtures.learn import em

from laws import close

hmm = pytest.importorskip("hmmlearn.hmm")

LENGTHS = [12, 1, 7, 20, 3]
STATES, SYMBOLS = 3, 4


@pytest.fixture
def peer():
    rng = np.random.default_rng(0)
    model = hmm.CategoricalHMM(
        STATES, n_features=SYMBOLS, n_iter=1, tol=-np.inf, init_params="", implementation="log"
    )
    model.startprob_ = rng.dirichlet(np.ones(STATES))
    model.transmat_ = rng.dirichlet(np.ones(STATES), STATES)
    model.emissionprob_ = rng.dirichlet(np.ones(SYMBOLS), STATES)
    return model


@pytest.fixture
def sequences():
    return np.random.default_rng(1).integers(0, SYMBOLS, (sum(LENGTHS), 1))


def padded(sequences):
    """One row for each sequence, missing values at its end."""
    rows = np.full((len(LENGTHS), max(LENGTHS)), np.nan)
    ends = np.cumsum(LENGTHS)
    for n, (a, b) in enumerate(itertools.pairwise([0, *ends])):
        rows[n, : b - a] = sequences[a:b, 0]
    return rows


def ours(peer):
    """The classical HMM: emission densities instead of emission tables."""
    coefficients = HMM.from_tables(
        torch.tensor(peer.startprob_), torch.tensor(peer.transmat_), variables=max(LENGTHS)
    )
    emission = torch.tensor(peer.emissionprob_)[None]
    leaves = Categorical.from_parameters(emission, shared=True, variables=max(LENGTHS))
    return Mixture(coefficients, leaves)


def test_the_likelihood_of_ragged_sequences_is_that_of_hmmlearn(peer, sequences):
    found = ours(peer).log_prob(padded(sequences))
    close(found.sum(), peer.score(sequences, LENGTHS), rtol=1e-12)


def test_smoothing_gives_the_posteriors_of_hmmlearn(peer, sequences):
    found = ours(peer).states(padded(sequences)).numpy()
    flat = np.concatenate([row[:n] for row, n in zip(found, LENGTHS, strict=True)])
    close(flat, peer.predict_proba(sequences, LENGTHS), rtol=1e-10, atol=1e-12)


def test_viterbi_finds_the_paths_of_hmmlearn(peer, sequences):
    model, rows = ours(peer), padded(sequences)
    paths = model.states(rows, how="best").numpy()
    start = 0
    for n, length in enumerate(LENGTHS):
        sequence = sequences[start : start + length]
        weight, path = peer.decode(sequence, algorithm="viterbi")
        assert path_weight(peer, sequence[:, 0], paths[n, :length]) == pytest.approx(
            weight, rel=1e-12
        )
        if length == max(LENGTHS):
            assert np.array_equal(paths[n], path)
        start += length


def path_weight(peer, symbols, path):
    weight = np.log(peer.startprob_[path[0]]) + np.log(peer.emissionprob_[path, symbols]).sum()
    return weight + sum(np.log(peer.transmat_[a, b]) for a, b in itertools.pairwise(path))


def test_five_steps_of_em_on_ragged_sequences_are_those_of_hmmlearn(peer, sequences):
    coefficients = HMM.from_tables(
        torch.tensor(peer.startprob_),
        torch.tensor(peer.transmat_),
        torch.tensor(peer.emissionprob_),
        variables=max(LENGTHS),
    )
    model = Mixture(coefficients, Indicator(max(LENGTHS), SYMBOLS, dtype=torch.float64))
    steps = em(model, padded(sequences))
    for _ in range(5):
        before = peer.score(sequences, LENGTHS)
        peer.fit(sequences, LENGTHS)
        step = next(steps)
        close(step.log_likelihood * len(LENGTHS), before, rtol=1e-10)
        close(coefficients.initial, peer.startprob_, atol=1e-12)
        close(coefficients.transition[0], peer.transmat_, atol=1e-12)
        close(coefficients.emission[0], peer.emissionprob_, atol=1e-12)
