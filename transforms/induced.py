"""Networks multiplied out: the sum over induced trees, each a product of univariate factors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mixtures import SPN, TMM
from mixtures.network import INPUT, PRODUCT, Network
from mixtures.tree import Node, Tree
from transforms.fields import Field
from transforms.forms import Form, normalised, put_together
from transforms.registry import Options, converter
from transforms.selfsimilar import weights_of


def induced_trees(network: Network) -> int:
    """How many there are, if a tree ends at nodes over one variable; one pass, exact integers."""
    counts: list[int] = []
    for node, below in enumerate(_children(network)):
        if network.scopes[node].bit_count() == 1:
            counts.append(1)
        elif network.kind[node] == PRODUCT:
            *_, count = accumulate((counts[child] for child in below), lambda x, y: x * y)
            counts.append(count)
        else:
            counts.append(sum(counts[child] for child in below))
    return counts[-1]


def _children(network: Network) -> list[list[int]]:
    start, child = network.start.tolist(), network.child.tolist()
    return [child[start[node] : start[node + 1]] for node in range(len(network))]


def _size(source: SPN, options: Options) -> int:
    count, d = induced_trees(source.network), source.variables
    return count * (1 + sum(source.shape) + (d if d > 1 else 0))


@converter(SPN, TMM, size=_size, formula="R + d R + d R k with R induced trees", cost="exponential")
def spn_to_tmm(source: SPN, over: Field, options: Options) -> TMM:
    """One component for every induced tree: a choice at every sum that is reached.

    Nodes over one variable are factors as they are, and are not multiplied out.
    """
    weight, chosen, vectors = _multiplied_out(source, over)
    d, count = source.variables, len(weight)
    tables: dict[Node, Tensor | None] = {d: weight[None]}
    for j in range(d):
        tables[j] = torch.stack([vectors[int(node)] for node in chosen[:, j]])
    sizes: dict[Node, tuple[int, int]] = {j: (count, k) for j, k in enumerate(source.shape)}
    sizes[d] = (1, count)
    form = normalised(Form(Tree.star(d), tables, sizes), over)
    return put_together(TMM, form, over, source)


def _multiplied_out(source: SPN, over: Field) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Weights (R,), the node over each variable in each tree (R, d), the vectors of such nodes."""
    network, edge = source.network, weights_of(source, over)
    vectors: dict[int, Tensor] = {}
    terms: dict[int, tuple[Tensor, Tensor]] = {}  # weights and chosen nodes, -1 outside the scope
    for node, below in enumerate(_children(network)):
        own = edge[network.start[node] : network.start[node + 1]]
        if network.scopes[node].bit_count() == 1:
            vectors[node] = _vector(source, over, node, below, own, vectors)
            chosen = torch.full((1, source.variables), -1)
            chosen[0, network.scopes[node].bit_length() - 1] = node
            terms[node] = (over.ones(1), chosen)
        elif network.kind[node] == PRODUCT:
            terms[node] = _times(over, [terms[child] for child in below])
        else:
            parts = [terms[child] for child in below]
            scaled = [over.multiply(w, weight) for w, (weight, _) in zip(own, parts, strict=True)]
            terms[node] = (torch.cat(scaled), torch.cat([chosen for _, chosen in parts]))
    return *terms[len(network) - 1], vectors


def _vector(
    source: SPN, over: Field, node: int, below: Sequence[int], own: Tensor, vectors: dict
) -> Tensor:
    """The distribution over components of a node over one variable."""
    network = source.network
    if network.kind[node] == INPUT:
        unit: Tensor = over.eye(source.shape[int(network.variable[node])])
        return unit[int(network.component[node])]
    parts = torch.stack([vectors[child] for child in below])
    return over.total(over.multiply(own[:, None], parts), [0])


def _times(over: Field, parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All choices of one term of each part."""
    weight, chosen = parts[0]
    for more, nodes in parts[1:]:
        weight = over.multiply(weight[:, None], more).reshape(-1)
        chosen = torch.maximum(chosen[:, None], nodes).reshape(len(weight), -1)
    return weight, chosen
