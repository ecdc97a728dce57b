"""Hidden Markov models against hmmlearn on ragged sequences: values, paths and steps of EM."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from mixtures import HMM, Mixture, engine
from mixtures.components import Categorical, Gaussian, MultivariateGaussian, Poisson
from mixtures.datasets import pad
from mixtures.learn import em

from laws import close

hmmlearn = pytest.importorskip("hmmlearn.hmm")

LENGTHS = [7, 1, 4, 9, 2]
STATES = 3
STEPS = 5


def distributions(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def chain(rng):
    return distributions(rng, 1, STATES)[0], distributions(rng, STATES, STATES)


def categorical(rng):
    start, step = chain(rng)
    emission = distributions(rng, STATES, 4)
    peer = hmmlearn.CategoricalHMM(
        STATES, n_features=4, n_iter=1, init_params="", params="ste", implementation="log"
    )
    peer.emissionprob_ = emission
    family = Categorical.from_parameters(
        torch.as_tensor(emission)[None], pseudo_count=0.0, shared=True, variables=max(LENGTHS)
    )
    x = rng.integers(4, size=(sum(LENGTHS), 1))
    return peer, start, step, family, x


def gaussian(rng):
    start, step = chain(rng)
    mean, variance = rng.normal(size=(STATES, 1)), rng.uniform(0.5, 2, size=(STATES, 1))
    peer = hmmlearn.GaussianHMM(
        STATES, "diag", n_iter=1, init_params="", params="stmc", implementation="log", min_covar=0
    )
    peer.covars_prior, peer.covars_weight, peer.means_weight = 0.0, 1.0, 0.0  # no prior at all
    peer.means_, peer.covars_ = mean, variance
    family = Gaussian.from_parameters(
        torch.as_tensor(mean.T),
        torch.as_tensor(variance.T),
        pseudo_scatter=0.0,
        shared=True,
        variables=max(LENGTHS),
    )
    return peer, start, step, family, rng.normal(size=(sum(LENGTHS), 1))


def vectors(rng):
    start, step = chain(rng)
    mean, variance = rng.normal(size=(STATES, 2)), rng.uniform(0.5, 2, size=(STATES, 2))
    peer = hmmlearn.GaussianHMM(
        STATES, "diag", n_iter=1, init_params="", params="stmc", implementation="log", min_covar=0
    )
    peer.covars_prior, peer.covars_weight, peer.means_weight = 0.0, 1.0, 0.0
    peer.means_, peer.covars_ = mean, variance
    family = MultivariateGaussian.from_parameters(
        torch.as_tensor(mean)[None],
        torch.as_tensor(variance)[None],
        covariance="diag",
        pseudo_scatter=0.0,
        shared=True,
        variables=max(LENGTHS),
    )
    return peer, start, step, family, rng.normal(size=(sum(LENGTHS), 2))


def poisson(rng):
    start, step = chain(rng)
    rate = rng.uniform(0.5, 6, size=(STATES, 1))
    peer = hmmlearn.PoissonHMM(STATES, n_iter=1, init_params="", params="stl", implementation="log")
    peer.lambdas_prior = peer.lambdas_weight = 0.0
    peer.lambdas_ = rate
    family = Poisson.from_parameters(
        torch.as_tensor(rate.T), pseudo_count=0.0, shared=True, variables=max(LENGTHS)
    )
    return peer, start, step, family, rng.poisson(3, size=(sum(LENGTHS), 1))


PEERS = {f.__name__: f for f in (categorical, gaussian, vectors, poisson)}


def pair(name, seed=0):
    """hmmlearn's model, ours with the same numbers, its data and ours."""
    peer, start, step, family, x = PEERS[name](np.random.default_rng(seed))
    peer.startprob_, peer.transmat_ = start, step
    peer.n_features = x.shape[1] if name != "categorical" else 4
    coefficients = HMM.from_tables(
        torch.as_tensor(start), torch.as_tensor(step), None, variables=max(LENGTHS)
    )
    padded = pad(x, LENGTHS)
    model = Mixture(coefficients, family)
    return peer, model, x, model.encode(padded)


every_peer = pytest.mark.parametrize("name", PEERS)


def sequences(x):
    ends = np.cumsum(LENGTHS)
    return [x[end - n : end] for end, n in zip(ends, LENGTHS, strict=True)]


@every_peer
def test_the_likelihood_of_every_sequence(name):
    peer, model, x, data = pair(name)
    close(model.log_prob(data), np.array([peer.score(part) for part in sequences(x)]))
    assert model.score(data) * len(LENGTHS) == pytest.approx(peer.score(x, LENGTHS), rel=1e-12)


@every_peer
def test_smoothing(name):
    peer, model, x, data = pair(name)
    expected = np.split(peer.predict_proba(x, LENGTHS), np.cumsum(LENGTHS)[:-1])
    for found, true in zip(model.states(data), expected, strict=True):
        close(found[: len(true)], true, rtol=1e-9, atol=1e-10)


@every_peer
@pytest.mark.parametrize("seed", range(4))
def test_viterbi(name, seed):
    peer, model, x, data = pair(name, seed)
    paths = model.states(data, how="best")
    for n, part in enumerate(sequences(x)):
        weight, expected = peer.decode(part)
        short, row = model.of_length(len(part)), pad(part, [len(part)])
        assert short.states(row, how="best")[0].tolist() == expected.tolist()
        close(short.explain(row).log_weight[0], weight)
        assert paths[n, : len(part)].tolist() == expected.tolist(), "the end is summed out"


@every_peer
def test_five_steps_of_em_are_those_of_baum_welch(name):
    peer, model, x, data = pair(name)
    steps = em(model, data)
    for _ in range(STEPS):
        step = next(steps)
        assert step.log_likelihood * len(LENGTHS) == pytest.approx(
            peer.score(x, LENGTHS), rel=1e-10
        )
        peer.fit(x, LENGTHS)
        same_parameters(name, peer, model)
    close(model.log_prob(data), np.array([peer.score(part) for part in sequences(x)]))


def same_parameters(name, peer, model):
    chain, family = model.coefficients, model.components
    close(chain.initial, peer.startprob_)
    close(chain.transition[0], peer.transmat_)
    if name == "categorical":
        symbols = torch.arange(4)[:, None].expand(4, max(LENGTHS))
        close(family.log_prob(symbols)[:, 0].exp().mT, peer.emissionprob_)
    elif name == "poisson":
        close(family.rate.mT, peer.lambdas_)
    else:
        close(family.mean()[0].reshape(STATES, -1), peer.means_)
        variance = np.diagonal(peer.covars_, axis1=-2, axis2=-1)
        close(family.variance()[0].reshape(STATES, -1), variance)


def test_a_sum_over_paths_settles_who_is_right():
    """Both libraries against the definition, on the shortest sequence of more than one step."""
    peer, model, x, data = pair("categorical")
    part = sequences(x)[4][:, 0]
    total = sum(
        peer.startprob_[a] * peer.transmat_[a, b] * peer.emissionprob_[[a, b], part].prod()
        for a, b in itertools.product(range(STATES), repeat=2)
    )
    close(model.log_prob(data)[4].exp(), total)


def test_an_e_step_that_ignores_what_was_observed_is_noticed(monkeypatch):
    honest = engine.expected

    def wrong(circuit, stacks, source, *rest):
        everything = dataclasses.replace(source, observed=lambda start, stop: None)
        return honest(circuit, stacks, everything, *rest)

    monkeypatch.setattr(engine, "expected", wrong)
    peer, model, x, data = pair("gaussian")
    next(em(model, data))
    peer.fit(x, LENGTHS)
    with pytest.raises(AssertionError):
        same_parameters("gaussian", peer, model)
