"""Densities of whole rows whose variables all have the same component."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Joint(Protocol):
    """Products over the variables, known better than factor by factor."""

    @property
    def features(self) -> int:
        """How many numbers of a row they depend on."""

    def logs(self, rows: slice) -> Tensor:
        """Sums over the variables of log-leaves, (k, B)."""

    def collect(self, rows: slice, weights: Tensor) -> None:
        """Take posteriors (k, B) of the component that all variables have."""
