"""Quadrature: points and weights whose weighted sums are expectations of smooth functions.

Points have shape (k or 1, m), weights (k, m), for k densities of one variable. Points carry no
gradient and weights do, so that any function of the points can be averaged, and the average is
differentiable in the parameters whatever the function.

On the line the trapezoidal rule with normalised weights serves better than Gauss-Hermite: equally
exact for polynomials, and faster where a function has poles near the line (Trefethen and Weideman
2014, The exponentially convergent trapezoidal rule).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

Rule = tuple[Tensor, Tensor]

MOST_NODES = 2**18
"""No expectation takes more nodes for one component of one variable."""

INSTEAD = "pass E[g | component] as a tensor (k_j,) instead"
BEST, ALONG, LEAST, PER_BIN = 1024, 256, 32, 32
DROP = 128.0
"""Nodes reach to where the logarithm of a density has dropped so far below its maximum."""


def normal_grid(most: int, device: torch.device) -> Tensor:
    """Equally spaced points, at most `most`, that cover a standard normal variable."""
    count = _count(most)
    reach = min(math.sqrt(2 * DROP), math.sqrt(2 * count))
    return torch.linspace(-reach, reach, count, dtype=torch.float64, device=device)


def normal_rule(mean: Tensor, log_variance: Tensor, most: int) -> Rule:
    """Normal densities (k,)."""
    mean, scale = mean.double().unsqueeze(-1), (0.5 * log_variance.double()).exp().unsqueeze(-1)
    centre, unit = mean.detach(), scale.detach()
    grid = normal_grid(most, mean.device)
    away = (unit * grid + (centre - mean)) / scale
    return centre + unit * grid, (-0.5 * away.square()).softmax(-1)


def normal_vectors(mean: Tensor, factor: Tensor, most: int) -> Rule:
    """Normal densities of vectors, mean (k, e) and factor L (k or 1, e, e): points (k, m, e)."""
    mean, factor = mean.double(), factor.double()
    entries = mean.shape[-1]
    axis = normal_grid(along_each(most, entries), mean.device)
    grid = torch.cartesian_prod(*[axis] * entries).reshape(-1, entries).mT
    centre, unit = mean.detach().unsqueeze(-1), factor.detach()
    away = unit @ grid + (centre - mean.unsqueeze(-1))
    white = torch.linalg.solve_triangular(factor, away, upper=False)
    return (centre + unit @ grid).mT, (-0.5 * white.square().sum(-2)).softmax(-1)


def gamma_rule(log_shape: Tensor, log_rate: Tensor, most: int) -> Rule:
    """Gamma densities with shapes a and rates r (k,): those of y = log r x, exp(a y - e^y).

    With y = log b + v, b = max(a, 1), and v = t + 1 - exp(-t) all tails in t are at least normal.
    What is too small to represent becomes the smallest positive number, as in draws.
    """
    shape, rate = (logs.double().exp().unsqueeze(-1) for logs in (log_shape, log_rate))
    a, r = shape.detach(), rate.detach()
    b = a.clamp(min=1)
    low, high = _gamma_ends(a, b)
    grid = torch.linspace(0, 1, _count(most), dtype=torch.float64, device=a.device)
    t = low + (high - low) * grid
    v = t - (-t).expm1()
    logs = a * v - b * v.expm1() + torch.nn.functional.softplus(-t)
    y = b.log() + v
    logs = logs + (shape - a) * y - (rate / r - 1) * y.exp()
    points = (y - r.log()).exp().clamp(min=torch.finfo(log_rate.dtype).tiny)
    return points, logs.softmax(-1)


def _gamma_ends(a: Tensor, b: Tensor) -> Rule:
    """The t between which a v - b (e^v - 1) stays within `DROP` of its maximum."""
    ratio = DROP / b
    above = torch.where(ratio > 1.3, (2 * ratio).log1p(), (2 * ratio).sqrt())
    deep = (DROP + 1) / a
    below = (deep + (deep.square() + 8 * deep).sqrt()) / 2
    ends = []
    for v, t in ((-below, -below.log1p()), (above, above / 2)):
        for _ in range(4):  # Newton from the left on the concave t + 1 - exp(-t) = v
            t = t - (t - (-t).expm1() - v) / (1 + (-t).exp())
        ends.append(t)
    return ends[0], ends[1]


def poisson_sum(log_rate: Tensor) -> Rule:
    """Poisson distributions (k,): whole numbers that leave out less than exp(-80) of the mass."""
    log_rate = log_rate.double().unsqueeze(-1)
    rate, depth = log_rate.detach().exp(), 80.0
    first = (rate - (2 * depth * rate).sqrt()).floor().clamp(min=0)
    last = (rate + depth / 3 + (depth * depth / 9 + 2 * depth * rate).sqrt()).ceil()
    count = int((last - first).max()) + 1
    if count > MOST_NODES:
        raise ValueError(
            f"expected Poisson rates whose sums take at most {MOST_NODES} terms, got a rate of "
            f"{rate.max().item():g} with {count}: {INSTEAD}"
        )
    points = first + torch.arange(count, dtype=torch.float64, device=rate.device)
    steps = log_rate - points[:, 1:].log()  # log p(x) - log p(x - 1): no large terms cancel
    start = steps.new_zeros(len(steps), 1)
    return points, torch.cat([start, steps.cumsum(-1)], -1).softmax(-1)


def legendre_rule(edges: Tensor, most: int) -> Rule:
    """Uniform densities on the intervals between edges (b + 1,): points and weights (b, m / b)."""
    bins = len(edges) - 1
    nodes, weights = np.polynomial.legendre.leggauss(max(4, min(PER_BIN, most // bins)))
    low, width = edges[:-1].double().unsqueeze(-1), edges.double().diff().unsqueeze(-1)
    unit = torch.as_tensor((nodes + 1) / 2, dtype=torch.float64, device=edges.device)
    each = torch.as_tensor(weights / 2, dtype=torch.float64, device=edges.device)
    return low + width * unit, each.expand(bins, -1)


def tensor_rule(rules: list[Rule]) -> Rule:
    """Of independent entries: points (k or 1, m, e) and weights (k, m), m the product of theirs."""
    count = math.prod(points.shape[1] for points, _ in rules)
    if count > MOST_NODES:
        raise ValueError(
            f"expected vectors with at most {MOST_NODES} nodes, got {len(rules)} entries with "
            f"{count}: {INSTEAD}"
        )
    points, weights = rules[0][0].unsqueeze(-1), rules[0][1]
    for entry, mass in rules[1:]:
        k = max(len(points), len(entry))
        size = (k, points.shape[1], entry.shape[1])
        before = points.unsqueeze(2).expand(*size, points.shape[-1])
        after = entry[:, None, :, None].expand(*size, 1)
        points = torch.cat([before, after], -1).flatten(1, 2)
        weights = (weights.unsqueeze(2) * mass.unsqueeze(1)).flatten(1, 2)
    return points, weights


def side_by_side(rules: list[Rule]) -> Rule:
    """The rules of several sets of densities as one, padded with nodes of weight zero."""
    longest = max(weights.shape[1] for _, weights in rules)
    points, weights = [], []
    for x, mass in rules:
        x = x.expand(len(mass), *x.shape[1:])
        missing = longest - mass.shape[1]
        again = x[:, -1:].expand(-1, missing, *x.shape[2:])
        points.append(torch.cat([x, again], 1))
        weights.append(torch.nn.functional.pad(mass, (0, missing)))
    return torch.cat(points), torch.cat(weights)


def every_row(counts: list[int], device: torch.device) -> Tensor:
    """All rows of whole numbers x_t < counts[t], (m, e), the last entry fastest."""
    number = torch.arange(math.prod(counts), device=device)
    columns = []
    for count in reversed(counts):
        columns.append(number % count)
        number = number // count
    return torch.stack(columns[::-1], -1)


def along_each(most: int, entries: int) -> int:
    """How many nodes each entry of a vector may have if the vector may have `most`."""
    return most if entries == 1 else min(ALONG, int(most ** (1 / entries) + 1e-9))


def _count(most: int) -> int:
    if most < LEAST:
        raise ValueError(
            f"expected at least {LEAST} nodes for every entry of a vector, got room for {most} "
            f"(at most 3 entries can be integrated over): {INSTEAD}"
        )
    return min(most, BEST)
