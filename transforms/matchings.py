"""Mixtures of perfect matchings: cheap as sum-product networks, cheap on no tree."""

from __future__ import annotations

import torch

from mixtures.network import NetworkMaker
from mixtures.spn import SPN


def three_matchings(d: int, k: int = 2, *, same: bool = False) -> SPN:
    """A mixture of three products of pairs, along three perfect matchings of d variables (or the
    first).

    A pair is equal with probability one half, otherwise independent: cheap as a network, cheap on
    no tree.
    """
    if d < 4 or d % 2:
        raise ValueError(f"expected an even number of at least 4 variables, got {d}")
    half = d // 2
    pairings = [
        [(2 * j, 2 * j + 1) for j in range(half)],
        [(2 * j + 1, (2 * j + 2) % d) for j in range(half)],
        [(j, j + half) for j in range(half)],
    ]
    pairings = pairings[:1] * 3 if same else pairings
    maker = NetworkMaker()
    inputs = [[maker.input(j, i) for i in range(k)] for j in range(d)]
    loose = [maker.sum(inputs[j], [1 / k] * k) for j in range(d)]
    products = []
    for pairing in pairings:
        pairs = []
        for a, b in pairing:
            equal = [maker.product([inputs[a][i], inputs[b][i]]) for i in range(k)]
            free = maker.product([loose[a], loose[b]])
            pairs.append(maker.sum([*equal, free], [0.5 / k] * k + [0.5]))
        products.append(maker.product(pairs))
    maker.sum(products, [0.25, 0.25, 0.5])
    return SPN(maker.finish([k] * d), dtype=torch.float64)
