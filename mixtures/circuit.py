"""Circuits: plans of integer arrays that say which values are combined and mixed, in which order.

A circuit is a list of layers. Each layer computes, for N nodes at once,

    out = mix(table, combine(children)),   combine = product | outer | concatenate,

where a table may be absent (an identity). A run of equal steps, each fed by the one before, is one
layer of L steps. All values live in one buffer of S rows (scalars), batch last; nodes are
contiguous rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy
import torch
from torch import Tensor

from mixtures.blocks import Block, Integers

Combine = Literal["product", "outer", "concatenate"]
FACTORS = 64  # products of more mantissas underflow too often
ONE, ZERO, CONSTANTS = 0, 1, 2  # the first two rows of a buffer hold the ring's one and zero


@dataclass(frozen=True, eq=False)
class Layer:
    """L steps of N nodes: children (m, L, N) as buffer rows; the child at `carry` is the step
    before.
    """

    combine: Combine
    children: Integers  # (m, L, N) first rows
    owners: Integers  # (m, L, N) the nodes those rows belong to
    widths: tuple[int, ...]  # of the m children
    row: int  # first row of the outputs, laid out (L, N, width)
    node: int  # first node of the outputs, laid out (L, N)
    width: int  # P, states of an output
    table: int | None  # which stack of tables; None: identity
    slots: Integers | None  # (L, N) entries of that stack
    carry: int | None = None
    identity: bool = False  # without a table: an identity table, not stored but counted as edges

    @property
    def steps(self) -> int:
        return self.children.shape[1]

    @property
    def nodes(self) -> int:
        return self.children.shape[2]

    @cached_property
    def inside(self) -> int:
        """C, the number of states the children combine to."""
        if self.combine == "product":
            return self.widths[0]
        if self.combine == "outer":
            return int(numpy.prod(self.widths, dtype=object))
        return sum(self.widths)

    @cached_property
    def scalars(self) -> bool:
        """Concatenated scalars: read in one go instead of child by child."""
        return self.combine == "concatenate" and all(width == 1 for width in self.widths)

    @cached_property
    def gathered(self) -> bool:
        """Many equal children of a product: read in one go, child axis first."""
        return self.combine == "product" and self.steps == 1 and len(self.widths) > 4

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What to read: one block per child; one for all where they are read in one go."""
        if self.scalars:
            return (Block(self.children.transpose(1, 2, 0).reshape(self.steps, -1), 1),)
        if self.gathered:
            return (Block(self.children[:, 0], self.widths[0]),)
        return self.each

    @cached_property
    def each(self) -> tuple[Block, ...]:
        """One block per child."""
        rows = [
            self.children[i, :1] if i == self.carry else self.children[i]
            for i in range(len(self.widths))
        ]
        return tuple(Block(r, w) for r, w in zip(rows, self.widths, strict=True))

    def out(self, buffer: Tensor) -> Tensor:
        """The view (L, N, P, B) of the outputs."""
        size = self.steps * self.nodes * self.width
        shape = (self.steps, self.nodes, self.width, buffer.shape[1])
        return buffer[self.row : self.row + size].view(shape)

    def nodes_of(self, step: int) -> slice:
        """The nodes that a step computes."""
        first = self.node + step * self.nodes
        return slice(first, first + self.nodes)


@dataclass(eq=False)
class Circuit:
    """A plan: inputs of given widths, layers bottom up, the root (one scalar), and named latents.

    `latents` says where the states of a latent live: {name: (layer, step, position)}, as the
    combined children of that node.
    """

    inputs: tuple[int, ...]
    layers: tuple[Layer, ...]
    root: int  # node
    row_of: Integers  # node -> first row
    width_of: Integers  # node -> states
    latents: Mapping[Any, tuple[int, int, int]] = field(default_factory=dict)
    absent: int = 0  # rows of inputs that are looked up elsewhere: the last ones, not in a buffer

    @property
    def variables(self) -> int:
        return len(self.inputs)

    @cached_property
    def rows(self) -> int:
        """The scalars of one evaluation of one row of data."""
        return int(self.width_of.sum())

    @property
    def held(self) -> int:
        """S, those of them that are put into a buffer."""
        return self.rows - self.absent

    def states_of(self, latent: Any) -> int:
        """How many states a latent has: what its node combines to, without padding."""
        place, step, position = self.latents[latent]
        layer = self.layers[place]
        if not layer.scalars:
            return layer.inside
        return int((layer.owners[:, step, position] != ZERO).sum())

    @cached_property
    def is_tree(self) -> bool:
        """Whether every value is used at most once and nothing is concatenated."""
        if any(layer.combine == "concatenate" for layer in self.layers):
            return False
        used = [layer.children.reshape(-1) for layer in self.layers]
        rows = numpy.concatenate(used) if used else numpy.empty(0, dtype=numpy.int64)
        return not rows.size or int(numpy.bincount(rows).max()) == 1

    @cached_property
    def covers(self) -> bool:
        """A tree that uses every value: on the way down every row is written before it is read."""
        used = sum(sum(layer.widths) * layer.steps * layer.nodes for layer in self.layers)
        return self.is_tree and used == self.rows - CONSTANTS - 1

    @cached_property
    def is_multilinear_tree(self) -> bool:
        """A tree whose every layer mixes, with few factors each: what mantissas serve."""
        return self.is_tree and all(
            layer.table is not None and len(layer.widths) <= FACTORS for layer in self.layers
        )

    @cached_property
    def settled(self) -> frozenset[int]:
        """The layers after which values are renormalised: runs, the last layer, products of many,
        and of the others those above one that is not.
        """
        found, waiting = set(), False
        for place, layer in enumerate(self.layers):
            many = layer.steps > 1 or len(layer.widths) > 2 or layer.combine != "product"
            if waiting or many or place == len(self.layers) - 1:
                found.add(place)
            waiting = place not in found
        return frozenset(found)

    @cached_property
    def key(self) -> Hashable:
        """Equal for circuits of one structure, with tables and latents in the same places."""
        layers = tuple(
            (
                layer.combine,
                layer.owners.shape,
                layer.owners.tobytes(),
                layer.children.tobytes(),
                layer.widths,
                layer.width,
                layer.table,
                None if layer.slots is None else layer.slots.tobytes(),
            )
            for layer in self.layers
        )
        return (self.inputs, self.root, layers, tuple(self.latents.items()))

    @cached_property
    def has_patterns(self) -> bool:
        """A tree whose nodes may be evaluated once per pattern of what is below them: long runs,
        which are better left in one piece, are not most of it.
        """
        runs = sum(layer.steps * layer.nodes for layer in self.layers if layer.steps > 1)
        nodes = sum(layer.steps * layer.nodes for layer in self.layers)
        return self.is_tree and 3 * runs < nodes and all(map(self._reads_nodes, self.layers))

    @cached_property
    def direct(self) -> Mapping[tuple[int, int], Integers]:
        """Of a tree the variables (N,) that children of layers are, by (layer, child position);
        nothing unless all inputs are children where whole layers have inputs.
        """
        found, first = {}, CONSTANTS + self.variables
        for place, layer in enumerate(self.layers):
            for position, owners in enumerate(layer.owners):
                if bool((owners >= first).all()):
                    continue
                if layer.steps > 1 or not self._reads_nodes(layer) or bool((owners >= first).any()):
                    return {}
                found[place, position] = owners[0] - CONSTANTS
        read = sum(len(variables) for variables in found.values())
        return found if self.is_tree and read == self.variables else {}

    def _reads_nodes(self, layer: Layer) -> bool:
        """Whether a layer reads whole nodes, none of them constant, and no parts of nodes."""
        owners, widths = layer.owners, numpy.array(layer.widths)[:, None, None]
        return bool(
            (owners >= CONSTANTS).all()
            and (layer.children == self.row_of[owners]).all()
            and (self.width_of[owners] == widths).all()
        )

    def existing(self, device: torch.device) -> Tensor:
        """(d, max k) bool: which columns of the leaves exist."""
        sizes = torch.as_tensor(self.inputs, device=device)
        return torch.arange(max(self.inputs), device=device) < sizes[:, None]

    @cached_property
    def input_rows(self) -> int:
        return sum(self.inputs)

    @cached_property
    def uniform(self) -> bool:
        """Whether all variables have the same number of components."""
        return len(set(self.inputs)) == 1

    def input_columns(self, device: torch.device) -> Tensor:
        """Of (d * max k) flattened leaf columns, those that exist, in the order of the buffer."""
        return _input_columns(self.inputs, device)


@lru_cache(maxsize=64)
def _input_columns(inputs: tuple[int, ...], device: torch.device) -> Tensor:
    most = max(inputs)
    columns = [numpy.arange(k) + j * most for j, k in enumerate(inputs)]
    return torch.as_tensor(numpy.concatenate(columns), device=device)


class Builder:
    """Puts a circuit together, layer by layer; nodes are numbered in the order they are made."""

    def __init__(self, inputs: Sequence[int]) -> None:
        self.inputs = tuple(int(k) for k in inputs)
        self._starts = Growing()
        self._widths = Growing()
        self._layers: list[Layer] = []
        self.latents: dict[Any, tuple[int, int, int]] = {}
        widths = numpy.array([1] * CONSTANTS + list(self.inputs))
        self._starts.extend(widths.cumsum() - widths)
        self._widths.extend(widths)
        self._rows = int(widths.sum())

    def input(self, variable: int) -> int:
        """The node of a variable."""
        return CONSTANTS + variable

    def layer(
        self,
        combine: Combine,
        children: Integers,
        widths: Sequence[int],
        width: int,
        table: int | None = None,
        slots: Integers | None = None,
        *,
        carry: int | None = None,
        rows: Integers | None = None,
        identity: bool = False,
    ) -> Integers:
        """Add a layer over child nodes (m, L, N), or over given `rows` inside them; its nodes (L,
        N).
        """
        steps, count = children.shape[1:]
        row, node = self._rows, len(self._starts)
        made = self._new_nodes(steps * count, width).reshape(steps, count)
        children = children.copy()
        if carry is not None:
            children[carry, 1:] = made[:-1]
        first = self._starts.array[children] if rows is None else rows
        widths = tuple(int(w) for w in widths)
        self._layers.append(
            Layer(
                combine,
                first,
                children,
                widths,
                row,
                node,
                int(width),
                table,
                slots,
                carry,
                identity,
            )
        )
        return made

    def graft(self, circuit: Circuit, tables: Sequence[int], prefix: Any, offsets: Integers) -> int:
        """Add a circuit's layers, table t as tables[t], latents (prefix, name); its root.

        Its component i of variable j is component offsets[j] + i here.
        """
        first, first_row = CONSTANTS + circuit.variables, CONSTANTS + circuit.input_rows
        node_shift, row_shift = len(self._starts) - first, self._rows - first_row
        layer_shift = len(self._layers)
        input_shift = numpy.zeros(first, dtype=numpy.int64)
        input_shift[CONSTANTS:] = self._starts.array[CONSTANTS:first] + offsets
        input_shift[CONSTANTS:] -= circuit.row_of[CONSTANTS:first]
        for layer in circuit.layers:
            inner = layer.owners >= first
            owners = numpy.where(inner, layer.owners + node_shift, layer.owners)
            shift = numpy.where(inner, row_shift, input_shift[numpy.where(inner, 0, layer.owners)])
            table = None if layer.table is None else tables[layer.table]
            self.layer(
                layer.combine,
                owners,
                layer.widths,
                layer.width,
                table,
                layer.slots,
                carry=layer.carry,
                rows=layer.children + shift,
                identity=layer.identity,
            )
        for name, (place, step, position) in circuit.latents.items():
            self.latents[prefix, name] = (place + layer_shift, step, position)
        return circuit.root if circuit.root < first else circuit.root + node_shift

    def _new_nodes(self, count: int, width: int) -> Integers:
        first = len(self._starts)
        self._starts.extend(self._rows + width * numpy.arange(count))
        self._widths.extend(numpy.full(count, width))
        self._rows += width * count
        return first + numpy.arange(count)

    def first_row(self, nodes: Integers) -> Integers:
        """The first buffer row of each node."""
        return self._starts.array[nodes]

    def name(self, latent: Any, step: int, position: int) -> None:
        """Name the states that the children of a node of the newest layer combine to."""
        self.latents[latent] = (len(self._layers) - 1, step, position)

    def build(self, root: int, absent: int = 0) -> Circuit:
        """The finished circuit, whose value is that of the node `root`; the last `absent` rows of
        inputs become the last of all.
        """
        starts, widths = self._starts.array.copy(), self._widths.array.copy()
        layers, first = self._layers, CONSTANTS + sum(self.inputs) - absent
        if absent:
            number = numpy.arange(self._rows)
            number[first : first + absent] += self._rows - absent - first
            number[first + absent :] -= absent
            starts = number[starts]
            layers = [
                replace(layer, row=int(number[layer.row]), children=number[layer.children])
                for layer in layers
            ]
        return Circuit(self.inputs, tuple(layers), root, starts, widths, self.latents, absent)


class Growing:
    """An array of integers that is extended in amortised constant time."""

    def __init__(self) -> None:
        self._held = numpy.empty(64, dtype=numpy.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def array(self) -> Integers:
        return self._held[: self._size]

    def extend(self, values: Integers) -> None:
        size = self._size + len(values)
        if size > len(self._held):
            held = numpy.empty(2 * size, dtype=numpy.int64)
            held[: self._size] = self.array
            self._held = held
        self._held[self._size : size] = values
        self._size = size
