"""Tables under a Dirichlet prior: the M-step, the prior and draws that their families share."""

from __future__ import annotations

import torch
from torch import Tensor

from mixtures.tables import Table


def maximise_rows(table: Table, count: Tensor, weight: Tensor, pseudo_count: float) -> None:
    """Rows in proportion to count + pseudo_count, (d, k, c); structural zeros stay zero.

    Rows without weight (d, k) keep their values.
    """
    possible = table.logits > -torch.inf
    count = (count + pseudo_count) * possible
    total = count.sum(-1, keepdim=True)
    heavy = (weight.unsqueeze(-1) > 0) & (total > 0)
    table.set(torch.where(heavy, (count / total).to(table.values), table.values))


def log_dirichlet(table: Table, pseudo_count: float) -> Tensor:
    """pseudo_count * sum of log p over the possible entries, (d, k), float64."""
    logs = table.log_values.double()
    return pseudo_count * logs.where(table.logits > -torch.inf, 0.0).sum(-1)


def draw_columns(rows: Tensor, generator: torch.Generator | None) -> Tensor:
    """One column in proportion to each row (.., c); a column of probability zero never comes."""
    ends = rows.cumsum(-1)
    total = ends[..., -1]
    draws = torch.rand(total.shape, generator=generator, dtype=rows.dtype, device=rows.device)
    below = torch.minimum(draws * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(ends, below.unsqueeze(-1), right=True).squeeze(-1)


def tilted(count: Tensor, weight: Tensor, generator: torch.Generator | None) -> Tensor:
    """Counts (d, k, c) perturbed: each times an exponential variable of mean one, rows as heavy."""
    tilt = torch.empty_like(count).exponential_(generator=generator)
    rows = (count + 0.1) * tilt
    return weight.unsqueeze(-1) * rows / rows.sum(-1, keepdim=True)
