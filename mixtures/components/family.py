"""The common shape of a leaf family: each variable is seen or missing as a whole."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mixtures.components.base import Components
from mixtures.components.encoding import Data
from mixtures.components.hooks import Statistics
from mixtures.components.seeding import seeds, some_rows


class Family(Components):
    """Subclass this to add a family: four hooks, and `_initialise` and the closed forms if wanted.

    A family on whole numbers sets `_discrete` and receives x as integers; others receive x in the
    components' dtype. What is missing is replaced by `_safe`, which must lie in the domain.
    """

    _safe: ClassVar[float] = 0.0

    @abstractmethod
    def _log_prob(self, x: Tensor) -> Tensor:
        """log f (d, k, n) for x (d, 1, n, *event)."""

    @abstractmethod
    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        """Sums over the rows for x (d, n, *event), float64 weights (d, k, n); not the key "weight".

        Each has shape (d, k, ..); the base class adds "weight", the sum of the weights (d, k).
        """

    def _evaluate(self, data: Data) -> Tensor:
        values = self._log_prob(self._filled(data).unsqueeze(1))
        seen = data.any_observed
        return values if seen is None else values.masked_fill(~seen.unsqueeze(1), 0.0)

    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        seen = data.any_observed
        if seen is not None:
            weights = weights.masked_fill(~seen.unsqueeze(1), 0.0)
        sums = self._statistics(self._filled(data), weights)
        return {"weight": weights.sum(-1), **sums}

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        some = some_rows(data, generator)
        points = self._points(some)
        spread = seeds(points, some.any_observed, self.largest, self.shared, generator)

        def weights(rows: Data) -> Tensor:
            return spread.weights(self._points(rows), rows.any_observed)

        for _ in range(2):  # the second time around the means that the first time found
            self.maximise(self._summed(data, weights))

    def _points(self, data: Data) -> Tensor:
        """What distances between rows are taken of when a starting point is sought."""
        return self._filled(data)

    def _filled(self, data: Data) -> Tensor:
        """The values in the type the family computes with, and a safe one where x is missing."""
        x, seen = data.values, data.any_observed
        if seen is not None:
            seen = seen.reshape(seen.shape + (1,) * (x.ndim - 2))
            x = x.masked_fill(~seen, self._safe)
        return x.long() if self._discrete else x.to(self.dtype)

    # For the families -----------------------------------------------------------------------

    def _size(self, *rest: int) -> tuple[int, ...]:
        """(d, k, *rest), or (1, k, *rest) for shared parameters."""
        return (1 if self.shared else self.variables, self.largest, *rest)

    def _pick(self, parameter: Tensor, indices: Tensor) -> Tensor:
        """Of a parameter (d or 1, k, ..), the entries (d, n, ..) that indices (d, n) name."""
        each = parameter.expand(self.variables, *parameter.shape[1:])
        rows = torch.arange(self.variables, device=indices.device).unsqueeze(-1)
        return each[rows, indices]


def whole(x: Tensor) -> Tensor:
    """Which entries are whole numbers."""
    return x == x.floor() if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool)


def kept(weight: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """New parameters (d, k, ..) where there was weight (d, k), the old ones elsewhere."""
    heavy = (weight > 0).reshape(weight.shape + (1,) * (old.ndim - weight.ndim))
    return torch.where(heavy, new.to(old), old)
