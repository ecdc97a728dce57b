"""What users may pass as data, and what they are told when they may not."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

from mixtures.components import (
    Bernoulli,
    Categorical,
    Concatenated,
    Gamma,
    Gaussian,
    Mixed,
    MultivariateGaussian,
    Product,
    encode,
)

NAN = float("nan")
ROWS = [[1.0, NAN], [0.0, 3.0]]
SEEN = [[True, True], [False, True]]


def frame(rows, **options):
    return pandas.DataFrame(rows, columns=["a", "b"], **options)


@pytest.mark.parametrize(
    "x",
    [
        ROWS,
        np.array(ROWS),
        np.array(ROWS, dtype=np.float32),
        np.array(ROWS, dtype=">f8"),
        np.asfortranarray(np.array(ROWS))[::1],
        torch.tensor(ROWS),
        [[1, None], [0, 3]],
        np.array([[1, None], [0, 3]], dtype=object),
        np.ma.MaskedArray([[1, 7], [0, 3]], mask=[[False, True], [False, False]]),
        np.ma.MaskedArray([[1.0, NAN], [0.0, 3.0]]),
        frame(ROWS),
        frame([[1, pandas.NA], [0, 3]], dtype="Int64"),
        frame([[1.0, pandas.NA], [0.0, 3]]),
    ],
)
def test_every_container_of_numbers_is_understood(x):
    values, observed = encode(x, variables=2, dtype=torch.float64)
    assert observed.tolist() == SEEN
    assert values[observed].tolist() == [1, 0, 3]
    assert values.shape == (2, 2) and values.is_contiguous()


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u4", "i8", "u8", "?"])
def test_integers_stay_integers(dtype):
    values, observed = encode(np.ones((3, 2), dtype=dtype), variables=2, dtype=torch.float32)
    assert observed is None
    assert not values.is_floating_point()
    assert values.tolist() == [[1, 1, 1]] * 2


def test_floats_take_the_type_of_the_components():
    components = Gaussian(2, 1)
    assert components.encode(np.ones((3, 2))).values.dtype == torch.float32
    assert components.double().encode(np.ones((3, 2))).values.dtype == torch.float64


def test_observed_adds_to_what_is_missing():
    observed = np.array([[True, True], [False, True]])
    _, seen = encode(np.array(ROWS), observed, variables=2, dtype=torch.float64)
    assert seen.tolist() == [[True, False], [False, True]]
    _, seen = encode([[1, 2]], [[True, True]], variables=2, dtype=torch.float64)
    assert seen is None


def test_vectors_may_be_missing_whole_or_in_part():
    x = torch.arange(12.0).reshape(3, 2, 2)
    whole = torch.tensor([[True, False], [True, True], [False, True]])
    _, seen = encode(x, whole, variables=2, event=(2,), dtype=torch.float32)
    assert torch.equal(seen, whole.T)
    x[0, 0, 1] = NAN
    _, seen = encode(x, variables=2, event=(2,), dtype=torch.float32)
    assert seen.shape == (2, 3, 2) and not seen[0, 0, 1] and seen.sum() == 11


BAD = [
    ([["x", 1.0]], "column 0, row 0: expected a number, got 'x'"),
    (np.array([["x", "y"]]), "column 0, row 0: expected a number, got 'x'"),
    (frame([[1, "blue"]]), "column 1, row 0: expected a number, got 'blue'"),
    (np.array([["2020-01-01", "2020-01-02"]], dtype="datetime64[D]"), "expected a number"),
    ([1.0, 2.0], r"single row: write x\[None\]"),
    ([[1.0, 2.0, 3.0]], r"x of shape \(n, 2\), got \(1, 3\)"),
    ([[1.0], [1.0, 2.0]], "rows of equal length"),
    (3.0, r"x of shape \(n, 2\), got \(\)"),
    (torch.ones(1, 2, dtype=torch.complex64), "real numbers"),
    (np.full((1, 2), 2**63, dtype=np.uint64), "below"),
    ([[2**70, None]], "below"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_not_rows_of_numbers_is_refused(number):
    x, message = BAD[number]
    with pytest.raises(ValueError, match=message):
        encode(x, variables=2, dtype=torch.float32)


def test_masks_must_be_bool_and_fit():
    with pytest.raises(ValueError, match="dtype bool"):
        encode(ROWS, [[1, 0], [1, 1]], variables=2, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"observed of shape \(2, 2\), got \(1, 2\)"):
        encode(ROWS, [[True, False]], variables=2, dtype=torch.float32)


def test_messages_name_column_row_value_and_domain():
    x = np.zeros((20, 5))
    x[17, 3] = 7
    message = "column 3, row 17: 7 is outside the domain of Categorical, whole numbers 0 to 4"
    with pytest.raises(ValueError, match=message):
        Categorical(5, 2, 5).log_prob(x)
    with pytest.raises(ValueError, match="column 'age', row 0: -1 is outside the domain of Gamma"):
        Gamma(2, 2, names=["height", "age"]).encode([[1, -1]])
    with pytest.raises(ValueError, match=r"0\.5 is outside .* whole numbers"):
        Categorical(1, 2, 5).encode([[0.5]])


def test_composites_name_the_family_of_the_column():
    mixed = Mixed([([1], Categorical(1, 2, 3)), ([0], Gaussian(1, 2))])
    with pytest.raises(ValueError, match="column 1, row 0: 3 is outside the domain of Categorical"):
        mixed.encode([[3.0, 3.0]])
    product = Product(Bernoulli(4, 2), 2)
    with pytest.raises(ValueError, match=r"column 1, row 0, entry \(0,\): 2 is .* Bernoulli"):
        product.encode([[[0, 1], [2, 0]]])
    both = Concatenated([Gaussian(1, 2), Gamma(1, 2)])
    with pytest.raises(ValueError, match="-1 is outside the domain of Gaussian and Gamma"):
        both.encode([[-1.0]])


def test_what_was_not_observed_may_hold_anything():
    observed = torch.tensor([[True, False]])
    for junk in (NAN, -3.0, 0.5, float("inf"), 1e30):
        assert Categorical(2, 2, 3).log_prob([[1.0, junk]], observed)[0, 1].tolist() == [0, 0]
    assert Categorical(2, 2, 3).log_prob([[1, -(2**40)]], observed)[0, 1].tolist() == [0, 0]


def test_slices_of_rows_are_views():
    data = Gaussian(2, 1).encode(torch.arange(8.0).reshape(4, 2))
    part = data.rows(slice(1, 3))
    assert part.values.data_ptr() == data.values[:, 1:].data_ptr()
    assert len(part) == 2
    assert data.rows(torch.tensor([3, 0])).values.tolist() == [[6, 0], [7, 1]]


def test_gradients_reach_the_data():
    x = torch.randn(3, 2, requires_grad=True)
    Gaussian(2, 2).log_prob(x).sum().backward()
    assert x.grad.isfinite().all()


def test_only_families_that_understand_it_take_vectors_in_part():
    x = torch.zeros(2, 3, 2)
    x[0, 0, 0] = NAN
    assert MultivariateGaussian(3, 2, 2).encode(x).observed.shape == (3, 2, 2)
    assert Product(Gaussian(6, 2), 2).encode(x).observed.shape == (3, 2, 2)
