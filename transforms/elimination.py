"""Gaussian elimination that certifies: over prime fields, and over the rationals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy
import torch
from flint import fmpz, fmpz_mat, nmod_mat
from numpy.typing import NDArray
from torch import Tensor

from mixtures.residues import residues

LOW, HIGH = 2**30, 2**31
PRIMES = 50_697_537  # the number of primes between LOW and HIGH


def dice(generator: torch.Generator | None) -> numpy.random.Generator:
    """A numpy generator whose seed is drawn from a torch generator."""
    seed = torch.randint(2**62, (), generator=generator)
    return numpy.random.default_rng(int(seed))


def random_prime(rng: numpy.random.Generator) -> int:
    """A prime drawn uniformly from those between 2^30 and 2^31."""
    while True:
        number = int(rng.integers(LOW, HIGH))
        if fmpz(number).is_prime():
            return number


def random_residues(rng: numpy.random.Generator, shape: Sequence[int], p: int) -> Tensor:
    """Independent uniform residues modulo p."""
    return torch.from_numpy(rng.integers(0, p, tuple(shape), dtype=numpy.int64))


def pivot_columns(matrix: Tensor, p: int) -> list[int]:
    """The columns that elimination modulo p picks as a basis; their number is the rank.

    >>> pivot_columns(torch.tensor([[1, 2, 0], [2, 4, 1]]), 7)
    [0, 2]
    """
    height, width = matrix.shape
    if height == 0 or width == 0:
        return []
    reduced, rank = nmod_mat(height, width, matrix.reshape(-1).tolist(), p).rref()
    found: list[int] = []
    column = 0
    for row in range(rank):
        while reduced[row, column] == 0:
            column += 1
        found.append(column)
    return found


def rank_modulo(matrix: Tensor, p: int) -> int:
    """The rank of a matrix of residues modulo a prime."""
    height, width = matrix.shape
    if height == 0 or width == 0:
        return 0
    return int(nmod_mat(height, width, matrix.reshape(-1).tolist(), p).rank())


def exact_rank(matrix: NDArray[Any]) -> int:
    """The rank over the rationals of a matrix of integers.

    >>> exact_rank(numpy.array([[1, 2], [2, 4]]))
    1
    """
    height, width = matrix.shape
    if height == 0 or width == 0:
        return 0
    entries = [int(entry) for entry in matrix.reshape(-1)]
    return int(fmpz_mat(height, width, entries).rank())


def is_exact(array: NDArray[Any]) -> bool:
    """Whether an array holds integers or Fractions."""
    if array.dtype != object:
        return bool(numpy.issubdtype(array.dtype, numpy.integer)) or array.dtype == bool
    kinds = (int, Fraction, numpy.integer)
    return all(isinstance(entry, kinds) for entry in array.reshape(-1))


def as_integers(array: NDArray[Any]) -> NDArray[Any]:
    """Integers, Fractions or finite floats, times their least common denominator, as exact
    integers.

    >>> as_integers(numpy.array([0.5, 0.75])).tolist()
    [2, 3]
    """
    pairs = _ratios(array)
    common = math.lcm(*(below for _, below in pairs))
    found = numpy.empty(len(pairs), dtype=object)
    found[:] = [above * (common // below) for above, below in pairs]
    return found.reshape(array.shape)


def denominator(array: NDArray[Any]) -> int:
    """The least common denominator of integers, Fractions or finite floats."""
    return math.lcm(*(below for _, below in _ratios(array)))


def _ratios(array: NDArray[Any]) -> list[tuple[int, int]]:
    flat = array.reshape(-1)
    if numpy.issubdtype(array.dtype, numpy.floating):
        return [float(entry).as_integer_ratio() for entry in flat]
    return [(int(entry.numerator), int(entry.denominator)) for entry in flat.tolist()]


def reduced(array: Any, p: int) -> Tensor:
    """The residues modulo p of stored numbers: floats are the rationals they store."""
    if isinstance(array, Tensor):
        return residues(array.detach().cpu(), p)
    if array.dtype == object:
        flat = array.reshape(-1).tolist()
        residue = [int(x.numerator) * pow(int(x.denominator), -1, p) % p for x in flat]
        whole = numpy.array(residue, dtype=numpy.int64)
        return torch.from_numpy(whole.reshape(array.shape))
    return residues(torch.as_tensor(array), p)


def table_rank(array: Any) -> int:
    """The exact rank of a matrix of stored numbers; one elimination modulo a prime where it is
    full.
    """
    height, width = array.shape
    if rank_modulo(reduced(array, HIGH - 1), HIGH - 1) == min(height, width):
        return int(min(height, width))
    return exact_rank(as_integers(numpy.asarray(array)))


def bits(array: Any) -> int:
    """b such that the integers that `as_integers` makes of an array are below 2^b, in absolute
    value.
    """
    values = numpy.asarray(array)
    if values.size == 0:
        return 0
    return max(abs(int(entry)).bit_length() for entry in as_integers(values).reshape(-1))


def prime_risk(size: int, height: float) -> float:
    """The probability that a random prime lowers the rank below `size`.

    A size x size minor of integers below 2^height is, by Hadamard, below 2^(size (height +
    log2(size)/2)), so at most a thirtieth of that many primes above 2^30 divide it, out of the
    PRIMES that are drawn.
    """
    if size == 0:
        return 0.0
    return min(1.0, size * (height + math.log2(size) / 2) / 30 / PRIMES)
