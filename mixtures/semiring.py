"""Semirings: how the values of a circuit multiply, mix, and are shared out on the way down.

Values are held batch last: a fold of N nodes with w states each is a tensor (N, w, B) for B rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mixtures.residues import modular_bmm
from mixtures.weights import Counts, Weights

MANY = 4  # from this many factors on, a product is one reduction over a stacked axis


class Semiring(ABC):
    """Two operations on values: `product` of factors, and `mix`, a weighted sum over states.

    >>> Linear().name, Log().name
    ('Linear', 'Log')
    """

    one: float = 1.0
    zero: float = 0.0
    logarithmic = False
    mantissas = False  # whether values are numbers divided by a scale of their row

    @property
    def name(self) -> str:
        """What the semiring is called."""
        return type(self).__name__

    @abstractmethod
    def product(self, factors: Sequence[Tensor]) -> Tensor:
        """The product of factors, each (N, w, B) or broadcastable to it."""

    @abstractmethod
    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        """Write sum over c of weights[n, p, c] inside[n, c, b] to `out`, (N, P, B).

        A ring that renormalises its values does so now if `settle`.
        """

    def mix_part(self, weights: Weights, inside: Tensor, out: Tensor) -> None:
        """As `mix`, of some of the nodes of a layer; `finish` follows when all are done."""
        self.mix(weights, inside, out)

    def finish(self, out: Tensor, *, settle: bool = True) -> None:  # noqa: B027
        """Renormalise what was mixed part by part, in a ring that does so."""

    def evidence(self, logs: Tensor) -> Tensor:
        """Log-weights of latent states in this semiring's representation."""
        return logs if self.logarithmic else logs.exp()

    def __repr__(self) -> str:
        return f"{self.name}()"


class Sharing(Semiring):
    """A semiring whose values are real, so that flows are shared among the terms of a sum."""

    @abstractmethod
    def share(
        self,
        weights: Weights | None,
        inside: Tensor,
        outside: Tensor,
        flow: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        """The flow of `inside`, given the one of `outside`; `counts` collects those of entries."""

    def ratios(self, outside: Tensor, flow: Tensor) -> Callable[[slice], Tensor]:
        """What `share_part` takes for the flow of some of the nodes of a layer."""
        return flow.__getitem__

    def share_part(
        self,
        weights: Weights,
        inside: Tensor,
        outside: Tensor,
        ratio: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        """As `share`, of some of the nodes of a layer, given their part of its `ratios`."""
        return self.share(weights, inside, outside, ratio, counts)


class Linear(Sharing):
    """Real numbers with + and *: entries of W, expectations; signed values are fine."""

    def product(self, factors: Sequence[Tensor]) -> Tensor:
        return reduce_product(factors)

    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        torch.bmm(weights.values, inside, out=out)

    def share(
        self,
        weights: Weights | None,
        inside: Tensor,
        outside: Tensor,
        flow: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        """The gradient with respect to `inside`, given the one with respect to `outside`."""
        if weights is None:
            return flow
        if counts is not None:
            counts.add(flow, inside)
        return torch.bmm(weights.values.mT, flow)

    def weigh(self, flow: Tensor, inside: Tensor) -> Tensor:
        """What part of the value passes through each state."""
        return flow * inside

    def pass_evidence(self, flow: Tensor, weight: Tensor) -> Tensor:
        """The gradient of what evidence multiplied."""
        return flow * weight

    def split(self, factors: Sequence[Tensor], flow: Tensor) -> list[Tensor]:
        """The gradient of each factor: the flow times all the other factors."""
        before: list[Tensor | None] = [None]
        for factor in factors[:-1]:
            last = before[-1]
            before.append(factor if last is None else last * factor)
        parts: list[Tensor] = []
        after: Tensor | None = None
        for factor, ahead in zip(reversed(factors), reversed(before), strict=True):
            part = flow if ahead is None else flow * ahead
            parts.append(part if after is None else part * after)
            after = factor if after is None else after * factor
        return parts[::-1]


class Log(Sharing):
    """Logarithms of non-negative numbers: densities, and on the way down posteriors and counts.

    Every value has a logarithm of its own. A sum of states more than the type's range below the
    best one is computed again in logarithms, so nothing is lost to underflow.
    """

    one = 0.0
    zero = -torch.inf
    logarithmic = True

    def product(self, factors: Sequence[Tensor]) -> Tensor:
        return reduce_sum(factors)

    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        top = finite_top(inside)
        torch.bmm(weights.values, (inside - top).exp_(), out=out)
        limit = smallest_safe(inside)
        low = bool(out.amin() < limit) if out.numel() else False
        lost = lost_entries(weights, inside, out < limit) if low else None
        out.log_().add_(top)
        if lost is not None:
            for node, parent, row in pieces(lost, inside.shape[1]):
                terms = weights.logs[node, parent] + inside.mT[node, row]
                out[node, parent, row] = terms.logsumexp(-1)

    def share(
        self,
        weights: Weights | None,
        inside: Tensor,
        outside: Tensor,
        flow: Tensor,
        counts: Counts | None,
    ) -> Tensor:
        """A node's flow goes to its terms in proportion; `counts` collects what each entry passed
        on.
        """
        if weights is None:
            return flow
        mantissa = (inside - finite_top(inside)).exp_()
        # The sums anew, not exp(outside): shares then add up, however few digits a logarithm has.
        sums = torch.bmm(weights.values, mantissa)
        active = flow != 0
        safe = sums >= smallest_safe(inside)
        ratio = (flow / sums).where(active & safe, 0)
        if counts is not None:
            counts.add(ratio, mantissa)
        below = torch.bmm(weights.values.mT, ratio).mul_(mantissa)
        deep = active & ~safe
        if bool(deep.any()):
            for node, parent, row in pieces(deep.nonzero().unbind(1), inside.shape[1]):
                terms = weights.logs[node, parent] + inside.mT[node, row]
                sent = terms.softmax(-1).nan_to_num_(0.0) * flow[node, parent, row, None]
                below.mT.index_put_((node, row), sent, accumulate=True)
                if counts is not None:
                    counts.add_entries(node, parent, row, sent)
        return below

    def weigh(self, flow: Tensor, inside: Tensor) -> Tensor:
        """What part of the value passes through each state: the flow itself."""
        return flow

    def pass_evidence(self, flow: Tensor, weight: Tensor) -> Tensor:
        """Evidence takes no part of the flow."""
        return flow

    def split(self, factors: Sequence[Tensor], flow: Tensor) -> list[Tensor]:
        """All factors of a product are in the state the product is in."""
        return [flow] * len(factors)

    def pick(self, weights: Weights, inside: Tensor, state: Tensor) -> Tensor:
        """One term of each chosen sum: state (N, B) -> term (N, B)."""
        raise TypeError(f"{self.name} shares flow among all terms; Max and Sample pick one")


class Max(Log):
    """Logarithms with max for +: best joint explanations; ties go to one of the best."""

    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        logs = weights.logs
        torch.add(logs[:, :, 0, None], inside[:, None, 0], out=out)
        for state in range(1, inside.shape[1]):
            torch.maximum(out, logs[:, :, state, None] + inside[:, None, state], out=out)

    def pick(self, weights: Weights, inside: Tensor, state: Tensor) -> Tensor:
        return (rows_of(weights.logs, state) + inside).max(dim=1).indices


class Sample(Log):
    """On the way up as Log; on the way down one term of each sum is drawn in proportion."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def pick(self, weights: Weights, inside: Tensor, state: Tensor) -> Tensor:
        terms = rows_of(weights.logs, state) + inside
        terms = (terms - finite_top(terms)).exp_()
        return self.draw(terms)

    def draw(self, terms: Tensor) -> Tensor:
        """Draw an index of axis 1 in proportion to `terms`, never one whose term is zero.

        Where all terms are zero it is the last one: such a row has probability zero, which is
        refused once its value is known.
        """
        below = terms.cumsum(1)
        total = below[:, -1]
        uniform = torch.rand(
            total.shape, generator=self.generator, dtype=total.dtype, device=total.device
        )
        level = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        return (below <= level[:, None]).sum(1).clamp_(max=terms.shape[1] - 1)


class Modular(Semiring):
    """Residues modulo a prime p < 2^31, held as integers: certified ranks, exact identities.

    Raises ValueError unless p is a prime below 2^31.

    >>> Modular(134217689)
    Modular(134217689)
    """

    def __init__(self, p: int) -> None:
        from flint import fmpz

        if p >= 2**31 or not fmpz(p).is_prime():
            raise ValueError(f"expected a prime below 2^31, got {p}")
        self.p = p

    def product(self, factors: Sequence[Tensor]) -> Tensor:
        result = factors[0]
        for factor in factors[1:]:
            result = result * factor % self.p
        return result

    def mix(self, weights: Weights, inside: Tensor, out: Tensor, *, settle: bool = True) -> None:
        out.copy_(modular_bmm(weights.values, inside, self.p))

    def evidence(self, logs: Tensor) -> Tensor:
        raise ValueError(
            "evidence is given as log-weights, which are no residues: use Log or Linear"
        )

    def __repr__(self) -> str:
        return f"Modular({self.p})"


def reduce_product(factors: Sequence[Tensor]) -> Tensor:
    """The product of tensors; many factors of one shape are reduced along a stacked axis."""
    if len(factors) > MANY and _of_one_shape(factors):
        return torch.stack(list(factors)).prod(0)
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


def _of_one_shape(factors: Sequence[Tensor]) -> bool:
    """Whether factors can be stacked; those of an outer product only broadcast to one shape."""
    return all(factor.shape == factors[0].shape for factor in factors)


def reduce_sum(factors: Sequence[Tensor]) -> Tensor:
    """The sum of tensors; -inf stays -inf."""
    if len(factors) > MANY and _of_one_shape(factors):
        return torch.stack(list(factors)).sum(0)
    result = factors[0]
    for factor in factors[1:]:
        result = result + factor
    return result


def finite_top(logs: Tensor) -> Tensor:
    """The largest logarithm over axis 1, kept as an axis; finite also where all are -inf."""
    return logs.amax(1, keepdim=True).clamp_(min=torch.finfo(logs.dtype).min)


def smallest_safe(like: Tensor) -> float:
    """A sum of mantissas at least this large lost at most one rounding error to underflow."""
    info = torch.finfo(like.dtype)
    return like.shape[1] * info.tiny / info.eps


def lost_entries(weights: Weights, inside: Tensor, low: Tensor) -> tuple[Tensor, ...] | None:
    """(node, parent, row) of the small sums that are not structural zeros, or None."""
    alive = (inside > -torch.inf).to(inside.dtype)
    low = low & (torch.bmm(weights.support, alive) > 0)
    return low.nonzero().unbind(1) if bool(low.any()) else None


def pieces(
    entries: Sequence[Tensor], width: int, budget: int = 2**20
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Cut a list of entries into pieces of at most `budget` numbers each."""
    node, parent, row = entries
    size = max(1, budget // width)
    return list(zip(node.split(size), parent.split(size), row.split(size), strict=True))


def rows_of(table: Tensor, state: Tensor) -> Tensor:
    """table (N, P, C), state (N, B) -> (N, C, B): the row of each node that each batch row is
    in.
    """
    nodes, parents, children = table.shape
    if parents == 1:
        return table.mT.expand(nodes, children, state.shape[1])
    return table.mT.gather(2, state[:, None].expand(nodes, children, state.shape[1]))
