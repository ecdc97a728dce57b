"""Certified ranks: bounds that hold for the very tensor given, and meet where they can."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from transforms.bounds import upper_bound
from transforms.cuts import checked_rows, sides
from transforms.elimination import dice, exact_rank, prime_risk, random_prime
from transforms.exact import Subject
from transforms.minors import Minor
from transforms.subjects import subject

LIMIT = 1280  # the largest minor looked for
SMALL = 2**12  # entries of a tensor that is written out and eliminated over the rationals
RISK = 1e-9  # how unlikely a probable rank should be wrong


@dataclass(frozen=True)
class Rank:
    """A rank, between certified bounds.

    lower <= rank <= upper always holds. `probable` is the value elimination found and `error`
    bounds the probability that it is too small, where the search was complete; both are None where
    it was cut off. `how` says what proves the bounds, `witness` what can be checked (a `Minor`, a
    factorisation, ..).
    """

    lower: int
    upper: int
    how: str
    witness: Any = field(default=None, repr=False)
    probable: int | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        if self.lower > self.upper:
            raise ArithmeticError(f"lower bound {self.lower} above upper bound {self.upper}")

    @property
    def exact(self) -> int | None:
        """The rank where the bounds meet, else None."""
        return self.lower if self.lower == self.upper else None

    def __str__(self) -> str:
        if self.exact is not None:
            return f"{_short(self.lower)} ({self.how})"
        likely = ""
        if self.probable is not None and self.error is not None:
            likely = f", {_short(self.probable)} but for a probability below {self.error:.1e}"
        return f"between {_short(self.lower)} and {_short(self.upper)}{likely} ({self.how})"

    def summary(self) -> str:
        """The bounds and what proves them, as text: what `print` shows."""
        return str(self)

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        return f"<span>{html.escape(str(self))}</span>"


def rank(
    W: Any,
    rows: Sequence[int],
    *,
    within: float | None = None,
    limit: int = LIMIT,
    generator: torch.Generator | None = None,
) -> Rank:
    """The rank of the matricization of this very tensor whose rows are indexed by the variables
    `rows`.

    W: a model (its stored numbers are rationals), an array of integers or Fractions, a tensorly CP,
    TT or Tucker tensor. Lower bound: a minor that is regular modulo a random prime, at most `limit`
    large; upper bound: the cheapest cut through the model, the numbers of rows and columns, and for
    small tensors elimination over the rationals. A float array is refused unless `within=eps`: then
    the bounds hold for every tensor within eps of it in the spectral norm of the matricization
    (Weyl), and need not meet.

    Raises ValueError for rows that are no distinct variables and for inexact arrays.

    >>> import numpy
    >>> print(rank(numpy.array([[1, 2], [2, 4]]), [0]))
    1 (elimination over the rationals)
    """
    exact = subject(W)
    chosen = checked_rows(exact.shape, rows)
    if within is not None:
        return _within(exact, chosen, within)
    exact.check_exact()
    return certified(exact, chosen, limit, generator)


def certified(
    exact: Subject, rows: tuple[int, ...], limit: int, generator: torch.Generator | None
) -> Rank:
    """Bounds for a subject whose numbers are exact."""
    upper, reason = upper_bound(exact, rows)
    rng = dice(generator)
    best, risk = Minor(2, (), ()), 1.0
    while best.size < min(upper, limit) and risk > RISK:
        p = random_prime(rng)
        found = exact.minor(rows, p, rng, min(limit, upper))
        best = found if found.size > best.size else best
        if best.size < min(upper, limit):
            risk *= _risk(exact, best.size)
        if best.size < upper and math.prod(exact.shape) <= SMALL:
            over_rationals = exact_rank(unfolded(exact.integers(), rows))
            how = "elimination over the rationals"
            return Rank(over_rationals, over_rationals, how, best, over_rationals, 0.0)
    how = f"a minor regular modulo {best.prime}; {reason}"
    if best.size == upper:
        return Rank(best.size, upper, how, best, best.size, 0.0)
    if best.size >= limit:
        return Rank(best.size, upper, f"{how}; minors above {limit} were not looked for", best)
    return Rank(best.size, upper, how, best, best.size, risk)


def _risk(exact: Subject, size: int) -> float:
    """The probability that one more prime and its random combinations miss a larger minor."""
    degenerate = (size + 1) * 2 * (len(exact.shape) + 1) / 2**30
    return min(1.0, prime_risk(size + 1, exact.scaling()[1]) + degenerate)


def _within(exact: Subject, rows: tuple[int, ...], eps: float) -> Rank:
    """Weyl: a matrix within eps has at least as many singular values as this one has above eps."""
    if not eps >= 0 or math.isinf(eps):
        raise ValueError(f"within must be a finite non-negative number, got {eps}")
    values = _singular_values(exact.approximate(), rows)
    size = sides(exact.shape, rows)
    rounding = 8 * max(size) * float(numpy.finfo(numpy.float64).eps) * float(values.max(initial=0))
    lower = int((values > eps + rounding).sum())
    how = f"Weyl: {lower} singular values above {eps:g} (rounding {rounding:.1e} allowed for)"
    return Rank(lower, min(size), how, values)


def numerical_rank(W: Any, rows: Sequence[int], tolerance: float) -> int:
    """An illustration, no certificate: how many singular values exceed tolerance times the largest.

    Floating point may say anything here; see `rank` for what is certain.
    """
    values = spectrum(W, rows)
    return int((values > tolerance * values[0]).sum()) if values.size else 0


def spectrum(W: Any, rows: Sequence[int]) -> numpy.ndarray:
    """The singular values of a matricization, largest first, in float64: for teaching, not for
    proofs.

    Divided by their norm and squared they are the entanglement spectrum of the cut. Raises
    SizeError where the tensor cannot be written out.
    """
    exact = subject(W)
    return _singular_values(exact.dense(), checked_rows(exact.shape, rows))


def _singular_values(whole: numpy.ndarray, rows: tuple[int, ...]) -> numpy.ndarray:
    return torch.linalg.svdvals(torch.from_numpy(unfolded(whole, rows))).numpy()


def unfolded(whole: numpy.ndarray, rows: Sequence[int]) -> numpy.ndarray:
    """An array as a matrix: the variables `rows` index its rows, the last fastest, the others its
    columns.
    """
    columns = [j for j in range(whole.ndim) if j not in set(rows)]
    return whole.transpose([*rows, *columns]).reshape(sides(whole.shape, rows))


def _short(number: int) -> str:
    """A number, or the power of two below it where it is long."""
    if number < 10**12:
        return str(number)
    if number & (number - 1) == 0:
        return f"2^{number.bit_length() - 1}"
    return f"about 2^{math.log2(number):.1f}"
