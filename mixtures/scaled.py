"""Logarithms carried as mantissas with one log-scale per row: no exp and log inside the circuit.

In a tree every value enters the root exactly once, as a factor, so the scales of all values add up
to one number per row. Rows for which underflow cannot be excluded are `suspect` and are evaluated
again under `Log`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.passes import RUN, Values
from mixtures.semiring import Log, reduce_product, reduce_sum
from mixtures.weights import Counts, Weights

LOG2_E = 1 / log(2)


class Scaled(Log):
    """One chunk of rows under Log, in mantissas that are renormalised to a maximum of one.

    With smallest table entry w, at most C states and m factors, what underflow loses of a sum is at
    most C m tiny, and the sum at least w times the largest mantissa M: rows whose M stays above C m
    tiny / (w eps) lost less than a rounding error.
    """

    one = 1.0
    zero = 0.0
    mantissas = True

    def __init__(self, safe: float, like: Tensor) -> None:
        rows = like.shape[-1]
        self.safe = safe
        self.scale = torch.zeros(rows, dtype=torch.float64, device=like.device)
        self.low = like.new_ones(rows)
        self.tops: list[Tensor | None] = []  # what each mix was divided by, for the way down

    @property
    def suspect(self) -> Tensor:
        """Rows (B,) that must be evaluated again; NaN counts as suspect."""
        return ~(self.low >= self.safe) | self.scale.isnan()

    def neutralise(self, values: Values) -> None:
        """Put ones where rows are suspect, so that no NaN meets a flow of zero."""
        mask = self.suspect
        known = [part for at, part in values.given.items() if (at[0], 0) not in values.insides]
        tops = [top for top in self.tops if top is not None]
        for part in (values.buffer, *known, *values.insides.values(), *tops):
            part.masked_fill_(mask, 1.0)

    def inputs(self, leaves: Tensor, existing: Tensor | None = None) -> Tensor:
        """Log leaves (d, max k, B) as mantissas, zero where columns (d, max k) do not exist."""
        if existing is not None:
            leaves = leaves.masked_fill(~existing[..., None], -torch.inf)
        return self._mantissas(leaves, 1)

    def evidence(self, logs: Tensor) -> Tensor:
        return self._mantissas(logs[None], 1)[0]

    def _mantissas(self, logs: Tensor, axis: int, *, own: bool = False) -> Tensor:
        top = logs.amax(axis, keepdim=True).clamp_(min=torch.finfo(logs.dtype).min)
        self.scale += top.sum((0, axis), dtype=torch.float64)
        away = logs.sub_(top) if own else logs - top
        return away.mul_(LOG2_E).exp2_()  # twice as fast as exp_

    def joined(self, logs: Sequence[Tensor]) -> Tensor:
        """The product of leaves that are still logarithms, (N, k, B) each, as mantissas."""
        return self._mantissas(reduce_sum(logs), 1, own=len(logs) > 1)

    def product(self, factors: Sequence[Tensor]) -> Tensor:
        return reduce_product(factors)

    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        self.mix_part(weights, inside, out)
        self.finish(out, settle=settle)

    def mix_part(self, weights: Weights, inside: Tensor, out: Tensor) -> None:
        torch.bmm(weights.values, inside, out=out)

    def finish(self, out: Tensor, *, settle: bool = True) -> None:
        if not settle:
            self.tops.append(None)
            return
        top = out.amax(1, keepdim=True)
        self.settle(top, out)
        out.div_(top)
        self.tops.append(top)

    def settle(self, top: Tensor, out: Tensor) -> None:
        """Note what `out` (N, P, B) will be divided by, (N, 1, B)."""
        torch.minimum(self.low, top.amin((0, 1)), out=self.low)
        self.scale += top.log().sum((0, 1), dtype=torch.float64)

    def share(
        self,
        weights: Weights | None,
        inside: Tensor,
        outside: Tensor,
        flow: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        assert weights is not None
        ratio = self.ratios(outside, flow)(slice(None))
        return self.share_part(weights, inside, outside, ratio, counts)

    def ratios(self, outside: Tensor, flow: Tensor) -> Callable[[slice], Tensor]:
        top = self.tops.pop()  # the layers come back in the opposite order

        def of(nodes: slice) -> Tensor:
            ratio = flow[nodes] / outside[nodes]
            return ratio if top is None else ratio.div_(top[nodes])

        return of

    def share_part(
        self,
        weights: Weights,
        inside: Tensor,
        outside: Tensor,
        ratio: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        if counts is not None:
            counts.add(ratio, inside)
        if inside.stride(-1) == 1:
            return torch.bmm(weights.values.mT, ratio).mul_(inside)
        return torch.bmm(ratio.mT, weights.values).mT.mul_(inside)  # as `inside` lies in memory


class ScaledPatterns(Scaled):
    """Mantissas whose columns are patterns, each node with patterns and scales of its own.

    With `repair`, values where underflow cannot be excluded are replaced by ones with scale NaN,
    which makes a suspect of every row that meets such a pattern.
    """

    def __init__(self, safe: float, like: Tensor, *, repair: bool = False) -> None:
        super().__init__(safe, like)
        self.repair = repair
        self.mask: Tensor | None = None

    @property
    def lost(self) -> bool:
        """Whether underflow cannot be excluded somewhere."""
        tops = [top.amin() for top in self.tops if top is not None]
        return bool(tops) and not bool(torch.stack(tops).amin() >= self.safe)

    def settle(self, top: Tensor, out: Tensor) -> None:
        if self.repair:
            self.mask = ~(top >= self.safe)
            top.masked_fill_(self.mask, 1.0)
            out.masked_fill_(self.mask, 1.0)

    def write_logs(self, out: Tensor) -> None:
        """Write the logarithms of what the newest values were divided by to `out` (N B,)."""
        top = self.tops[-1]
        assert top is not None
        out.copy_(top.view(-1)).log_()
        if self.mask is not None:
            out.masked_fill_(self.mask.view(-1), torch.nan)


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
    factors = max(len(layer.widths) for layer in circuit.layers)
    limit = RUN * factors * states * info.tiny / (smallest * info.eps)
    return limit if limit < 1e-3 else None
