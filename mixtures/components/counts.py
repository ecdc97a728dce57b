"""Distributions of counts: Binomial and Poisson."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mixtures.components.categorical import check_probabilities
from mixtures.components.dirichlet import log_dirichlet, maximise_rows
from mixtures.components.family import Family, kept, whole
from mixtures.components.hooks import Statistics
from mixtures.components.parameters import (
    as_parameters,
    check_collapse,
    check_ndim,
    check_positive,
    check_prior,
    layout,
)
from mixtures.components.quadrature import poisson_sum
from mixtures.components.tails import log_beyond, log_difference, log_up_to
from mixtures.tables import Table, random_rows

Binomials = TypeVar("Binomials", bound="Binomial")
Poissons = TypeVar("Poissons", bound="Poisson")


class Binomial(Family):
    """f(x) = binom(t, x) p^x (1 - p)^(t - x) for x = 0 .. t; the number of trials t is fixed.

    `trials` may differ between variables.

    Prior: Beta on p, as if `pseudo_count` more trials had succeeded and as many failed.

    >>> Binomial.from_parameters([[0.5]], trials=2).log_prob([[1]]).exp().item()
    0.5
    """

    _discrete = True
    table: Table

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        trials: int | Sequence[int],
        *,
        pseudo_count: float = 0.01,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        check_prior(pseudo_count=pseudo_count)
        self.pseudo_count = float(pseudo_count)
        self.trials = _trial_counts(trials, variables, shared)
        rows = random_rows(self._size(2), generator=generator, dtype=dtype, device=device)
        self.table = Table(rows)

    @classmethod
    def from_parameters(
        cls: type[Binomials],
        probabilities: Any,
        trials: int | Sequence[int],
        *,
        components: int | Sequence[int] | None = None,
        pseudo_count: float = 0.01,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Binomials:
        """Components with probabilities of success (d, k).

        shared=True: shape (1, k), for so many `variables`.
        """
        (ones,) = as_parameters(probabilities=probabilities)
        check_ndim(2, probabilities=ones)
        check_probabilities(ones)
        sizes = layout(ones, components, shared, variables)
        new = cls(**sizes, trials=trials, pseudo_count=pseudo_count, names=names)
        new.table.set(torch.stack([1 - ones, ones], -1))
        return new

    @property
    def probabilities(self) -> Tensor:
        """p, (d, k), or (1, k) if shared."""
        return self.table.values[..., 1]

    def _totals(self) -> Tensor:
        return torch.tensor(self.trials, device=self.device).unsqueeze(-1)

    def _log_prob(self, x: Tensor) -> Tensor:
        totals = self._totals().unsqueeze(-1)
        fails, wins = self.table.log_values.unsqueeze(2).unbind(-1)
        lost = (totals - x).to(self.dtype)
        won = x.to(self.dtype)
        ways = (totals + 1).to(self.dtype).lgamma() - (won + 1).lgamma() - (lost + 1).lgamma()
        return ways + _times(won, wins) + _times(lost, fails)

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        chance = self._pick(self.probabilities, indices)
        totals = self._totals().to(chance).expand_as(chance)
        return torch.binomial(totals.contiguous(), chance, generator=generator).long()

    def _inside(self, x: Tensor) -> Tensor:
        return whole(x) & (x >= 0) & (x <= self._totals())

    def _domain(self, variable: int) -> str:
        return f"whole numbers 0 to {self.trials[variable]}"

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        return {"count": weights @ torch.stack([self._totals() - x, x], -1).double()}

    def _maximise(self, statistics: Statistics) -> None:
        count, weight = statistics["count"], statistics["weight"]
        maximise_rows(self.table, count, weight, self.pseudo_count)

    def _log_prior(self) -> Tensor:
        return log_dirichlet(self.table, self.pseudo_count)

    def _mean(self) -> Tensor:
        return self._totals() * self.table.log_values.exp()[..., 1]

    def _variance(self) -> Tensor:
        return self._totals() * self.table.log_values.exp().prod(-1)

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        return (self.trials[variable] + 1,)

    def _all(self) -> Tensor:
        """log f of every whole number up to the largest number of trials, (d, k, t + 1)."""
        numbers = torch.arange(max(self.trials) + 1, device=self.device)
        totals = self._totals().unsqueeze(-1)
        logs = self._log_prob(torch.minimum(numbers, totals))
        return logs.masked_fill(numbers > totals, -torch.inf)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        logs = self._all().unsqueeze(2)
        numbers = torch.arange(logs.shape[-1], dtype=low.dtype, device=low.device)
        within = (low.unsqueeze(-1) <= numbers) & (numbers <= high.unsqueeze(-1))
        return logs.where(within, -torch.inf).logsumexp(-1)

    def _inner(self: Binomials, other: Binomials) -> Tensor:
        size = min(max(self.trials), max(other.trials)) + 1
        return self._all()[..., :size].exp() @ other._all()[..., :size].exp().mT

    def _free(self, variable: int) -> int:
        return self.shape[variable]

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        counts = [self.trials[j] for j in variables]
        trials = counts[0] if len(set(counts)) == 1 else counts
        return {"trials": trials, "pseudo_count": self.pseudo_count}


class Poisson(Family):
    """f(x) = r^x exp(-r) / x! for x = 0, 1, ..

    Prior: gamma on the rate r, log density pseudo_count log r - pseudo_rows r, so the M-step is
    r = (count + pseudo_count) / (weight + pseudo_rows).

    >>> Poisson.from_parameters([[2.0]]).mean().item()
    2.0
    """

    _discrete = True
    log_rate: nn.Parameter

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        pseudo_count: float = 0.01,
        pseudo_rows: float = 0.0,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        check_prior(pseudo_count=pseudo_count, pseudo_rows=pseudo_rows)
        self.pseudo_count = float(pseudo_count)
        self.pseudo_rows = float(pseudo_rows)
        draws = torch.randn(self._size(), generator=generator, dtype=self.dtype, device=self.device)
        self.log_rate = nn.Parameter(draws)

    @classmethod
    def from_parameters(
        cls: type[Poissons],
        rate: Any,
        *,
        components: int | Sequence[int] | None = None,
        pseudo_count: float = 0.01,
        pseudo_rows: float = 0.0,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Poissons:
        """Components with rates (d, k) above zero.

        shared=True: shape (1, k), for so many `variables`.
        """
        (rate,) = as_parameters(rate=rate)
        check_ndim(2, rate=rate)
        check_positive(rate=rate)
        sizes = layout(rate, components, shared, variables)
        new = cls(**sizes, pseudo_count=pseudo_count, pseudo_rows=pseudo_rows, names=names)
        new.log_rate.data = rate.log()
        return new

    @property
    def rate(self) -> Tensor:
        """r, (d, k), or (1, k) if shared."""
        return self.log_rate.exp()

    def _log_prob(self, x: Tensor) -> Tensor:
        count = x.to(self.dtype)
        logs = self.log_rate.unsqueeze(-1)
        return count * logs - (logs.exp() + (count + 1).lgamma())

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.poisson(self._pick(self.rate, indices), generator=generator).long()

    def _inside(self, x: Tensor) -> Tensor:
        return whole(x) & (x >= 0)

    def _domain(self, variable: int) -> str:
        return "whole numbers from 0"

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        return {"count": (weights @ x.double().unsqueeze(-1)).squeeze(-1)}

    def _maximise(self, statistics: Statistics) -> None:
        weight = statistics["weight"]
        rate = (statistics["count"] + self.pseudo_count) / (weight + self.pseudo_rows)
        check_collapse((rate > 0) | (weight <= 0))
        self.log_rate.copy_(kept(weight, rate.log(), self.log_rate))

    def _log_prior(self) -> Tensor:
        logs = self.log_rate.double()
        return self.pseudo_count * logs - self.pseudo_rows * logs.exp()

    def _mean(self) -> Tensor:
        return self.rate

    def _variance(self) -> Tensor:
        return self.rate

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        return poisson_sum(self._row(self.log_rate, variable))

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        """Of the mass up to each bound or beyond it, whichever is smaller: no cancellation."""
        rate = self.rate.unsqueeze(-1)
        first, last = low.ceil().clamp(min=0), high.floor()
        right = first > rate
        upper = log_difference(log_beyond(first - 1, rate), log_beyond(last, rate))
        lower = log_difference(log_up_to(last, rate), log_up_to(first - 1, rate))
        return torch.where(right, upper, lower).masked_fill(last < first, -torch.inf)

    def _inner(self: Poissons, other: Poissons) -> Tensor:
        """sum_x f g = exp(-a - b) I_0(2 sqrt(ab)); the scaled Bessel function cannot overflow."""
        a, b = self.rate.unsqueeze(-1), other.rate.unsqueeze(-2)
        return (-(a.sqrt() - b.sqrt()).square()).exp() * torch.special.i0e(2 * (a * b).sqrt())

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        return {"pseudo_count": self.pseudo_count, "pseudo_rows": self.pseudo_rows}


def _times(count: Tensor, logs: Tensor) -> Tensor:
    """count * log p, with 0 * log 0 = 0 and gradients that stay finite there."""
    never = (count == 0) & (logs == -torch.inf)
    return count * logs.masked_fill(never, 0.0)


def _trial_counts(trials: int | Sequence[int], variables: int, shared: bool) -> tuple[int, ...]:
    counts = (trials,) * variables if isinstance(trials, int) else tuple(trials)
    if len(counts) != variables or any(not isinstance(t, int) or t < 1 for t in counts):
        raise ValueError(
            f"expected trials as a positive integer or one for each of the {variables} variables, "
            f"got {trials}"
        )
    if shared and len(set(counts)) > 1:
        raise ValueError(f"expected one number of trials for shared components, got {counts}")
    return counts
