"""Filtering, forecasting and other lengths of hidden Markov models, against prefixes and sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from mixture_cases import assert_unchanged, generator, held

from mixtures import HMM, LTM, TMM, Mixture, Tree
from mixtures.components import Categorical, Concatenated, Gaussian, Poisson

import oracle
import zoo
from laws import close, truth
from test_laws_sampling import assert_frequencies

CHAINS = [name for name in zoo.ZOO if name.startswith("HMM") and "unequal" not in name]


def gaussian(coefficients):
    d, shape = coefficients.variables, list(coefficients.shape)
    return Mixture(coefficients, Gaussian(d, shape, generator=generator()).double())


def rows_with_holes(model, n=5):
    x = model.sample(n, generator=generator(1))
    x[torch.rand(x.shape, generator=generator(2)) < 0.3] = torch.nan
    x[0] = torch.nan
    return x


@pytest.mark.parametrize("name", CHAINS)
def test_the_filter_is_the_last_smoothed_state_of_every_prefix(name):
    model = gaussian(zoo.made(name))
    x = rows_with_holes(model)
    found, d = model.filter(x), model.variables
    close(model.filter(leaves=model.components.log_prob(x).detach()), found)
    assert found.shape == (len(x), d, model.coefficients.num_states(d))
    for t in range(d):
        prefix = x.clone()
        prefix[:, t + 1 :] = torch.nan
        close(found[:, t], model.states(prefix)[:, t], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["HMM", "HMM deterministic", "HMM classical shared"])
def test_the_filter_is_that_of_all_joint_assignments(name):
    model, listed = gaussian(zoo.made(name)), truth(name)
    x = rows_with_holes(model)
    for row, found in zip(x, model.filter(x), strict=True):
        for t in range(model.variables):
            prefix = row.clone()
            prefix[t + 1 :] = torch.nan
            leaves = model.components.log_prob(prefix[None])[0].detach().numpy()
            close(found[t], listed.latent_posterior(leaves, model.variables + t), atol=1e-12)


def test_filtering_names_rows_of_probability_zero():
    step, start = torch.eye(2), torch.tensor([0.5, 0.5])
    model = Mixture(
        HMM.from_tables(start, step, None, variables=3),
        Categorical.from_parameters(torch.eye(2).expand(3, 2, 2)),
    )
    assert model.filter([[0, 0, 0]])[0, :, 0].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"probability zero.*row 1$"):
        model.filter([[0, 0, 0], [0, 1, 0]])


def test_only_chains_are_filtered_and_forecast():
    for coefficients in (TMM(3, 2, 2), LTM(Tree.chain(3), 2, 2)):
        model = Mixture(coefficients, Gaussian(3, 2, shared=True))
        with pytest.raises(ValueError, match="HMM"):
            model.filter([[0.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="HMM"):
        Mixture(LTM(Tree.chain(3), 2, 2), Gaussian(3, 2, shared=True)).forecast([[0.0] * 3], 1, 1)


# ---------------------------------------------------------------- other lengths

SHARED = {
    "HMM": lambda: HMM(3, 2, 3, shared=True, generator=generator()),
    "classical HMM": lambda: HMM(3, 2, 2, shared=True, emission=False, generator=generator()),
    "TMM": lambda: TMM(3, 2, 4, shared=True, generator=generator()),
    "latent class": lambda: TMM(3, 2, 2, emission=False, generator=generator()),
}


@pytest.mark.parametrize("name", SHARED)
def test_other_lengths_have_the_same_tables(name):
    model = Mixture(SHARED[name](), Poisson(3, 2, shared=True, generator=generator(1))).double()
    for d in (1, 2, 3, 6):
        other = model.of_length(d)
        assert other.variables == d
        assert other.coefficients.is_normalised()
        x = model.of_length(7).sample(4, generator=generator(2)).double()
        longer = model.of_length(7)
        padded = torch.full((4, 7), torch.nan, dtype=torch.float64)
        padded[:, :d] = x[:, :d]
        close(other.log_prob(x[:, :d]), longer.log_prob(padded))


def test_an_hmm_of_another_length_is_the_product_of_its_tables():
    model = Mixture(HMM(2, 3, 2, shared=True), Categorical(2, 3, 2, shared=True)).double()
    chain = model.coefficients
    tables = chain.initial, chain.transition[0], chain.emission[0]
    expected = oracle.hmm_tensor(*(table.detach().numpy() for table in tables), variables=5)
    close(model.of_length(5).coefficients.dense(), expected)


def test_another_length_is_a_copy():
    model = Mixture(HMM(3, 2, 2, shared=True), Gaussian(3, 2, shared=True))
    for d in (3, 4):
        other, before = model.of_length(d), held(model)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("coefficients", "components", "what"),
    [
        (HMM(3, 2, 2), Gaussian(3, 2, shared=True), "shared"),
        (HMM(3, 2, 2, shared=True), Gaussian(3, 2), "shared"),
        (TMM(4, 2, 2, arity=2, shared=True), Gaussian(4, 2, shared=True), "one length"),
        (LTM(Tree.star(3), 2, 2), Gaussian(3, 2, shared=True), "LTM"),
        (HMM(3, 2, 2, shared=True), Gaussian(3, 2, shared=True, names="abc"), "names"),
    ],
)
def test_only_what_is_shared_has_another_length(coefficients, components, what):
    model = Mixture(coefficients, components)
    with pytest.raises(ValueError, match=what):
        model.of_length(5)


@pytest.mark.parametrize("d", [0, -1, 2.5])
def test_lengths_are_whole_numbers(d):
    model = Mixture(HMM(3, 2, 2, shared=True), Gaussian(3, 2, shared=True))
    with pytest.raises(ValueError, match="whole number"):
        model.of_length(d)
    with pytest.raises(ValueError, match="whole number"):
        model.forecast([[0.0] * 3], d, 1)
    with pytest.raises(ValueError, match="whole number"):
        model.forecast([[0.0] * 3], 1, d)


# ---------------------------------------------------------------- forecasts


def test_forecasts_have_the_exact_joint_distribution_of_the_next_steps():
    sticky = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    symbols = torch.tensor([[[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]]], dtype=torch.float64)
    model = Mixture(
        HMM.from_tables(sticky.mean(0), sticky, None, variables=3),
        Categorical.from_parameters(symbols, shared=True, variables=3),
    )
    rows = [[0, 1, 0], [2, None, 2]]
    drawn = model.forecast(rows, 2, 3000, generator=generator(2))
    assert drawn.shape == (3000, 2, 2)
    longer = model.of_length(5)
    following = list(itertools.product(range(3), repeat=2))
    for n, row in enumerate(rows):
        logs = longer.log_prob([[*row, *rest] for rest in following])
        cells = (drawn[:, n, 0] * 3 + drawn[:, n, 1]).numpy()
        found = np.bincount(cells, minlength=9)
        assert_frequencies(found, logs.softmax(0).detach().numpy(), 3000)


def test_forecasts_of_vectors_keep_their_shape_and_seed():
    parts = [Gaussian(3, 2, shared=True), Gaussian(3, 1, shared=True)]
    model = Mixture(HMM(3, 3, 2, shared=True), Concatenated(parts))
    x = model.sample(4, generator=generator())
    one, two = (model.forecast(x, 3, 5, generator=generator(1)) for _ in range(2))
    assert one.shape == (5, 4, 3)
    assert torch.equal(one, two)
    assert one.isfinite().all()
