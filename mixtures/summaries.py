"""Moments and information of a homogeneous mixture, and what model selection makes of its size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mixtures import information, moments
from mixtures.coefficients import CoefficientTensor
from mixtures.components import Components
from mixtures.information import Estimate
from mixtures.semiring import Linear

if TYPE_CHECKING:
    from mixtures.mixture import Mixture


class Summaries(ABC):
    """What a mixture tells of itself without any rows; the base of `Mixture`."""

    coefficients: CoefficientTensor
    components: Components

    @abstractmethod
    def _mixture(self) -> Mixture:
        """The mixture itself."""

    def mean(self) -> Tensor:
        """E[x], (d, *event)."""
        return moments.mean(self.coefficients, self.components)

    def covariance(self) -> Tensor:
        """Cov(x), (d, d), or (d e, d e) for vectors of e entries."""
        return moments.covariance(self.coefficients, self.components)

    def expectation(self, functions: Mapping[int, Any]) -> Tensor:
        """E[prod_j g_j(x_j)] for {variable: g_j}; variables without a function count as g = 1.

        A function takes a tensor of values and returns one of the same shape; a tensor (k_j,) in
        its place gives E[g_j | component] itself.
        """
        leaves = self.components.expectation(functions)
        return self.coefficients.contract(leaves, Linear())

    def entropy(
        self, *, samples: int = 10_000, generator: torch.Generator | None = None
    ) -> Estimate:
        """- E[log f(x)]: exact where all rows can be listed, else Monte Carlo with a standard
        error.
        """
        return information.entropy(self._mixture(), samples, generator)

    def kl(
        self, other: Mixture, *, samples: int = 10_000, generator: torch.Generator | None = None
    ) -> Estimate:
        """E[log f(x) - log g(x)] under f: exact where all rows can be listed, else Monte Carlo."""
        return information.kl(self._mixture(), other, samples, generator)

    def inner(self, other: Mixture) -> Tensor:
        """The integral of f g, exactly, from the components' Gram matrices."""
        gram = self.components.inner(other.components)
        return information.inner(self.coefficients, other.coefficients, gram)

    @property
    def num_parameters(self) -> int:
        """Free numbers in tables and components; ties count once."""
        return self.coefficients.num_parameters + self.components.num_parameters

    @property
    def dimension(self) -> int:
        """Identifiable numbers: the dimension of W and the free numbers of the components."""
        return self.coefficients.dimension + self.components.num_parameters

    def aic(self, x: Any) -> float:
        """2 dimension - 2 log-likelihood."""
        data = self._mixture().encode(x)
        return 2 * self.dimension - 2 * self._mixture().score(data) * len(data)

    def bic(self, x: Any) -> float:
        """dimension log n - 2 log-likelihood."""
        data = self._mixture().encode(x)
        size = torch.log(torch.tensor(float(len(data)), dtype=torch.float64))
        return float(size) * self.dimension - 2 * self._mixture().score(data) * len(data)
