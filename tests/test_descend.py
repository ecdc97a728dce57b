"""Gradient steps: any torch optimizer, what it minimises, and what it leaves alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from mixture_cases import assert_unchanged, build, generator, held, some_mixtures

from mixtures import HMM, LTM, Mixture, Tree
from mixtures.components import Bernoulli, Gaussian, Indicator, Uniform
from mixtures.learn import descend, em

import zoo


def chain(seed=0):
    leaves = Gaussian(3, 2, generator=generator(seed))
    return Mixture(HMM(3, 2, 2, generator=generator(seed)), leaves).double()


def some_rows(n=30):
    return torch.randn(n, 3, generator=generator(2), dtype=torch.float64)


@some_mixtures
def test_small_steps_raise_what_em_raises(name):
    """The same objective, of the same parameters, as em reports; and less of it is left to gain."""
    one, two = build(name), build(name)
    x = one.sample(20, generator=generator(1))
    options = {"weights": torch.linspace(0.1, 2, 20), "pseudo_count": 0.3}
    expected = next(em(one, x, **options))
    free = [p for p in two.parameters() if p.requires_grad]
    if not free:
        pytest.skip("nothing to learn")
    optimizer = torch.optim.SGD(free, lr=1e-5)
    steps = list(itertools.islice(descend(two, x, optimizer, **options), 3))
    assert steps[0].log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-9, abs=1e-9)
    assert steps[0].log_prior == pytest.approx(expected.log_prior, rel=1e-9, abs=1e-9)
    values = [step.objective for step in steps]
    assert values == sorted(values)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.8),
        lambda p: torch.optim.RMSprop(p, lr=0.02),
        lambda p: torch.optim.LBFGS(p, max_iter=4, line_search_fn="strong_wolfe"),
    ],
)
def test_any_optimizer_comes_near_the_optimum_of_em(make):
    def start():
        leaves = Bernoulli(3, 2, generator=generator())
        return Mixture(HMM(3, 2, 2, generator=generator()), leaves).double()

    one, two = start(), start()
    x = torch.randint(2, (50, 3), generator=generator(1))
    best = list(itertools.islice(em(one, x, pseudo_count=0.5), 100))[-1]
    *_, found = itertools.islice(descend(two, x, make(two.parameters()), pseudo_count=0.5), 100)
    assert best.objective > next(em(start(), x, pseudo_count=0.5)).objective + 0.1
    assert found.objective > best.objective - 0.03


def test_the_prior_counts_once_per_walk_however_rows_are_cut():
    model, x = chain(), some_rows()
    before = held(model)
    whole = next(descend(model, x, torch.optim.SGD(model.parameters(), lr=0.0), pseudo_count=1.0))
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    cut = list(itertools.islice(descend(model, x, still, batch_size=10, pseudo_count=1.0), 3))
    assert sum(step.log_likelihood for step in cut) / 3 == pytest.approx(whole.log_likelihood)
    assert all(step.log_prior == pytest.approx(whole.log_prior) for step in cut)
    assert_unchanged(model, before)


def test_batches_are_drawn_from_the_generator():
    one, two = chain(), chain()
    for model in (one, two):
        steps = descend(
            model,
            some_rows(),
            torch.optim.Adam(model.parameters()),
            batch_size=7,
            generator=generator(3),
        )
        list(itertools.islice(steps, 12))
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))


def test_what_is_frozen_stays_bit_for_bit():
    model, x = chain(), some_rows()
    frozen, *others = model.parameters()
    frozen.requires_grad_(False)
    before = [p.detach().clone() for p in (frozen, *others)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    list(itertools.islice(descend(model, x, optimizer), 5))
    assert torch.equal(frozen, before[0])
    assert not any(map(torch.equal, others, before[1:]))


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_structural_zeros_stay_zero(optimizer):
    tables = [zoo.rows(generator(n), torch.float64, 3, 3, zeros=0.4) for n in range(2)]
    start = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    chain = HMM.from_tables(start, tables[0], tables[1], variables=3)
    model = Mixture(chain, Gaussian(3, 3, generator=generator()).double())
    x = model.sample(20, generator=generator(1))
    zeros = [array == 0 for array in chain.arrays]
    steps = descend(model, x, optimizer(model.parameters(), lr=0.05), pseudo_count=0.5)
    assert all(torch.tensor(step).isfinite().all() for step in itertools.islice(steps, 5))
    for array, zero in zip(chain.arrays, zeros, strict=True):
        assert ((array == 0) == zero).all()
        torch.testing.assert_close(array.sum(-1), torch.ones_like(array.sum(-1)))


def test_missing_values_evidence_and_weightless_rows_leave_gradients_finite():
    model, x = chain(), some_rows()
    x[torch.rand(x.shape, generator=generator()) < 0.3] = torch.nan
    weights = torch.ones(30)
    weights[::3] = 0
    (latent, *_) = model.coefficients.latents
    evidence = {latent: torch.tensor([0.0, -torch.inf], dtype=torch.float64)}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    steps = descend(model, x, optimizer, batch_size=8, weights=weights, evidence=evidence)
    first, *_, last = [
        sum(step.objective for step in itertools.islice(steps, 4)) for _ in range(15)
    ]
    assert last > first
    assert all(p.isfinite().all() for p in model.parameters())


def test_rows_of_probability_zero_are_named_and_nothing_changes():
    model = Mixture(HMM(2, 2, 2), Uniform(2, 2, low=0.0, high=1.0))
    before = held(model)
    steps = descend(model, [[0.5, 0.5], [2.0, 0.5]], torch.optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="density is zero in row 1"):
        next(steps)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("options", "what"),
    [({"batch_size": 0}, "batch_size"), ({"pseudo_count": -1.0}, "pseudo_count")],
)
def test_bad_options_are_refused(options, what):
    model = Mixture(LTM(Tree.balanced(4), 2, 2), Indicator(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match=what):
        next(descend(model, [[0, 1, 0, 1]], optimizer, **options))
