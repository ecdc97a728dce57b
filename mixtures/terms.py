"""Convex combinations while they are being written down: 0.3 * a + 0.7 * b."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")

TOLERANCE = 1e-9


class Terms(Generic[T]):
    """Weighted terms whose weights do not sum to one yet; the sum that reaches one is the
    combination.

    Raises ValueError for a negative weight, and wherever an unfinished sum is used as a tensor.
    """

    def __init__(
        self,
        terms: Sequence[tuple[float, T]],
        finish: Callable[[Sequence[float], Sequence[T]], T],
    ) -> None:
        for weight, _ in terms:
            if not isinstance(weight, int | float) or not 0 <= weight <= 1 + TOLERANCE:
                raise ValueError(f"expected a weight between 0 and 1, got {weight!r}")
        self._terms = list(terms)
        self._finish = finish

    @property
    def total(self) -> float:
        """What the weights sum to so far."""
        return sum(weight for weight, _ in self._terms)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, Terms):
            return NotImplemented
        terms = Terms([*self._terms, *other._terms], self._finish)
        if terms.total > 1 + TOLERANCE:
            raise ValueError(f"weights must sum to one, but they sum to {terms.total:.12g}")
        if terms.total < 1 - TOLERANCE:
            return terms
        weights, parts = zip(*terms._terms, strict=True)
        return self._finish(weights, parts)

    def __radd__(self, other: Any) -> Any:
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __rmul__(self, weight: float) -> Terms[T]:
        return Terms([(weight * own, part) for own, part in self._terms], self._finish)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError(
            f"weights must sum to one, but this sum of {len(self._terms)} terms has weights that "
            f"sum to {self.total:.12g} so far; add the missing terms before using .{name}"
        )

    def __repr__(self) -> str:
        return f"an unfinished sum of {len(self._terms)} terms, weights {self.total:.6g} in all"
