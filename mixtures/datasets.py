"""Data in the form the queries take: ragged sequences padded, and sets that other packages ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor


class Padded(NamedTuple):
    """Rows of equal length: x (n, longest, *event) and observed (n, longest)."""

    x: Tensor
    observed: Tensor


class Images(NamedTuple):
    """Images as rows of pixels: x (n, height * width), labels (n,), and (height, width)."""

    x: NDArray[Any]
    labels: NDArray[Any]
    size: tuple[int, int]


def pad(x: Any, lengths: Sequence[int]) -> Padded:
    """Rows out of sequences that follow each other in x, as hmmlearn takes them.

    x: (sum of lengths, *event), or (sum of lengths, 1) for scalar events; a missing end is marked
    in `observed`. Raises ValueError where the lengths do not add up.

    >>> padded = pad([5, 6, 7], [1, 2])
    >>> padded.x.tolist(), padded.observed.tolist()
    ([[5, 0], [6, 7]], [[True, False], [True, True]])
    """
    values = torch.as_tensor(x)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    sizes = [int(length) for length in lengths]
    if not sizes or min(sizes) < 1 or sum(sizes) != len(values):
        raise ValueError(
            f"lengths must be positive and sum to {len(values)}, the rows of x, got "
            f"{len(sizes)} lengths that sum to {sum(sizes)}"
        )
    rows = torch.nn.utils.rnn.pad_sequence(list(values.split(sizes)), batch_first=True)
    places = torch.arange(rows.shape[1], device=values.device)
    return Padded(rows, places < torch.tensor(sizes, device=values.device)[:, None])


def digits() -> Images:
    """The 1797 handwritten digits, 8 x 8 pixels of 0..16, that scikit-learn ships."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "the digits come with scikit-learn: pip install 'homogeneous-mixtures[sklearn]'"
        ) from None
    found = load_digits()
    return Images(found.data.astype(numpy.int64), found.target, (8, 8))
