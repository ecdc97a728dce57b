"""Sum-product networks grown from data: rows are clustered, independent columns are split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mixtures.components import Indicator
from mixtures.importing import Later
from mixtures.learn.clusters import coordinates, k_means
from mixtures.learn.em import check_pseudo_count
from mixtures.learn.symbols import Symbols, g_statistics
from mixtures.mixture import Mixture
from mixtures.network import NetworkMaker
from mixtures.spn import SPN

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")


def learn_spn(
    x: Any,
    *,
    observed: Any = None,
    weights: Any = None,
    min_rows: int = 50,
    significance: float = 1e-3,
    clusters: int = 2,
    pseudo_count: float = 0.1,
    components: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Mixture:
    """A sum-product network over the symbols of rows (n, d), grown from the root down.

    Columns that fall into groups between which no pair fails a G-test of independence at
    `significance` become a product; otherwise rows are cut into `clusters` by k-means and become a
    sum; of fewer than `min_rows` rows columns count as independent. A leaf is a sum over the
    symbols of one variable (components are `Indicator`), `pseudo_count` added to the count of each;
    so `em` and `fit` learn on. Missing values and row weights count in tests, clusters and leaves.
    Raises ValueError for anything but symbols; needs scikit-learn.

    Source: Gens and Domingos, Learning the structure of sum-product networks, 2013.

    >>> model = learn_spn([[0, 0], [1, 1], [1, 1], [0, 1]])
    >>> model.coefficients.shape, model.coefficients.is_normalised()
    ((2, 2), True)
    """
    check_pseudo_count(pseudo_count)
    if min_rows < 2 or clusters < 2:
        raise ValueError(f"min_rows and clusters must be at least 2, got {min_rows} and {clusters}")
    if not 0 < significance < 1:
        raise ValueError(f"significance must be between 0 and 1, got {significance}")
    symbols = Symbols.read(x, observed, weights, components)
    grower = Grower(symbols, min_rows, significance, clusters, generator)
    maker = NetworkMaker()
    made: dict[int, int] = {}
    for number, node in reversed(list(enumerate(grower.grow()))):
        made[number] = _build(maker, node, [made[child] for child in node.children], pseudo_count)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    network = maker.finish(symbols.sizes)
    return Mixture(
        SPN(network, dtype=dtype), Indicator(symbols.variables, symbols.sizes, dtype=dtype)
    )


class Grown(NamedTuple):
    """A node of the plan: a sum if `shares`, a leaf if `counts`, otherwise a product."""

    children: list[int]
    shares: list[float] | None = None
    variable: int = -1
    counts: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Grower:
    """Splits columns and rows until nothing is left to split."""

    symbols: Symbols
    min_rows: int
    significance: float
    clusters: int
    generator: torch.Generator | None

    def grow(self) -> list[Grown]:
        """All nodes, parents before children; no recursion, however deep."""
        d, n = self.symbols.codes.shape
        waiting = [(torch.arange(d), torch.arange(n))]
        found: list[Grown] = []
        for columns, rows in waiting:  # grows while it is walked over
            node, parts = self._split(columns, rows, len(waiting))
            found.append(node)
            waiting.extend(parts)
        return found

    def _split(
        self, columns: Tensor, rows: Tensor, first: int
    ) -> tuple[Grown, list[tuple[Tensor, Tensor]]]:
        """One node and what hangs from it; its children will be nodes first, first + 1, .."""
        part = self.symbols.part(columns, rows)
        if len(columns) == 1:
            return Grown([], None, int(columns[0]), part.alone(0)), []
        groups = self._groups(part)
        labels = self._labels(part) if len(groups) == 1 else None
        if labels is not None:
            inside = [labels == label for label in labels.unique()]
            parts = [(columns, rows[chosen]) for chosen in inside]
            mass = _mass(part)
            shares = [float(mass[chosen].sum() / mass.sum()) for chosen in inside]
        else:
            alone = [[j] for j in range(len(columns))]
            parts = [(columns[group], rows) for group in (groups if len(groups) > 1 else alone)]
            shares = None
        return Grown(list(range(first, first + len(parts))), shares), parts

    def _groups(self, part: Symbols) -> list[list[int]]:
        """Columns that depend on each other, directly or through others."""
        if part.codes.shape[1] < self.min_rows:
            return [[j] for j in range(part.variables)]
        kinds = [int((part.alone(j) > 0).sum()) for j in range(part.variables)]
        freedom = torch.tensor([max(kind - 1, 0) for kind in kinds], dtype=torch.float64)
        freedom = freedom[:, None] * freedom
        chance = torch.special.gammaincc(freedom.clamp(min=1) / 2, g_statistics(part) / 2)
        dependent = (freedom > 0) & (chance < self.significance)
        graph = networkx.Graph()
        graph.add_nodes_from(range(part.variables))
        graph.add_edges_from(dependent.triu(1).nonzero().tolist())
        return [sorted(group) for group in networkx.connected_components(graph)]

    def _labels(self, part: Symbols) -> Tensor | None:
        """Which cluster each row belongs to; None where rows do not fall apart."""
        points = coordinates(part.codes, part.observed)
        if len(points.unique(dim=0)) < self.clusters:
            return None
        mass = _mass(part)
        labels = k_means(points, self.clusters, mass, self.generator, what="learn_spn")
        heavy = torch.zeros(self.clusters, dtype=mass.dtype).index_add_(0, labels, mass)
        return labels if int((heavy > 0).sum()) == len(labels.unique()) > 1 else None


def _mass(part: Symbols) -> Tensor:
    """The weights of the rows, ones by default."""
    rows = part.codes.shape[1]
    return torch.ones(rows, dtype=torch.float64) if part.weights is None else part.weights


def _build(maker: NetworkMaker, node: Grown, children: list[int], pseudo_count: float) -> int:
    if node.counts is None:
        return maker.product(children) if node.shares is None else maker.sum(children, node.shares)
    counts = node.counts + pseudo_count
    shares = counts / counts.sum() if bool(counts.sum() > 0) else torch.ones_like(counts)
    shares = shares / shares.sum()
    seen = shares.nonzero().flatten().tolist()
    inputs = [maker.input(node.variable, symbol) for symbol in seen]
    return inputs[0] if len(inputs) == 1 else maker.sum(inputs, shares[seen].tolist())
