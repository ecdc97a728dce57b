"""Circuits as sum-product networks: one sum per mixed state, one product per combined state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures import SPN
from mixtures.circuit import CONSTANTS, ONE, Circuit, Integers, Layer
from mixtures.coefficients import CoefficientTensor
from mixtures.network import INPUT, PRODUCT, SUM, Network
from transforms.fields import Field
from transforms.registry import Options, converter
from transforms.splicing import reached, spliced

Flags = NDArray[numpy.bool_]


def _edges(source: CoefficientTensor, options: Options) -> int:
    return source.size


@converter(
    CoefficientTensor,  # type: ignore[type-abstract]
    SPN,
    size=_edges,
    formula="the edges of the source; of an LTM with I latents r + (I-1+d) r + (I-1) r^2 + d r k",
)
def to_spn(source: CoefficientTensor, over: Field, options: Options) -> SPN:
    """Every sum and every product of the circuit becomes a node.

    A sum per state that a table mixes into, over its non-zero entries; a product per combined
    state, unless it has a single factor; nothing for identities. Ties are undone: a network holds
    each weight where it is used. Linear in time and memory.
    """
    arrays = [over.read(array) for array in source.arrays]
    return build(network_of(source.circuit, arrays), over, source)


def build(network: Network, over: Field, like: CoefficientTensor) -> SPN:
    """The model of a network whose weights are elements of the field."""
    if over.dtype.is_floating_point:
        return SPN(network, dtype=like.dtype, device=like.device)
    fan_in = numpy.diff(network.start)
    even = numpy.repeat(1 / numpy.maximum(fan_in, 1), fan_in)
    model = SPN(replace(network, weight=even), dtype=like.dtype, device=like.device)
    stacks = network.compile()[1]
    over.install(model, [torch.as_tensor(stack).to(over.dtype) for stack in stacks])
    return model


def network_of(circuit: Circuit, arrays: Sequence[Tensor]) -> Network:
    """The network of a circuit with tables over a field: only what the root reaches."""
    parts = _Parts(circuit)
    for layer in circuit.layers:
        table = None if layer.table is None else arrays[layer.table].numpy()
        parts.layer(layer, table)
    root = int(parts.made[circuit.row_of[circuit.root]])
    return spliced(reached(parts.network(), root))


class _Parts:
    """Nodes and edges, layer by layer; `made` says which node computes a row of the buffer."""

    def __init__(self, circuit: Circuit) -> None:
        self.shape = circuit.inputs
        self.made = numpy.full(circuit.rows, -1, dtype=numpy.int64)
        self.nodes = circuit.input_rows
        self.made[CONSTANTS : CONSTANTS + self.nodes] = numpy.arange(self.nodes)
        self.kinds = [numpy.full(self.nodes, INPUT)]
        self.owners: list[Integers] = []  # the node above each edge
        self.children: list[Integers] = []
        self.weights: list[NDArray] = []

    def layer(self, layer: Layer, table: NDArray | None) -> None:
        """Products of combined states, sums of mixed ones; identities pass on what they get."""
        rows, real = _factors(layer)
        several = real.sum(0) > 1
        sums = (layer.steps, layer.nodes, 0 if table is None else layer.width)
        used = numpy.ones((layer.steps, layer.nodes, layer.inside), dtype=bool)
        if table is not None:
            assert layer.slots is not None
            used = (table != 0).any(1)[layer.slots]
        products = self._number(several & used, numpy.ones(sums, dtype=bool))
        out = self.made[layer.row : layer.row + layer.steps * layer.nodes * layer.width]
        out = out.reshape(layer.steps, layer.nodes, layer.width)
        inside, mixed = products
        if table is not None:
            out[:] = mixed
        else:
            out[:] = inside
            _pass_on(self.made, out, rows, real, several)
        self._product_edges(inside, several & used, rows, real)
        alone = self.made[numpy.where(real, rows, 0)].max(0, where=real, initial=-1)
        inside = numpy.where(several, inside, alone)
        if table is not None:
            self._sum_edges(mixed, inside, table[layer.slots])

    def _number(self, products: Flags, sums: Flags) -> tuple[Integers, Integers]:
        """Numbers for new nodes, step by step, the products of a step before its sums."""
        steps = len(products)
        exist = numpy.concatenate([products.reshape(steps, -1), sums.reshape(steps, -1)], axis=1)
        kind = numpy.full(exist.shape, SUM)
        kind[:, : products[0].size] = PRODUCT
        self.kinds.append(kind[exist])
        number = self.nodes + numpy.cumsum(exist).reshape(exist.shape) - 1
        self.nodes += int(exist.sum())
        cut = products[0].size
        return number[:, :cut].reshape(products.shape), number[:, cut:].reshape(sums.shape)

    def _product_edges(self, node: Integers, exist: Flags, rows: Integers, real: Flags) -> None:
        there = real & exist
        self.owners.append(numpy.broadcast_to(node, rows.shape)[there])
        self.children.append(self.made[rows[there]])
        self.weights.append(numpy.ones(int(there.sum()), dtype=numpy.int64))

    def _sum_edges(self, node: Integers, inside: Integers, weights: NDArray) -> None:
        there = weights != 0
        self.owners.append(numpy.broadcast_to(node[..., None], weights.shape)[there])
        self.children.append(numpy.broadcast_to(inside[:, :, None], weights.shape)[there])
        self.weights.append(weights[there])

    def network(self) -> Network:
        """Everything made so far, the edges sorted by the node above them."""
        if not self.owners:
            self.owners, self.children = (
                [numpy.empty(0, numpy.int64)],
                [numpy.empty(0, numpy.int64)],
            )
            self.weights = [numpy.empty(0)]
        owner = numpy.concatenate(self.owners)
        order = numpy.argsort(owner, kind="stable")
        count = numpy.bincount(owner, minlength=self.nodes)
        variable = numpy.full(self.nodes, -1)
        component = variable.copy()
        inputs = sum(self.shape)
        variable[:inputs] = numpy.repeat(numpy.arange(len(self.shape)), self.shape)
        component[:inputs] = numpy.concatenate([numpy.arange(k) for k in self.shape])
        return Network(
            numpy.concatenate(self.kinds),
            numpy.concatenate([[0], numpy.cumsum(count)]),
            numpy.concatenate(self.children)[order],
            numpy.concatenate(self.weights)[order],
            variable,
            component,
            self.shape,
        )


def _factors(layer: Layer) -> tuple[Integers, Flags]:
    """The buffer rows (m, L, N, C) that each combined state multiplies, and which are not one."""
    if layer.combine == "concatenate":
        parts = [
            layer.children[i][..., None] + numpy.arange(width)
            for i, width in enumerate(layer.widths)
        ]
        rows = numpy.concatenate(parts, axis=-1)[None]
        return rows, numpy.ones(rows.shape, dtype=bool)
    if layer.combine == "outer":
        digits = numpy.stack(numpy.unravel_index(numpy.arange(layer.inside), layer.widths))
    else:
        digits = numpy.broadcast_to(numpy.arange(layer.inside), (len(layer.widths), layer.inside))
    rows = layer.children[..., None] + digits[:, None, None]
    return rows, numpy.broadcast_to((layer.owners != ONE)[..., None], rows.shape)


def _pass_on(made: Integers, out: Integers, rows: Integers, real: Flags, several: Flags) -> None:
    """An identity over a single factor is that factor; step by step: steps feed one another."""
    if several.all():
        return
    for step in range(len(out)):
        alone = made[numpy.where(real[:, step], rows[:, step], 0)].max(
            0, where=real[:, step], initial=-1
        )
        out[step] = numpy.where(several[step], out[step], alone)
