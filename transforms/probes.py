"""Large regular minors from random product vectors, the tree being cut in the middle.

Each half has row vectors and column vectors of its own; a row of the whole is one of either half.
The values of all pairs within a half, per state of the middle link, are one batch of contractions;
a product over that state joins them: far cheaper than contractions of the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from mixtures.residues import modular_bmm
from transforms.cuts import Separation
from transforms.elimination import random_residues, rank_modulo
from transforms.minors import Minor
from transforms.tensortree import TensorTree

FEWEST = 256  # smaller minors are found by bases
ENTRIES = 2**24  # of a half


class _Half(NamedTuple):
    """What is on one side of a link: vectors (n, d, max k) for rows and columns, ones elsewhere."""

    rows: Tensor
    columns: Tensor
    values: Tensor  # (rows, columns, states)


def probed(
    network: TensorTree,
    separation: Separation,
    residues: Callable[[Any], Tensor],
    p: int,
    rng: numpy.random.Generator,
    size: int,
) -> Minor | None:
    """A minor of this size that is regular modulo p, if random vectors show one at once."""
    if size < FEWEST or not network.links:
        return None
    separation.complete()
    link = min(range(len(network.links)), key=lambda n: _unevenness(separation, n, size))
    ends = network.links[link].ends
    costs = [separation.costs(link, receiver) for receiver in reversed(ends)]
    rows = _numbers([min(c) for c in costs], [c.columns for c in costs], size)
    columns = _numbers([min(c) for c in costs], [c.rows for c in costs], size)
    states = network.width(ends[1], link)
    shapes = list(zip(rows, columns, strict=True))
    if min(rows[0] * rows[1], columns[0] * columns[1]) < size:
        return None
    if (
        max(a * b for a, b in shapes) * max(states, len(network.shape) * max(network.shape))
        > ENTRIES
    ):
        return None
    halves = [
        _half(network, separation, residues, p, rng, (link, sender), shape)
        for sender, shape in zip(ends, shapes, strict=True)
    ]
    return _joined(halves, p, rng, size)


def _unevenness(separation: Separation, link: int, size: int) -> tuple[int, int]:
    """Small where the halves' cheapest cuts multiply to the size, and are alike."""
    first, second = (
        min(separation.costs(link, end)) for end in separation.network.links[link].ends
    )
    return -min(size, first * second), max(first, second)


def _numbers(least: list[int], most: list[int], size: int) -> tuple[int, int]:
    """How many vectors either half gets: as the cheapest cuts suggest, enough for the size.

    No more than that: of an aligned grid all rows are independent, of a larger one a random part is
    not.
    """
    first, second = (min(low, cap) for low, cap in zip(least, most, strict=True))
    first = min(most[0], ceil(size / second))
    second = min(most[1], ceil(size / first))
    return first, second


def _half(
    network: TensorTree,
    separation: Separation,
    residues: Callable[[Any], Tensor],
    p: int,
    rng: numpy.random.Generator,
    place: tuple[int, int],
    shape: tuple[int, int],
) -> _Half:
    """Random vectors for the variables below a link, and the values of all pairs."""
    link, sender = place
    below = {s for _, s in network.toward(sender, link)} | {sender}
    mine = torch.zeros((2, len(network.shape), 1), dtype=torch.bool)
    for j in range(len(network.shape)):
        if j in below:
            mine[0 if j in separation.rows else 1, j] = True
    vectors = [
        random_residues(rng, (count, len(network.shape), max(network.shape)), p).where(own, 1)
        for count, own in zip(shape, mine, strict=True)
    ]
    pairs = vectors[0][:, None].where(mine[0], vectors[1][None])
    values = network.message(link, sender, pairs.flatten(0, 1), residues, p)
    return _Half(vectors[0], vectors[1], values.view(*shape, -1))


def _joined(halves: list[_Half], p: int, rng: numpy.random.Generator, size: int) -> Minor | None:
    """A random square part of the matrix that two halves make, if it is regular."""
    one, two = halves
    whole = modular_bmm(one.values.flatten(0, 1)[None], two.values.flatten(0, 1).T[None], p)
    whole = whole.view(*one.values.shape[:2], *two.values.shape[:2]).transpose(1, 2)
    whole = whole.reshape(len(one.rows) * len(two.rows), -1)
    row, column = (torch.from_numpy(rng.permutation(count)[:size]) for count in whole.shape)
    if rank_modulo(whole[row][:, column], p) < size:
        return None
    sides = ((row, one.rows, two.rows), (column, one.columns, two.columns))
    found = [first[n // len(second)] * second[n % len(second)] % p for n, first, second in sides]
    return Minor(p, found[0].numpy(), found[1].numpy())
