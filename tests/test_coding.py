"""Codes of columns of few whole numbers, compared with the entries that they stand for."""

import numpy as np
import pytest
import torch

from mixtures.components.coding import MOST_SYMBOLS, coded
from mixtures.components.encoding import encode

KINDS = ["bool", "uint8", "int8", "int16", "int64", "uint16", "float32", "float64"]
ENDS = [(0, 1), (1, 3), (0, 100), (0, 255), (-5, 60), (90, 900)]


def fits(kind, low, high):
    if kind == "bool" or kind.startswith("f"):
        return kind != "bool" or (low, high) == (0, 1)
    return np.iinfo(kind).min <= low and high <= np.iinfo(kind).max


def entries(kind, low, high, rows=400, columns=5):
    """(n, d) whole numbers from low to high, both of which occur."""
    numbers = np.random.default_rng(rows).integers(low, high + 1, size=(rows, columns))
    numbers[0], numbers[1] = low, high
    return numbers.astype(kind)


def check(x, seen, columns=slice(None)):
    """Every entry that was seen is the value of its code, and all others have a code without."""
    values, observed = encode(
        x, None if seen is None else torch.from_numpy(seen), variables=5, dtype=torch.float64
    )
    found = coded(values, observed)
    codes = found.codes.long()
    assert (codes < torch.tensor(found.sizes)[:, None])[columns].all()
    held = found.values.gather(1, codes).T
    stands = None if found.observed is None else found.observed.gather(1, codes).T
    expected = np.ones(x.shape, dtype=bool) if seen is None else seen
    if stands is not None or not expected.all():
        assert np.array_equal(stands.numpy()[:, columns], expected[:, columns])
    different = held.numpy().astype("f8") != x.astype("f8")
    assert not (different & expected)[:, columns].any()
    return found


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    ("kind", "low", "high"), [(kind, *ends) for kind in KINDS for ends in ENDS if fits(kind, *ends)]
)
def test_codes_stand_for_the_entries(kind, holes, low, high):
    x = entries(kind, low, high, rows=2000)
    seen = np.random.default_rng(1).random(x.shape) > 0.3 if holes else None
    if holes:
        seen[:2] = True
        seen[:, 3] = False  # a column of which nothing was seen
    found = check(x, seen)
    expected = high - low + 1 + holes
    assert found.sizes == tuple(1 if holes and j == 3 else expected for j in range(5))


def test_what_was_not_seen_may_be_any_number():
    x = entries("int64", 0, 6)
    seen = np.random.default_rng(2).random(x.shape) > 0.5
    seen[:2] = True
    assert check(np.where(seen, x, -(2**40)), seen).sizes == (8,) * 5
    x = np.where(seen, x.astype("f8"), np.inf)
    assert check(x, seen).sizes == (8,) * 5


@pytest.mark.parametrize("low, high", [(-(2**62), 2**62), (2**62, 2**62 + 3), (0, MOST_SYMBOLS)])
def test_columns_of_too_many_whole_numbers_have_no_codes(low, high):
    x = entries("int64", 0, 3, rows=3000)
    x[:2, 2] = low, high
    x[2:, 2] = low
    found = check(x, None, columns=[0, 1, 3, 4])
    assert found.sizes[2] == (4 if high - low == 3 else 0)
    assert found.sizes[:2] == found.sizes[3:] == (4, 4)


def test_columns_of_fractions_have_no_codes():
    x = entries("float64", 0, 3)
    x[7, 1] += 0.5
    x[8, 2], x[9, 4] = np.nan, np.inf
    seen = ~np.isnan(x)
    found = check(x, seen, columns=[0, 2, 3])
    assert found.sizes == (4, 0, 5, 4, 0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (700, 3), (90, 3, 2, 5), (2000, 1)])
@pytest.mark.parametrize("kind", ["bool", "int64", ">i4", "uint8", "float32", ">f8", "float16"])
def test_columns_are_rows_turned(kind, shape, order):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 300 if kind == ">i4" else 2, size=shape)
    x = np.asarray(numbers.astype(kind), order=order)
    seen = rng.random(shape) > 0.3
    if x.dtype.kind == "f":
        x[~seen] = np.nan
    event = shape[2:]
    values, observed = encode(x, seen, variables=shape[1], event=event, dtype=torch.float64)
    assert values.is_contiguous() and values.shape == (shape[1], shape[0], *event)
    back = values.movedim(1, 0).numpy()
    assert np.array_equal(back[seen].astype("f8"), x[seen].astype("f8"))
    assert seen.all() if observed is None else np.array_equal(observed.movedim(1, 0), seen)
    expected = {"i": torch.uint8, "f": torch.float64, "b": torch.bool, "u": torch.uint8}
    small = not (kind == ">i4" and numbers.max(initial=0) > 255) and shape[0] > 0
    if small or kind not in ("int64", ">i4"):
        assert values.dtype == expected[x.dtype.kind]


def test_sums_of_infinities_are_not_taken_for_missing():
    x = np.zeros((50, 2))
    x[3], x[4] = np.inf, -np.inf
    values, observed = encode(x, variables=2, dtype=torch.float64)
    assert observed is None and np.array_equal(values.T, x)
    x[40, 1] = np.nan
    values, observed = encode(x, variables=2, dtype=torch.float64)
    assert np.array_equal(observed.T, ~np.isnan(x))
