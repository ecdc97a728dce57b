"""Laws of stars: one latent whose states are the components of all variables."""

from __future__ import annotations

import pytest
import torch
from sklearn.mixture import GaussianMixture

from mixtures import TMM, Mixture, engine
from mixtures.components import Bernoulli, Categorical, Gaussian, LogNormal
from mixtures.learn import em
from mixtures.star import Star

from laws import close


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def stars(monkeypatch):
    """The stars that were used."""
    found, of = [], Star.of

    def spied(*arguments):
        found.append(of(*arguments))
        return found[-1]

    monkeypatch.setattr(engine.Star, "of", spied)
    monkeypatch.setattr("mixtures.star.NUMBERS", 500)  # several chunks
    return found


def case(kind, dtype, n=90):
    g, options = generator(), {"generator": generator(1), "dtype": dtype}
    W = TMM(5, 3, 3, emission=False, **options)
    symbols = torch.randint(2, (n, 5), generator=g)
    family, x = {
        "gaussian": lambda: (Gaussian(5, 3, **options), torch.randn(n, 5, generator=g)),
        "far": lambda: (
            Gaussian.from_parameters(
                1e6 + torch.randn(5, 3, generator=g).to(dtype), torch.full((5, 3), 0.5, dtype=dtype)
            ),
            (1e6 + torch.randn(n, 5, generator=g).double()).to(dtype),
        ),
        "shared": lambda: (
            Gaussian(5, 3, shared=True, **options),
            torch.randn(n, 5, generator=g),
        ),
        "bernoulli": lambda: (Bernoulli(5, 3, **options), symbols),
        "categorical": lambda: (Categorical(5, 3, 4, **options), symbols),
    }[kind]()
    return Mixture(W, family), x.to(dtype) if x.is_floating_point() else x


def row_by_row(monkeypatch):
    context = monkeypatch.context()
    context.__enter__().setattr(engine.Star, "of", lambda *_: None)
    return context


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["gaussian", "far", "shared", "bernoulli", "categorical"])
def test_a_star_is_what_the_passes_give(kind, dtype, missing, stars, monkeypatch):
    """Densities, and counts and parameters after EM, with rows that are missing wholly or not."""
    digits = 1e-10 if dtype == torch.float64 else 2e-5
    observed = None
    if missing:
        observed = torch.rand(90, 5, generator=generator(4)) < 0.7
        observed[3], observed[80] = False, False
    weights = torch.rand(90, generator=generator(5)).to(dtype)
    found = []
    for plain in (False, True):
        model, x = case(kind, dtype)
        context = row_by_row(monkeypatch) if plain else None
        steps = em(model, x, observed=observed, weights=weights)
        history = [next(steps).log_likelihood for _ in range(3)]
        with torch.no_grad():
            values = model.log_prob(x, observed=observed)
        found.append((history, values, model.state_dict()))
        if context is not None:
            context.__exit__(None, None, None)
    (history, values, state), (plain_history, plain_values, plain_state) = found
    close(torch.tensor(history), torch.tensor(plain_history).numpy(), rtol=digits, atol=digits)
    close(values, plain_values.numpy(), rtol=digits, atol=digits)
    for name, part in state.items():
        close(part, plain_state[name].numpy(), rtol=100 * digits, atol=100 * digits)
    assert len(stars) == 4 and all(star is not None for star in stars)


def test_where_squares_would_not_cancel_densities_are_taken_one_by_one(stars):
    """Means a billion standard deviations apart, and data as far from all of them."""
    mean = torch.tensor([[0.0, 1e6], [1.0, 2.0]], dtype=torch.float64)
    W = TMM(2, 2, 2, emission=False, dtype=torch.float64)
    narrow = Mixture(W, Gaussian.from_parameters(mean, torch.full((2, 2), 1e-6).double()))
    x = torch.tensor([[1e6 + 1e-3, 2.0], [0.0, 1.0]], dtype=torch.float64).repeat(20, 1)
    with torch.no_grad():
        found = narrow.log_prob(x)
    away = (x[:, :, None] - mean) / 1e-3
    logs = -0.5 * (away.square() + torch.log(torch.tensor(2e-6 * torch.pi).double())).sum(1)
    expected = (logs + W.tables[0].values[0, 0].log()).logsumexp(1)
    close(found, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert stars == [None]


def test_other_densities_and_other_circuits_take_the_passes(stars):
    class Halved(Gaussian):
        def _log_prob(self, x):
            return 0.5 * super()._log_prob(x)

    W = TMM(3, 2, 2, emission=False)
    x = torch.rand(20, 3, generator=generator()) + 1
    for family in (LogNormal(3, 2), Halved(3, 2)):
        with torch.no_grad():
            Mixture(W, family).log_prob(x)
    with torch.no_grad():
        Mixture(TMM(3, 2, 4), Gaussian(3, 2)).log_prob(x)
        Mixture(W, Bernoulli.from_parameters([[0.0, 0.5]] * 3)).log_prob(x > 1.5)
    assert stars == [None] * 4


def test_impossible_rows_are_refused_by_name():
    W = TMM(2, 2, 2, emission=False, dtype=torch.float64)
    family = Gaussian.from_parameters([[0.0, 1.0]] * 2, [[1.0, 1.0]] * 2).double()
    with pytest.raises(ValueError, match="row 1"):
        next(em(Mixture(W, family), torch.tensor([[0.0, 0.0], [1e200, 0.0]] + [[0.0, 0.0]] * 20)))


def test_em_takes_the_steps_of_scikit_learn(stars):
    g = generator()
    x = torch.randn(300, 4, generator=g).double() + 3 * torch.randint(3, (300, 1), generator=g)
    mean = torch.tensor([[0.0, 3.0, 5.0]]).repeat(4, 1).double()
    W = TMM(4, 3, 3, emission=False, dtype=torch.float64)
    W.tables[0].set(torch.full((1, 1, 3), 1 / 3, dtype=torch.float64))
    family = Gaussian.from_parameters(mean, torch.ones(4, 3).double(), pseudo_scatter=0.0)
    model = Mixture(W, family)
    steps = em(model, x)
    for _ in range(5):
        next(steps)
    peer = GaussianMixture(
        3, covariance_type="diag", reg_covar=0.0, tol=0.0, max_iter=5,
        means_init=mean.T.numpy(), precisions_init=torch.ones(3, 4).numpy(),
        weights_init=[1 / 3] * 3, init_params="random_from_data", random_state=0,
    )  # fmt: skip
    with pytest.warns(match="did not converge"):
        peer.fit(x.numpy())
    close(family.mean().detach().T, peer.means_, rtol=1e-9, atol=1e-9)
    close(model.log_prob(x).detach(), peer.score_samples(x.numpy()), rtol=1e-9, atol=1e-9)
    assert stars[0] is not None
