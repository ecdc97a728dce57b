"""The normal distribution, of a number and of its logarithm: Gaussian and LogNormal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mixtures.components.columns import blocks
from mixtures.components.encoding import Data
from mixtures.components.family import Family, kept
from mixtures.components.hooks import Statistics
from mixtures.components.parameters import (
    as_parameters,
    check_collapse,
    check_ndim,
    check_positive,
    check_prior,
    layout,
)
from mixtures.components.quadrature import normal_rule
from mixtures.components.tails import log_normal_mass, standardised

Self = TypeVar("Self", bound="Gaussian")
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
LOST = 1e-12  # of a logarithm, which it costs nobody to lose


class Gaussian(Family):
    """f(x) = exp(-(x - m)^2 / 2v) / sqrt(2 pi v).

    Prior: inverse gamma on v, log density -(pseudo_rows log v + pseudo_scatter / v) / 2, so the
    M-step is v = (scatter + pseudo_scatter) / (weight + pseudo_rows). Zeros give maximum
    likelihood; a variance that then collapses is refused.

    Sums of squares are taken around a `centre` of each variable, which construction puts amid the
    means and `initialise` amid the data: call `initialise` first if data lie far from zero in units
    of their spread.

    >>> Gaussian.from_parameters([[0.0, 1.0]], [[1.0, 4.0]]).mean().tolist()
    [[0.0, 1.0]]
    """

    location: nn.Parameter
    log_variance: nn.Parameter
    centre: Tensor

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        pseudo_rows: float = 0.0,
        pseudo_scatter: float = 1e-3,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        check_prior(pseudo_rows=pseudo_rows, pseudo_scatter=pseudo_scatter)
        self.pseudo_rows = float(pseudo_rows)
        self.pseudo_scatter = float(pseudo_scatter)
        draws = torch.randn(
            (2, *self._size()), generator=generator, dtype=self.dtype, device=self.device
        )
        self.location = nn.Parameter(draws[0])
        self.log_variance = nn.Parameter(draws[1] / 4)
        self.register_buffer("centre", draws[0].double().mean(-1, keepdim=True))

    @classmethod
    def from_parameters(
        cls: type[Self],
        mean: Any,
        variance: Any,
        *,
        components: int | Sequence[int] | None = None,
        pseudo_rows: float = 0.0,
        pseudo_scatter: float = 1e-3,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Components with mean and variance (d, k), of log x for LogNormal; variance above zero.

        shared=True: shape (1, k), for so many `variables`.
        """
        mean, variance = as_parameters(mean=mean, variance=variance)
        check_ndim(2, mean=mean, variance=variance)
        check_positive(variance=variance)
        new = cls(
            **layout(mean, components, shared, variables),
            pseudo_rows=pseudo_rows,
            pseudo_scatter=pseudo_scatter,
            names=names,
        )
        new.location.data = mean.clone()
        new.log_variance.data = variance.log()
        new.centre = mean.double().mean(-1, keepdim=True)
        return new

    def _log_prob(self, x: Tensor) -> Tensor:
        scale = (-0.5 * self.log_variance).exp().unsqueeze(-1)
        constant = (-0.5 * self.log_variance - HALF_LOG_TAU).unsqueeze(-1)
        away = (x - self.location.unsqueeze(-1)).mul_(scale)
        return torch.addcmul(constant, away, away, value=-0.5)

    def _exponents(self, data: Data, dtype: torch.dtype) -> tuple[Tensor, float] | None:
        """Those of (x - c)^2, x - c and 1.

        The terms are at most T = (|x - c| + |m - c|)^2 / 2v, and so the error is a few units in the
        last place of T, where that of (x - m)^2 / 2v is a few of its own.
        """
        if type(self)._log_prob is not Gaussian._log_prob:
            return None
        seen = data.any_observed
        away = (data.values - self.centre).abs_()
        if seen is not None:
            away.masked_fill_(~seen, 0)
        furthest = away.amax(1, keepdim=True) if away.shape[1] else away.new_zeros(len(away), 1)
        mean, precision = self.location - self.centre, (-self.log_variance).exp()
        largest = ((furthest + mean.abs()).square() * precision).amax() / 2
        if not largest * torch.finfo(dtype).eps < LOST:
            return None
        constant = -0.5 * (mean.square() * precision + self.log_variance) - HALF_LOG_TAU
        top = -0.5 * float(self.log_variance.detach().amin()) - HALF_LOG_TAU
        return torch.stack([-0.5 * precision, mean * precision, constant], -1), top

    def _basis(self, data: Data, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
        seen = data.any_observed
        shape = len(data.values), 3, len(data)
        basis = data.values.new_empty(shape, dtype=torch.float64) if out is None else out
        basis[:, 1] = data.values - self.centre
        basis[:, 2] = 1.0
        if seen is not None:
            basis.masked_fill_(~seen.unsqueeze(1), 0.0)
        torch.square(basis[:, 1], out=basis[:, 0])
        return basis.to(dtype)

    def _of_basis(self, sums: Tensor) -> Statistics:
        second, first, weight = sums.unbind(-1)
        return {"weight": weight, "first": first, "second": second}

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(
            indices.shape, generator=generator, dtype=self.dtype, device=self.device
        )
        scale = self._pick((0.5 * self.log_variance).exp(), indices)
        return self._pick(self.location, indices) + scale * noise

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        away = (x.double() - self.centre).unsqueeze(-1)
        first, second = weights @ away, weights @ away.square()
        return {"first": first.squeeze(-1), "second": second.squeeze(-1)}

    def _maximise(self, statistics: Statistics) -> None:
        weight, first = statistics["weight"], statistics["first"]
        offset = first / weight
        scatter = (statistics["second"] - first * offset).clamp(min=0)  # below 0 by rounding only
        variance = (scatter + self.pseudo_scatter) / (weight + self.pseudo_rows)
        check_collapse((variance > 0) | (weight <= 0))
        self.location.copy_(kept(weight, self.centre + offset, self.location))
        self.log_variance.copy_(kept(weight, variance.log(), self.log_variance))

    def _log_prior(self) -> Tensor:
        logs = self.log_variance.double()
        return -0.5 * (self.pseudo_rows * logs + self.pseudo_scatter * (-logs).exp())

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        self.centre = self._middle(data)
        super()._initialise(data, generator)

    def _ones(self, rows: int) -> Tensor:
        return torch.ones((self.variables, 1, rows), dtype=torch.float64, device=self.device)

    def _middle(self, data: Data) -> Tensor:
        """The mean of the seen values of each variable, the old centre if there are none."""
        sums = self._collect(data.rows(slice(0, 0)), self._ones(0))
        for rows in blocks(len(data), self.variables):
            more = self._collect(data.rows(rows), self._ones(rows.stop - rows.start))
            sums = {name: sums[name] + more[name] for name in sums}
        if self.shared:
            sums = self._pooled(sums)
        offset = sums["first"] / sums["weight"]
        return self.centre + torch.where(sums["weight"] > 0, offset, 0.0)

    def _mean(self) -> Tensor:
        return self.location

    def _variance(self) -> Tensor:
        return self.log_variance.exp()

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        mean, log_variance = (
            self._row(each, variable) for each in (self.location, self.log_variance)
        )
        return normal_rule(mean, log_variance, most)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        scale = (-0.5 * self.log_variance).exp().unsqueeze(-1)
        centre = self.location.unsqueeze(-1)
        return log_normal_mass(standardised(low, centre, scale), standardised(high, centre, scale))

    def _inner(self: Self, other: Self) -> Tensor:
        variance = self.log_variance.exp().unsqueeze(-1) + other.log_variance.exp().unsqueeze(-2)
        away = self.location.unsqueeze(-1) - other.location.unsqueeze(-2)
        return (-0.5 * (away.square() / variance + variance.log()) - HALF_LOG_TAU).exp()

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        return {"pseudo_rows": self.pseudo_rows, "pseudo_scatter": self.pseudo_scatter}


class LogNormal(Gaussian):
    """f(x) = exp(-(log x - m)^2 / 2v) / (x sqrt(2 pi v)): log x has mean m and variance v.

    `from_parameters` takes mean and variance of log x; the prior is that of Gaussian on log x.

    >>> LogNormal.from_parameters([[0.0]], [[1.0]]).log_prob([[1.0]]).item()
    -0.9189385175704956
    """

    _safe = 1.0

    def _log_prob(self, x: Tensor) -> Tensor:
        logs = x.log()
        return super()._log_prob(logs) - logs

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        return super()._sample(indices, generator).exp()

    def _inside(self, x: Tensor) -> Tensor:
        return x > 0

    def _domain(self, variable: int) -> str:
        return "numbers above 0"

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        return super()._statistics(x.double().log(), weights)

    def _points(self, data: Data) -> Tensor:
        return self._filled(data).log()

    def _mean(self) -> Tensor:
        return (self.location + 0.5 * self.log_variance.exp()).exp()

    def _variance(self) -> Tensor:
        variance = self.log_variance.exp()
        return variance.expm1() * (2 * self.location + variance).exp()

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        """Those of log x; what is too small or large to represent takes the nearest number."""
        points, weights = super()._nodes(variable, most)
        limits = torch.finfo(self.dtype)
        return points.exp().clamp(limits.tiny, limits.max), weights

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        return super()._box(low.clamp(min=0).log(), high.clamp(min=0).log())

    def _inner(self: Self, other: Self) -> Tensor:
        """The normal inner product under the weight 1 / x that the change of variable leaves."""
        mine, others = self.log_variance.exp().unsqueeze(-1), other.log_variance.exp().unsqueeze(-2)
        a, b = self.location.unsqueeze(-1), other.location.unsqueeze(-2)
        middle = (a * others + b * mine) / (mine + others)
        spread = mine * others / (mine + others)
        return super()._inner(other) * (0.5 * spread - middle).exp()
