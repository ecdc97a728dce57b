"""Marginals and conditionals of mixtures: sums, slices and ratios of what they come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixture_cases import (
    assert_unchanged,
    case,
    every_mixture,
    generator,
    held,
    tensor_of,
)

from mixtures import HMM, HT, LTM, SPN, TMM, Combination, Dense, Diagonal, Mixture, Tree
from mixtures.components import Categorical, Concatenated, Gaussian, MultivariateGaussian
from mixtures.treetensor import TreeTensor

import oracle
import zoo
from laws import close


def expected_class(tensor):
    """Trees stay trees, networks networks; what has no rule is written out."""
    if isinstance(tensor, TreeTensor):
        return HT if tensor.joint else LTM
    return type(tensor) if isinstance(tensor, SPN | Combination) else Dense


def selections(d):
    """Some ordered selections of d variables: the last, the last and the first, others, all."""
    found = [(d - 1,), (d - 1, 0), tuple(range(1, d)), tuple(reversed(range(d)))]
    return [list(s) for s in dict.fromkeys(found) if s and len(set(s)) == len(s)]


@every_mixture
def test_marginals_are_sums_of_the_dense_tensor_in_the_order_given(name):
    model, W = case(name).mixture, tensor_of(name)
    before = held(model)
    for variables in selections(model.variables):
        part = model.marginal(variables)
        close(part.coefficients.dense(), oracle.marginal(W, variables), atol=1e-13)
        assert type(part.coefficients) is expected_class(model.coefficients)
        assert part.coefficients.is_normalised()
    assert_unchanged(model, before)


@every_mixture
def test_the_density_of_a_marginal_is_that_with_the_others_missing(name):
    found = case(name)
    model, x, seen = found.mixture, found.x, found.observed
    for variables in selections(model.variables):
        part = model.marginal(variables)
        others = [j for j in range(model.variables) if j not in variables]
        masked = seen.clone()
        masked[:, others] = False
        expected = model.log_prob(x, observed=masked)
        close(part.log_prob(x[:, variables], observed=seen[:, variables]), expected, atol=1e-12)


def conditionals(found):
    """(row, free variables) for some rows of complete values."""
    d = found.mixture.variables
    for n, free in enumerate(selections(d)):
        if len(free) < d:
            yield found.x[n].double(), sorted(free)


@every_mixture
def test_conditionals_are_normalised_slices_of_the_dense_tensor(name):
    found, W = case(name), tensor_of(name)
    model = found.mixture
    before = held(model)
    for row, free in conditionals(found):
        observed = torch.ones(row.shape, dtype=torch.bool)
        observed[free] = False
        part = model.condition(row, observed)
        logs = model.components.log_prob(row[None], observed[None])[0].detach().numpy()
        taken = {j: np.exp(logs[j] - logs[j].max()) for j in range(len(row)) if j not in free}
        close(part.coefficients.dense(), oracle.condition(W, taken), rtol=1e-9, atol=1e-13)
        assert type(part.coefficients) is expected_class(model.coefficients)
        assert part.coefficients.is_normalised()
    assert_unchanged(model, before)


@every_mixture
def test_the_density_of_a_conditional_is_a_ratio_of_densities(name):
    found = case(name)
    model = found.mixture
    for row, free in conditionals(found):
        given = row.clone()
        given[free] = torch.nan
        part = model.condition(given)
        joint = row.expand(3, *row.shape).clone()
        joint[:, free] = found.x[:3, free].double()
        expected = model.log_prob(joint) - model.log_prob(given[None])
        close(part.log_prob(found.x[:3, free]), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [n for n, make in zoo.ZOO.items() if zoo.made(n).variables > 3])
def test_marginals_of_conditionals_are_conditionals_of_marginals(name):
    W = zoo.made(name)
    model = Mixture(W, Gaussian(W.variables, list(W.shape), generator=generator()).double())
    row = model.sample(1, generator=generator(1))[0]
    given = row.clone()
    given[1:] = torch.nan
    first = model.condition(given).marginal([1, 0])
    part = model.marginal([0, 2, 1])
    second = part.condition([row[0], float("nan"), float("nan")])
    close(first.coefficients.dense(), second.coefficients.dense(), rtol=1e-9, atol=1e-13)
    twice = model.condition(given).condition([row[1], *[float("nan")] * (W.variables - 2)])
    given[1] = row[1]
    once = model.condition(given)
    close(twice.coefficients.dense(), once.coefficients.dense(), rtol=1e-9, atol=1e-13)


def test_parts_keep_the_names_of_their_columns():
    names = ["height", "mass", "age"]
    model = Mixture(HMM(3, 2, 2), Gaussian(3, 2, names=names))
    assert list(model.names) == names
    assert list(model.marginal([2, 0]).names) == ["age", "height"]
    assert list(model.condition([float("nan"), 1.0, float("nan")]).names) == ["height", "age"]
    with pytest.raises(ValueError, match="age"):
        model.marginal([2, 0]).log_prob([["old", 1.0]])


def test_ties_and_sparse_storage_survive_restriction():
    step, leaf = (
        zoo.rows(generator(), torch.float64, 2, 2),
        zoo.rows(generator(1), torch.float64, 2, 3),
    )
    tree = Tree.balanced(4)
    root = zoo.rows(generator(2), torch.float64, 1, 2)
    tied = LTM.from_tables(tree, {6: root, 4: step, 5: step} | dict.fromkeys(range(4), leaf))
    model = Mixture(tied, Categorical(4, 3, 2, generator=generator()).double())
    part = model.marginal([3, 1, 0]).coefficients
    assert len({id(t) for t in part.tables}) <= len({id(t) for t in tied.tables})
    assert part.stored == tied.stored
    pair = Diagonal(step)
    train = HT.from_tables(
        tree, {6: Diagonal(root), 4: pair, 5: pair} | dict.fromkeys(range(4), leaf)
    )
    assert train.stored == tied.stored
    kept = Mixture(train, Categorical(4, 3, 2).double()).marginal([0, 1, 2]).coefficients
    assert kept.stored == train.stored
    close(kept.dense(), tied.dense().sum(3))


def test_a_marginal_shares_nothing_with_what_it_comes_from():
    model = Mixture(TMM(3, 2, 2), Gaussian(3, 2))
    part, before = model.marginal([0, 1]), held(model)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(1.0)
    assert_unchanged(model, before)


def test_a_conditional_of_far_away_values_keeps_its_digits():
    W = zoo.fresh("HMM")
    model = Mixture(W, Gaussian(4, 3, generator=generator()).double())
    part = model.condition([300.0, float("nan"), -300.0, float("nan")])
    logs = model.components.log_prob([[300.0, float("nan"), -300.0, float("nan")]])
    logs = logs[0].detach().numpy()
    terms = oracle.log_terms(W.dense().numpy(), logs)
    close(part.coefficients.dense(), oracle.marginal(oracle.shares(terms), [1, 3]), rtol=1e-9)


@pytest.mark.parametrize(
    ("variables", "what"),
    [([], "at least one"), ([0, 0], "each once"), ([3], r"0\.\.2"), ([-1], r"0\.\.2")],
)
def test_marginals_over_variables_there_are_not_are_refused(variables, what):
    model = Mixture(TMM(3, 2, 2), Gaussian(3, 2))
    with pytest.raises(ValueError, match=what):
        model.marginal(variables)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ([1.0, 2.0, 0.0], "nothing is left"),
        ([[1.0, 2.0, float("nan")]], r"one row of shape \(3,\)"),
        ([1.0, 2.0], r"one row of shape \(3,\)"),
        (["a", 2.0, float("nan")], "column 0"),
        ([1.0, float("inf"), float("nan")], "column 1"),
    ],
)
def test_what_is_no_row_to_condition_on_is_refused(row, what):
    model = Mixture(TMM(3, 2, 2), Gaussian(3, 2))
    with pytest.raises(ValueError, match=what):
        model.condition(row)


def test_rows_of_any_kind_can_be_conditioned_on():
    pandas = pytest.importorskip("pandas")
    model = Mixture(TMM(3, 2, 2), Categorical(3, 2, 4))
    expected = model.condition(torch.tensor([1.0, float("nan"), 3.0])).coefficients.dense()
    masked = np.ma.masked_array([1, 0, 3], mask=[False, True, False])
    series = pandas.Series([1, pandas.NA, 3], dtype="Int64")
    rows = [[1, None, 3], (1, float("nan"), 3), masked, series, np.array([1.0, np.nan, 3.0])]
    for row in rows:
        close(model.condition(row).coefficients.dense(), expected)
    close(model.condition([1, 0, 3], observed=[True, False, True]).coefficients.dense(), expected)
    encoded = model.encode([[1, None, 3]])
    close(model.condition(encoded).coefficients.dense(), expected)


def test_conditioning_on_a_vector_observed_in_part_names_the_variable():
    model = Mixture(TMM(2, 2, 2), MultivariateGaussian(2, 2, 2))
    with pytest.raises(ValueError, match="variable 1 is observed in part"):
        model.condition([[float("nan")] * 2, [1.0, float("nan")]])


def test_parts_of_a_mixture_of_mixtures_are_mixtures_of_parts():
    a = Mixture(TMM(3, 2, 2, generator=generator()), Gaussian(3, 2, generator=generator(1)))
    b = Mixture(HMM(3, 3, 2, generator=generator(2)), Gaussian(3, 3, generator=generator(3)))
    both = 0.3 * a.double() + 0.7 * b.double()
    assert isinstance(both.marginal([2, 0]).components, Concatenated)
    x = both.sample(5, generator=generator(4))
    parts = 0.3 * a.marginal([2, 0]) + 0.7 * b.marginal([2, 0])
    close(both.marginal([2, 0]).log_prob(x[:, [2, 0]]), parts.log_prob(x[:, [2, 0]]))
    given = [float("nan"), 0.5, float("nan")]
    free = x[:, [0, 2]]
    joint = torch.stack([x[:, 0], torch.full((5,), 0.5, dtype=x.dtype), x[:, 2]], 1)
    expected = both.log_prob(joint) - both.log_prob([given])
    close(both.condition(given).log_prob(free), expected)


def test_tables_cast_to_more_digits_sum_to_one_in_all_of_them():
    model = Mixture(TMM(3, 4, 3, generator=generator()), Gaussian(3, 4, generator=generator()))
    single = [table.clone() for table in model.coefficients.arrays]
    model.double()
    assert model.coefficients.is_normalised()
    for table, before in zip(model.coefficients.arrays, single, strict=True):
        close(table.sum(-1), torch.ones(table.shape[:-1]), rtol=1e-15)
        close(table, before.double(), rtol=1e-6)
    assert model.marginal([0]).coefficients.is_normalised()


def test_leaves_may_stand_in_for_rows_in_conditionals_and_completions():
    g = torch.Generator().manual_seed(0)
    mixture = Mixture(
        HMM(3, 2, 2, generator=g, dtype=torch.float64),
        Categorical(3, 2, 3, generator=g, dtype=torch.float64),
    )
    row = torch.tensor([0.0, torch.nan, 2.0], dtype=torch.float64)
    leaves = mixture.components.log_prob(row[None]).detach()
    by_row, by_leaves = mixture.condition(row), mixture.condition(leaves=leaves[0])
    assert torch.equal(by_row.coefficients.dense(), by_leaves.coefficients.dense())
    filled = mixture.complete(leaves=leaves, how="mean")
    assert torch.allclose(filled[0, 1], mixture.complete(row[None], how="mean")[0, 1])
    draws = mixture.complete(leaves=leaves.expand(4000, 3, 2), generator=g)
    assert torch.allclose(draws.double().mean(0), filled[0], atol=0.06)
    with pytest.raises(ValueError, match="either one row x or leaves="):
        mixture.condition(row, leaves=leaves[0])
