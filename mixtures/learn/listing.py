"""Atoms that take one of a target's components for each variable, chosen for rows of data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mixtures.learn.likelihood import Bank, Constants, Discovery, Rows, best_step
from mixtures.learn.vertices import LinearForm, Vertex
from mixtures.mixture import Mixture
from mixtures.tmm import TMM

FLOPS = 2**10  # multiplications per vertex that the budget of vertices stands for


class Ratios(LinearForm):
    """E[prod_j f_{j,i_j}(x_j) / f_t(x)] over weighted rows, as a form in the atom."""

    def __init__(self, leaves: Tensor, logs: Tensor, shape: tuple[int, ...]) -> None:
        self.leaves, self.logs, self.shape = leaves, logs, shape  # (n, d, k), (n,)

    def everywhere(self) -> Tensor:
        """A product of two matrices with n rows, one for either half of the variables."""
        half = (len(self.shape) + 1) // 2
        peak = self.leaves.amax(2)
        sides = []
        for span in (range(half), range(half, len(self.shape))):
            side = torch.ones((len(self.leaves), 1), dtype=torch.float64)
            for j in span:
                own = (self.leaves[:, j, : self.shape[j]] - peak[:, j, None]).exp()
                side = (side[:, :, None] * own[:, None]).flatten(1)
            sides.append(side)
        rows = (self.logs + peak.sum(1)).exp()
        return ((sides[0] * rows[:, None]).mT @ sides[1]).reshape(self.shape)

    def along(self, index: Tensor, variable: int) -> Tensor:
        """n d numbers for each index."""
        places = index.T[None, :, :].expand(len(self.leaves), -1, -1)  # (n, d, R)
        chosen = self.leaves.gather(2, places)
        chosen[:, variable] = 0
        rows = chosen.sum(1) + self.logs[:, None]  # (n, R)
        own = self.leaves[:, variable, : self.shape[variable]]
        return (rows[:, :, None] + own[:, None]).logsumexp(0).exp()


class VertexBank(Bank):
    """Atoms prod_j f_{j,i_j} of a target's components, found by the linear oracle."""

    def __init__(
        self,
        target: Mixture,
        rows: Rows,
        budget: int,
        restarts: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(rows)
        self.target, self.budget, self.restarts, self.generator = (
            target,
            min(budget, FLOPS * budget // max(1, len(rows.x))),
            restarts,
            generator,
        )
        with torch.no_grad():
            self.leaves = target.components.log_prob(rows.x).double()
        self.index: list[tuple[int, ...]] = []
        self._next: Vertex | None = None

    def discover(self, weights: Tensor, mixed: Tensor | None) -> Discovery:
        """The vertex along which the divergence falls fastest, and the exact step towards it."""
        vertex = self._oracle(mixed) if self._next is None else self._next
        index = tuple(vertex.place.tolist())
        if index not in self.index:
            self.index.append(index)
            self.logs = torch.cat([self.logs, self._log_density(vertex.place)[:, None]], 1)
        place = self.index.index(index)
        return Discovery(place, vertex.exact, best_step(mixed, self.logs[:, place], self.rows))

    def gap(self, weights: Tensor, mixed: Tensor) -> tuple[float, bool]:
        """The value of the linear form at its best vertex, minus one."""
        self._next = self._oracle(mixed)
        return self._next.value - 1, self._next.exact

    def mixture(self, weights: Tensor) -> Mixture:
        """A CP model over the components of the target."""
        W = self.target.coefficients
        used = weights > 0
        index = torch.tensor(self.index)[used]
        factors = [
            torch.nn.functional.one_hot(index[:, j], k).to(W.dtype) for j, k in enumerate(W.shape)
        ]
        kept = weights[used] / weights[used].sum()
        return Mixture(TMM.from_factors(kept.to(W.dtype), factors), self.target.components)

    def _oracle(self, mixed: Tensor | None) -> Vertex:
        rows, shape = self.rows.weights, self.target.coefficients.shape
        if mixed is None:
            alone = self._alone()
            if alone is not None:
                return alone
            mixed = torch.full_like(rows, -torch.inf)
        lost = (rows > 0) & (mixed == -torch.inf)
        if bool(lost.any()):  # the atom that makes most of the impossible rows possible
            rows, mixed = rows.where(lost, 0), torch.zeros_like(rows)
        form = Ratios(self.leaves, rows.log() - mixed.where(rows > 0, 0), shape)
        starts = self.target.coefficients.sample(self.restarts, generator=self.generator)
        found = form.largest(starts, self.budget)
        return found._replace(value=math.inf) if bool(lost.any()) else found

    def _alone(self) -> Vertex | None:
        """The atom of smallest divergence: the best component of each variable on its own."""
        likely = self.leaves * self.rows.weights[:, None, None]
        likely = likely.masked_fill((self.rows.weights == 0)[:, None, None], 0).sum(0)
        k = self.target.coefficients.shape
        best = [likely[j, : k[j]].max(0) for j in range(len(k))]
        value = float(sum(value for value, _ in best))
        if value == -math.inf:
            return None
        return Vertex(torch.stack([place for _, place in best]), value, True)

    def _log_density(self, index: Tensor) -> Tensor:
        places = index[None, :, None].expand(len(self.leaves), -1, 1)
        return self.leaves.gather(2, places).squeeze(2).sum(1)


def constants(target: Mixture, rows: Rows) -> Constants:
    """gamma and c^2 of Li and Barron, where all rows are listed with their probabilities.

        c^2 = sum over x of sum_i W[i] phi_i(x)^2 / f(x),   gamma = 4 (log(3 sqrt e) + a),

    a the largest log phi_i(x) / phi_i'(x); gamma is inf where supports differ.
    """
    assert rows.target is not None
    with torch.no_grad():
        leaves = target.components.log_prob(rows.x).double()
        W = target.coefficients
        squares = W.contract((2 * leaves).to(W.dtype)).double()
        square = float((squares - rows.target).exp()[rows.weights > 0].sum())
    leaves = leaves[rows.weights > 0]
    spread = torch.zeros(len(leaves), dtype=torch.float64)
    for j, k in enumerate(W.shape):
        own = leaves[:, j, :k]
        spread = spread + own.amax(1) - own.amin(1)
    largest = float(spread.amax())
    return Constants(4 * (math.log(3) + 0.5 + largest), square)
