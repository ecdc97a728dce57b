"""Rows in groups: columns as coordinates, and k-means among them."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_SYMBOLS = 8  # a column of so many whole numbers at most counts as one of symbols
MOST_POINTS = 20_000  # centres are sought among so many points at most


def coordinates(values: Tensor, observed: Tensor | None = None) -> Tensor:
    """Columns (p, n) as points (n, q): indicators of symbols, other numbers in units of their
    standard deviation; where missing, the mean of the column.

    >>> coordinates(torch.tensor([[0, 1, 1], [0, 1, 2]])).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    seen = torch.ones_like(values, dtype=torch.bool) if observed is None else observed
    return torch.cat([_column(*pair) for pair in zip(values, seen, strict=True)], 1)


def _column(values: Tensor, seen: Tensor) -> Tensor:
    """One column (n,) as (n, q)."""
    own = values[seen].double()
    kinds = own.unique() if bool((own == own.floor()).all()) else own[:0]
    if 1 <= len(kinds) <= MOST_SYMBOLS:
        found = (values.double()[:, None] == kinds[min(1, len(kinds) - 1) :]).double()
    else:
        spread = float(own.std(correction=0)) if len(own) else 0.0
        found = values.double()[:, None] / (spread or 1.0)
    known = seen[:, None]
    mean = found.where(known, 0.0).sum(0) / seen.sum().clamp(min=1)
    return torch.where(known, found, mean)


def principal(points: Tensor, most: int, generator: torch.Generator | None = None) -> Tensor:
    """The points (n, q) in their `most` leading principal components, if that makes them fewer."""
    if most >= min(points.shape):
        return points
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise ImportError(_needed("spectral starts")) from None
    analysis = PCA(most, svd_solver="randomized", random_state=_seed(generator))
    analysis.fit(_some(points, generator).numpy())
    return torch.from_numpy(analysis.transform(points.numpy()))


def k_means(
    points: Tensor,
    clusters: int,
    weights: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    what: str = "k-means",
) -> Tensor:
    """Which of at most `clusters` clusters each point (n, q) belongs to, (n,) long.

    As many clusters as there are different points, if those are fewer. Centres are sought among
    MOST_POINTS of the points. `what` needs it is said where scikit-learn is missing.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise ImportError(_needed(what)) from None
    some = _some(points, generator)
    clusters = min(clusters, len(some.unique(dim=0)))
    if clusters < 2:
        return torch.zeros(len(points), dtype=torch.long)
    mass = None if weights is None or len(some) < len(points) else weights.numpy()
    found = KMeans(clusters, n_init=2, random_state=_seed(generator))
    found.fit(some.numpy(), sample_weight=mass)
    return torch.from_numpy(found.predict(points.numpy())).long()


def _some(points: Tensor, generator: torch.Generator | None) -> Tensor:
    if len(points) <= MOST_POINTS:
        return points
    return points[torch.randint(len(points), (MOST_POINTS,), generator=generator)]


def _seed(generator: torch.Generator | None) -> int:
    return int(torch.randint(2**31, (), generator=generator))


def _needed(what: str) -> str:
    return f"{what} needs scikit-learn: pip install 'homogeneous-mixtures[sklearn]'"
