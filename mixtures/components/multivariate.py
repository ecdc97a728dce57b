"""The normal distribution of vectors, of which single entries may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mixtures.components.base import Components
from mixtures.components.covariances import COVARIANCES, Covariance, check_covariance
from mixtures.components.encoding import Data
from mixtures.components.family import kept
from mixtures.components.hooks import Statistics
from mixtures.components.normal import Conditional, log_density, patterns
from mixtures.components.parameters import as_parameters, check_ndim, check_prior, layout
from mixtures.components.quadrature import normal_vectors
from mixtures.components.seeding import imputed, mean_of, seeds, some_rows
from mixtures.components.tails import log_normal_mass, standardised

Self = TypeVar("Self", bound="MultivariateGaussian")


class MultivariateGaussian(Components):
    """f(x) = exp(-(x - m)' S^-1 (x - m) / 2) / sqrt(det(2 pi S)), x a vector with `event` entries.

    `covariance`: "full" S, "diag", "spherical" (a multiple of the identity), or "tied" (one full S
    for all components of a variable). Entries may be missing on their own: the density is that of
    the observed ones, and the M-step uses mean and covariance of the others given them.

    Prior: inverse Wishart on S, log density -(pseudo_rows log det S + pseudo_scatter tr S^-1) / 2,
    so the M-step of a full S is (scatter + pseudo_scatter I) / (weight + pseudo_rows).

    Costs d k n e^2, and d k e^3 for every pattern of missing entries that occurs.
    Little and Rubin (2002), Statistical Analysis with Missing Data, 11.2.

    >>> MultivariateGaussian(3, 2, 4, generator=torch.Generator().manual_seed(0)).mean().shape
    torch.Size([3, 2, 4])
    """

    _partial = True
    location: nn.Parameter
    spread: Covariance
    centre: Tensor

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        event: int,
        *,
        covariance: str = "full",
        pseudo_rows: float = 0.0,
        pseudo_scatter: float = 1e-3,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables,
            components,
            event=(event,),
            shared=shared,
            names=names,
            dtype=dtype,
            device=device,
        )
        check_prior(pseudo_rows=pseudo_rows, pseudo_scatter=pseudo_scatter)
        if covariance not in COVARIANCES:
            raise ValueError(
                f"expected covariance one of {sorted(COVARIANCES)}, got {covariance!r}"
            )
        self.kind = covariance
        self.pseudo_rows = float(pseudo_rows)
        self.pseudo_scatter = float(pseudo_scatter)
        size = (1 if self.shared else variables, self.largest, event)
        draws = torch.randn(size, generator=generator, dtype=self.dtype, device=self.device)
        self.location = nn.Parameter(draws)
        self.spread = COVARIANCES[covariance](size, self.dtype, self.device)
        self.register_buffer("centre", draws.double().mean(1, keepdim=True))

    @classmethod
    def from_parameters(
        cls: type[Self],
        mean: Any,
        covariances: Any,
        *,
        covariance: str = "full",
        components: int | Sequence[int] | None = None,
        pseudo_rows: float = 0.0,
        pseudo_scatter: float = 1e-3,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Components with mean (d, k, e) and covariances of the shape their kind has.

        full (d, k, e, e); tied (d, 1, e, e); diag (d, k, e), variances; spherical (d, k, 1).
        shared=True: d = 1, for so many `variables`.
        """
        (mean,) = as_parameters(mean=mean)
        check_ndim(3, mean=mean)
        sizes = layout(mean, components, shared, variables)
        covariances = torch.as_tensor(covariances).detach()
        dtype = torch.promote_types(mean.dtype, covariances.dtype)
        covariances = covariances.to(dtype)
        new = cls(
            **{**sizes, "dtype": dtype},
            event=mean.shape[-1],
            covariance=covariance,
            pseudo_rows=pseudo_rows,
            pseudo_scatter=pseudo_scatter,
            names=names,
        )
        check_covariance(covariances, new.spread)
        new.location.data = mean.to(dtype, copy=True)
        new.spread.set(covariances)
        new.centre = mean.double().mean(1, keepdim=True)
        return new

    def _given(self, entries: Tensor) -> Conditional:
        return Conditional(self.location, self.spread.factor(), entries)

    def _evaluate(self, data: Data) -> Tensor:
        x = data.values.to(self.dtype)
        d, n, _ = x.shape
        if data.observed is None:
            return log_density(x, self.location, self.spread.factor())
        values = x.new_zeros(d, self.largest, n)
        for entries, cells, rows in patterns(data.observed, self.event[0]):
            logs = self._given(entries).log_prob(_clean(x[:, rows], cells))
            values.index_add_(2, rows, logs.masked_fill(~cells.unsqueeze(1), 0.0))
        return values

    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        """Of each row the expected value and outer product, given what was observed of it."""
        size = (self.variables, self.largest, *self.event)
        weight = weights.new_zeros(size[:2])
        first, second = weights.new_zeros(size), weights.new_zeros(*size, *self.event)
        for entries, cells, rows in patterns(data.observed, self.event[0], data.values):
            given = Conditional(self.location.double(), self.spread.factor().double(), entries)
            mass = weights[:, :, rows].masked_fill(~cells.unsqueeze(1), 0.0)
            x = _clean(data.values[:, rows].double(), cells)
            away = given.expected(x) - self.centre.unsqueeze(2)
            total = mass.sum(-1)
            weight += total
            first += (mass.unsqueeze(-2) @ away).squeeze(-2)
            second += (away * mass.unsqueeze(-1)).mT @ away
            second += total[..., None, None] * given.remaining()
        return {"weight": weight, "first": first, "second": second}

    def _maximise(self, statistics: Statistics) -> None:
        weight, first = statistics["weight"], statistics["first"]
        offset = (first / weight.unsqueeze(-1)).masked_fill(weight.unsqueeze(-1) <= 0, 0.0)
        scatter = statistics["second"] - first.unsqueeze(-1) * offset.unsqueeze(-2)
        self.spread.maximise(scatter, weight, self.pseudo_rows, self.pseudo_scatter)
        self.location.copy_(kept(weight, self.centre + offset, self.location))

    def _log_prior(self) -> Tensor:
        return self.spread.log_prior(self.pseudo_rows, self.pseudo_scatter)

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        some = some_rows(data, generator)
        filled = imputed(some.values, some.observed, mean_of(some.values, some.observed))
        spread = seeds(filled, some.any_observed, self.largest, self.shared, generator)
        self.centre = self._middle(filled.double(), some.any_observed)
        whole = Data(filled, some.any_observed)
        for _ in range(2):
            self.maximise(self.statistics(whole, spread.weights(filled, whole.observed)))

    def _middle(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """The mean of the seen rows of each variable (d or 1, 1, e); the old centre if none."""
        mass = torch.ones_like(x[..., :1]) if seen is None else seen.unsqueeze(-1).double()
        total, count = (_clean(x, mass.squeeze(-1) > 0)).sum(1, keepdim=True), mass.sum(1, True)
        if self.shared:
            total, count = total.sum(0, keepdim=True), count.sum(0, keepdim=True)
        return torch.where(count > 0, total / count, self.centre)

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        nothing = torch.zeros(self.event, dtype=torch.bool, device=self.device)
        x = torch.zeros((*indices.shape, *self.event), dtype=self.dtype, device=self.device)
        every = torch.ones_like(indices, dtype=torch.bool)
        return self._given(nothing).drawn(x, every, indices, generator)

    def _complete(self, indices: Tensor, data: Data, generator: torch.Generator | None) -> Tensor:
        if data.observed is None:
            return data.values
        x = data.values.to(self.dtype, copy=True)
        for entries, cells, rows in patterns(data.observed, self.event[0], empty=True):
            x[:, rows] = self._given(entries).drawn(x[:, rows], cells, indices[:, rows], generator)
        return x

    def _mean(self) -> Tensor:
        return self.location

    def _mean_given(self, data: Data) -> Tensor:
        if data.observed is None:
            return super()._mean_given(data)
        x, means = data.values.to(self.dtype), super()._mean_given(data).clone()
        for entries, cells, rows in patterns(data.observed, self.event[0]):
            own = self._given(entries).expected(_clean(x[:, rows], cells))
            mine = cells[:, None, :, None]
            means[:, :, rows] = torch.where(mine, own, means[:, :, rows])
        return means

    def _variance(self) -> Tensor:
        return self._covariance().diagonal(dim1=-2, dim2=-1)

    def _covariance(self) -> Tensor:
        factor = self.spread.factor()
        return (factor @ factor.mT).expand(-1, self.largest, -1, -1)

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        factor = self._row(self.spread.factor(), variable)
        return normal_vectors(self._row(self.location, variable), factor, most)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        if self.kind in ("full", "tied"):
            raise ValueError(
                f"expected covariance diag or spherical for the mass of a box, got {self.kind}"
            )
        scale = self._variance().rsqrt().unsqueeze(2)
        centre = self.location.unsqueeze(2)
        ends = (standardised(end, centre, scale) for end in (low, high))
        return log_normal_mass(*ends).sum(-1)

    def _inner(self: Self, other: Self) -> Tensor:
        total = self._covariance().unsqueeze(2) + other._covariance().unsqueeze(1)
        away = self.location.unsqueeze(2) - other.location.unsqueeze(1)
        d, k, others, e = away.shape
        factor = torch.linalg.cholesky(total).reshape(d, k * others, e, e)
        away = away.reshape(d, k * others, e)
        return log_density(away.new_zeros(d, 1, e), away, factor).exp().reshape(d, k, others)

    def _free(self, variable: int) -> int:
        k, (e,) = self.shape[variable], self.event
        return k * e + self.spread.free(k)

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        return {
            "event": self.event[0],
            "covariance": self.kind,
            "pseudo_rows": self.pseudo_rows,
            "pseudo_scatter": self.pseudo_scatter,
        }


def _clean(x: Tensor, cells: Tensor) -> Tensor:
    """Zeros in cells that are not meant, so that no NaN gets from there into a sum."""
    return x.masked_fill(~cells.unsqueeze(-1), 0.0)
