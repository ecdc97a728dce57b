"""Self-similar networks as latent trees: one latent per scope, its states the scope's products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mixtures import LTM, SPN, ConversionError
from mixtures.network import INPUT, PRODUCT, Network, members
from mixtures.tree import Node, Tree
from transforms.centroids import states_needed
from transforms.fields import Field
from transforms.forms import Form, normalised, put_together
from transforms.registry import Options, converter


@dataclass(eq=False)
class Region:
    """A scope of the network, its products (or components), and what products above use of it.

    `entry[q]` is the factor, by its place in `entries`, of the q-th product above.
    """

    scope: int
    states: list[int] = field(default_factory=list)  # products; components of a variable
    below: list[Region] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    entry: list[int] = field(default_factory=list)


def regions(network: Network) -> Region:
    """The region of the root; Disagreement names two products that split a scope differently."""
    scopes = network.scopes
    splits: dict[int, tuple[int, ...]] = {}
    first: dict[int, int] = {}
    found: dict[int, Region] = {}
    for node in range(len(network)):
        below = network.child[network.start[node] : network.start[node + 1]].tolist()
        region = found.setdefault(scopes[node], Region(scopes[node]))
        if network.kind[node] != PRODUCT or len(below) < 2:
            continue
        split = tuple(sorted(_split(network, node)))
        if splits.setdefault(scopes[node], split) != split:
            raise Disagreement(network, first[scopes[node]], node)
        if not region.states:
            first[scopes[node]] = node
            region.below = [found[scopes[child]] for child in below]
        region.states.append(node)
    for region in found.values():
        _enter(region, network, scopes)
    top = found[scopes[-1]]
    top.entries, top.entry = [len(network) - 1], [0]
    return top


class Disagreement(ConversionError):
    """Two products over the same variables that split them differently."""

    def __init__(self, network: Network, one: int, other: int) -> None:
        self.nodes = (one, other)
        one_part, other_part = _unlike(*(_split(network, node) for node in self.nodes))
        super().__init__(
            f"the network is not self-similar: product nodes {network.name(one)} and "
            f"{network.name(other)} are both over {members(network.scopes[one])}, but one has a "
            f"factor over {members(one_part)}, the other one over {members(other_part)}"
        )


def _split(network: Network, node: int) -> list[int]:
    """The scopes of a node's children."""
    below = network.child[network.start[node] : network.start[node + 1]].tolist()
    return [network.scopes[child] for child in below]


def _unlike(one: Sequence[int], other: Sequence[int]) -> tuple[int, int]:
    """Two different parts of two different partitions that share a variable."""
    return next((a, b) for a in one for b in other if a & b and a != b)


def _enter(region: Region, network: Network, scopes: Sequence[int]) -> None:
    """Which nodes of the regions below the products of a region have as factors."""
    for below in region.below:
        place: dict[int, int] = {}
        for product in region.states:
            factors = network.child[network.start[product] : network.start[product + 1]].tolist()
            (node,) = (factor for factor in factors if scopes[factor] == below.scope)
            below.entry.append(place.setdefault(node, len(place)))
        below.entries = list(place)


def _size(source: SPN, options: Options) -> int:
    try:
        top = regions(source.network)
    except Disagreement:
        return 0  # the conversion itself says why it fails
    total = 0
    for region in _top_down(top):
        inner = bool(region.below)
        columns = len(region.states) if inner else _components(source, region)
        total += (len(region.entry) + columns) * len(region.entries)
        total += columns * len(region.below) if len(region.below) > 1 else 0
    return total


def _needs_no_tree(source: SPN, options: Options) -> str | None:
    if options.tree is None:
        return None
    return "the tree is read off the network; from the LTM, go on to an HMM and to another tree"


def _components(source: SPN, region: Region) -> int:
    return source.shape[region.scope.bit_length() - 1] if region.scope.bit_count() == 1 else 1


def _top_down(top: Region) -> list[Region]:
    order = [top]
    for region in order:  # grows while it is read
        order.extend(region.below)
    return order


@converter(
    SPN,
    LTM,
    size=_size,
    formula="at most 3 times the edges of the source",
    condition="self-similar: products over the same variables split them in the same way",
    needs=_needs_no_tree,
)
def spn_to_ltm(source: SPN, over: Field, options: Options) -> LTM:
    """One latent per scope, one state per product of that scope.

    Sums that several products share stay as a latent of their own, with a deterministic table
    above it, where writing them out would be larger. Raises ConversionError naming two products
    that split one scope in different ways, with a certified number of states that any LTM needs.
    Linear in the edges.
    """
    try:
        top = regions(source.network)
    except Disagreement as refusal:
        raise ConversionError(f"{refusal}. {states_needed(source)}") from None
    form = _Reading(source, over).form(top)
    return put_together(LTM, form, over, source)


class _Reading:
    """Turns regions into a tree with tables."""

    def __init__(self, source: SPN, over: Field) -> None:
        self.source, self.over, self.network = source, over, source.network
        self.weight = weights_of(source, over)
        self.children: dict[Node, list[Node]] = {}
        self.tables: dict[Node, Tensor | None] = {}
        self.next = source.variables
        self.rounded: set[Node] = set()  # whose rows were computed, not copied

    def form(self, top: Region) -> Form:
        order = _top_down(top)
        names: dict[int, Node] = {}
        for region in reversed(order):
            names[id(region)] = self._node(region, names)
        root = names[id(top)]
        if root not in self.children:  # one variable
            self.children[self.next] = [root]
            self.tables[self.next] = self.over.ones(1, 1)
        tree = Tree(self.children)
        sizes = {node: tuple(table.shape) for node, table in self.tables.items()}  # type: ignore[union-attr]
        return normalised(Form(tree, self.tables, sizes), self.over, self.rounded)  # type: ignore[arg-type]

    def _node(self, region: Region, names: dict[int, Node]) -> Node:
        """The latent or variable of a region, or the latent of its shared sums above it."""
        node: Node = region.scope.bit_length() - 1
        if region.below:
            node = self._new([names[id(below)] for below in region.below])
        mixed, copied = self._mixed(region)
        if not copied:
            self.rounded.add(node)
        entry = torch.tensor(region.entry)
        uses = (mixed != 0).sum(1)
        if int(uses[entry].sum()) <= len(entry) + int(uses.sum()):
            self.tables[node] = mixed[entry]
            return node
        self.tables[node] = mixed
        shared = self._new([node])
        self.tables[shared] = self.over.eye(len(region.entries))[entry]
        return shared

    def _new(self, below: list[Node]) -> Node:
        self.children[self.next] = below
        self.next += 1
        return self.next - 1

    def _mixed(self, region: Region) -> tuple[Tensor, bool]:
        """For each entry of a region its distribution over states, and whether weights were copied.

        Sums of sums are written out.
        """
        place = {node: number for number, node in enumerate(region.states)}
        k = len(region.states) if region.below else _components(self.source, region)
        rows: dict[int, Tensor] = {}
        unit, copied = self.over.eye(k), True

        def row(node: int) -> Tensor:
            if self.network.kind[node] == INPUT:
                return unit[int(self.network.component[node])]
            return unit[place[node]] if node in place else rows[node]

        for node in _sums_below(self.network, region, place):
            edges = range(int(self.network.start[node]), int(self.network.start[node + 1]))
            parts = torch.stack([row(int(self.network.child[edge])) for edge in edges])
            weight = self.weight[edges.start : edges.stop, None]
            rows[node] = self.over.total(self.over.multiply(weight, parts), [0])
            below = self.network.child[edges.start : edges.stop].tolist()
            copied = copied and len(set(below)) == len(below) and rows.keys().isdisjoint(below)
        return torch.stack([row(node) for node in region.entries]), copied


def _sums_below(network: Network, region: Region, states: dict[int, int]) -> list[int]:
    """The nodes between the entries of a region and its states, children first."""
    seen: set[int] = set()
    stack = list(region.entries)
    while stack:
        node = stack.pop()
        if node in seen or node in states or network.kind[node] == INPUT:
            continue
        seen.add(node)
        stack.extend(network.child[network.start[node] : network.start[node + 1]].tolist())
    return sorted(seen)


def weights_of(source: SPN, over: Field) -> Tensor:
    """The weight of every edge as an element of the field; 1 for the edges of products."""
    weights = torch.as_tensor(source.edge_weights())
    if any(not array.is_floating_point() for array in source.arrays):
        weights = weights.to(torch.int64)
    return over.read(weights)
