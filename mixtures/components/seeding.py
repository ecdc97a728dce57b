"""Starting points: rows spread over the data as k-means++ does, one problem for each variable."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mixtures.components.encoding import Data

MOST_ROWS = 20_000
"""Seeds are chosen among at most so many rows."""


class Seeds(NamedTuple):
    """k rows spread over the data, of each variable, and the units in which distances are taken."""

    places: list[Tensor]  # k of (d or 1, size), standardised
    mean: Tensor  # (d or 1, 1, size)
    scale: Tensor

    def weights(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """Weights (d, k, n) of rows x (d, n, *event): each mostly to its nearest seed, every
        component some of all.
        """
        d, n = x.shape[:2]
        points, mask = _points(x, seen, len(self.mean) < d)
        points = (points - self.mean).masked_fill(~mask.unsqueeze(-1), 0.0) / self.scale
        away = torch.stack([_distance(points, place) for place in self.places])
        nearest = away.argmin(0).reshape(d, n)
        chosen = torch.nn.functional.one_hot(nearest, len(self.places)).double().mT
        return 0.95 * chosen + 0.05 / len(self.places)


def seeds(
    x: Tensor,
    seen: Tensor | None,
    components: int,
    shared: bool,
    generator: torch.Generator | None,
) -> Seeds:
    """Seeds among rows x (d, n, *event), of which seen (d, n) says what was observed.

    Shared components have one set of seeds for all variables. Costs d k n.
    Arthur and Vassilvitskii (2007), k-means++.
    """
    points, mask = _points(x, seen, shared)
    if points.shape[1] == 0:
        nothing = points.new_zeros((len(points), 1, points.shape[2]))
        return Seeds([nothing[:, 0]] * components, nothing, nothing + 1)
    count = mask.unsqueeze(-1).sum(1, keepdim=True).clamp(min=1)
    mean = points.masked_fill(~mask.unsqueeze(-1), 0.0).sum(1, keepdim=True) / count
    points = (points - mean).masked_fill(~mask.unsqueeze(-1), 0.0)
    scale = (points.square().sum(1, keepdim=True) / count).sqrt()
    scale = scale.masked_fill(scale == 0, 1.0)
    return Seeds(_spread(points / scale, mask, components, generator), mean, scale)


def some_rows(data: Data, generator: torch.Generator | None) -> Data:
    """The rows among which seeds are sought: all, or MOST_ROWS of them."""
    n, device = len(data), data.values.device
    if n <= MOST_ROWS:
        return data
    return data.rows(torch.randint(n, (MOST_ROWS,), generator=generator, device=device))


def _points(x: Tensor, seen: Tensor | None, shared: bool) -> tuple[Tensor, Tensor]:
    """Rows as vectors (d, n, size), or (1, d n, size) if shared, and which were seen."""
    points = x.double().flatten(2) if x.ndim > 2 else x.double().unsqueeze(-1)
    d, n, size = points.shape
    if seen is None:
        seen = torch.ones((d, n), dtype=torch.bool, device=x.device)
    return (points.reshape(1, d * n, size), seen.reshape(1, d * n)) if shared else (points, seen)


def _spread(
    points: Tensor, seen: Tensor, components: int, generator: torch.Generator | None
) -> list[Tensor]:
    """Of every variable k seen points far from one another, k of (d, size)."""
    d, n, _ = points.shape
    device = points.device
    if n > MOST_ROWS:
        rows = torch.randint(n, (MOST_ROWS,), generator=generator, device=device)
        points, seen = points[:, rows], seen[:, rows]
    variable = torch.arange(d, device=device)
    chance = seen.double() + 1e-300
    distance = torch.full(seen.shape, torch.inf, dtype=points.dtype, device=device)
    found = []
    for _ in range(components):
        chosen = torch.multinomial(chance, 1, generator=generator).squeeze(-1)
        found.append(points[variable, chosen])
        distance = torch.minimum(distance, _distance(points, found[-1]))
        chance = distance * seen
        chance = torch.where(chance.sum(-1, keepdim=True) > 0, chance, seen.double() + 1e-300)
    return found


def _distance(points: Tensor, place: Tensor) -> Tensor:
    """Squared distances (d, n) of points from one place (d, size) each."""
    return (points - place.unsqueeze(1)).square().sum(-1)


def mean_of(x: Tensor, seen: Tensor | None) -> Tensor | None:
    """The mean of what was seen of every entry of x (d, n, *event), (d, 1, *event); None if all
    was.
    """
    if seen is None:
        return None
    mask = _mask(x, seen)
    total = x.double().masked_fill(~mask, 0.0).sum(1, keepdim=True)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


def imputed(x: Tensor, seen: Tensor | None, mean: Tensor | None) -> Tensor:
    """x (d, n, *event), with the mean of an entry where it is missing."""
    if seen is None:
        return x
    return torch.where(_mask(x, seen), x.double(), 0.0 if mean is None else mean)


def _mask(x: Tensor, seen: Tensor) -> Tensor:
    return seen.reshape(seen.shape + (1,) * (x.ndim - seen.ndim)).expand(x.shape)
