"""Weights on the simplex: nearest points of convex hulls, and mixture weights of greatest
likelihood.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 64  # multiples of machine precision that count as nothing


def nearest_weights(gram: Tensor) -> Tensor:
    """Weights w on the simplex that minimise w^T gram w, the squared norm of sum_m w_m p_m.

    gram (t, t), float64: inner products of the points p_m. The algorithm of Wolfe: exact up to
    rounding after finitely many steps, each of which solves one linear system of the points in use.

    Source: Wolfe, Finding the nearest point in a polytope, 1976.

    >>> nearest_weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64))
    tensor([0.7143, 0.2857], dtype=torch.float64)
    """
    gram = gram.double()
    weights = torch.zeros(len(gram), dtype=torch.float64, device=gram.device)
    weights[gram.diagonal().argmin()] = 1
    small = ROUNDING * torch.finfo(torch.float64).eps * float(gram.abs().max())
    for _ in range(50 * len(gram)):
        slopes = gram @ weights
        value = weights @ slopes
        new = int(slopes.argmin())
        if slopes[new] > value - small or bool(weights[new] > 0):
            break
        before = weights
        used = (weights > 0).scatter(0, torch.tensor(new, device=gram.device), True)
        weights = _corrected(gram, weights, used)
        if not bool(weights @ gram @ weights < before @ gram @ before):
            return before
    return weights


def _corrected(gram: Tensor, weights: Tensor, used: Tensor) -> Tensor:
    """The minor cycle: the nearest point of the affine hull, or of a face on the way to it."""
    while True:
        aim = _affine(gram, used)
        if bool((aim[used] > 0).all()):
            return aim
        below = used & (aim <= 0)
        ratio = weights / (weights - aim).clamp(min=torch.finfo(torch.float64).tiny)
        share = float(ratio[below].amin().clamp(0, 1))
        weights = (1 - share) * weights + share * aim
        leaving = below & (ratio <= share)
        used = used & ~leaving
        weights = weights.where(used, 0).clamp(min=0)
        weights = weights / weights.sum()


def _affine(gram: Tensor, used: Tensor) -> Tensor:
    """The weights, summing to one but of any sign, of the nearest point of an affine hull."""
    index = used.nonzero().flatten()
    part = gram[index][:, index]
    shift = part.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
    system = part / shift + 1  # w solves (P + 1 1^T) w = const where sum w = 1
    found = torch.linalg.lstsq(system, torch.ones_like(index, dtype=torch.float64)[:, None])
    solution = found.solution[:, 0]
    weights = torch.zeros(len(gram), dtype=torch.float64, device=gram.device)
    weights[index] = solution / solution.sum()
    return weights


def likelihood_step(old: Tensor, new: Tensor, rows: Tensor, halvings: int = 60) -> float:
    """The a in [0, 1] that maximises sum of rows log((1 - a) exp(old) + a exp(new)).

    old, new (n,): log-densities; rows (n,) weights of the rows. The sum is concave in a; the sign
    of its slope is bisected. Rows that both find impossible do not matter. Costs n a halving.

    >>> logs = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).log()
    >>> likelihood_step(logs[0], logs[1], torch.tensor([1.0, 1.0]))
    0.0
    """
    used = (rows > 0) & (torch.maximum(old, new) > -torch.inf)
    old, new, rows = old[used].double(), new[used].double(), rows[used].double()
    top = torch.maximum(old, new)
    f, g = (old - top).exp(), (new - top).exp()

    def rising(a: float) -> bool:
        return float((rows * (g - f) / ((1 - a) * f + a * g)).sum()) > 0

    low, high = 0.0, 1.0
    if not rising(torch.finfo(torch.float64).tiny):
        return 0.0
    if rising(1 - torch.finfo(torch.float64).eps):
        return 1.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) else (low, middle)
    return (low + high) / 2


def likelihood_weights(
    logs: Tensor, rows: Tensor, start: Tensor, *, tol: float = 1e-10, max_iter: int = 2000
) -> Tensor:
    """Mixture weights (t,) that maximise sum of rows log sum_m w_m exp(logs[:, m]), by EM.

    logs (n, t), rows (n,) weights of the rows that sum to one. Ends once a step gains less than
    `tol`; never ends below where it started. A weight that starts at zero stays there.

    >>> logs = torch.tensor([[0.0, -9.0], [-9.0, 0.0], [-9.0, 0.0]], dtype=torch.float64)
    >>> likelihood_weights(logs, torch.full((3,), 1 / 3), torch.tensor([0.5, 0.5]))
    tensor([0.3333, 0.6667], dtype=torch.float64)
    """
    used = (rows > 0) & (logs.amax(1) > -torch.inf)
    logs, rows = logs[used].double(), rows[used].double()
    scale = logs.amax(1, keepdim=True)
    densities, weights = (logs - scale).exp(), start.double()
    before = -torch.inf
    for _ in range(max_iter):
        total = densities @ weights
        value = float((rows * total.log()).sum())
        if value - before < tol:
            break
        before = value
        weights = weights * ((rows / total) @ densities)
        weights = weights / weights.sum()
    return weights
