"""Random sum-product networks: regions split at random, sums over products of their parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mixtures.network import Network, NetworkMaker
from mixtures.tables import random_rows


def random_network(
    shape: Sequence[int],
    depth: int,
    sums: int,
    repetitions: int,
    generator: torch.Generator | None,
) -> Network:
    """The structure of Peharz et al. (UAI 2019): `repetitions` random binary splits of the
    variables.

    A region has `sums` sums over all products of one sum of either half; after `depth` splits, or
    for a single variable, it has `sums` products of univariate sums over components.
    """
    maker = NetworkMaker()
    inputs = [[maker.input(j, i) for i in range(k)] for j, k in enumerate(shape)]

    def weighted(children: Sequence[int]) -> int:
        row = random_rows((len(children),), generator=generator, dtype=torch.float64)
        return maker.sum(children, row.tolist())

    def leaf(variables: Sequence[int]) -> list[int]:
        columns = [[weighted(inputs[j]) for j in variables] for _ in range(sums)]
        return [parts[0] if len(parts) == 1 else maker.product(parts) for parts in columns]

    def products(variables: Sequence[int], splits: int) -> list[int]:
        order = torch.randperm(len(variables), generator=generator).tolist()
        half = (len(order) + 1) // 2
        left = region([variables[place] for place in order[:half]], splits)
        right = region([variables[place] for place in order[half:]], splits)
        return [maker.product((a, b)) for a in left for b in right]

    def region(variables: Sequence[int], splits: int) -> list[int]:
        if splits == 0 or len(variables) == 1:
            return leaf(variables)
        terms = products(variables, splits - 1)
        return [weighted(terms) for _ in range(sums)]

    whole = list(range(len(shape)))
    tops: list[int] = []
    for _ in range(repetitions):
        tops += leaf(whole) if depth == 0 or len(whole) == 1 else products(whole, depth - 1)
    weighted(tops)
    return maker.finish(shape)
