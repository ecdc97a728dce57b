"""Moments of components, expectations of functions under them, and the rows that they can take."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, final

import torch
from torch import Tensor

from mixtures.components.encoding import Data
from mixtures.components.hooks import Hooks
from mixtures.components.quadrature import MOST_NODES, every_row

Function = Callable[[Tensor], Tensor]


class Moments(Hooks):
    """The public, final methods of components that sum or integrate over x."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuse_overriding(Moments, cls)

    @final
    def mean(self) -> Tensor:
        """The mean of every component, (d, max k_j, *event)."""
        return self._masked(self._expanded(self._mean()))

    @final
    def mean_given(self, data: Data) -> Tensor:
        """The mean of every component, (d, max k_j, n, *event), given what was observed of a
        vector.

        Of use for what is missing: what was observed of the rows is not put in its place.
        """
        return self._masked(self._mean_given(data))

    @final
    def variance(self) -> Tensor:
        """The variance of every component, of each entry by itself, (d, max k_j, *event)."""
        return self._masked(self._expanded(self._variance()))

    @final
    def covariance(self) -> Tensor:
        """Covariances of the e = prod(event) entries under every component, (d, max k_j, e, e).

        e = 1 for numbers: their variance. Raises ValueError where the family has no variance.

        >>> from mixtures.components import Gaussian
        >>> Gaussian.from_parameters([[0.0]], [[4.0]]).covariance().shape
        torch.Size([1, 1, 1, 1])
        """
        return self._masked(self._expanded(self._covariance()))

    @final
    def rows(self, limit: int) -> Tensor | None:
        """All possible rows (m, d, *event) as integers, the last entry fastest.

        None if x is not discrete with finitely many values, or if there are more than `limit` rows;
        they are counted before any is built. Rows some component, or all, give probability 0
        are among them.

        >>> from mixtures.components import Bernoulli
        >>> Bernoulli(2, 3).rows(limit=4).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
        """
        if not _is_whole(limit) or limit < 0:
            raise ValueError(f"expected limit to be a whole number >= 0, got {limit!r}")
        counts: list[int] = []
        total = 1
        for j in range(self.variables):
            own = self._alphabet(j)
            total *= math.prod(own or ())
            if own is None or total > limit:
                return None
            counts += own
        if total > limit:
            return None
        return every_row(counts, self.device).reshape(-1, self.variables, *self.event)

    @final
    def expectation(self, functions: Mapping[int, Function | Tensor]) -> Tensor:
        """E[g_j(x_j) | component i], (d, max k_j), for {j: g_j}; 1 where j has no function.

        A function takes values of x_j as floating-point numbers, a tensor of any shape
        (.., *event), and returns real numbers or bool of shape (..). A tensor (k_j,) is taken for
        E[g_j | component] itself.

        Sums over finite sets are exact, those over Poisson counts up to rounding. Gaussian,
        LogNormal (in log x), Exponential and Gamma take 1024 nodes, exact up to rounding for
        polynomials up to degree 16 and within 1e-8 for functions that are smooth on the scale of
        the component. Uniform and Histogram take 32 Gauss-Legendre nodes an interval, exact for
        polynomials up to degree 63. Vectors take products of such rules, with 256 nodes an entry
        for two entries and 64 for three, the most that continuous ones may have. For functions with
        jumps or kinks pass the tensor (`log_prob_box` gives that of an interval). Gradients reach
        the parameters, whatever the function.

        Raises ValueError for variables there are not, wrong shapes, functions that give NaN, and
        families or vectors without a rule. Costs k times the nodes for each function.

        >>> from mixtures.components import Poisson
        >>> Poisson.from_parameters([[2.0], [3.0]]).expectation({1: lambda x: x**2}).tolist()
        [[1.0], [12.0]]
        """
        for j in functions:
            if not _is_whole(j) or not 0 <= j < self.variables:
                raise ValueError(f"expected variables 0 to {self.variables - 1}, got {j!r}")
        size = (self.variables, self.largest)
        leaves = torch.ones(size, dtype=self.dtype, device=self.device)
        if functions:
            pad = torch.nn.functional.pad
            rows = [self._expected(int(j), given) for j, given in functions.items()]
            places = torch.tensor([int(j) for j in functions], device=self.device)
            wide = torch.stack([pad(row, (0, self.largest - len(row))) for row in rows])
            leaves = leaves.index_copy(0, places, wide)
        return self._masked(leaves)

    def _expected(self, variable: int, given: Function | Tensor) -> Tensor:
        """E[g | component], (k_j,), in the components' dtype."""
        if not callable(given):
            return self._taken(variable, given)
        points, weights = self._nodes(variable, MOST_NODES)
        points = points.to(self.dtype)
        values = _real(given(points), variable)
        expected = points.shape[: points.ndim - len(self.event)]
        if values.shape != expected:
            raise ValueError(
                f"expected the function of variable {variable} to map values of shape "
                f"{tuple(points.shape)} to {tuple(expected)}, got {tuple(values.shape)}"
            )
        values = values.to(weights).masked_fill(weights == 0, 0.0)  # what cannot happen
        if bool(values.isnan().any()):
            component, node = torch.nonzero(values.isnan())[0].tolist()
            x = points.expand(len(weights), *points.shape[1:])[component, node].tolist()
            raise ValueError(f"the function of variable {variable} gives NaN at {x}")
        return (values * weights).sum(-1).to(self.dtype)

    def _taken(self, variable: int, given: Tensor) -> Tensor:
        values = _real(given, variable)
        if values.shape != (self.shape[variable],):
            raise ValueError(
                f"expected E[g | component] of variable {variable} of shape "
                f"({self.shape[variable]},), got {tuple(values.shape)}"
            )
        return values.to(dtype=self.dtype, device=self.device)


def refuse_overriding(owner: type, cls: type) -> None:
    """Raise TypeError if cls defines a public method of owner anew: those are final."""
    overridden = sorted(name for name in vars(cls) if _is_public(name, vars(owner).get(name)))
    if overridden and cls is not owner:
        raise TypeError(f"{cls.__name__} overrides the final {', '.join(overridden)}")


def _is_public(name: str, value: object) -> bool:
    kinds = (property, classmethod)
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _real(given: Any, variable: int) -> Tensor:
    try:
        values = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected a tensor or a function for variable {variable}, got {given!r}: {error}"
        ) from None
    if values.is_complex():
        raise ValueError(f"expected real numbers for variable {variable}, got {values.dtype}")
    return values
