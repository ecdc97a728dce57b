"""Kinds of covariance matrices: their free parameters, their M-step and their prior."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mixtures.components.family import kept
from mixtures.components.parameters import check_collapse, check_positive

Size = tuple[int, int, int]


class Covariance(nn.Module, ABC):
    """Covariances of components, sizes (d or 1, k, e), held as unconstrained numbers."""

    raw: nn.Parameter

    def __init__(self, size: Size, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.size = size
        self.raw = nn.Parameter(torch.zeros(self.held(), dtype=dtype, device=device))

    @abstractmethod
    def held(self) -> tuple[int, ...]:
        """The shape in which covariances of this kind are given."""

    @abstractmethod
    def factor(self) -> Tensor:
        """Lower triangular L with S = L L', (d or 1, k or 1, e, e)."""

    @abstractmethod
    def set(self, covariances: Tensor) -> None:
        """Take the given covariances, of shape `held()`."""

    @abstractmethod
    def maximise(self, scatter: Tensor, weight: Tensor, rows: float, floor: float) -> None:
        """The M-step from scatter matrices (d or 1, k, e, e) and weights (d or 1, k)."""

    @abstractmethod
    def free(self, components: int) -> int:
        """Free numbers of one variable with so many components."""

    def log_prior(self, rows: float, floor: float) -> Tensor:
        """-(rows log det S + floor tr S^-1) / 2, (d or 1, k)."""
        factor = self.factor().double()
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        volume = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * (rows * volume + floor * inverse.square().sum((-2, -1)))


class Full(Covariance):
    """A matrix for each component; `raw` is L, with the logarithm of its diagonal."""

    def held(self) -> tuple[int, ...]:
        d, k, e = self.size
        return d, k, e, e

    def factor(self) -> Tensor:
        scale = self.raw.diagonal(dim1=-2, dim2=-1).exp()
        return self.raw.tril(-1) + torch.diag_embed(scale)

    @torch.no_grad()
    def set(self, covariances: Tensor) -> None:
        self.raw.copy_(_logarithmic(torch.linalg.cholesky(covariances.double())))

    def maximise(self, scatter: Tensor, weight: Tensor, rows: float, floor: float) -> None:
        identity = torch.eye(scatter.shape[-1], dtype=scatter.dtype, device=scatter.device)
        heavy = weight > 0
        estimate = (scatter + floor * identity) / (weight + rows)[..., None, None]
        estimate = torch.where(heavy[..., None, None], estimate, identity)
        factor, failed = torch.linalg.cholesky_ex(estimate)
        check_collapse(failed == 0)
        self.raw.copy_(kept(weight, _logarithmic(factor), self.raw))

    def free(self, components: int) -> int:
        e = self.size[-1]
        return components * e * (e + 1) // 2


class Tied(Full):
    """One matrix for all components of a variable."""

    def held(self) -> tuple[int, ...]:
        d, _, e = self.size
        return d, 1, e, e

    def maximise(self, scatter: Tensor, weight: Tensor, rows: float, floor: float) -> None:
        scatter, weight = scatter.sum(1, keepdim=True), weight.sum(1, keepdim=True)
        super().maximise(scatter, weight, rows, floor)

    def log_prior(self, rows: float, floor: float) -> Tensor:
        once = super().log_prior(rows, floor)
        return nn.functional.pad(once, (0, self.size[1] - 1))

    def free(self, components: int) -> int:
        return super().free(1)


class Diagonal(Covariance):
    """A variance for each entry; `raw` is its logarithm."""

    def held(self) -> tuple[int, ...]:
        return self.size

    def factor(self) -> Tensor:
        return torch.diag_embed((0.5 * self.raw).exp().expand(self.size))

    @torch.no_grad()
    def set(self, covariances: Tensor) -> None:
        self.raw.copy_(covariances.log())

    def maximise(self, scatter: Tensor, weight: Tensor, rows: float, floor: float) -> None:
        each = scatter.diagonal(dim1=-2, dim2=-1).clamp(min=0)  # below 0 by rounding only
        estimate = self._averaged((each + floor) / (weight + rows).unsqueeze(-1))
        check_collapse(((estimate > 0) | (weight <= 0).unsqueeze(-1)).all(-1))
        self.raw.copy_(kept(weight, estimate.log(), self.raw))

    def _averaged(self, variances: Tensor) -> Tensor:
        return variances

    def free(self, components: int) -> int:
        return components * self.held()[-1]


class Spherical(Diagonal):
    """One variance for all entries."""

    def held(self) -> tuple[int, ...]:
        d, k, _ = self.size
        return d, k, 1

    def _averaged(self, variances: Tensor) -> Tensor:
        return variances.mean(-1, keepdim=True)


COVARIANCES: dict[str, type[Covariance]] = {
    "full": Full,
    "diag": Diagonal,
    "tied": Tied,
    "spherical": Spherical,
}


def check_covariance(covariances: Tensor, spread: Covariance) -> None:
    """Raise unless the covariances have the shape of their kind and are positive definite."""
    if covariances.shape != spread.held():
        raise ValueError(
            f"expected covariances of shape {tuple(spread.held())}, got {tuple(covariances.shape)}"
        )
    if not bool(covariances.isfinite().all()):
        raise ValueError("expected finite covariances, got NaN or infinity")
    if covariances.ndim == 3:
        return check_positive(covariances=covariances)
    largest = covariances.abs().amax((-2, -1), keepdim=True)
    tolerance = 64 * torch.finfo(covariances.dtype).eps * largest
    if bool(((covariances - covariances.mT).abs() > tolerance).any()):
        raise ValueError("expected symmetric covariances")
    failed = torch.linalg.cholesky_ex(covariances.double()).info != 0
    if bool(failed.any()):
        place = torch.nonzero(failed)[0].tolist()
        raise ValueError(f"expected positive definite covariances, got one that is not at {place}")


def _logarithmic(factor: Tensor) -> Tensor:
    """A Cholesky factor with the logarithm of its diagonal."""
    scale = factor.diagonal(dim1=-2, dim2=-1).log()
    return factor.tril(-1) + torch.diag_embed(scale)
