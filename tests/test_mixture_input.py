"""What mixtures take for rows, and what they refuse: a clear ValueError before anything changes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mixture_cases import (
    MODELS,
    assert_unchanged,
    build,
    case,
    generator,
    held,
    some_mixtures,
)

from mixtures import HMM, SPN, TMM, Dense, Mixture, inputs
from mixtures.components import (
    Categorical,
    Gamma,
    Gaussian,
    Indicator,
    LogNormal,
    Mixed,
    Poisson,
    Uniform,
)
from mixtures.learn import em

from laws import close

NAN = float("nan")


@pytest.fixture
def counts():
    model = Mixture(
        HMM(3, 2, 2, generator=generator()),
        Poisson(3, 2, names=["red", "green", "blue"], generator=generator(1)),
    )
    return model.double()


@some_mixtures
def test_rows_of_any_container_are_the_same_rows(name):
    found = case(name)
    model, x, seen = found.mixture, found.x, found.observed
    wide = seen.reshape(seen.shape + (1,) * (x.ndim - seen.ndim)).expand(x.shape)
    floats = x.double().masked_fill(~wide, NAN)
    expected = model.log_prob(found.data)
    objects = [[None if np.isnan(v) else v for v in row] for row in floats.flatten(1).tolist()]
    objects = np.array(objects, dtype=object).reshape(x.shape)
    masked = np.ma.masked_array(x.numpy(), mask=~wide.numpy())
    for rows in (floats, floats.numpy(), floats.tolist(), objects, masked):
        close(model.log_prob(rows), expected)
    for observed in (seen, seen.numpy(), wide):
        close(model.log_prob(x, observed=observed), expected)
    torch.testing.assert_close(model.posterior(masked), model.posterior(found.data))


def test_frames_with_missing_entries_are_rows(counts):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"red": [1, 2], "green": [0, 5], "blue": [3, None]})
    nullable = frame.astype("Int64")
    assert nullable.isna().to_numpy().sum() == 1
    expected = counts.log_prob([[1, 0, 3], [2, 5, NAN]])
    for rows in (frame, nullable):
        close(counts.log_prob(rows), expected)
        assert counts.complete(rows, generator=generator()).isfinite().all()
        assert next(em(copy.deepcopy(counts), rows)).log_likelihood < 0


def test_integers_and_bool_are_rows_with_nothing_missing(counts):
    expected = counts.log_prob([[1.0, 0.0, 1.0]])
    for dtype in (torch.uint8, torch.int32, torch.int64, torch.bool):
        x = torch.tensor([[1, 0, 1]]).to(dtype)
        close(counts.log_prob(x), expected)
        close(counts.log_prob(x.numpy()), expected)
        assert torch.equal(counts.complete(x), x)


@some_mixtures
def test_encoded_rows_serve_every_query(name):
    found, model = case(name), build(name)
    data = found.data
    assert model.encode(data) is data
    close(model.log_prob(data), found.densities(), atol=1e-12)
    assert len(model.posterior(data)) == len(model.explain(data).components) == len(found.x)
    assert next(em(model, data)).log_likelihood == pytest.approx(
        float(found.densities().mean()), rel=1e-9, abs=1e-12
    )


# ---------------------------------------------------------------- refusals


def queries(model):
    """Everything that takes rows."""
    return {
        "log_prob": model.log_prob,
        "score": model.score,
        "posterior": model.posterior,
        "states": model.states,
        "best": lambda x: model.states(x, how="best"),
        "explain": model.explain,
        "complete": model.complete,
        "mean": lambda x: model.complete(x, how="mean"),
        "em": lambda x: next(em(model, x)),
    }


QUERIES = list(queries(Mixture(TMM(2, 2, 2), Gaussian(2, 2))))


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    ("row", "what"),
    [
        ([1, -1, 0], "column 'green', row 1: -1 is outside the domain of Poisson, whole numbers"),
        ([1, 0, 0.5], "column 'blue', row 1: 0.5 is outside"),
        (["x", 0, 0], "column 'red', row 1: expected a number, got 'x'"),
        ([1, float("inf"), 0], "column 'green', row 1: inf is outside"),
    ],
)
def test_values_outside_the_domain_are_named(counts, query, row, what):
    before = held(counts)
    with pytest.raises(ValueError, match=what):
        queries(counts)[query](np.array([[0, 0, 0], row], dtype=object))
    assert_unchanged(counts, before)


@pytest.mark.parametrize(
    ("family", "value", "what"),
    [
        (Categorical(2, 2, 3), 3, "3 is outside the domain of Categorical"),
        (Indicator(2, 2), 2, "2 is outside the domain of Indicator"),
        (Gamma(2, 2), -1.0, "-1 is outside the domain of Gamma"),
        (LogNormal(2, 2), 0.0, "0 is outside the domain of LogNormal"),
        (Mixed([([0], Gaussian(1, 2)), ([1], Poisson(1, 2))]), -2, "-2 is outside .* Poisson"),
    ],
)
def test_each_family_names_its_domain(family, value, what):
    with pytest.raises(ValueError, match=f"column 1, row 0: {what}"):
        Mixture(TMM(2, 2, 2), family).log_prob([[1, value]])


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 4), (2, 3, 1), ()])
def test_rows_of_the_wrong_shape_are_refused(counts, query, shape):
    before = held(counts)
    with pytest.raises(ValueError, match="expected"):
        queries(counts)[query](torch.zeros(shape))
    assert_unchanged(counts, before)


@pytest.mark.parametrize("kind", MODELS)
def test_rows_of_probability_zero_have_no_posterior_and_are_named(kind):
    model = Mixture(MODELS[kind]((2, 2), generator(), torch.float64), Uniform(2, 2).double())
    rows = [[0.5, 0.5], [7.0, 0.5], [0.5, NAN], [NAN, -9.0]]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            logs = model.log_prob(rows)
            assert (logs == -torch.inf).tolist() == [False, True, False, True]
            assert not logs.isnan().any()
            assert model.score(rows) == -torch.inf
    before = held(model)
    for name, query in queries(model).items():
        if name not in ("log_prob", "score"):
            with pytest.raises(ValueError, match=r"probability zero.* rows 1, 3$"):
                query(rows)
    with pytest.raises(ValueError, match="probability zero"):
        model.condition([7.0, NAN])
    assert_unchanged(model, before)


def test_structural_zeros_make_rows_impossible_too():
    tensor = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    a = inputs(2, 2)
    for W in (Dense(tensor), SPN(0.5 * a[0][0] * a[1][0] + 0.5 * a[0][1] * a[1][1])):
        model = Mixture(W.float(), Indicator(2, 2))
        assert model.log_prob([[0, 1]]).tolist() == [-torch.inf]
        with pytest.raises(ValueError, match=r"probability zero.*row 1$"):
            model.posterior([[0, 0], [0, 1]])


def test_either_rows_or_leaves_are_given_but_not_both():
    model, x, leaves = Mixture(HMM(3, 2, 2), Gaussian(3, 2)), [[0.0] * 3], torch.zeros(1, 3, 2)
    names = ("log_prob", "posterior", "states", "explain", "score", "filter")
    for query in (getattr(model, name) for name in names):
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                with pytest.raises(ValueError, match="either rows x or leaves="):
                    query(x, leaves=leaves)
                with pytest.raises(ValueError, match="either rows x or leaves="):
                    query()


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    "leaves", [torch.zeros(3, 2), torch.zeros(1, 2, 3, 2), torch.zeros(2, 2, 2), torch.zeros(3)]
)
def test_leaves_of_the_wrong_shape_are_refused(leaves, grad):
    model = Mixture(TMM(3, 2, 2), Gaussian(3, 2))
    for query in (model.log_prob, model.posterior, model.explain, model.states):
        with torch.set_grad_enabled(grad), pytest.raises(ValueError, match="leaves must"):
            query(leaves=leaves)


@pytest.mark.parametrize("grad", [True, False])
def test_leaves_with_nan_or_of_another_type_are_refused(grad):
    model = Mixture(TMM(3, 2, 2), Gaussian(3, 2))
    leaves = torch.zeros(2, 3, 2)
    leaves[1, 0, 0] = NAN
    with torch.set_grad_enabled(grad):
        for query in (model.log_prob, model.posterior, model.explain, model.states):
            with pytest.raises(ValueError, match=r"row 1$"):
                query(leaves=leaves)
            with pytest.raises(ValueError, match="float64"):
                query(leaves=leaves.double())


@pytest.mark.parametrize(
    ("coefficients", "components", "what"),
    [
        (TMM(3, 2, 2), Gaussian(2, 2), "3 variables, the components 2"),
        (TMM(2, [2, 3], 2), Gaussian(2, 2), "3 components of variable 1, got 2"),
        (TMM(2, 2, 2), Gaussian(2, 2).double(), "cast one"),
        (Gaussian(2, 2), TMM(2, 2, 2), "expected Mixture"),
        (TMM(2, 2, 2), torch.zeros(2, 2), "expected Mixture"),
    ],
)
def test_coefficients_and_components_that_do_not_fit_are_refused(coefficients, components, what):
    with pytest.raises(ValueError, match=what):
        Mixture(coefficients, components)


@pytest.mark.parametrize(
    ("low", "high"), [([0.0], [1.0, 1.0]), ([0.0, 0.0], [[[1.0]]]), ([0.0] * 3, [1.0] * 3)]
)
def test_bounds_of_the_wrong_shape_are_refused(low, high):
    with pytest.raises(ValueError, match="bounds"):
        Mixture(TMM(2, 2, 2), Gaussian(2, 2)).log_prob_box(low, high)


@pytest.mark.parametrize(
    "functions", [{2: torch.ones(2)}, {-1: torch.ones(2)}, {"a": torch.ones(2)}]
)
def test_expectations_of_variables_there_are_not_are_refused(functions):
    with pytest.raises(ValueError, match="variables 0 to 1"):
        Mixture(TMM(2, 2, 2), Gaussian(2, 2)).expectation(functions)


def test_unknown_latents_and_wrong_evidence_are_refused():
    model, x = Mixture(HMM(3, 2, 2), Gaussian(3, 2)), [[0.0, 1.0, 2.0]]
    for query in (model.log_prob, model.posterior, model.states, model.explain):
        with pytest.raises(ValueError, match="no latent 'z'"):
            query(x, evidence={"z": torch.zeros(1, 2)})
        with pytest.raises(ValueError, match=r"\(\*batch, 2\)"):
            query(x, evidence={3: torch.zeros(1, 3)})
