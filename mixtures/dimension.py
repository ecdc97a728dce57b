"""The dimension of a model: the rank of the Jacobian of its coefficients in its free parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import torch
from flint import nmod_mat
from torch import Tensor

from mixtures.circuit import Layer
from mixtures.coefficients import CoefficientTensor
from mixtures.combining import split_flow
from mixtures.engine import buffer_rows, from_tensor, layer_weights, upward
from mixtures.passes import Factor, Shares, Values, all_of, downward, inside_of
from mixtures.residues import modular_bmm
from mixtures.semiring import Linear, Modular

PRIME = 2**31 - 1
BUDGET = 1500  # free parameters whose Jacobian is eliminated
SPARE = 5


def dimension(model: CoefficientTensor, budget: int = BUDGET) -> int:
    """The identifiable parameters: the dimension of the set of all W the model's tables can give.

    The rank of the Jacobian of W in the free entries of the tables (rows sum to one, zeros stay
    zero, ties count once) at random residues modulo 2^31 - 1, seen through as many random
    contractions as there are parameters. It is never above the dimension, and below it with a
    probability below 1e-5. Models of more than `budget` parameters: their number, capped by the
    entries of W less one, an upper bound.

    >>> from mixtures import LTM, Tree
    >>> dimension(LTM(Tree.balanced(4), components=2, states=2))
    11
    """
    free = min(model.num_parameters, math.prod(model.shape) - 1)
    if model.num_parameters > budget or free == 0:
        return free
    rng = numpy.random.default_rng(0)
    tables = random_tables(model.arrays, PRIME, rng)
    probes = rng.integers(0, PRIME, (free + SPARE, model.variables, max(model.shape)))
    jacobian = _jacobian(model, tables, torch.from_numpy(probes))
    height, width = jacobian.shape
    return int(nmod_mat(height, width, jacobian.reshape(-1).tolist(), PRIME).rank())


def random_tables(arrays: Sequence[Tensor], p: int, rng: numpy.random.Generator) -> list[Tensor]:
    """Random residues with the zeros of `arrays`, rows summing to one modulo p."""
    found = []
    for array in arrays:
        support = (array != 0).cpu()
        drawn = rng.integers(0, p, tuple(array.shape), dtype=numpy.int64)
        table = torch.from_numpy(drawn) * support
        last = last_entry(support)
        table.scatter_(-1, last, 0)
        rest = (1 - table.sum(-1, keepdim=True)) % p
        found.append(table.scatter(-1, last, rest).to(array.device))
    return found


def last_entry(support: Tensor) -> Tensor:
    """The place of the last entry of each row that is no structural zero, the axis kept."""
    return support.shape[-1] - 1 - support.flip(-1).to(torch.int64).argmax(-1, keepdim=True)


def _jacobian(model: CoefficientTensor, tables: Sequence[Tensor], probes: Tensor) -> Tensor:
    """Derivatives of contractions (m) in the free parameters (n), modulo PRIME."""
    found = []
    for leaves in probes.split(64):
        parts = []
        for table, gradient in zip(tables, _gradients(model, tables, leaves), strict=True):
            support = (table != 0).cpu()
            last = last_entry(support)
            rest = gradient.gather(-2, last[..., None].expand(*last.shape, len(leaves)))
            free = support.scatter(-1, last, False)
            parts.append(((gradient - rest) % PRIME)[free])
        found.append(torch.cat(parts).T)
    return torch.cat(found)


def _gradients(model: CoefficientTensor, tables: Sequence[Tensor], leaves: Tensor) -> list[Tensor]:
    """Derivatives of each contraction in each entry of the tables: (slots, P, C, rows)."""
    source = from_tensor(leaves)
    ring = Residues(PRIME)
    values = upward(
        model.circuit,
        layer_weights(model.circuit, [table.cpu() for table in tables]),
        ring,
        buffer_rows(model.circuit, source.read(0, len(leaves))),
        {},
    )
    flow = Gradients(values, torch.ones_like(values.root), tables)
    downward(values, flow)
    return [gradient % PRIME for gradient in flow.gradients]


class Residues(Modular, Linear):
    """Residues modulo a prime that also know how a product's derivative splits."""

    def split(self, factors: Sequence[Tensor], flow: Tensor) -> list[Tensor]:
        before: list[Tensor] = [flow % self.p]
        for factor in factors[:-1]:
            before.append(before[-1] * factor % self.p)
        parts: list[Tensor] = []
        after = torch.ones_like(factors[0])
        for factor, ahead in zip(reversed(factors), reversed(before), strict=True):
            parts.append(ahead * after % self.p)
            after = after * factor % self.p
        return parts[::-1]


class Gradients(Shares):
    """The downward pass of derivatives, modulo a prime, kept for every row of leaves."""

    def __init__(self, values: Values, root: Tensor, tables: Sequence[Tensor]) -> None:
        super().__init__(values, root)
        rows = root.shape[-1]
        self.gradients = [torch.zeros((*table.shape, rows), dtype=torch.int64) for table in tables]

    def descend(
        self,
        values: Values,
        place: int,
        step: int,
        factors: Sequence[Factor],
        outside: Tensor,
    ) -> None:
        """Hand the derivative on to the children, and note what each entry of the table gets."""
        layer: Layer = values.circuit.layers[place]
        ring = values.ring
        assert isinstance(ring, Residues)
        below = layer.out(self.buffer)[step] % ring.p
        mixing = values.weights[place][step]
        if mixing is not None:
            assert layer.table is not None and layer.slots is not None
            inside = inside_of(values, place, step, factors)
            slots = torch.from_numpy(layer.slots[step])
            entries = below[:, :, None] * inside[:, None] % ring.p
            self.gradients[layer.table].index_add_(0, slots, entries)
            below = modular_bmm(mixing.values.mT, below, ring.p)
        parts = split_flow(layer, ring, all_of(values, factors), below)
        self._hand_on(values, place, step, [part % ring.p for part in parts])
