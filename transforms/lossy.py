"""Fewer states at a reported price: merged latent states, with a proven bound on the loss."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Generic, TypeVar

import torch
from torch import Tensor

from mixtures import HMM, LTM, TMM
from mixtures.coefficients import CoefficientTensor
from mixtures.tree import Node
from mixtures.treetensor import TreeTensor
from transforms.fields import Floats
from transforms.forms import Form, put_together, take_apart

Model = TypeVar("Model", bound=TreeTensor)
EXACT = 2**16  # entries up to which errors are summed over all of W


@dataclass(frozen=True)
class Reduction(Generic[Model]):
    """A smaller model and what it costs.

    `bound` >= KL(W || W') is proven; `kl` and `total_variation` are sums over all entries
    (`exact`) or means over draws from W, with their standard errors.
    """

    model: Model
    bound: float
    kl: float
    kl_error: float
    total_variation: float
    total_variation_error: float
    exact: bool
    stored: tuple[int, int]

    def __str__(self) -> str:
        how = "exact" if self.exact else "Monte Carlo"
        return (
            f"{self.stored[0]} -> {self.stored[1]} stored numbers; KL(W || W') = {self.kl:.4g} "
            f"+- {self.kl_error:.1g} nats (proven <= {self.bound:.4g}), total variation "
            f"{self.total_variation:.4g} +- {self.total_variation_error:.1g} ({how})"
        )


def reduce(
    model: Model,
    *,
    states: int | Mapping[Node, int] | None = None,
    error: float | None = None,
    draws: int = 4096,
    generator: torch.Generator | None = None,
) -> Reduction[Model]:
    """A model of the same class with fewer states per latent; W' stays non-negative and normalised.

    States are merged in pairs, the cheapest pair of all latents first, until no latent has more
    than `states`, or as long as the proven KL(W || W') stays within `error` (nats). With groups of
    states y(z), tables of W' are the conditional probabilities P(y_child | y_parent) under W, and

        KL(W || W') <= sum over edges of I(y_child; z_parent) - I(y_child; y_parent).

    Takes a TMM, HMM or LTM. Raises ValueError unless exactly one of `states` and `error` is given.
    Cost: r^2 k per merged pair. The bound is a chain rule and data processing: y_child is
    independent of all latents above given z_parent.

    >>> found = reduce(TMM(4, components=2, states=6), states=3)
    >>> len(found.model.weights)
    3
    """
    if type(model) not in (TMM, HMM, LTM):
        raise ValueError(f"expected a TMM, an HMM or an LTM, got {type(model).__name__}")
    if (states is None) == (error is None):
        raise ValueError("expected either states= or error=, a size or a divergence in nats")
    if error is not None and not error >= 0:
        raise ValueError(f"error must be a non-negative number of nats, got {error}")
    form = take_apart(model, Floats())
    merging = _Merging(form, _limits(form, states))
    merging.run(float("inf") if error is None else error)
    small = put_together(type(model), merging.form(), Floats(), model)
    return _reported(model, small, merging.bound(), draws, generator)


def _limits(form: Form, states: int | Mapping[Node, int] | None) -> dict[Node, int]:
    limits = {
        node: 1
        if states is None
        else states
        if isinstance(states, int)
        else states.get(node, 2**62)
        for node in form.tree.inner
    }
    for node, limit in limits.items():
        if limit < 1:
            raise ValueError(f"node {node!r} needs at least one state, got {limit}")
    return limits


class _Merging:
    """Groups of states of every latent, and the tables that tell what mergers cost."""

    def __init__(self, form: Form, limits: Mapping[Node, int]) -> None:
        self.before, self.limits = form, limits
        eye = Floats().eye
        self.tables = {
            node: eye(form.sizes[node][0]) if table is None else table
            for node, table in form.tables.items()
        }
        self.mass: dict[Node, Tensor] = {}
        self.groups: dict[Node, list[list[int]]] = {}
        above: dict[Node, Tensor] = {form.tree.root: Floats().ones(1)}
        for node in reversed(form.tree.inner):
            self.mass[node] = above[node] @ self.tables[node]
            self.groups[node] = [[z] for z in range(form.sizes[node][1])]
            above.update((child, self.mass[node]) for child in form.tree.children[node])
        self.version = dict.fromkeys(form.tree.inner, 0)

    def run(self, error: float) -> None:
        """Merge the cheapest pair again and again."""
        self.heap: list[tuple[float, int, int, int, int]] = []
        order = list(self.before.tree.inner)
        number = {node: place for place, node in enumerate(order)}
        for node in order:
            self._offer(node, number[node])
        spent = 0.0
        while self.heap:
            cost, place, version, a, b = heapq.heappop(self.heap)
            node = order[place]
            if version != self.version[node]:
                continue
            if spent + cost > error:
                return
            spent += cost
            self.groups[node][a] += self.groups[node].pop(b)
            self._offer(node, place)
            if node != self.before.tree.root:
                above = self.before.tree.parent[node]
                self._offer(above, number[above])

    def _offer(self, node: Node, place: int) -> None:
        """Put the cheapest pair of a latent on the heap; earlier offers of it are void."""
        self.version[node] += 1
        if len(self.groups[node]) <= self.limits[node]:
            return
        cost, a, b = self._cheapest(node)
        heapq.heappush(self.heap, (cost, place, self.version[node], a, b))

    def _cheapest(self, node: Node) -> tuple[float, int, int]:
        """The pair of groups whose merger loses least information about the children."""
        mass = self._merged_mass(node)
        rows = torch.cat([self.joint(node, c) for c in self.before.tree.children[node]], dim=1)
        own = _entropy_like(rows) - len(self.before.tree.children[node]) * _entropy_like(
            mass[:, None]
        )
        both = rows[:, None] + rows[None]
        total = (mass[:, None] + mass[None])[..., None]
        joint = _entropy_like(both) - len(self.before.tree.children[node]) * _entropy_like(total)
        cost = own[:, None] + own[None] - joint
        cost[torch.ones_like(cost, dtype=torch.bool).tril()] = torch.inf
        best = int(cost.argmin())
        a, b = divmod(best, len(mass))
        return max(0.0, float(cost[a, b])), a, b

    def _merged_mass(self, node: Node) -> Tensor:
        return torch.stack([self.mass[node][group].sum() for group in self.groups[node]])

    def joint(self, node: Node, child: Node) -> Tensor:
        """P(y_node, y_child), by groups of both."""
        table = self.mass[node][:, None] * self.tables[child]
        table = torch.stack([table[group].sum(0) for group in self.groups[node]])
        return self._columns(child, table)

    def _columns(self, child: Node, table: Tensor) -> Tensor:
        if child not in self.groups:
            return table
        return torch.stack([table[:, group].sum(1) for group in self.groups[child]], dim=1)

    def bound(self) -> float:
        """The sum over edges of I(y_child; z_parent) - I(y_child; y_parent)."""
        total = 0.0
        for node in self.before.tree.inner:
            for child in self.before.tree.children[node]:
                fine = self._columns(child, self.mass[node][:, None] * self.tables[child])
                coarse = self.joint(node, child)
                for table, sign in ((fine, 1), (coarse, -1)):
                    own = _entropy_like(table) - _entropy_like(table.sum(1, keepdim=True))
                    total += sign * float(own.sum())
        return max(0.0, total)

    def form(self) -> Form:
        """The tables P(y_child | y_parent); what is not touched stays."""
        tree = self.before.tree
        tables: dict[Node, Tensor | None] = dict(self.before.tables)
        sizes = dict(self.before.sizes)
        for node in tree.nodes:
            above = tree.parent.get(node)
            small = [v for v in (node, above) if v in self.groups and self._smaller(v)]
            if not small:
                continue
            table = (
                self._columns(node, self.tables[node]) if above is None else self.joint(above, node)
            )
            tables[node], sizes[node] = Floats().rows(table)[0], (table.shape[0], table.shape[1])
        return Form(tree, tables, sizes)

    def _smaller(self, node: Node) -> bool:
        return len(self.groups[node]) < self.before.sizes[node][1]


def _entropy_like(table: Tensor) -> Tensor:
    """The sum over the last axis of p log p."""
    return torch.special.xlogy(table, table).sum(-1)


def _reported(
    model: Model,
    small: Model,
    bound: float,
    draws: int,
    generator: torch.Generator | None,
) -> Reduction[Model]:
    exact = prod(model.shape) <= EXACT
    measured = _summed(model, small) if exact else _drawn(model, small, draws, generator)
    kl, kl_error, variation, variation_error = measured
    return Reduction(
        small, bound, kl, kl_error, variation, variation_error, exact, (model.stored, small.stored)
    )


Measured = tuple[float, float, float, float]


def _summed(model: CoefficientTensor, small: CoefficientTensor) -> Measured:
    W, V = model.dense().double(), small.dense().double()
    kl = (torch.special.xlogy(W, W) - torch.special.xlogy(W, V)).sum()
    return max(0.0, float(kl)), 0.0, float((W - V).abs().sum() / 2), 0.0


def _drawn(
    model: CoefficientTensor,
    small: CoefficientTensor,
    draws: int,
    generator: torch.Generator | None,
) -> Measured:
    index = model.sample(draws, generator=generator)
    leaves = torch.nn.functional.one_hot(index, max(model.shape)).to(model.dtype).log()
    with torch.no_grad():
        gap = (model.contract(leaves) - small.contract(leaves)).double()
    excess = (1 - (-gap).exp()).clamp(min=0)  # (W - W')+ / W

    def mean(values: Tensor) -> tuple[float, float]:
        return float(values.mean()), float(values.std() / max(1, draws) ** 0.5)

    return *mean(gap), *mean(excess)
