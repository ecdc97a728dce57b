"""Starting points from whole rows: clusters of what lies below a latent become its states."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mixtures.components import Data
from mixtures.components.columns import blocks
from mixtures.importing import Later
from mixtures.learn.clusters import coordinates, k_means, principal
from mixtures.learn.em import expectations
from mixtures.mixture import Mixture
from mixtures.tables import Table
from mixtures.tree import Node
from mixtures.treetensor import TreeTensor

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")

ROW_STARTS = ("k-means", "spectral")
SURE = 0.95  # of a row belongs to the state of its cluster, the rest to all alike
DRAWN = 0.1  # of every table stays what was drawn at random, so that no two states are alike
MOST_ROWS, MOST_LABELS = 20_000, 2**25  # rows, and rows x states of all latents, that starts see


class Group(NamedTuple):
    """Latents whose states mean the same, because tables are tied, and the variables each sees."""

    latents: list[Node]
    views: list[list[int]]


def check_row_start(model: Mixture, start: str) -> TreeTensor:
    """The model's coefficients; ValueError unless their states can be named by clusters of rows."""
    W = model.coefficients
    if not isinstance(W, TreeTensor) or W.joint:
        raise ValueError(
            f"start={start!r} is for trees whose nodes hand their state down (TMM, HMM, LTM), got "
            f"{type(W).__name__}; use start='data'"
        )
    return W


def start_from_rows(
    model: Mixture,
    data: Data,
    weights: Tensor,
    start: str,
    generator: torch.Generator | None = None,
) -> None:
    """One M-step from the clusters that rows, of weights (n,), belong to below each latent.

    Tables and components are what they are at first: a part of the tables stays.
    """
    W = check_row_start(model, start)
    groups = tied_latents(model)
    sizes = sum(W.states(node) for group in groups for node in group.latents)
    most = min(MOST_ROWS, max(1, MOST_LABELS // sizes))
    if len(data) > most:
        index = torch.randperm(len(data), generator=generator, device=W.device)[:most]
        data, weights = data.rows(index), weights[index]
    memberships = {
        node: own
        for group in groups
        for node, own in _memberships(
            data, weights, group, W.states(group.latents[0]), start, generator
        )
    }
    _maximise_components(model, W, data, weights, memberships)
    drawn = [array.double().clone() for array in W.arrays]
    for table, values in _stacks(W, [(array > 0).double() for array in drawn]):
        table.set((values / values.sum(-1, keepdim=True)).to(table.values.dtype))
    evidence: Mapping[Hashable, Tensor] = {node: own.log() for node, own in memberships.items()}
    expected = expectations(model, data, weights, evidence)
    for table, count in _stacks(W, expected.counts):
        table.maximise(count)
    for table, values in _stacks(W, drawn):
        mixed = (1 - DRAWN) * table.values + DRAWN * values
        table.set((mixed / mixed.sum(-1, keepdim=True)).to(table.values.dtype))


def tied_latents(model: Mixture) -> list[Group]:
    """The latents of a tree, those together whose states tied tables or components identify.

    A latent sees the variables below it; of latents tied to others below them, as those of a
    homogeneous chain are, each sees the leaves that hang from it. ValueError where latents of one
    group see different numbers of variables.

    >>> from mixtures import HMM
    >>> from mixtures.components import Indicator
    >>> for shared in (False, True):
    ...     model = Mixture(HMM(3, 2, 2, shared=shared), Indicator(3, 2))
    ...     [group.views for group in tied_latents(model)]
    [[[2]], [[1, 2]], [[0, 1, 2]]]
    [[[2], [1], [0]]]
    """
    W = model.coefficients
    assert isinstance(W, TreeTensor)
    tree = W.tree
    below: dict[Node, list[int]] = {j: [j] for j in range(tree.variables)}
    for node in tree.inner:
        below[node] = sorted(j for child in tree.children[node] for j in below[child])
    found = []
    for part in networkx.connected_components(_ties(model, W)):
        latents = [node for node in tree.inner if node in part]
        nested = len(latents) > 1 and len({len(below[node]) for node in latents}) > 1
        views = [[j for j in below[v] if not nested or tree.parent[j] == v] for v in latents]
        if len({len(view) for view in views}) > 1 or not views[0]:
            raise ValueError(
                f"tied latents {latents[:3]} see different numbers of variables, "
                f"{sorted({len(view) for view in views})}; use start='data'"
            )
        found.append(Group(latents, views))
    return found


def _ties(model: Mixture, W: TreeTensor) -> networkx.Graph:
    """Which latents have states of one meaning."""
    tree = W.tree
    graph = networkx.Graph()
    graph.add_nodes_from(tree.inner)
    users: dict[Any, list[Node]] = defaultdict(list)
    for node in tree.nodes:
        place = W.place(node)
        if place is not None:
            users[place].append(node)
        elif node in tree.children:  # an identity: its state is its parent's
            graph.add_edge(node, tree.parent[node])
        elif model.components.shared:
            users["components"].append(node)
    for nodes in users.values():
        for one, other in itertools.pairwise(nodes):
            if one in tree.children and other in tree.children:
                graph.add_edge(one, other)
            if one != tree.root and other != tree.root:
                graph.add_edge(tree.parent[one], tree.parent[other])
    return graph


def _memberships(
    data: Data,
    weights: Tensor,
    group: Group,
    states: int,
    start: str,
    generator: torch.Generator | None,
) -> Iterator[tuple[Node, Tensor]]:
    """Of every latent of a group the states (n, r) its rows belong to; all, where it sees none."""
    values, seen = zip(*(_view(data, view) for view in group.views), strict=True)
    observed = torch.cat(seen, 1)
    points = coordinates(torch.cat(values, 1).cpu(), observed.cpu())
    known = observed.any(0).cpu()
    labels = torch.zeros(len(points), dtype=torch.long)
    if bool(known.any()):
        there = points[known]
        if start == "spectral":
            there = principal(there, states, generator)
        mass = weights.double().cpu().repeat(len(group.latents))[known]
        labels[known] = k_means(there, states, mass, generator, what=f"start={start!r}")
    hot = torch.nn.functional.one_hot(labels, states).double()
    own = torch.where(known[:, None], SURE * hot + (1 - SURE) / states, 1 / states)
    device = data.values.device
    return zip(group.latents, own.to(device).split(len(data)), strict=True)


def _view(data: Data, variables: list[int]) -> tuple[Tensor, Tensor]:
    """Some variables as columns of numbers (p, n), and which of them were observed."""
    part = data.columns(torch.tensor(variables, device=data.values.device))
    values, seen = part.values, part.observed
    if seen is None:
        seen = torch.ones_like(values, dtype=torch.bool)
    seen = seen.reshape(seen.shape + (1,) * (values.ndim - seen.ndim)).expand(values.shape)
    return _flat(values), _flat(seen)


def _flat(values: Tensor) -> Tensor:
    """Vectors (p, n, *event) entry by entry, (p * entries, n)."""
    return values.reshape(*values.shape[:2], -1).movedim(2, 1).flatten(0, 1)


def _maximise_components(
    model: Mixture,
    W: TreeTensor,
    data: Data,
    weights: Tensor,
    memberships: Mapping[Node, Tensor],
) -> None:
    """Components that are states themselves learn from the rows of their state; the others stay."""
    components = model.components
    direct = [j for j in range(W.tree.variables) if W.place(j) is None]
    if not direct:
        return
    total: dict[str, Tensor] = {}
    for rows in blocks(len(data), components.variables * components.largest):
        part = data.rows(rows)
        flows = weights.new_zeros((components.variables, components.largest, len(part)))
        for j in direct:
            own = memberships[W.tree.parent[j]][rows] * weights[rows, None]
            flows[j, : own.shape[1]] = own.mT
        sums = components.statistics(part, flows)
        total = {name: total[name] + sums[name] for name in sums} if total else sums
    components.maximise(total)


def _stacks(W: TreeTensor, values: list[Tensor]) -> Iterator[tuple[Table, Tensor]]:
    for table, own in zip(W.tables, values, strict=True):
        assert isinstance(table, Table)
        yield table, own
