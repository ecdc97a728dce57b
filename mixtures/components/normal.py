"""Normal vectors given some of their entries: density, expectation and draws."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


class Conditional:
    """Normal vectors with mean (d, k, e) and factor L of S = L L', given some of the entries.

    One orthogonal transformation of L, with the given entries first, yields [[A, 0], [B, D]]: A A'
    is their covariance, B A^-1 the regression of the others on them, D D' what then remains.
    No covariance is inverted or even formed.
    """

    def __init__(self, location: Tensor, factor: Tensor, entries: Tensor) -> None:
        self.location = location
        self.given = torch.nonzero(entries).squeeze(-1)
        self.free = torch.nonzero(~entries).squeeze(-1)
        order = torch.cat([self.given, self.free])
        if len(self.given) and len(self.free):
            upper = torch.linalg.qr(factor[..., order, :].mT).R
            factor = upper.mT * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        count = len(self.given)
        self.known = factor[..., :count, :count]
        self.cross = factor[..., count:, :count]
        self.rest = factor[..., count:, count:]

    def log_prob(self, x: Tensor) -> Tensor:
        """log density (d, k, n) of the given entries of x (d, n, e)."""
        return log_density(x[..., self.given], self.location[..., self.given], self.known)

    def expected(self, x: Tensor) -> Tensor:
        """x (d, n, e) with the mean of the other entries given these, (d, k, n, e)."""
        d, n, e = x.shape
        k = self.location.shape[1]
        whole = x.unsqueeze(1).expand(d, k, n, e)
        if not len(self.free):
            return whole
        shift = self.cross @ self._whitened(x[..., self.given])
        mean = self.location[..., self.free].unsqueeze(2) + shift.mT
        return whole.index_copy(3, self.free, mean.expand(d, k, n, -1))

    def remaining(self) -> Tensor:
        """The covariance the other entries keep, zero for the given ones, (d or 1, k, e, e)."""
        e = self.location.shape[-1]
        full = self.rest.new_zeros(*self.rest.shape[:2], e, e)
        full[..., self.free.unsqueeze(-1), self.free] = self.rest @ self.rest.mT
        return full

    def drawn(
        self, x: Tensor, cells: Tensor, indices: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """x (d, n, e), the other entries of the cells (d, n) drawn from components (d, n)."""
        if not len(self.free):
            return x
        x = x.clone()
        variable, row = torch.nonzero(cells, as_tuple=True)
        component = indices[variable, row]
        own = self._of(self.location, variable, component)
        noise = torch.randn(
            (len(row), len(self.free), 1), generator=generator, dtype=x.dtype, device=x.device
        )
        draws = self._of(self.rest, variable, component) @ noise
        if len(self.given):
            away = (x[variable, row][:, self.given] - own[:, self.given]).unsqueeze(-1)
            known = self._of(self.known, variable, component)
            white = torch.linalg.solve_triangular(known, away, upper=False)
            draws = draws + self._of(self.cross, variable, component) @ white
        x[variable.unsqueeze(-1), row.unsqueeze(-1), self.free] = own[:, self.free] + draws[..., 0]
        return x

    def _whitened(self, x: Tensor) -> Tensor:
        return whitened(x, self.location[..., self.given], self.known)

    def _of(self, parameter: Tensor, variable: Tensor, component: Tensor) -> Tensor:
        """One entry (d or 1, k or 1, ..) for each pair of a variable and a component."""
        first = variable if len(parameter) > 1 else torch.zeros_like(variable)
        second = component if parameter.shape[1] > 1 else torch.zeros_like(component)
        return parameter[first, second]


def whitened(x: Tensor, location: Tensor, factor: Tensor) -> Tensor:
    """L^-1 (x - m), (d, k, e, n), for x (d, n, e), m (d, k, e), L (d, k or 1, e, e)."""
    away = (x.unsqueeze(1) - location.unsqueeze(2)).mT
    return torch.linalg.solve_triangular(factor, away, upper=False)


def log_density(x: Tensor, location: Tensor, factor: Tensor) -> Tensor:
    """Normal log-density (d, k, n) of x (d, n, e) with means (d, k, e) and S = L L'."""
    white = whitened(x, location, factor)
    volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).unsqueeze(-1)
    constant = 0.5 * math.log(2 * math.pi) * x.shape[-1]
    return -0.5 * white.square().sum(-2) - volume - constant


def patterns(
    observed: Tensor | None, size: int, values: Tensor | None = None, *, empty: bool = False
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every pattern of observed entries (e,), the cells (d, m) that have it, and their rows (m,).

    The pattern of nothing comes only if `empty` says so.
    """
    if observed is None:
        if values is None:
            raise ValueError("expected observed or values, got neither")
        d, n = values.shape[:2]
        every = torch.ones((d, n), dtype=torch.bool, device=values.device)
        yield every.new_ones(size), every, torch.arange(n, device=values.device)
        return
    whole = observed.ndim == 2
    mask = observed.unsqueeze(-1).expand(-1, -1, size) if whole else observed
    if not mask.shape[0] * mask.shape[1]:
        return
    kinds, which = torch.unique(mask.reshape(-1, size), dim=0, return_inverse=True)
    which = which.reshape(mask.shape[:2])
    for number, entries in enumerate(kinds):
        if empty or bool(entries.any()):
            cells = which == number
            rows = torch.nonzero(cells.any(0)).squeeze(-1)
            yield entries, cells[:, rows], rows
