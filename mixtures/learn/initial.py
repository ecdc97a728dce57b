"""Where learning starts: components spread over the data, tables that commit themselves a
little.
"""

from __future__ import annotations

from typing import Any

import torch

from mixtures.coefficients import CoefficientTensor
from mixtures.mixture import Mixture
from mixtures.tables import Table

UNIFORM = 1e-3  # how much of the uniform distribution every starting row contains


def initialise(
    model: Mixture,
    x: Any,
    *,
    observed: Any = None,
    concentration: float = 0.1,
    generator: torch.Generator | None = None,
) -> None:
    """Set starting parameters: components from the data, table rows Dirichlet(concentration).

    Rows of wide tables drawn uniformly from the simplex are all nearly alike, and EM leaves such a
    point slowly; a small concentration gives each state children of its own. Structural zeros stay.

    >>> from mixtures import HMM, Mixture
    >>> from mixtures.components import Gaussian
    >>> model = Mixture(HMM(2, 3, 3), Gaussian(2, 3))
    >>> initialise(model, [[0.0, 1.0], [2.0, 3.0]])
    """
    check_concentration(concentration)
    model.components.initialise(model.encode(x, observed), generator)
    draw_tables(model.coefficients, concentration, generator)


def check_concentration(concentration: float) -> None:
    """Raise ValueError unless positive and finite."""
    if not 0 < concentration < torch.inf:
        raise ValueError(f"concentration must be positive and finite, got {concentration}")


def draw_tables(
    coefficients: CoefficientTensor, concentration: float, generator: torch.Generator | None
) -> None:
    """New rows for all tables, Dirichlet(concentration) on what is not a structural zero."""
    for table in coefficients.tables:
        assert isinstance(table, Table)
        values = table.values
        shape = torch.full(values.shape, concentration, dtype=torch.float64, device=values.device)
        draws = torch._standard_gamma(shape, generator=generator)
        support = values > 0
        draws = draws * support + torch.finfo(torch.float64).tiny * support
        flat = support / support.sum(-1, keepdim=True)
        rows = (1 - UNIFORM) * draws / draws.sum(-1, keepdim=True) + UNIFORM * flat
        table.set((rows / rows.sum(-1, keepdim=True)).to(values.dtype))
