"""Difficult and wrong input to everything that learns: the right answer or a clear error, no NaN.

Each cell of METHODS x INPUTS is one test. An input says what must come out: None for a model (or a
graph, a tree) without a NaN, that gives the rows it was learned from a finite likelihood; a pattern
for the message of the ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import networkx
import numpy as np
import pytest
import torch

from mixtures import HMM, LTM, Mixture, Tree
from mixtures.components import (
    Bernoulli,
    Components,
    Gaussian,
    Indicator,
    MultivariateGaussian,
    Poisson,
)
from mixtures.learn import (
    batches,
    chow_liu,
    chow_liu_model,
    conditional_gradient,
    descend,
    em,
    fit,
    hidden_chow_liu,
    initialise,
    latent_tree,
    learn_spn,
    stochastic_em,
)

ROWS, D = 24, 4
SYMBOLS = np.random.default_rng(0).integers(0, 2, (ROWS, D))
NUMBERS = np.random.default_rng(1).normal(size=(ROWS, D))


def changed(x: np.ndarray, change: Callable[[np.ndarray], Any]) -> np.ndarray:
    x = x.astype(float)
    change(x)
    return x


def columns(x: np.ndarray) -> dict[str, Any]:
    """Inputs that any method must master, as (rows, weights)."""
    some = np.r_[np.zeros(4), np.ones(ROWS - 4)]
    one = np.r_[np.zeros(ROWS - 1), 1.0]
    return {
        "constant column": (changed(x, lambda a: a.__setitem__((slice(None), 1), 1.0)), None),
        "all columns constant": (np.ones_like(x, dtype=float), None),
        "duplicate columns": (changed(x, lambda a: a.__setitem__((slice(None), 2), a[:, 0])), None),
        "all columns equal": (np.repeat(x[:, :1], D, 1).astype(float), None),
        "one row": (x[:1].astype(float), None),
        "two equal rows": (np.repeat(x[:1], 2, 0).astype(float), None),
        "some weights zero": (x.astype(float), some),
        "one weight that counts": (x.astype(float), one),
        "tiny weights": (x.astype(float), np.full(ROWS, 1e-12)),
        "huge weights": (x.astype(float), np.full(ROWS, 1e6)),
        "a row all missing": (changed(x, lambda a: a.__setitem__(3, math.nan)), None),
        "missing entries": (changed(x, lambda a: a.__setitem__((slice(0, 9), 0), math.nan)), None),
        "one value seen": (
            changed(x, lambda a: a.__setitem__((slice(1, None), 0), math.nan)),
            None,
        ),
    }


EMPTY_COLUMN = "column all missing"
WRONG: dict[str, tuple[Any, Any, str]] = {
    "no weight": (SYMBOLS, np.zeros(ROWS), "weights must be finite, non-negative and not all zero"),
    "negative weight": (SYMBOLS, -np.ones(ROWS), "weights must be finite, non-negative"),
    "NaN weight": (SYMBOLS, np.full(ROWS, math.nan), "weights must be finite"),
    "too few weights": (SYMBOLS, np.ones(3), "expected .*weights"),
    "no row": (SYMBOLS[:0], None, "at least one row"),
    "infinite": (changed(SYMBOLS, lambda a: a.__setitem__((2, 1), math.inf)), None, "inf"),
}
OUTSIDE: dict[str, tuple[Any, Any, str]] = {
    "negative": (
        changed(SYMBOLS, lambda a: a.__setitem__((2, 1), -1)),
        None,
        "column 1, row 2.*-1",
    ),
    "a fraction": (
        changed(SYMBOLS, lambda a: a.__setitem__((2, 1), 0.5)),
        None,
        "column 1, row 2.*0.5",
    ),
}


def model(components: Components) -> Mixture:
    g = torch.Generator().manual_seed(2)
    return Mixture(
        LTM(Tree.balanced(D), components.shape, 2, generator=g, dtype=components.dtype), components
    )


FAMILIES: dict[str, Callable[[], Components]] = {
    "Bernoulli": lambda: Bernoulli(D, 2),
    "Indicator": lambda: Indicator(D, 2),
    "Poisson": lambda: Poisson(D, 2),
    "Gaussian": lambda: Gaussian(D, 2),
    "shared Gaussian": lambda: Gaussian(D, 2, shared=True),
}


def with_em(m: Mixture, x: Any, w: Any) -> Mixture:
    initialise(m, x, generator=torch.Generator().manual_seed(3))
    steps = em(m, x, weights=w)
    values = [next(steps) for _ in range(6)]
    assert all(math.isfinite(step.objective) for step in values)
    return m


def with_fit(m: Mixture, x: Any, w: Any) -> Mixture:
    history = fit(
        m, x, weights=w, restarts=2, max_iter=8, generator=torch.Generator().manual_seed(4)
    )
    assert math.isfinite(history.best.objective)
    return m


def with_stochastic(m: Mixture, x: Any, w: Any) -> Mixture:
    initialise(m, x, generator=torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(6)
    history = fit(
        m,
        x,
        weights=w,
        method="stochastic_em",
        batch_size=7,
        max_iter=2,
        start="model",
        generator=g,
    )
    assert math.isfinite(history.best.objective)
    return m


def with_batches(m: Mixture, x: Any, w: Any) -> Mixture:
    initialise(m, x, generator=torch.Generator().manual_seed(5))
    assert all(math.isfinite(s.objective) for s in stochastic_em(m, batches(x, 30, weights=w)))
    return m


def with_gradients(m: Mixture, x: Any, w: Any) -> Mixture:
    initialise(m, x, generator=torch.Generator().manual_seed(5))
    steps = descend(m, x, torch.optim.Adam(m.parameters(), lr=0.01), weights=w)
    assert all(math.isfinite(next(steps).objective) for _ in range(3))
    return m


def with_growth(m: Mixture, x: Any, w: Any) -> Mixture:
    growth = conditional_gradient(
        x,
        "HMM",
        components=m.components,
        weights=w,
        max_atoms=2,
        restarts=2,
        max_iter=4,
        generator=torch.Generator().manual_seed(7),
    ).run()
    for stage in growth.stages:
        assert math.isfinite(stage.error) and not math.isnan(stage.gap)
        assert 0 <= stage.step <= 1
    return growth.mixture


LEARN: dict[str, Callable[[Mixture, Any, Any], Mixture]] = {
    "em": with_em,
    "fit": with_fit,
    "fit, stochastic_em": with_stochastic,
    "stochastic_em": with_batches,
    "descend": with_gradients,
    "conditional_gradient": with_growth,
}


def check(m: Mixture, x: np.ndarray, w: Any) -> None:
    assert all(bool((~value.isnan()).all()) for value in m.state_dict().values())
    rows = x if w is None else x[np.asarray(w) > 0]
    logs = m.log_prob(rows)
    assert bool(logs.isfinite().all())


def numbers_of(family: str) -> np.ndarray:
    return NUMBERS if "Gaussian" in family else SYMBOLS


EVERY = [(method, family) for method in ("em", "conditional_gradient") for family in FAMILIES]
EVERY += [(method, family) for method in LEARN for family in ("Bernoulli", "Gaussian")]


@pytest.mark.parametrize("case", [*columns(SYMBOLS), EMPTY_COLUMN])
@pytest.mark.parametrize(("method", "family"), sorted(set(EVERY)))
def test_difficult_rows_are_learned(method, family, case):
    x = numbers_of(family)
    if case == EMPTY_COLUMN:
        rows, w = changed(x, lambda a: a.__setitem__((slice(None), 1), math.nan)), None
    else:
        rows, w = columns(x)[case]
    learned = LEARN[method](model(FAMILIES[family]()), rows, w)
    check(learned, rows, w)


@pytest.mark.parametrize("case", [*WRONG, *OUTSIDE])
@pytest.mark.parametrize("method", LEARN)
def test_wrong_rows_are_refused_and_the_model_is_unchanged(method, case):
    rows, w, message = (WRONG | OUTSIDE)[case]
    m = model(FAMILIES["Bernoulli"]())
    before = {name: value.clone() for name, value in m.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        LEARN[method](m, rows, w)
    if method not in (
        "em",
        "stochastic_em",
        "descend",
        "fit, stochastic_em",
    ):  # initialise came first
        assert all(torch.equal(value, before[name]) for name, value in m.state_dict().items())


def test_vectors_seen_in_part_or_not_at_all():
    x = np.random.default_rng(8).normal(size=(20, 2, 3))
    x[:, 1] = math.nan
    m = Mixture(HMM(2, 2, 2), MultivariateGaussian(2, 2, 3))
    fit(m, x, max_iter=5)
    assert bool(m.log_prob(x).isfinite().all())
    x[:, 0, 0] = math.nan
    fit(m, x, max_iter=5)
    assert bool(m.log_prob(x).isfinite().all())


# ------------------------------------------------------------------------------------ structures


def graph(x: Any, w: Any) -> Any:
    found = chow_liu(x, weights=w)
    assert networkx.is_tree(found) and len(found) == D
    assert all(math.isfinite(weight) and weight >= 0 for *_, weight in found.edges(data="weight"))
    return None


def hidden(x: Any, w: Any) -> Any:
    W = hidden_chow_liu(x, 2, weights=w)
    assert W.is_normalised(1e-5)
    return None


STRUCTURE: dict[str, Callable[[Any, Any], Any]] = {
    "chow_liu": graph,
    "chow_liu_model": lambda x, w: chow_liu_model(x, weights=w),
    "hidden_chow_liu": hidden,
    "learn_spn": lambda x, w: learn_spn(x, weights=w, min_rows=5),
    "conditional_gradient": lambda x, w: (
        conditional_gradient(x, "LTM", weights=w, max_atoms=2, restarts=2, max_iter=4).run().mixture
    ),
}


@pytest.mark.parametrize("case", columns(SYMBOLS))
@pytest.mark.parametrize("method", STRUCTURE)
def test_difficult_symbols_have_a_structure(method, case):
    rows, w = columns(SYMBOLS)[case]
    found = STRUCTURE[method](rows, w)
    if found is not None:
        check(found, rows, w)


@pytest.mark.parametrize("method", ["chow_liu", "chow_liu_model", "hidden_chow_liu", "learn_spn"])
def test_a_column_of_which_nothing_is_known_is_named(method):
    rows = changed(SYMBOLS, lambda a: a.__setitem__((slice(None), 1), math.nan))
    with pytest.raises(ValueError, match="column 1 has no observed value: give components="):
        STRUCTURE[method](rows, None)


@pytest.mark.parametrize("case", [*WRONG, *OUTSIDE])
@pytest.mark.parametrize("method", STRUCTURE)
def test_wrong_symbols_are_refused(method, case):
    if method == "conditional_gradient" and case in OUTSIDE:
        pytest.skip("numbers that are no symbols are Gaussian there")
    rows, w, message = (WRONG | OUTSIDE)[case]
    with pytest.raises(ValueError, match=message):
        STRUCTURE[method](rows, w)


LATENT: dict[str, str | None] = {
    "constant column": "variable 1 is constant|variables 0 and 1|singular",
    "all columns constant": "singular",
    "duplicate columns": None,
    "all columns equal": None,
    "one row": "singular",
    "two equal rows": "singular",
    "some weights zero": None,
    "one weight that counts": "singular",
    "tiny weights": None,
    "huge weights": None,
    "a row all missing": None,
    "missing entries": None,
    "one value seen": "singular",
}


@pytest.mark.parametrize("case", LATENT)
def test_latent_trees_of_difficult_symbols(case):
    rows, w = columns(SYMBOLS)[case]
    message = LATENT[case]
    if message is None:
        assert latent_tree(rows, weights=w).variables == D
    else:
        with pytest.raises(ValueError, match=message):
            latent_tree(rows, weights=w)
    assert latent_tree(rows, weights=w, pseudo_count=1.0, components=2).variables == D


@pytest.mark.parametrize("case", [*WRONG, *OUTSIDE])
def test_latent_trees_of_wrong_symbols_are_refused(case):
    rows, w, message = (WRONG | OUTSIDE)[case]
    with pytest.raises(ValueError, match=message):
        latent_tree(rows, weights=w)
