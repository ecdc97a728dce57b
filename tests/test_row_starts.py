"""Starts from whole rows: clusters of rows become the states of latents."""

from __future__ import annotations

import pytest
import torch
from mixture_cases import generator

from mixtures import HMM, HT, LTM, TMM, Mixture, Tree
from mixtures.components import Bernoulli, Categorical, Gaussian, Indicator, Product
from mixtures.datasets import pad
from mixtures.learn import em, fit, initialise
from mixtures.learn.clusters import coordinates, k_means, principal
from mixtures.learn.rowstarts import tied_latents

pytest.importorskip("sklearn")

STARTS = pytest.mark.parametrize("start", ["k-means", "spectral"])


def planted(states=6, variables=20):
    """A latent class model whose classes lie far apart."""
    g = generator(3)
    p = 0.03 + 0.94 * (torch.rand(variables, states, generator=g) > 0.5).double()
    weights = torch.full((states,), 1 / states, dtype=torch.float64)
    W = TMM.from_factors(weights, torch.stack([p, 1 - p], -1))
    return Mixture(W, Indicator(variables, 2).double())


@STARTS
def test_planted_classes_that_random_starts_miss_are_found(start):
    truth = planted()
    x = truth.sample(1000, generator=generator(1))
    found = []
    for seed in range(3):
        for how in ("data", start):
            model = Mixture(TMM(20, 2, 6), Indicator(20, 2)).double()
            g = generator(seed)
            history = fit(model, x, start=how, max_iter=150, generator=g, progress=False)
            found.append(history.best.log_likelihood)
    random, clustered = found[::2], found[1::2]
    assert min(clustered) > truth.score(x)
    assert min(random) < truth.score(x) - 0.3


def test_memberships_make_the_tables():
    """Two kinds of rows: the tables say how many there are, and which component each shows."""
    x = [[0, 0, 1]] * 30 + [[1, 1, 0]] * 10
    model = Mixture(LTM(Tree.balanced(3), 2, 2), Indicator(3, 2)).double()
    initialise(model, x, start="k-means", generator=generator(0))
    W = model.coefficients
    root = W.table(W.tree.root)[0]
    rare = int(root.argmin())
    assert float(root[rare]) == pytest.approx(0.25, abs=0.1)
    for leaf in (j for j in range(3) if W.tree.parent[j] == W.tree.root):
        assert int(W.table(leaf)[rare].argmax()) == x[-1][leaf]


@STARTS
def test_rows_count_by_their_weights(start):
    x = torch.tensor([[0, 0, 1]] * 30 + [[1, 1, 0]] * 10 + [[1, 0, 1]] * 20)
    weights = torch.tensor([1.0] * 30 + [9.0] * 10 + [0.0] * 20)
    model = Mixture(TMM(3, 2, 2), Indicator(3, 2)).double()
    initialise(model, x, weights=weights, start=start, generator=generator(0))
    W = model.coefficients
    often = int(W.table(0)[:, 1].argmax())
    assert float(W.table(W.tree.root)[0, often]) == pytest.approx(0.75, abs=0.1)
    assert float(W.table(2)[often, 1]) < 0.3


def sequences():
    """Ragged sequences of vectors from a chain that hardly leaves its states, with holes."""
    means = torch.tensor([[8.0, 0.0], [-8.0, 0.0], [0.0, 8.0]], dtype=torch.float64)
    leaves = Product(
        Gaussian.from_parameters(means.mT, torch.ones(2, 3, dtype=torch.float64)), 2, variables=9
    )
    stay = 0.85 * torch.eye(3, dtype=torch.float64) + 0.05
    truth = Mixture(HMM.from_tables(stay.mean(0), stay, None, variables=9), leaves)
    x = truth.sample(40, generator=generator(2))
    lengths = torch.randint(4, 10, (40,), generator=generator(3))
    frames = torch.cat([row[:length] for row, length in zip(x, lengths, strict=True)])
    return pad(frames.numpy(), lengths.tolist()), means


@STARTS
def test_frames_of_a_homogeneous_chain_are_clustered_together(start):
    x, means = sequences()
    d = x.shape[1]
    leaves = Product(Gaussian(2, 3), 2, variables=d).double()
    model = Mixture(HMM(d, 3, 3, shared=True, emission=False).double(), leaves)
    assert [len(group.latents) for group in tied_latents(model)] == [d]
    initialise(model, x, start=start, generator=generator(0))
    found = model.components.factor.mean().detach().mT
    distance = torch.cdist(means, found).min(1)
    assert float(distance.values.max()) < 1.5
    assert sorted(distance.indices.tolist()) == [0, 1, 2]
    first = next(em(model, x)).log_likelihood
    random = Mixture(HMM(d, 3, 3, shared=True, emission=False).double(), leaves)
    initialise(random, x, generator=generator(0))
    assert first > next(em(random, x)).log_likelihood


@STARTS
@pytest.mark.parametrize(
    "make",
    {
        "TMM": lambda: TMM(5, 3, 4),
        "deep TMM": lambda: TMM(4, 3, 4, arity=2),
        "deep TMM, shared": lambda: TMM(4, 3, 4, arity=2, shared=True),
        "CP, shared": lambda: TMM(5, 3, 4, shared=True),
        "HMM": lambda: HMM(5, 3, 4),
        "HMM, shared": lambda: HMM(5, 3, 4, shared=True),
        "LTM, more states than patterns": lambda: LTM(Tree.balanced(5), 3, 40),
        "classical HMM": lambda: HMM(5, 3, 3, emission=False),
    }.values(),
)
def test_every_tree_starts_from_rows_with_holes(make, start):
    model = Mixture(make(), Categorical(make().variables, 3, 4)).double()
    d = model.variables
    x = torch.randint(4, (30, d), generator=generator(1)).double()
    x[torch.rand(30, d, generator=generator(2)) < 0.3] = torch.nan
    x[0], x[:, 1] = torch.nan, torch.nan
    initialise(model, x, start=start, generator=generator(0))
    values = [float(step.objective) for step, _ in zip(em(model, x), range(4), strict=False)]
    assert values == sorted(values) and all(map(torch.isfinite, torch.tensor(values)))
    for array in model.coefficients.arrays:
        assert (array > 0).all()
        rows = array.flatten(0, 1)
        assert array.shape[1] == 1 or len(rows.unique(dim=0)) == len(rows)  # no two states alike


def test_a_start_is_a_function_of_the_generator():
    x = torch.rand(50, 4, generator=generator(1)) > 0.5
    states = []
    for _ in range(2):
        model = Mixture(TMM(4, 2, 3, generator=generator(5)), Bernoulli(4, 2))
        initialise(model, x, start="spectral", generator=generator(4))
        states.append(model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])


def test_what_has_no_states_of_rows_is_refused_before_anything_changes():
    model = Mixture(HT(Tree.balanced(4), 2, 2), Bernoulli(4, 2))
    before = [array.clone() for array in model.coefficients.arrays]
    with pytest.raises(ValueError, match=r"start='k-means' is for trees .* got HT"):
        fit(model, [[0, 1, 0, 1]], start="k-means")
    with pytest.raises(ValueError, match="start must be one of 'data', 'k-means', 'spectral'"):
        initialise(model, [[0, 1, 0, 1]], start="kmeans")
    assert all(map(torch.equal, before, model.coefficients.arrays))
    chain = Mixture(HMM(3, 2, 2), Bernoulli(3, 2))
    known = {3: torch.zeros(1, 2)}
    with pytest.raises(ValueError, match="evidence names the states already"):
        fit(chain, [[0, 1, 0]], start="k-means", evidence=known)


def test_coordinates_are_indicators_and_numbers_in_units_of_their_deviation():
    values = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.5, 2.5, 0.5, 2.5]], dtype=torch.float64)
    observed = torch.tensor([[True, True, True, False], [True] * 4])
    found = coordinates(values, observed)
    torch.testing.assert_close(found[:, 0], torch.tensor([0, 1, 1, 2 / 3], dtype=torch.float64))
    torch.testing.assert_close(found[:, 1], values[1])
    lone = coordinates(torch.full((1, 3), 7.0), torch.zeros(1, 3, dtype=torch.bool))
    assert lone.tolist() == [[0.0]] * 3


def test_clusters_are_at_most_as_many_as_points_differ():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    labels = k_means(points, 5, generator=generator(0))
    assert labels[0] == labels[2] != labels[1]
    assert k_means(points[:1], 5).tolist() == [0]
    assert principal(points, 1, generator(0)).shape == (3, 1)
    assert principal(points, 4) is points
