"""Tree models as atoms over the components of a target, found in L2 by gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mixtures import information
from mixtures.combination import Combination
from mixtures.dense import einsum_operands
from mixtures.learn.geometry import Geometry
from mixtures.learn.initial import draw_tables
from mixtures.learn.nearest import Atoms, Found
from mixtures.mixture import Mixture
from mixtures.treetensor import TreeTensor

Operands = Sequence[tuple[Tensor, list[int]]]


class Pairing:
    """<phi, g> as a function of the tables of phi: one tensor network, whose plan is made once.

    `other`: the network of g, with an axis in front for several g at once if `batched`.
    """

    def __init__(self, gram: Sequence[Tensor], mine: Operands, other: Operands, batched: bool):
        import opt_einsum

        every = [2 * label for _, labels in mine for label in labels]
        every += [2 * label + 1 for _, labels in other for label in labels]
        batch = [max(every) + 1] if batched else []
        terms = [[2 * label for label in labels] for _, labels in mine]
        terms += [batch + [2 * label + 1 for label in labels] for _, labels in other]
        terms += [[2 * j, 2 * j + 1] for j in range(len(gram))]
        names = ["".join(opt_einsum.get_symbol(label) for label in term) for term in terms]
        result = "".join(opt_einsum.get_symbol(label) for label in batch)
        operands = [*(array for array, _ in mine), *(array for array, _ in other), *gram]
        shapes = [tuple(operand.shape) for operand in operands]
        self.plan = opt_einsum.contract_expression(f"{','.join(names)}->{result}", *shapes)
        self.gram, self.other = gram, other

    def __call__(self, mine: Operands, other: Operands | None = None) -> Tensor:
        """The inner product, or those with all g at once."""
        known = self.other if other is None else other
        result: Tensor = self.plan(*(a for a, _ in mine), *(a for a, _ in known), *self.gram)
        return result


class Trees(Atoms):
    """Atoms of one class of tree models, made by `make(generator)` over the target's components.

    The next one leaves the smallest error: all its tables and its share are moved by L-BFGS from
    each of `restarts` random starts, and the best is taken.
    """

    def __init__(
        self,
        target: Mixture,
        make: Callable[[torch.Generator | None], TreeTensor],
        budget: int,
        restarts: int,
        max_iter: int,
        generator: torch.Generator | None,
    ) -> None:
        self.target, self.space, self.make = target, Geometry(target), make
        super().__init__(self.space.norm, self.space.log_unit)
        self.budget, self.restarts, self.max_iter = budget, restarts, max_iter
        self.generator = generator
        self.models: list[TreeTensor] = []
        own = [self.space.gram[j, :k, :k] for j, k in enumerate(self.space.shape)]
        start = operands(self.fresh())
        self.with_target = Pairing(own, start, information.network(self.space.W), False)
        self.with_itself = Pairing(own, start, start, False)
        self.own = own

    def fresh(self) -> TreeTensor:
        """A model with random tables, float64."""
        model = self.make(self.generator).double()
        draw_tables(model, 1.0, self.generator)
        return model

    def find(self, weights: Tensor) -> Found:
        """The best of what gradients found from random starts."""
        others: Pairing | None = None
        if len(weights):
            all_of = [operands(model) for model in self.models]
            first, *_ = all_of
            arrays = [torch.stack(parts) for parts in zip(*map(_arrays, all_of), strict=True)]
            stacked = [(a, labels) for a, (_, labels) in zip(arrays, first, strict=True)]
            others = Pairing(self.own, first, stacked, True)
        found = [self._learned(weights, others) for _ in range(self.restarts)]
        _, atom = min(found, key=lambda pair: pair[0])
        gap, certified = self._gap(weights, atom, others)
        return Found(atom, False, gap, certified)

    def add(self, atom: TreeTensor) -> int:
        """One more model; never the same one twice."""
        self.models.append(atom)
        mine = operands(atom)
        with torch.no_grad():
            gram = [self.with_itself(mine, operands(model)) for model in self.models]
            self.extend(torch.stack(gram), float(self.with_target(mine)))
        return len(self.models) - 1

    def mixture(self, weights: Tensor) -> Mixture:
        """A combination of the models over the components of the target."""
        dtype = self.target.coefficients.dtype
        kept = [model for model, w in zip(self.models, weights, strict=True) if w > 0]
        parts = [copy.deepcopy(model).to(dtype) for model in kept]
        if len(parts) == 1:
            return Mixture(parts[0], self.target.components)
        shares = weights[weights > 0]
        return Mixture(
            Combination((shares / shares.sum()).to(dtype), parts), self.target.components
        )

    def _learned(self, weights: Tensor, others: Pairing | None) -> tuple[float, TreeTensor]:
        """An error and the model that leaves it, after L-BFGS on tables and share."""
        model = self.fresh()
        logits = [table.logits.detach().clone().requires_grad_() for table in model.tables]
        share = torch.tensor(-math.log(max(len(weights), 1)), dtype=torch.float64)
        free = [*logits, share.requires_grad_()] if others is not None else logits
        descent = torch.optim.LBFGS(
            free, max_iter=self.max_iter, history_size=20, line_search_fn="strong_wolfe"
        )

        def error() -> Tensor:
            mine = operands(model, [own.softmax(-1) for own in logits])
            square = self.with_itself(mine, mine)
            cross = self.with_target(mine)
            if others is None:
                return (square - 2 * cross + self.norm) / self.norm
            a = share.sigmoid()
            mixed = others(mine) @ weights
            target = float(weights @ self.target_products)
            own = float(weights @ self.gram @ weights)
            result = (1 - a) ** 2 * own + a**2 * square + 2 * a * (1 - a) * mixed
            return (result - 2 * ((1 - a) * target + a * cross) + self.norm) / self.norm

        def closure() -> Tensor:
            descent.zero_grad()
            value = error()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        descent.step(closure)  # type: ignore[no-untyped-call, arg-type]
        with torch.no_grad():
            for table, own in zip(model.tables, logits, strict=True):
                table.set(own.softmax(-1))
            return float(error().detach()), model

    def _gap(self, weights: Tensor, atom: TreeTensor, others: Pairing | None) -> tuple[float, bool]:
        """The largest <f - f_t, phi - f_t>: over all, where vertices can be listed."""
        if math.prod(self.space.shape) <= self.budget:
            entries = self.space.W.dense()
            for weight, model in zip(weights, self.models, strict=True):
                entries = entries - weight * model.dense()
            return float(self.space.spread(entries).max()) - self.slope_of_mixture(weights), True
        mine = operands(atom)
        with torch.no_grad():
            value = self.with_target(mine)
            value = value if others is None else value - others(mine) @ weights
        return float(value) - self.slope_of_mixture(weights), False


def operands(model: TreeTensor, arrays: Sequence[Tensor] | None = None) -> Operands:
    """The network of a model, with other arrays in the place of its tables, if given."""
    arrays = model.arrays if arrays is None else arrays
    tables: dict[Any, Tensor | None] = {}
    for node in model.tree.nodes:
        place = model.place(node)
        tables[node] = None if place is None else arrays[place[0]][place[1]]
    sizes = {node: (model.rows(node), model.states(node)) for node in model.tree.nodes}
    return einsum_operands(model.tree, tables, sizes, model.joint)


def _arrays(network: Operands) -> list[Tensor]:
    return [array for array, _ in network]
