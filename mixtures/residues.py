"""Floating-point numbers as rationals, reduced modulo a prime."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

PIECE = 2**19  # entries of a product at a time
EXACT = 32  # so many products of 16-bit halves with residues add up exactly


def residues(values: Tensor, p: int) -> Tensor:
    """The exact residues modulo p < 2^31 of stored floats m 2^e (an odd p divides no power of two).

    >>> residues(torch.tensor([0.5, 3.0]), 7).tolist()
    [4, 3]
    """
    if not values.is_floating_point():
        return values.remainder(p).to(torch.int64)
    mantissa, exponent = numpy.frexp(values.detach().cpu().double().numpy())
    whole = (mantissa * 2.0**53).astype(numpy.int64) % p
    shifts, place = numpy.unique(exponent, return_inverse=True)
    powers = numpy.array([pow(2, int(shift) - 53, p) for shift in shifts], dtype=numpy.int64)
    factors = powers[place.reshape(exponent.shape)] if powers.size else exponent.astype(numpy.int64)
    return torch.as_tensor(whole * factors % p, device=values.device)


def modular_bmm(left: Tensor, right: Tensor, p: int) -> Tensor:
    """left (N, P, C) @ right (N, C, B) of residues modulo p < 2^31, exact, as int64.

    Products of 16-bit halves with residues are below 2^47, so that 32 of them add up exactly in
    float64, at the speed of a matrix product.
    """
    (nodes, height, _), width = left.shape, right.shape[2]
    found = torch.empty((nodes, height, width), dtype=torch.int64, device=left.device)
    step = max(1, PIECE // max(1, height))
    group = max(1, PIECE // max(1, height * min(step, width)))
    for first in range(0, nodes, group):
        some = slice(first, first + group)
        high, low = (left[some] >> 16).double(), (left[some] & 0xFFFF).double()
        for start in range(0, width, step):
            piece = right[some, :, start : start + step].double()
            found[some, :, start : start + step] = _product(high, low, piece, p)
    return found


def _product(high: Tensor, low: Tensor, right: Tensor, p: int) -> Tensor:
    """(2^16 high + low) @ right modulo p, as floats."""
    total = right.new_zeros((*high.shape[:2], right.shape[2]))
    for start in range(0, right.shape[1], EXACT):
        part = slice(start, start + EXACT)
        upper = reduce_(torch.bmm(high[..., part], right[:, part]), p)
        total.add_(upper.mul_(2**16).add_(torch.bmm(low[..., part], right[:, part])))
        reduce_(total, p)
    return _least(total, p)


def _least(values: Tensor, p: int) -> Tensor:
    """From -p .. 2p - 1 to 0 .. p - 1, in place."""
    values.add_((values < 0).to(values.dtype), alpha=p)
    return values.sub_((values >= p).to(values.dtype), alpha=p)


def modular_dots(left: Tensor, right: Tensor, p: int) -> Tensor:
    """sum over the first axis of left * right modulo p < 2^31, exact, as int64."""
    total = torch.zeros((), dtype=torch.float64, device=left.device)
    for start in range(0, len(left), EXACT):
        one, two = left[start : start + EXACT], right[start : start + EXACT].double()
        upper = reduce_(((one >> 16).double() * two).sum(0), p).mul_(2**16)
        total = reduce_(upper.add_(((one & 0xFFFF).double() * two).sum(0)).add_(total), p)
    return _least(total, p).long()


def reduce_(values: Tensor, p: int) -> Tensor:
    """Whole numbers below 2^53 in float64 modulo p in place, up to one p too many or too few."""
    return values.sub_((values * (1 / p)).floor_(), alpha=p)
