"""Padded sequences and the digits that scikit-learn ships."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixtures import HMM, Mixture, datasets
from mixtures.components import Gaussian, MultivariateGaussian, Poisson
from mixtures.datasets import pad

from laws import close


@pytest.mark.parametrize("lengths", [[3], [1, 2], [2, 1], [1, 1, 1]])
@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64, bool])
def test_padding_keeps_every_value_in_its_place_and_type(lengths, kind):
    x = np.array([1, 0, 1]).astype(kind)
    rows = pad(x, lengths)
    assert rows.shape == (len(lengths), max(lengths))
    assert rows.dtype == x.dtype
    ends = np.cumsum(lengths)
    for row, end, n in zip(rows, ends, lengths, strict=True):
        assert np.array_equal(row.data[:n], x[end - n : end])
        mask = np.ma.getmaskarray(row)
        assert not mask[:n].any()
        assert mask[n:].all()


def test_sequences_of_vectors_are_padded_as_a_whole():
    x = np.arange(12.0).reshape(6, 2)
    rows = pad(x, [4, 2])
    assert rows.shape == (2, 4, 2)
    assert np.ma.getmaskarray(rows)[1, 2:].all()
    assert np.array_equal(rows.data[1, :2], x[4:])
    vectors = MultivariateGaussian(4, 2, 2, shared=True)
    model = Mixture(HMM(4, 2, 2, shared=True), vectors).double()
    close(model.log_prob(rows)[1], model.of_length(2).log_prob(x[None, 4:])[0])


def test_columns_of_single_numbers_and_tensors_are_taken_as_hmmlearn_takes_them():
    x = torch.arange(5.0)
    for given in (x, x[:, None], x.numpy(), x.tolist(), x[:, None].numpy()):
        assert np.array_equal(pad(given, [2, 3]).filled(-1), [[0, 1, -1], [2, 3, 4]])


def test_padded_rows_have_the_density_of_their_sequences():
    for family in (Gaussian, Poisson):
        components = family(5, 2, shared=True)
        model = Mixture(HMM(5, 2, 3, shared=True), components).double()
        x = model.sample(3, generator=torch.Generator().manual_seed(0))[:, :5].flatten()[:11]
        lengths = [5, 1, 4, 1]
        found = model.log_prob(pad(x, lengths))
        parts = x.split(lengths)
        expected = [model.of_length(len(part)).log_prob(part[None])[0] for part in parts]
        close(found, torch.stack(expected))


@pytest.mark.parametrize("lengths", [[], [2], [2, 2], [3, 0], [4, -1]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match="sum to 3"):
        pad([1, 2, 3], lengths)


def test_the_digits_are_counts_with_their_size():
    pytest.importorskip("sklearn")
    found = datasets.digits()
    assert found.size == (8, 8)
    assert found.x.shape == (len(found.labels), 64)
    assert np.issubdtype(found.x.dtype, np.integer)
    assert (found.x.min(), found.x.max()) == (0, 16)
    assert set(found.labels.tolist()) == set(range(10))
