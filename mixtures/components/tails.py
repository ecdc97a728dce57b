"""Log-probabilities of intervals, accurate in both tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


def log_up_to(x: Tensor, rate: Tensor) -> Tensor:
    """log P(count <= x) of a Poisson count, for whole numbers x."""
    inside = x.clamp(min=0)
    finite = inside.masked_fill(inside == torch.inf, 0.0)
    logs = torch.special.gammaincc(finite + 1, rate).log()
    return logs.masked_fill(x < 0, -torch.inf).masked_fill(x == torch.inf, 0.0)


def log_beyond(x: Tensor, rate: Tensor) -> Tensor:
    """log P(count > x) of a Poisson count, for whole numbers x."""
    inside = x.clamp(min=0)
    finite = inside.masked_fill(inside == torch.inf, 0.0)
    logs = torch.special.gammainc(finite + 1, rate).log()
    return logs.masked_fill(x < 0, 0.0).masked_fill(x == torch.inf, -torch.inf)
