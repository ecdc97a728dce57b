"""Log-probabilities of intervals, accurate in both tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_STEPS = 100_000


def log_normal_mass(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)), accurate in both tails; -inf where high <= low."""
    flip = low > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    return log_difference(torch.special.log_ndtr(high), torch.special.log_ndtr(low))


def log_difference(larger: Tensor, smaller: Tensor) -> Tensor:
    """log(exp(larger) - exp(smaller)); -inf where that is not positive."""
    empty = ~(larger > smaller)
    gap = (smaller - larger).masked_fill(empty, -1.0)
    logs = torch.where(gap > -math.log(2), (-gap.expm1()).log(), (-gap.exp()).log1p())
    return (larger + logs).masked_fill(empty, -torch.inf)


def log_gamma_tails(shape: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """log P(a, x) and log Q(a, x), the regularised incomplete gamma functions, for x >= 0.

    By the series below a + 1 and the continued fraction above it, so that neither underflows and
    both are differentiable in a and x. About sqrt(a) steps where x is near a.
    Abramowitz and Stegun (1964), 6.5.29 and 6.5.31.
    """
    shape, x = torch.broadcast_tensors(shape, x)
    inside = (x > 0) & (x < torch.inf)
    left = inside & (x < shape + 1)
    right = inside & ~left
    below, above = x.where(left, 0.5), x.where(right, shape.detach() + 2)
    lower = _log_power(shape, below) + _series(shape, below).log()
    upper = _log_power(shape, above) + _fraction(shape, above).log()
    nothing, everything = torch.full_like(x, -torch.inf), torch.zeros_like(x)
    low = torch.where(left, lower, log_difference(everything, upper.where(right, -1.0)))
    high = torch.where(right, upper, log_difference(everything, lower.where(left, -1.0)))
    low = torch.where(inside, low, torch.where(x <= 0, nothing, everything))
    high = torch.where(inside, high, torch.where(x <= 0, everything, nothing))
    return low, high


def _log_power(shape: Tensor, x: Tensor) -> Tensor:
    """log of x^a exp(-x) / Gamma(a)."""
    return shape * x.log() - x - shape.lgamma()


def _series(shape: Tensor, x: Tensor) -> Tensor:
    """sum over n of x^n / (a (a + 1) .. (a + n))."""
    term = total = 1 / shape
    for n in range(1, MOST_STEPS):
        term = term * x / (shape + n)
        total = total + term
        if not bool((term > torch.finfo(x.dtype).eps * total).any()):
            break
    return total


def _fraction(shape: Tensor, x: Tensor) -> Tensor:
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / ..)), by Lentz's method."""
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    bottom = x + 1 - shape
    c, d = torch.full_like(x, 1 / tiny), 1 / bottom
    value = d
    for n in range(1, MOST_STEPS):
        top = n * (shape - n)
        bottom = bottom + 2
        d = 1 / _away_from_zero(top * d + bottom, tiny)
        c = _away_from_zero(bottom + top / c, tiny)
        value = value * (c * d)
        if not bool(((c * d - 1).abs() > 2 * torch.finfo(x.dtype).eps).any()):
            break
    return value


def _away_from_zero(x: Tensor, tiny: float) -> Tensor:
    return x.where(x.abs() > tiny, tiny)


def log_up_to(x: Tensor, rate: Tensor) -> Tensor:
    """log P(count <= x) of a Poisson count, for whole numbers x."""
    finite = x.clamp(min=0).masked_fill(x == torch.inf, 0.0)
    logs = log_gamma_tails(finite + 1, rate)[1]
    return logs.masked_fill(x < 0, -torch.inf).masked_fill(x == torch.inf, 0.0)


def log_beyond(x: Tensor, rate: Tensor) -> Tensor:
    """log P(count > x) of a Poisson count, for whole numbers x."""
    finite = x.clamp(min=0).masked_fill(x == torch.inf, 0.0)
    logs = log_gamma_tails(finite + 1, rate)[0]
    return logs.masked_fill(x < 0, 0.0).masked_fill(x == torch.inf, -torch.inf)


def standardised(bound: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """(bound - centre) * scale; infinite bounds as they are, so that gradients are no inf * 0."""
    finite = bound.isfinite()
    return torch.where(finite, (bound.where(finite, 0.0) - centre) * scale, bound)
