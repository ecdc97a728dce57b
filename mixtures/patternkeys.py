"""Keys of combinations of patterns: which of them occur, and how many seem to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.circuit import Integers

SAMPLE = 2048  # rows looked at before all are
TOGETHER = 2**23  # combinations of children's patterns that are looked for at once


def promising(sample: Tensor, rows: int) -> NDArray[numpy.bool_]:
    """Which of the keys (N, s) of a sample of the rows differ little."""
    held = sample.numpy(force=True)
    if held.max(initial=0) < 2**16:  # such numbers are sorted by counting, three times faster
        held = held.astype(numpy.uint16)
    held = numpy.sort(held, 1, kind="stable")
    distinct = 1 + numpy.count_nonzero(held[:, 1:] != held[:, :-1], axis=1)
    few: NDArray[numpy.bool_] = distinct <= held.shape[1] * (1 - held.shape[1] / rows)
    return few


def present(key: Tensor, most: int) -> tuple[Tensor, Integers, Integers]:
    """Keys (N, n) below `most` renumbered without gaps; which ones there are (N, largest number of
    them), and how many.
    """
    first = most * torch.arange(len(key), device=key.device)[:, None]
    flat = (key.long() + first).view(-1)
    size = len(key) * most
    taken = torch.zeros(size, dtype=torch.uint8, device=key.device).index_fill_(0, flat, 1)
    flags = taken.numpy(force=True).view(numpy.bool_).reshape(-1, most)
    number = flags.cumsum(1, dtype=numpy.int32)
    count = number[:, -1].astype(numpy.int64)
    number -= 1
    place = flags.reshape(-1).nonzero()[0]
    keys = numpy.zeros((len(key), int(count.max())), dtype=numpy.int64)
    keys[numpy.repeat(numpy.arange(len(key)), count), number.reshape(-1)[place]] = place % most
    numbers = torch.from_numpy(number).to(key.device).view(-1)
    return numbers.index_select(0, flat).view(key.shape), keys, count


def distinct(key: Tensor, rows: int) -> tuple[Tensor, int] | None:
    """Keys (n,) renumbered without gaps, and how many there are; None if half of them differ."""
    if rows > 2 * SAMPLE and not promising(key[None, :: rows // SAMPLE], rows)[0]:
        return None
    found, inverse = key.unique(return_inverse=True)
    return (inverse.to(torch.int32), len(found)) if 2 * len(found) <= rows else None


def in_blocks(places: Integers, product: NDArray[Any]) -> list[Integers]:
    """Places in blocks, the largest of which times their number stays in memory."""
    if len(product) * product.max(initial=0) <= TOGETHER:
        return [places] if len(places) else []
    found: list[list[int]] = []
    for place in product.argsort(kind="stable"):
        if not found or (len(found[-1]) + 1) * product[place] > TOGETHER:
            found.append([])
        found[-1].append(place)
    return [places[numpy.sort(block)] for block in found]


def by_size(sizes: Mapping[int, int]) -> list[list[int]]:
    """Members of about equal size: small ones together, others with less than four times more."""
    found: dict[int, list[int]] = {}
    for member, size in sizes.items():
        found.setdefault(max(0, (size - 1).bit_length() - 6 + 1) // 2, []).append(member)
    return list(found.values())
