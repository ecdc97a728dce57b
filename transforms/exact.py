"""What the rank analyzers need of a tensor whose stored numbers are taken as exact."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from mixtures.errors import SizeError
from transforms import circuits
from transforms.minors import Minor

BUDGET = 2**22  # entries of a tensor that is written out


class Subject(ABC):
    """A tensor whose stored numbers are taken as exact."""

    shape: tuple[int, ...]

    @abstractmethod
    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        """An upper bound on the rank, and what proves it."""

    @abstractmethod
    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        """A largest minor that is regular modulo p, no larger than `limit`."""

    @abstractmethod
    def values(self, vectors: Tensor, p: int) -> Tensor:
        """Contractions with product vectors (n, d, max k) of residues, modulo p: (n,)."""

    @abstractmethod
    def scaling(self) -> tuple[int, float]:
        """(scale, height): the tensor times `scale` has integer entries of at most 2^height."""

    def check_exact(self) -> None:  # noqa: B027
        """Raise ValueError unless the numbers are exact; those of a model are."""

    def approximate(self) -> numpy.ndarray:
        """The entries as floats, in their own scale; ValueError for models, which are exact."""
        raise ValueError(
            "within= is for arrays of rounded numbers; the numbers of a model are exact"
        )

    @abstractmethod
    def dense(self) -> numpy.ndarray:
        """All entries, as floats."""

    def integers(self) -> numpy.ndarray:
        """All entries times a common positive factor, as integers: residues for many primes, put
        together.
        """
        self._check_size()
        scale, height = self.scaling()
        return circuits.from_residues(self.shape, height, scale, self._entries)

    def _entries(self, p: int) -> Tensor:
        index = torch.cartesian_prod(*(torch.arange(k) for k in self.shape)).reshape(
            -1, len(self.shape)
        )
        one_hot = torch.nn.functional.one_hot(index, max(self.shape))
        return self.values(one_hot, p)

    def _check_size(self) -> None:
        entries = math.prod(self.shape)
        if entries > BUDGET:
            raise SizeError(
                f"the tensor would have {entries:.4g} entries, more than the budget of {BUDGET}"
            )


def grid(exact: Subject, left: Tensor, right: Tensor, p: int) -> Tensor:
    """Contractions of all pairs of row vectors and column vectors, modulo p: (m, n)."""
    rows = max(1, 2**24 // max(1, len(right) * left[0].numel())) if len(left) else 1
    found = [
        exact.values((part[:, None] * right % p).reshape(-1, *right.shape[1:]), p).reshape(
            len(part), len(right)
        )
        for part in left.split(rows)
    ]
    return torch.cat(found)
