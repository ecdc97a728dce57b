"""Components that are their own data: f = W."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.components.encoding import Data
from mixtures.components.family import Family, whole
from mixtures.components.hooks import Statistics


class Indicator(Family):
    """f_i(x) = 1 if x = i, else 0: the data are component indices, so the mixture is its tensor W.

    No parameters.

    >>> Indicator(1, 3).log_prob([[2]]).exp()
    tensor([[[0., 0., 1.]]])
    """

    _discrete = True

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )

    def _numbers(self) -> Tensor:
        return torch.arange(self.largest, device=self.device)

    def _log_prob(self, x: Tensor) -> Tensor:
        values = torch.full((), -torch.inf, dtype=self.dtype, device=self.device)
        return torch.where(x == self._numbers().unsqueeze(-1), 0.0, values)

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        return indices

    def _inside(self, x: Tensor) -> Tensor:
        counts = torch.tensor(self.shape, device=x.device).unsqueeze(-1)
        return whole(x) & (x >= 0) & (x < counts)

    def _domain(self, variable: int) -> str:
        return f"whole numbers 0 to {self.shape[variable] - 1}"

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        return {}

    def _maximise(self, statistics: Statistics) -> None:
        pass

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        pass

    def _mean(self) -> Tensor:
        return self._numbers().to(self.dtype).unsqueeze(0)

    def _variance(self) -> Tensor:
        return torch.zeros(1, self.largest, dtype=self.dtype, device=self.device)

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        return (self.shape[variable],)

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        numbers = self._numbers()[: self.shape[variable]]
        return numbers.unsqueeze(-1), torch.ones_like(numbers, dtype=self.dtype).unsqueeze(-1)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        numbers = self._numbers().unsqueeze(-1)
        nothing = torch.full((), -torch.inf, dtype=self.dtype, device=self.device)
        return torch.where((low <= numbers) & (numbers <= high), 0.0, nothing)

    def _inner(self, other: Indicator) -> Tensor:
        mine, others = self._numbers(), other._numbers()
        return (mine.unsqueeze(-1) == others).to(self.dtype).unsqueeze(0)
