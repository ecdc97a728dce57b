"""Gradient steps of any torch optimizer on log-likelihood plus log-prior."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mixtures.checks import checked_evidence, name_rows
from mixtures.learn.batches import Batch, Batches, as_batch
from mixtures.learn.em import Step, check_pseudo_count, checked_weights
from mixtures.mixture import Mixture
from mixtures.tables import Table


def descend(
    model: Mixture,
    x: Any,
    optimizer: torch.optim.Optimizer,
    *,
    batch_size: int | None = None,
    observed: Any = None,
    weights: Any = None,
    evidence: Mapping[Hashable, Tensor] | None = None,
    pseudo_count: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Steps of a torch optimizer, without end, down - (log-likelihood + log-prior) per row.

    With `batch_size` the rows are gone through in a new random order again and again, one step per
    batch; without, a step sees all of them. weights, evidence and pseudo_count as in `em`. What
    `requires_grad_(False)` froze, or what the optimizer was not given, keeps its values. Structural
    zeros stay zero. Yields what a step met before it moved: log-likelihood per row of its batch,
    log-prior per row of all. A row of probability zero raises ValueError; nothing has changed then.

    >>> from mixtures import HMM, Mixture
    >>> from mixtures.components import Bernoulli
    >>> model = Mixture(HMM(2, 2, 2), Bernoulli(2, 2))
    >>> steps = descend(model, [[0, 1], [1, 1]], torch.optim.Adam(model.parameters(), lr=0.1))
    >>> before, after = next(steps), next(steps)
    """
    check_pseudo_count(pseudo_count)
    data = model.encode(x, observed)
    row_weights = checked_weights(weights, len(data), model)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    total = float(row_weights.double().sum())
    size = len(data) if batch_size is None else min(batch_size, len(data))
    known = checked_evidence(model.coefficients, evidence, (len(data),))
    whole = Batch(data, row_weights, known)
    cut = Batches(whole, size, size < len(data), generator)
    while True:
        for batch in cut:
            if bool(batch.weights.sum() > 0):
                yield _move(model, batch, optimizer, pseudo_count, total)


def _move(
    model: Mixture,
    given: Batch,
    optimizer: torch.optim.Optimizer,
    pseudo_count: float,
    total: float,
) -> Step:
    """One step of the optimizer; those that evaluate more than once per step may."""
    batch, met = as_batch(given, model), []

    def loss() -> Tensor:
        optimizer.zero_grad()
        likelihood = _log_likelihood(model, batch)
        prior = _log_prior(model, pseudo_count) / total
        met.append(Step(float(likelihood.detach()), float(prior.detach())))
        value = -(likelihood + prior)
        value.backward()
        return value

    with torch.inference_mode(False), torch.enable_grad():
        optimizer.step(loss)  # type: ignore[arg-type]
    return met[0]


def _log_likelihood(model: Mixture, batch: Batch) -> Tensor:
    """The weighted mean of log f over the rows that have weight."""
    logs = model.log_prob(batch.x, evidence=batch.evidence)
    seen = batch.weights > 0
    impossible = seen & ~(logs.detach() > -torch.inf)
    if bool(impossible.any()):
        raise ValueError(f"the density is zero in {name_rows(impossible)} of a batch")
    weights = batch.weights / batch.weights.sum()
    return (weights * logs.where(seen, 0)).sum()


def _log_prior(model: Mixture, pseudo_count: float) -> Tensor:
    """The logarithm of the prior density, differentiable."""
    total = model.components.log_prior()
    if pseudo_count:
        for table in model.coefficients.tables:
            assert isinstance(table, Table)
            logs = table.log_values
            total = total + pseudo_count * logs.where(logs.detach() > -torch.inf, 0).sum()
    return total
