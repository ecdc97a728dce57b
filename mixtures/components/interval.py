"""Piecewise constant densities on intervals with fixed ends: Uniform and Histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from mixtures.components.dirichlet import draw_columns, log_dirichlet, maximise_rows
from mixtures.components.encoding import Data
from mixtures.components.family import Family
from mixtures.components.hooks import Statistics
from mixtures.components.parameters import as_parameters, check_ndim, check_prior, layout
from mixtures.components.quadrature import legendre_rule
from mixtures.tables import Table, check_rows, random_rows

Uniforms = TypeVar("Uniforms", bound="Uniform")
Histograms = TypeVar("Histograms", bound="Histogram")


class Uniform(Family):
    """f(x) = 1 / (high - low) for low <= x <= high, else 0. The ends are fixed: nothing is learned.

    `low` and `high`: numbers, or anything that broadcasts to (d, k). Every real number is in the
    domain; outside a component's interval its log-density is -inf.

    >>> Uniform(1, 2, low=[[0.0, 1.0]], high=[[2.0, 2.0]]).log_prob([[0.5]]).exp()
    tensor([[[0.5000, 0.0000]]])
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        low: Any = 0.0,
        high: Any = 1.0,
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
        ends = []
        for name, given in (("low", low), ("high", high)):
            end = torch.as_tensor(given, dtype=self.dtype, device=self.device).detach()
            try:
                ends.append(end.expand(self._size()).clone())
            except RuntimeError:
                raise ValueError(
                    f"expected {name} of shape {self._size()}, got {tuple(end.shape)}"
                ) from None
        if not bool((ends[0].isfinite() & ends[1].isfinite() & (ends[0] < ends[1])).all()):
            raise ValueError("expected finite ends with low < high everywhere")
        self.register_buffer("low", ends[0])
        self.register_buffer("high", ends[1])

    @classmethod
    def from_parameters(
        cls: type[Uniforms],
        low: Any,
        high: Any,
        *,
        components: int | Sequence[int] | None = None,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Uniforms:
        """Components on the intervals with ends low < high, (d, k).

        shared=True: shape (1, k), for so many `variables`.
        """
        low, high = as_parameters(low=low, high=high)
        check_ndim(2, low=low, high=high)
        sizes = layout(low, components, shared, variables)
        return cls(**sizes, low=low, high=high, names=names)

    def _log_prob(self, x: Tensor) -> Tensor:
        low, high = self.low.unsqueeze(-1), self.high.unsqueeze(-1)
        return (-(high - low).log()).where((low <= x) & (x <= high), -torch.inf)

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        draws = torch.rand(indices.shape, generator=generator, dtype=self.dtype, device=self.device)
        low, high = self._pick(self.low, indices), self._pick(self.high, indices)
        return torch.lerp(low, high, draws)

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        return {}

    def _maximise(self, statistics: Statistics) -> None:
        pass

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        pass

    def _mean(self) -> Tensor:
        return (self.low + self.high) / 2

    def _variance(self) -> Tensor:
        return (self.high - self.low).square() / 12

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        """Gauss-Legendre in each component's interval."""
        unit, weights = legendre_rule(self.low.new_tensor([0.0, 1.0]), most)
        low, high = (
            self._row(end, variable).double().unsqueeze(-1) for end in (self.low, self.high)
        )
        return torch.lerp(low, high, unit), weights.expand(len(low), -1)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        first, last = self.low.unsqueeze(-1), self.high.unsqueeze(-1)
        covered = torch.minimum(high, last) - torch.maximum(low, first)
        return (covered.clamp(min=0) / (last - first)).log()

    def _inner(self: Uniforms, other: Uniforms) -> Tensor:
        low, high = self.low.unsqueeze(-1), self.high.unsqueeze(-1)
        first, last = other.low.unsqueeze(-2), other.high.unsqueeze(-2)
        common = torch.minimum(high, last) - torch.maximum(low, first)
        return common.clamp(min=0) / ((high - low) * (last - first))


class Histogram(Family):
    """f(x) = mass / width of the bin that holds x; the edges are fixed.

    `edges`: ascending, (bins + 1,) or one row for each variable (d, bins + 1). Bins are half open,
    the last is closed; the domain is the interval from the first to the last edge.

    Prior: Dirichlet, as if each bin had been hit `pseudo_count` times more.

    >>> histogram = Histogram.from_parameters([[[0.5, 0.5]]], edges=[0.0, 1.0, 3.0])
    >>> histogram.log_prob([[2.0]]).exp().item()
    0.25
    """

    table: Table
    edges: Tensor

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        edges: Any,
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
        rows = torch.as_tensor(edges, dtype=self.dtype, device=self.device).detach()
        size = self._size()[0]
        if rows.ndim == 0 or rows.shape[-1] < 2 or rows.shape[:-1] not in ((), (size,)):
            raise ValueError(
                f"expected edges of shape (bins + 1,) or ({size}, bins + 1), "
                f"got {tuple(rows.shape)}"
            )
        if not bool(rows.isfinite().all() & (rows.diff(dim=-1) > 0).all()):
            raise ValueError("expected finite, strictly ascending edges")
        rows = rows.expand(size, -1).clone()
        self.register_buffer("edges", rows, persistent=False)
        bins = rows.shape[-1] - 1
        draws = random_rows(self._size(bins), generator=generator, dtype=dtype, device=device)
        self.table = Table(draws)

    @classmethod
    def from_parameters(
        cls: type[Histograms],
        mass: Any,
        edges: Any,
        *,
        components: int | Sequence[int] | None = None,
        pseudo_count: float = 0.01,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Histograms:
        """Components with the mass of each bin, (d, k, bins), rows summing to one.

        shared=True: shape (1, k, bins), for so many `variables`.
        """
        (rows,) = as_parameters(mass=mass)
        check_ndim(3, mass=rows)
        check_rows(rows)
        sizes = layout(rows, components, shared, variables)
        bins = torch.as_tensor(edges).shape[-1] - 1
        if rows.shape[-1] != bins:
            raise ValueError(f"expected mass for {bins} bins, got {rows.shape[-1]}")
        new = cls(**sizes, edges=edges, pseudo_count=pseudo_count, names=names)
        new.table.set(rows)
        return new

    @property
    def mass(self) -> Tensor:
        """The probability of each bin, (d, k, bins), or (1, k, bins) if shared."""
        return self.table.values

    def _bins(self, x: Tensor) -> Tensor:
        """The number of the bin of each x (d, n)."""
        inner = self.edges[:, 1:-1].expand(self.variables, -1).contiguous()
        return torch.searchsorted(inner, x.detach().contiguous(), right=True)

    def _log_density(self) -> Tensor:
        return self.table.log_values - self.edges.diff(dim=-1).log().unsqueeze(1)

    def _log_prob(self, x: Tensor) -> Tensor:
        logs = self._log_density().expand(self.variables, -1, -1)
        return logs.gather(-1, self._bins(x.squeeze(1)).unsqueeze(1).expand(-1, self.largest, -1))

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        bins = draw_columns(self._pick(self.mass, indices), generator)
        edges = self.edges.expand(self.variables, -1)
        draws = torch.rand(bins.shape, generator=generator, dtype=self.dtype, device=self.device)
        return torch.lerp(edges.gather(-1, bins), edges.gather(-1, bins + 1), draws)

    def _inside(self, x: Tensor) -> Tensor:
        return (self.edges[:, :1] <= x) & (x <= self.edges[:, -1:])

    def _domain(self, variable: int) -> str:
        row = self.edges[0 if self.shared else variable]
        return f"numbers {row[0].item():g} to {row[-1].item():g}"

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        count = weights.new_zeros(*weights.shape[:2], self.edges.shape[-1] - 1)
        bins = self._bins(x).unsqueeze(1).expand(weights.shape)
        return {"count": count.scatter_add_(-1, bins, weights)}

    def _maximise(self, statistics: Statistics) -> None:
        maximise_rows(self.table, statistics["count"], statistics["weight"], self.pseudo_count)

    def _log_prior(self) -> Tensor:
        return log_dirichlet(self.table, self.pseudo_count)

    def _middles(self) -> Tensor:
        return ((self.edges[:, 1:] + self.edges[:, :-1]) / 2).unsqueeze(-1)

    def _mean(self) -> Tensor:
        return (self.table.log_values.exp() @ self._middles()).squeeze(-1)

    def _variance(self) -> Tensor:
        away = self._middles().mT - self._mean().unsqueeze(-1)
        each = away.square() + self.edges.diff(dim=-1).square().unsqueeze(1) / 12
        return (self.table.log_values.exp() * each).sum(-1)

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        """Gauss-Legendre in each bin."""
        points, within = legendre_rule(self.edges[0 if self.shared else variable], most)
        mass = self._row(self.table.log_values, variable).exp().double()
        return points.reshape(1, -1), (mass.unsqueeze(-1) * within).flatten(1)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        edges = self.edges[:, None, None]
        covered = torch.minimum(high.unsqueeze(-1), edges[..., 1:]) - torch.maximum(
            low.unsqueeze(-1), edges[..., :-1]
        )
        terms = covered.clamp(min=0).log() + self._log_density().unsqueeze(2)
        empty = (terms == -torch.inf).all(-1)
        filled = terms.masked_fill(empty.unsqueeze(-1), 0.0)  # where the gradient would be NaN
        return filled.logsumexp(-1).masked_fill(empty, -torch.inf)

    def _inner(self: Histograms, other: Histograms) -> Tensor:
        last = torch.minimum(self.edges[:, 1:, None], other.edges[:, None, 1:])
        first = torch.maximum(self.edges[:, :-1, None], other.edges[:, None, :-1])
        common = (last - first).clamp(min=0)
        return self._log_density().exp() @ common @ other._log_density().exp().mT

    def _free(self, variable: int) -> int:
        return self.shape[variable] * (self.table.logits.shape[-1] - 1)

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        rows = self.edges[:1] if self.shared else self.edges[list(variables)]
        return {"edges": rows.tolist(), "pseudo_count": self.pseudo_count}
