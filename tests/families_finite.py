"""Components whose rows can all be listed."""

from __future__ import annotations

import torch

from mixtures.components import (
    Bernoulli,
    Binomial,
    Categorical,
    Components,
    Concatenated,
    Indicator,
    Mixed,
    Product,
)

DOUBLE = {"dtype": torch.float64}


def finite() -> dict[str, Components]:
    """Small instances by name."""
    g = torch.Generator().manual_seed(0)
    categorical = Categorical(2, [2, 1], [2, 3], generator=g, **DOUBLE)
    return {
        "Categorical": categorical,
        "Categorical, shared": Categorical(3, 2, 3, shared=True, generator=g, **DOUBLE),
        "Bernoulli": Bernoulli(3, 2, generator=g, **DOUBLE),
        "Binomial": Binomial(2, 2, [2, 4], generator=g, **DOUBLE),
        "Indicator": Indicator(2, [3, 1], **DOUBLE),
        "Product": Product(Bernoulli(2 * 4, 2, generator=g, **DOUBLE), (2, 2)),
        "Product, one set": Product(
            Categorical(2, 2, [2, 3], generator=g, **DOUBLE), 2, variables=2
        ),
        "Mixed": Mixed([([2, 0], categorical), ([1], Indicator(1, 2, **DOUBLE))]),
        "Concatenated": Concatenated([Bernoulli(2, 1, **DOUBLE), Categorical(2, 2, 2, **DOUBLE)]),
    }
