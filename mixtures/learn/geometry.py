"""Exact inner products of a target mixture with products of its own components."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from mixtures import information
from mixtures.coefficients import CoefficientTensor
from mixtures.mixture import Mixture

TINY = torch.finfo(torch.float64).tiny


class Geometry:
    """The space of mixtures over the components of a target f, with <g, h> = integral of g h.

    All numbers are float64 and in units of exp(`log_unit`), chosen such that ||f||^2 is moderate
    however many variables there are. A product atom prod_j sum_i a[j, i] f_{j,i} is held as its
    factors a (d, k), a batch of them as (t, d, k).
    """

    def __init__(self, target: Mixture) -> None:
        self.W: CoefficientTensor = copy.deepcopy(target.coefficients).double()
        components = copy.deepcopy(target.components).double()
        with torch.no_grad():
            gram = components.inner(components)
            ones = torch.zeros(gram.shape[:2], dtype=torch.float64, device=gram.device)
            means = self.W.posterior(ones)  # the marginals of W
            unit = torch.einsum("ja,jab,jb->j", means, gram, means).clamp(min=TINY)
            self.gram = gram / unit[:, None, None]
            self.log_unit = float(unit.log().sum())
            self.norm = float(information.inner(self.W, self.W, self.gram))

    @property
    def variables(self) -> int:
        """d."""
        return len(self.gram)

    @property
    def shape(self) -> tuple[int, ...]:
        """(k_1, .., k_d)."""
        return self.W.shape

    @property
    def unit(self) -> float:
        """What a number here is to be multiplied by."""
        return math.exp(self.log_unit)

    def vertices(self, index: Tensor) -> Tensor:
        """Indices (t, d) as factors (t, d, k)."""
        return torch.nn.functional.one_hot(index, self.gram.shape[1]).double()

    def views(self, factors: Tensor) -> Tensor:
        """<component i of variable j, factor j> for factors (t, d, k), of that shape."""
        return torch.einsum("jab,tjb->tja", self.gram, factors)

    def with_target(self, views: Tensor) -> Tensor:
        """<f, atom> for the views (t, d, k) of atoms, (t,)."""
        with torch.no_grad():
            return self.W.contract(views.log()).exp()

    def between(self, first: Tensor, views: Tensor) -> Tensor:
        """<atom, atom'> for factors (s, d, k) and views (t, d, k), (s, t)."""
        return torch.einsum("sja,tja->jst", first, views).prod(0)

    def target_everywhere(self) -> Tensor:
        """<f, vertex> for all vertices, shape (k_1, .., k_d)."""
        return self.spread(self.W.dense())

    def spread(self, entries: Tensor) -> Tensor:
        """<g, vertex> for all vertices, where g has the coefficients `entries`, (k_1, .., k_d)."""
        for j, k in enumerate(self.shape):
            own = self.gram[j, :k, :k]
            entries = torch.tensordot(entries, own, ([0], [0]))  # the axis moves to the end
        return entries

    def everywhere(self, weights: Tensor, views: Tensor) -> Tensor:
        """<sum_m weights[m] atom_m, vertex> for all vertices, from views (t, d, k)."""
        half = self.variables // 2
        sides = [_outer(views[:, j, :k] for j, k in span) for span in self._halves(half)]
        return (sides[0] * weights[:, None]).mT.mm(sides[1]).reshape(self.shape)

    def _halves(self, half: int) -> list[list[tuple[int, int]]]:
        pairs = list(enumerate(self.shape))
        return [pairs[:half], pairs[half:]]


def _outer(rows: object) -> Tensor:
    """Row by row the outer product of matrices (t, k_j): (t, prod k_j)."""
    found: Tensor | None = None
    for part in rows:  # type: ignore[attr-defined]
        if found is None:
            found = part
        else:
            found = (found[:, :, None] * part[:, None]).flatten(1)
    assert found is not None
    return found
