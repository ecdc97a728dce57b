"""Floating-point numbers as rationals, reduced modulo a prime."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor


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
