"""Product atoms over the components of a target, and the oracles that find the next one in L2."""

from __future__ import annotations

import torch
from torch import Tensor

from mixtures.learn.geometry import Geometry
from mixtures.learn.nearest import Atoms, Found
from mixtures.learn.simplex import nearest_weights
from mixtures.learn.vertices import SWEEPS, LinearForm
from mixtures.mixture import Mixture
from mixtures.tmm import TMM


class Residual(LinearForm):
    """<f - f_t, product> as a form in the factors of the product."""

    def __init__(self, space: Geometry, weights: Tensor, views: Tensor, target: Tensor | None):
        self.space, self.weights, self.views = space, weights, views
        self.target = target
        self.shape = space.shape

    def everywhere(self) -> Tensor:
        """For every vertex; <f, vertex> is computed once and given."""
        target = self.space.target_everywhere() if self.target is None else self.target
        if not len(self.weights):
            return target
        return target - self.space.everywhere(self.weights, self.views)

    def along(self, index: Tensor, variable: int) -> Tensor:
        """One contraction of the target with R k_j rows of leaves."""
        return self.factors_along(self.space.vertices(index), variable)

    def factors_along(self, factors: Tensor, variable: int) -> Tensor:
        """The same for any factors (R, d, k): factor j runs over the vertices, (R, k_j)."""
        space, j = self.space, variable
        k = self.shape[j]
        leaves = space.views(factors).unsqueeze(1).repeat(1, k, 1, 1)
        leaves[:, :, j] = space.gram[j, :k]
        values = space.with_target(leaves.flatten(0, 1)).reshape(len(factors), k)
        if len(self.weights):
            others = torch.einsum("Rja,tja->jRt", factors, self.views)
            others[j] = 1
            values = values - (others.prod(0) * self.weights) @ self.views[:, j, :k]
        return values


class Products(Atoms):
    """Atoms prod_j sum_i a[j, i] f_{j,i}; under the linear oracle one component per variable."""

    def __init__(
        self,
        target: Mixture,
        oracle: str,
        budget: int,
        restarts: int,
        generator: torch.Generator | None,
    ) -> None:
        self.target, self.space = target, Geometry(target)
        super().__init__(self.space.norm, self.space.log_unit)
        self.oracle, self.budget, self.restarts, self.generator = (
            oracle,
            budget,
            restarts,
            generator,
        )
        d, k = self.space.gram.shape[:2]
        self.factors = torch.zeros((0, d, k), dtype=torch.float64)
        self.views = self.factors.clone()
        self._everywhere: Tensor | None = None

    def find(self, weights: Tensor) -> Found:
        """The vertex along which the error falls fastest, or a product after which it is least."""
        residual = self._residual(weights)
        starts = self.target.coefficients.sample(self.restarts, generator=self.generator)
        vertex = residual.largest(starts, self.budget)
        gap = vertex.value - self.slope_of_mixture(weights)
        factors = self.space.vertices(vertex.place[None])
        if self.oracle == "linear":
            return Found(factors[0], vertex.exact, gap, vertex.exact)
        starts = torch.cat([factors, self._drawn(starts)])
        return Found(self._descend(residual, weights, starts), False, gap, vertex.exact)

    def add(self, atom: Tensor) -> int:
        """A product (d, k); one that is there already is not added again."""
        same = (self.factors == atom).flatten(1).all(1).nonzero()
        if len(same):
            return int(same[0])
        views = self.space.views(atom[None])
        with_all = self.space.between(torch.cat([self.factors, atom[None]]), views)[:, 0]
        self.extend(with_all, float(self.space.with_target(views)))
        self.factors = torch.cat([self.factors, atom[None]])
        self.views = torch.cat([self.views, views])
        return len(self.factors) - 1

    def mixture(self, weights: Tensor) -> Mixture:
        """A CP model over the components of the target."""
        like, used = self.target.coefficients, weights > 0
        kept, factors = weights[used] / weights[used].sum(), self.factors[used]
        rows = [factors[:, j, :k] for j, k in enumerate(like.shape)]
        rows = [(row / row.sum(-1, keepdim=True)).to(like.dtype) for row in rows]
        return Mixture(TMM.from_factors(kept.to(like.dtype), rows), self.target.components)

    def _residual(self, weights: Tensor) -> Residual:
        residual = Residual(self.space, weights, self.views, self._everywhere)
        if self._everywhere is None and residual.enumerable(self.budget):
            self._everywhere = residual.target = self.space.target_everywhere()
        return residual

    def _drawn(self, index: Tensor) -> Tensor:
        """Starting products: vertices drawn from W, smoothed towards its margins."""
        ones = torch.zeros(self.space.gram.shape[:2], dtype=torch.float64)
        margins = self.space.W.posterior(ones)
        share = torch.rand((len(index), 1, 1), generator=self.generator, dtype=torch.float64)
        return share * self.space.vertices(index) + (1 - share) * margins

    def _descend(self, residual: Residual, weights: Tensor, factors: Tensor) -> Tensor:
        """From every starting product (R, d, k): one factor after the other, each the best given
        the others, and given the best step; the product with the smallest error.
        """
        errors = torch.full((len(factors),), torch.inf, dtype=torch.float64)
        for _ in range(SWEEPS):
            before = errors.clone()
            for j in range(self.space.variables):
                points = self._points(residual, weights, factors, j)
                for number, gram in enumerate(points):
                    shares = nearest_weights(gram)
                    errors[number] = shares @ gram @ shares
                    if float(shares[-self.space.shape[j] :].sum()) > 0:
                        own = shares[-self.space.shape[j] :]
                        factors[number, j] = 0
                        factors[number, j, : len(own)] = own / own.sum()
            if bool((before - errors <= 1e-6 * before).all()):
                break
        return factors[int(errors.argmin())]

    def _points(self, residual: Residual, weights: Tensor, factors: Tensor, j: int) -> Tensor:
        """Inner products of f_t - f (if there is f_t) and of phi_i - f, phi_i the products with
        component i in the place of factor j: (R, 1 + k_j, 1 + k_j).
        """
        space, k = self.space, self.space.shape[j]
        values = residual.factors_along(factors, j)  # <f - f_t, phi_i>
        squares = torch.einsum("Rja,Rja->Rj", factors, space.views(factors))
        squares[:, j] = 1
        gram = squares.prod(1)[:, None, None] * space.gram[j, :k, :k]
        if not len(weights):
            return gram - values[:, :, None] - values[:, None] + self.norm
        inside = torch.einsum("Rja,tja->jRt", factors, self.views)
        inside[j] = 1
        mixed = (inside.prod(0) * weights) @ self.views[:, j, :k]  # <f_t, phi_i>
        target = values + mixed
        points = torch.zeros((len(factors), k + 1, k + 1), dtype=torch.float64)
        points[:, 1:, 1:] = gram - target[:, :, None] - target[:, None] + self.norm
        cross = mixed - target - float(weights @ self.target_products) + self.norm
        points[:, 0, 1:], points[:, 1:, 0] = cross, cross
        points[:, 0, 0] = self.error(weights)
        return points
