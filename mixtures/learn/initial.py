"""Where learning starts: components spread over the data, tables that commit themselves a
little, or states that are clusters of rows.
"""

from __future__ import annotations

from typing import Any

import torch

from mixtures.coefficients import CoefficientTensor
from mixtures.learn.em import checked_weights, weighty
from mixtures.learn.rowstarts import (
    ROW_STARTS,
    check_row_start,
    start_from_rows,
    tied_latents,
)
from mixtures.mixture import Mixture
from mixtures.tables import Table

UNIFORM = 1e-3  # how much of the uniform distribution every starting row contains


def initialise(
    model: Mixture,
    x: Any,
    *,
    observed: Any = None,
    weights: Any = None,
    start: str = "data",
    concentration: float = 0.1,
    generator: torch.Generator | None = None,
) -> None:
    """Set starting parameters: components from the data, table rows Dirichlet(concentration).

    Rows of wide tables drawn uniformly from the simplex are all nearly alike, and EM leaves such a
    point slowly; a small concentration gives each state children of its own. Structural zeros stay.

    start: "k-means" learns on from whole rows (TMM, HMM, LTM; needs scikit-learn). For every latent
    the rows, cut to the variables below it, are clustered into as many clusters as it has states;
    latents with tied tables are clustered together (of a homogeneous chain all frames of all rows).
    Rows belong to the state of their cluster by 0.95, and one M-step from these memberships gives
    the tables, a tenth of which stays random; where components are the states themselves, it gives
    these, too. "spectral": k-means among as many leading principal components as there are states
    (Vempala and Wang, A spectral algorithm for learning mixture models, 2004), better where
    variables are many and noisy. For the clustering alone missing values count as column means,
    symbols as indicators, other numbers in units of their standard deviation; a row of which a
    latent sees nothing belongs to all its states alike. weights: (n,) of the rows. Rows beyond
    20 000, or fewer for many states, are not looked at. Costs one k-means per latent. Raises
    ValueError for other models.

    >>> from mixtures import HMM, Mixture
    >>> from mixtures.components import Gaussian
    >>> model = Mixture(HMM(2, 3, 3), Gaussian(2, 3))
    >>> initialise(model, [[0.0, 1.0], [2.0, 3.0]])
    """
    check_concentration(concentration)
    check_start(model, start)
    data = model.encode(x, observed)
    model.components.initialise(data, generator)
    draw_tables(model.coefficients, concentration, generator)
    if start in ROW_STARTS:
        data, mass, _ = weighty(data, checked_weights(weights, len(data), model), None)
        start_from_rows(model, data, mass, start, generator)


def check_start(model: Mixture, start: str) -> None:
    """Raise ValueError unless a model of this kind can start so."""
    if start not in ("data", *ROW_STARTS):
        known = ", ".join(map(repr, ("data", *ROW_STARTS)))
        raise ValueError(f"start must be one of {known}, got {start!r}")
    if start in ROW_STARTS:
        check_row_start(model, start)
        tied_latents(model)


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
