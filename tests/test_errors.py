"""Bad input: the class of the error, what its message says, and that nothing is changed."""

from __future__ import annotations

import pytest
import torch

from mixtures import (
    HMM,
    HT,
    LTM,
    TMM,
    Combination,
    Dense,
    Diagonal,
    Linear,
    Modular,
    SizeError,
    StructureError,
    Tree,
    pinned,
)

from laws import held

NAN = float("nan")


def model():
    return HMM(3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


CALLS = {
    "leaves of a wrong shape": (
        lambda W: W.contract(zeros(5, 3, 4)),
        r"leaves must end in \(3, 2\) \(d, max k\), got \(5, 3, 4\)",
    ),
    "too few variables": (
        lambda W: W.posterior(zeros(2, 2)),
        r"must end in \(3, 2\).*got \(2, 2\)",
    ),
    "leaves of another type": (
        lambda W: W.contract(zeros(3, 2).float()),
        r"leaves must be torch\.float64 like the tables, got torch\.float32",
    ),
    "NaN in leaves": (
        lambda W: W.contract(torch.stack([zeros(3, 2), zeros(3, 2) + NAN])),
        "leaves contain NaN in row 1",
    ),
    "NaN in explained leaves": (lambda W: W.explain(zeros(1, 3, 2) + NAN), "row 0"),
    "NaN in posterior leaves": (lambda W: W.posterior(zeros(1, 3, 2) + NAN), "row 0"),
    "no ring": (lambda W: W.contract(zeros(3, 2), "log"), "ring must be a semiring .* got 'log'"),
    "fractions under Modular": (lambda W: W.contract(zeros(3, 2), Modular(7)), "must be integers"),
    "evidence about no latent": (
        lambda W: W.contract(zeros(3, 2), evidence={"z": zeros(2)}),
        "there is no latent 'z'; the latents are",
    ),
    "evidence about a variable": (
        lambda W: W.contract(zeros(3, 2), evidence={0: zeros(2)}),
        "there is no latent 0",
    ),
    "evidence of a wrong shape": (
        lambda W: W.contract(zeros(3, 2), evidence={3: zeros(4)}),
        r"evidence about 3 must be log-weights of shape \(\*batch, 2\), got .*\(4,\)",
    ),
    "evidence under Modular": (
        lambda W: W.contract(zeros(3, 2).long(), Modular(7), evidence={3: zeros(2)}),
        "use Log or Linear",
    ),
    "impossible rows": (
        lambda W: W.posterior(torch.stack([zeros(3, 2), zeros(3, 2) - torch.inf])),
        "probability zero, so there is no posterior, in row 1",
    ),
    "an index that is no number": (lambda W: W[[0.5, 0, 1]], "expected whole numbers"),
    "rows that are no variables": (
        lambda W: W.matricize([0, 3]),
        r"rows must be distinct variables 0\.\.2, got \[0, 3\]",
    ),
    "a negative number of samples": (
        lambda W: W.sample(-1),
        "expected a number of samples, got -1",
    ),
    "other arrays": (lambda W: pinned(W, [zeros(1)]).__enter__(), "expected arrays of shapes"),
    "a negative weight": (
        lambda W: -0.5 * W + 1.5 * W,
        "expected a weight between 0 and 1, got -0.5",
    ),
    "weights above one": (
        lambda W: 0.7 * W + 0.7 * W,
        "weights must sum to one, but they sum to 1.4",
    ),
    "an unfinished sum": (
        lambda W: (0.3 * W + 0.3 * W).dense(),
        "weights must sum to one, but this sum of 2 terms .* sum to 0.6 so far",
    ),
    "parts of different shapes": (
        lambda W: 0.5 * W + 0.5 * Dense(torch.ones(4, dtype=torch.float64) / 4),
        "only tensors of one shape",
    ),
    "parts of different types": (lambda W: 0.5 * W + 0.5 * HMM(3, 2, 2), r"torch\.float32"),
    "weights and parts": (lambda W: Combination([1.0], [W, W]), "one weight per part, got 1 for 2"),
    "weights that do not sum": (lambda W: Combination([0.5, 0.4], [W, W]), "must sum to one"),
    "a wrong table": (
        lambda W: W.tables[0].set(W.tables[0].values * 2),
        r"rows of a table must sum to one, but row \[0, 0\] sums to 2",
    ),
    "NaN in a table": (
        lambda W: W.tables[0].set(W.tables[0].values * NAN),
        "finite non-negative numbers, got nan",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_bad_call_raises_a_value_error_and_changes_nothing(case):
    call, message = CALLS[case]
    W = model()
    before = held(W)
    with pytest.raises(ValueError, match=message):
        call(W)
    assert all(torch.equal(value, before[key]) for key, value in W.state_dict().items())
    assert W.is_normalised()
    assert torch.equal(W.contract(zeros(1, 3, 2)).isfinite(), torch.tensor([True]))


def test_an_index_outside_its_components_is_an_index_error():
    with pytest.raises(IndexError, match=r"index 2 of variable 1 is outside 0\.\.1"):
        model()[0, 2, 1]
    with pytest.raises(IndexError, match=r"index -1 of variable 2"):
        model()[[[0, 0, 0], [0, 0, -1]]]


def test_what_would_not_fit_is_refused_before_it_is_built():
    W = HMM(60, 3, 2)
    for build in (W.dense, lambda: W.matricize([0]), lambda: model().dense(budget=7)):
        with pytest.raises(SizeError, match=r"dense tensor would have .* entries, more than"):
            build()
    assert model().dense(budget=8).shape == (2, 2, 2)


HALF = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
ROOT = torch.tensor([[0.5, 0.5]])
STAR, PAIR = Tree.star(2), Tree.balanced(2)

BUILT = {
    "no variables": (lambda: TMM(0, 2, 2), ValueError, "at least one variable, got 0"),
    "no components": (lambda: HMM(3, [2, 0, 1], 2), ValueError, "at least one component"),
    "components of others": (lambda: TMM(3, [2, 2], 2), ValueError, "for 3 variables, got 2"),
    "no states": (lambda: HMM(3, 2, 0), ValueError, "states must be a whole number .* got 0"),
    "half a state": (
        lambda: TMM(3, 2, 2.5),
        ValueError,
        "states must be a whole number .* got 2.5",
    ),
    "states of a missing node": (
        lambda: LTM(Tree.balanced(4), 2, {4: 2, 6: 2}),
        StructureError,
        "states are missing for node 5",
    ),
    "bonds of a missing node": (
        lambda: HT(Tree.balanced(4), 2, {0: 2}),
        StructureError,
        r"bond dimension \(states\) is missing for node 1",
    ),
    "sharing unequal leaves": (
        lambda: TMM(2, [2, 3], 2, shared=True),
        StructureError,
        "as many components for every variable",
    ),
    "sharing unequal levels": (
        lambda: TMM(6, 2, 2, arity=2, shared=True),
        StructureError,
        "power of the arity, got 6 variables",
    ),
    "sharing unequal transitions": (
        lambda: HMM(3, 2, {3: 2, 4: 3, 5: 2}, shared=True),
        StructureError,
        "one .* table cannot have the shapes",
    ),
    "no emission of other size": (
        lambda: HMM(3, 2, 3, emission=False),
        StructureError,
        "needs as many components as its parent .* has states",
    ),
    "no root table": (
        lambda: LTM.from_tables(STAR, {0: HALF, 1: HALF}),
        StructureError,
        r"the root 2 needs a table of shape \(1, r\)",
    ),
    "a table of no node": (
        lambda: LTM.from_tables(STAR, {2: ROOT, 7: HALF}),
        StructureError,
        "a table for 7, which is no node",
    ),
    "too many rows": (
        lambda: LTM.from_tables(STAR, {2: ROOT, 0: HALF[:1]}),
        ValueError,
        r"table of node 0 must have 2 rows, its parent's states, got shape \(1, 2\)",
    ),
    "a root of two rows": (
        lambda: LTM.from_tables(STAR, {2: HALF}),
        ValueError,
        "table of node 2 must have 1 row",
    ),
    "a table that is a vector": (
        lambda: LTM.from_tables(STAR, {2: ROOT[0]}),
        ValueError,
        r"table of node 2 must be a matrix \(rows, columns\), got shape \(2,\)",
    ),
    "two types": (
        lambda: LTM.from_tables(STAR, {2: ROOT, 0: HALF.double()}),
        ValueError,
        "all tables must be of one type",
    ),
    "rows that do not sum to one": (
        lambda: LTM.from_tables(STAR, {2: ROOT, 0: HALF * 0.5}),
        ValueError,
        r"table of node 0: the rows of a table must sum to one, but row \[0\] sums to 0.5",
    ),
    "a negative entry": (
        lambda: LTM.from_tables(STAR, {2: torch.tensor([[1.5, -0.5]])}),
        ValueError,
        r"table of node 2: .*got -0.5 at \[0, 1\]",
    ),
    "NaN": (
        lambda: HMM.from_tables(ROOT[0] * NAN, HALF, variables=3),
        ValueError,
        "finite non-negative numbers, got nan",
    ),
    "columns that fit no children": (
        lambda: HT.from_tables(STAR, {2: ROOT, 0: HALF, 1: HALF}),
        ValueError,
        r"table of node 2 must have 4 columns, the product of its children's bonds \[2, 2\], got 2",
    ),
    "a diagonal of other size": (
        lambda: HT.from_tables(STAR, {2: Diagonal(torch.ones(1, 3) / 3), 0: HALF, 1: HALF}),
        ValueError,
        "diagonal table of node 2 has 3 columns",
    ),
    "an inner node without": (
        lambda: HT.from_tables(PAIR, {0: HALF}),
        StructureError,
        "inner node 2 needs a table",
    ),
    "an undetermined leaf": (
        lambda: HT.from_tables(STAR, {2: torch.ones(1, 4) / 4}),
        StructureError,
        "number of components of variable 0 is not determined",
    ),
    "an unknown length": (
        lambda: HMM.from_tables(ROOT[0], HALF, HALF),
        ValueError,
        "say how many variables there are with variables=",
    ),
    "different lengths": (
        lambda: HMM.from_tables(ROOT[0], HALF.expand(3, 2, 2), HALF.expand(3, 2, 2)),
        ValueError,
        r"different numbers of variables: \[3, 4\]",
    ),
    "factors of other rows": (
        lambda: TMM.from_factors(ROOT[0], torch.ones(2, 3, 1)),
        ValueError,
        "table of node 0 must have 2 rows",
    ),
    "flat factors": (lambda: TMM.from_factors(ROOT[0], HALF), ValueError, r"shape \(d, r, k\)"),
    "no factors": (
        lambda: TMM.from_factors(ROOT[0], []),
        ValueError,
        "factors for some variables, got 0",
    ),
    "an empty tensor": (lambda: Dense(torch.empty(2, 0)), ValueError, r"got shape \(2, 0\)"),
    "factors of a deep model": (
        lambda: TMM(4, 2, 2, arity=2).factors,
        ValueError,
        r"only a CP model .* \.table\(node\) gives the tables",
    ),
    "half a tensor": (lambda: Dense(torch.full((2, 2), 0.2)), ValueError, "sums to 0.8"),
}


@pytest.mark.parametrize("case", BUILT)
def test_a_model_that_would_be_none_is_refused(case):
    build, error, message = BUILT[case]
    with pytest.raises(error, match=message) as caught:
        build()
    assert isinstance(caught.value, ValueError)
    assert type(caught.value) is error


def test_a_state_dict_of_another_model_is_refused():
    W = model()
    before = held(W)
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key|Unexpected key"):
        W.load_state_dict(HMM(5, 3, 2).state_dict())
    assert all(torch.equal(value, before[key]) for key, value in W.state_dict().items())
    assert W.contract(zeros(3, 2), Linear()).item() == 0
