"""Logarithms carried as mantissas with one log-scale per row: no exp and log inside the circuit.

In a tree every value enters the root exactly once, as a factor, so the scales of all values add up
to one number per row. Rows for which underflow cannot be excluded are `suspect` and are evaluated
again under `Log`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.passes import RUN
from mixtures.semiring import Log, reduce_product
from mixtures.weights import Counts, Weights

FACTORS = 8  # products of more factors underflow too often for mantissas


class Scaled(Log):
    """One chunk of rows under Log, in mantissas that are renormalised to a maximum of one.

    With smallest table entry w, at most C states and m factors, what underflow loses of a sum is at
    most C m tiny, and the sum at least w times the largest mantissa M: rows whose M stays above C m
    tiny / (w eps) lost less than a rounding error.
    """

    one = 1.0
    zero = 0.0

    def __init__(self, safe: float, like: Tensor) -> None:
        rows = like.shape[-1]
        self.safe = safe
        self.scale = torch.zeros(rows, dtype=torch.float64, device=like.device)
        self.low = like.new_ones(rows)
        self.tops: list[Tensor | None] = []  # what each mix was divided by, for the way down

    @property
    def suspect(self) -> Tensor:
        """Rows (B,) that must be evaluated again; NaN counts as suspect."""
        return ~(self.low >= self.safe)

    def neutralise(self, buffer: Tensor) -> None:
        """Put ones where rows are suspect, so that no NaN meets a flow of zero."""
        buffer.masked_fill_(self.suspect, 1.0)
        for top in self.tops:
            if top is not None:
                top.masked_fill_(self.suspect, 1.0)

    def inputs(self, circuit: Circuit, leaves: Tensor) -> Tensor:
        """Log leaves (d, max k, B) as mantissas (d, max k, B)."""
        if not circuit.uniform:
            leaves = leaves.masked_fill(~circuit.existing(leaves.device)[..., None], -torch.inf)
        return self._mantissas(leaves, 1)

    def evidence(self, logs: Tensor) -> Tensor:
        return self._mantissas(logs[None], 1)[0]

    def _mantissas(self, logs: Tensor, axis: int) -> Tensor:
        top = logs.amax(axis, keepdim=True).clamp_(min=torch.finfo(logs.dtype).min)
        self.scale += top.sum((0, axis), dtype=torch.float64)
        return (logs - top).exp_()

    def product(self, factors: Sequence[Tensor]) -> Tensor:
        return reduce_product(factors)

    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        torch.bmm(weights.values, inside, out=out)
        if not settle:
            self.tops.append(None)
            return
        top = out.amax(1, keepdim=True)
        torch.minimum(self.low, top.amin((0, 1)), out=self.low)
        self.scale += top.log().sum((0, 1), dtype=torch.float64)
        out.div_(top)
        self.tops.append(top)

    def share(
        self,
        weights: Weights | None,
        inside: Tensor,
        outside: Tensor,
        flow: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        assert weights is not None
        ratio = flow / outside
        top = self.tops.pop()  # the layers come back in the opposite order
        if top is not None:
            ratio.div_(top)
        if counts is not None:
            counts.add(ratio, inside)
        return torch.bmm(weights.values.mT, ratio).mul_(inside)


def safe_limit(circuit: Circuit, stacks: Sequence[Tensor]) -> float | None:
    """The least mantissa that proves a row right, or None where mantissas do not serve this
    circuit.
    """
    if not circuit.is_multilinear_tree or not stacks:
        return None
    info = torch.finfo(stacks[0].dtype)
    smallest = min(float(stack.amin()) for stack in stacks)
    if not smallest > info.tiny**0.5:
        return None
    states = max(layer.inside for layer in circuit.layers)
    limit = RUN * FACTORS * states * info.tiny / (smallest * info.eps)
    return limit if limit < 1e-3 else None
