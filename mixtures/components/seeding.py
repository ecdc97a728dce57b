"""Starting points: rows spread over the data as k-means++ does, one problem for each variable."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_ROWS = 20_000
"""Seeds are chosen among at most so many rows."""


def seeded_weights(
    x: Tensor,
    seen: Tensor | None,
    components: int,
    shared: bool,
    generator: torch.Generator | None,
) -> Tensor:
    """Weights (d, k, n): each row mostly to its nearest of k seeds, every component some of all.

    x is (d, n, *event), seen (d, n); shared components have one set of seeds for all variables.
    Costs d k n. Arthur and Vassilvitskii (2007), k-means++.
    """
    points = x.double().flatten(2) if x.ndim > 2 else x.double().unsqueeze(-1)
    d, n, size = points.shape
    if seen is None:
        seen = torch.ones((d, n), dtype=torch.bool, device=x.device)
    if n == 0:
        return torch.zeros((d, components, 0), dtype=torch.float64, device=x.device)
    if shared:
        points, seen = points.reshape(1, d * n, size), seen.reshape(1, d * n)
    points = _standardised(points, seen)
    nearest = _nearest_seed(points, seen, components, generator).reshape(d, n)
    chosen = torch.nn.functional.one_hot(nearest, components).double().mT
    return 0.95 * chosen + 0.05 / components


def _standardised(points: Tensor, seen: Tensor) -> Tensor:
    """Every entry centred and, unless it is constant, with variance one over the seen rows."""
    mask = seen.unsqueeze(-1)
    count = mask.sum(1, keepdim=True).clamp(min=1)
    points = points.masked_fill(~mask, 0.0)
    points = (points - points.sum(1, keepdim=True) / count).masked_fill(~mask, 0.0)
    scale = (points.square().sum(1, keepdim=True) / count).sqrt()
    return points / scale.masked_fill(scale == 0, 1.0)


def _nearest_seed(
    points: Tensor, seen: Tensor, components: int, generator: torch.Generator | None
) -> Tensor:
    """For each row the number of the nearest seed, (d, n)."""
    d, n, _ = points.shape
    device = points.device
    rows = torch.arange(n, device=device)
    if n > MOST_ROWS:
        rows = torch.randint(n, (MOST_ROWS,), generator=generator, device=device)
    candidates, valid = points[:, rows], seen[:, rows]
    variable = torch.arange(d, device=device)
    chance = valid.double() + 1e-300
    distance = torch.full((d, n), torch.inf, dtype=points.dtype, device=device)
    nearest = torch.zeros((d, n), dtype=torch.long, device=device)
    for number in range(components):
        seed = torch.multinomial(chance, 1, generator=generator).squeeze(-1)
        away = (points - candidates[variable, seed].unsqueeze(1)).square().sum(-1)
        nearest = torch.where(away < distance, number, nearest)
        distance = torch.minimum(distance, away)
        chance = distance[:, rows] * valid
        chance = torch.where(chance.sum(-1, keepdim=True) > 0, chance, valid.double() + 1e-300)
    return nearest


def imputed(x: Tensor, seen: Tensor | None) -> Tensor:
    """x (d, n, *event), with the mean of what was seen of an entry where it is missing."""
    if seen is None:
        return x
    mask = seen.reshape(seen.shape + (1,) * (x.ndim - seen.ndim)).expand(x.shape)
    x = x.double().masked_fill(~mask, 0.0)
    mean = x.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.where(mask, x, mean)
