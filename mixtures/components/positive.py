"""Densities of positive numbers: Exponential and Gamma."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

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
from mixtures.components.quadrature import gamma_rule
from mixtures.components.tails import log_difference, log_gamma_tails, standardised

Exponentials = TypeVar("Exponentials", bound="Exponential")
Gammas = TypeVar("Gammas", bound="Gamma")
NEWTON_STEPS = 12


class Exponential(Family):
    """f(x) = r exp(-r x) for x >= 0.

    Prior: gamma on the rate r, log density pseudo_rows log r - pseudo_total r, so the M-step is
    r = (weight + pseudo_rows) / (total + pseudo_total).

    >>> Exponential.from_parameters([[2.0]]).mean().item()
    0.5
    """

    _safe = 1.0
    log_rate: nn.Parameter

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        pseudo_rows: float = 0.0,
        pseudo_total: float = 1e-3,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        check_prior(pseudo_rows=pseudo_rows, pseudo_total=pseudo_total)
        self.pseudo_rows = float(pseudo_rows)
        self.pseudo_total = float(pseudo_total)
        draws = torch.randn(self._size(), generator=generator, dtype=self.dtype, device=self.device)
        self.log_rate = nn.Parameter(draws / 2)

    @classmethod
    def from_parameters(
        cls: type[Exponentials],
        rate: Any,
        *,
        components: int | Sequence[int] | None = None,
        pseudo_rows: float = 0.0,
        pseudo_total: float = 1e-3,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Exponentials:
        """Components with rates (d, k) above zero, one over their means.

        shared=True: shape (1, k), for so many `variables`.
        """
        (rate,) = as_parameters(rate=rate)
        check_ndim(2, rate=rate)
        check_positive(rate=rate)
        sizes = layout(rate, components, shared, variables)
        new = cls(**sizes, pseudo_rows=pseudo_rows, pseudo_total=pseudo_total, names=names)
        new.log_rate.data = rate.log()
        return new

    @property
    def rate(self) -> Tensor:
        """r, (d, k), or (1, k) if shared."""
        return self.log_rate.exp()

    def _log_prob(self, x: Tensor) -> Tensor:
        logs = self.log_rate.unsqueeze(-1)
        return logs - logs.exp() * x

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        draws = torch.empty(indices.shape, dtype=self.dtype, device=self.device)
        return draws.exponential_(generator=generator) / self._pick(self.rate, indices)

    def _inside(self, x: Tensor) -> Tensor:
        return x >= 0

    def _domain(self, variable: int) -> str:
        return "numbers from 0"

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        return {"total": (weights @ x.double().unsqueeze(-1)).squeeze(-1)}

    def _maximise(self, statistics: Statistics) -> None:
        weight = statistics["weight"]
        mean = (statistics["total"] + self.pseudo_total) / (weight + self.pseudo_rows)
        check_collapse((mean > 0) | (weight <= 0))
        self.log_rate.copy_(kept(weight, -mean.log(), self.log_rate))

    def _log_prior(self) -> Tensor:
        logs = self.log_rate.double()
        return self.pseudo_rows * logs - self.pseudo_total * logs.exp()

    def _mean(self) -> Tensor:
        return (-self.log_rate).exp()

    def _variance(self) -> Tensor:
        return (-2 * self.log_rate).exp()

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        log_rate = self._row(self.log_rate, variable)
        return gamma_rule(torch.zeros_like(log_rate), log_rate, most)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        rate = self.rate.unsqueeze(-1)
        low = low.clamp(min=0)
        empty, endless = high <= low, high == torch.inf
        width = (high - low).masked_fill(empty | endless, 1.0)
        mass = (-(-rate * width).expm1()).log().masked_fill(endless, 0.0)
        return (mass - rate * low.masked_fill(empty, 0.0)).masked_fill(empty, -torch.inf)

    def _inner(self: Exponentials, other: Exponentials) -> Tensor:
        a, b = self.rate.unsqueeze(-1), other.rate.unsqueeze(-2)
        return a * b / (a + b)

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        return {"pseudo_rows": self.pseudo_rows, "pseudo_total": self.pseudo_total}


class Gamma(Family):
    """f(x) = r^a x^(a - 1) exp(-r x) / Gamma(a) for x > 0, with shape a and rate r.

    Prior: exponential on the shape, log density -penalty a, which keeps a finite where the data are
    constant whatever their unit; flat on the rate. The M-step solves log a - digamma(a) = s by
    Newton (Minka 2002, Estimating a Gamma distribution). A draw too small to represent becomes
    the smallest positive number.

    >>> Gamma.from_parameters([[2.0]], [[4.0]]).mean().item()
    0.5
    """

    _safe = 1.0
    log_shape: nn.Parameter
    log_rate: nn.Parameter

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        penalty: float = 0.01,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        check_prior(penalty=penalty)
        self.penalty = float(penalty)
        draws = torch.randn(
            (2, *self._size()), generator=generator, dtype=self.dtype, device=self.device
        )
        self.log_shape = nn.Parameter(draws[0] / 4 + 1)
        self.log_rate = nn.Parameter(draws[1] / 4)

    @classmethod
    def from_parameters(
        cls: type[Gammas],
        shape: Any,
        rate: Any,
        *,
        components: int | Sequence[int] | None = None,
        penalty: float = 0.01,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Gammas:
        """Components with shape and rate (d, k) above zero.

        shared=True: shape (1, k), for so many `variables`.
        """
        shape, rate = as_parameters(shape=shape, rate=rate)
        check_ndim(2, shape=shape, rate=rate)
        check_positive(shape=shape, rate=rate)
        new = cls(**layout(shape, components, shared, variables), penalty=penalty, names=names)
        new.log_shape.data = shape.log()
        new.log_rate.data = rate.log()
        return new

    @property
    def concentration(self) -> Tensor:
        """The shape parameter a, (d, k), or (1, k) if shared."""
        return self.log_shape.exp()

    @property
    def rate(self) -> Tensor:
        """r, (d, k), or (1, k) if shared."""
        return self.log_rate.exp()

    def _log_prob(self, x: Tensor) -> Tensor:
        a, logs = self.concentration.unsqueeze(-1), self.log_rate.unsqueeze(-1)
        return (a * logs - a.lgamma()) + (a - 1) * x.log() - logs.exp() * x

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        draws = torch._standard_gamma(self._pick(self.concentration, indices), generator=generator)
        least = torch.finfo(self.dtype).tiny
        return (draws / self._pick(self.rate, indices)).clamp(min=least)

    def _inside(self, x: Tensor) -> Tensor:
        return x > 0

    def _domain(self, variable: int) -> str:
        return "numbers above 0"

    def _points(self, data: Data) -> Tensor:
        return self._filled(data).log()

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        total, logs = (weights @ torch.stack([x.double(), x.double().log()], -1)).unbind(-1)
        return {"total": total, "logs": logs}

    def _maximise(self, statistics: Statistics) -> None:
        weight = statistics["weight"]
        mean = statistics["total"] / weight
        spread = mean.log() - (statistics["logs"] - self.penalty) / weight
        check_collapse((spread > 0) | (weight <= 0))
        shape = solve_shape(spread.where(weight > 0, 1.0))
        self.log_shape.copy_(kept(weight, shape.log(), self.log_shape))
        self.log_rate.copy_(kept(weight, (shape / mean).log(), self.log_rate))

    def _log_prior(self) -> Tensor:
        return -self.penalty * self.log_shape.double().exp()

    def _mean(self) -> Tensor:
        return (self.log_shape - self.log_rate).exp()

    def _variance(self) -> Tensor:
        return (self.log_shape - 2 * self.log_rate).exp()

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        log_shape, log_rate = (
            self._row(each, variable) for each in (self.log_shape, self.log_rate)
        )
        return gamma_rule(log_shape, log_rate, most)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        """Of the mass up to each bound or beyond it, whichever is smaller: no cancellation."""
        a, rate = self.concentration.unsqueeze(-1), self.rate.unsqueeze(-1)
        low, high = (
            standardised(end.clamp(min=0), torch.zeros_like(rate), rate) for end in (low, high)
        )
        (up_to_low, beyond_low), (up_to_high, beyond_high) = (
            log_gamma_tails(a, bound) for bound in (low, high)
        )
        beyond = log_difference(beyond_low, beyond_high)
        return torch.where(low > a, beyond, log_difference(up_to_high, up_to_low))

    def _inner(self: Gammas, other: Gammas) -> Tensor:
        """Gamma(a + b - 1) / (r + s)^(a + b - 1) and the constants; infinite where a + b <= 1."""
        a, b = self.concentration.unsqueeze(-1), other.concentration.unsqueeze(-2)
        r, s = self.log_rate.unsqueeze(-1), other.log_rate.unsqueeze(-2)
        order = a + b - 1
        finite = order > 0
        order = order.where(finite, 1.0)
        logs = a * r + b * s - a.lgamma() - b.lgamma() + order.lgamma()
        logs = logs - order * torch.logaddexp(r, s)
        return logs.exp().where(finite, torch.inf)

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        return {"penalty": self.penalty}


def solve_shape(spread: Tensor) -> Tensor:
    """The a > 0 with log a - digamma(a) = spread > 0, by Newton on 1 / a."""
    shape = (3 - spread + ((spread - 3).square() + 24 * spread).sqrt()) / (12 * spread)
    for _ in range(NEWTON_STEPS):
        excess = shape.log() - shape.digamma() - spread
        slope = shape.square() * (1 / shape - torch.special.polygamma(1, shape))
        shape = 1 / (1 / shape + excess / slope)
    return shape
