"""Expectation maximisation: expected counts, then count / count.sum(-1), for every model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mixtures.components import Data
from mixtures.learn.parallel import Group, Ranks
from mixtures.mixture import Mixture
from mixtures.tables import Table

ALONE = Ranks(None)


class Step(NamedTuple):
    """Log-likelihood and log-prior per row, of the parameters a step began with."""

    log_likelihood: float
    log_prior: float

    @property
    def objective(self) -> float:
        """What never falls: log-likelihood plus log-prior, per row."""
        return self.log_likelihood + self.log_prior


def em(
    model: Mixture,
    x: Any,
    *,
    observed: Any = None,
    weights: Any = None,
    evidence: Mapping[Hashable, Tensor] | None = None,
    pseudo_count: float = 0.0,
    frozen: Sequence[nn.Module] = (),
    group: Group | Ranks | None = None,
) -> Iterator[Step]:
    """Full-batch EM, one step at a time, without end: each `next` is one E-step and one M-step.

    weights: (n,) non-negative row weights. evidence: {latent: (n, r) log-weights} where states are
    known. pseudo_count: Dirichlet(1 + pseudo_count) prior on every row of every table (structural
    zeros stay zero). frozen: tables, or `model.components`, that keep their values. Log-likelihood
    + log-prior never falls. Rows of probability zero raise ValueError. Memory for values does not
    grow with the number of rows. group: the processes that learn together
    (`mixtures.learn.parallel`), each from its rows.

    >>> from mixtures import TMM, Mixture
    >>> from mixtures.components import Bernoulli
    >>> model = Mixture(TMM(2, 2, 2, emission=False), Bernoulli(2, 2))
    >>> step = next(em(model, [[0, 1], [1, 1]]))
    """
    ranks = Ranks.of(group, model.coefficients.device)
    with ranks.together():
        data = model.encode(x, observed)
        row_weights = checked_weights(weights, len(data), model, ranks)
        check_pseudo_count(pseudo_count)
        check_frozen(model, frozen)
    begin(ranks, model, pseudo_count, frozen)
    total = ranks.total(float(row_weights.double().sum()))
    if total == 0:
        raise ValueError("expected rows with weight on at least one rank, got none")
    while True:
        with ranks.together():
            expected = expectations(model, data, row_weights, evidence)
        expected, prior = over_ranks(ranks, expected, log_prior(model, pseudo_count))
        maximise(model, expected, pseudo_count, frozen)
        yield Step(expected.log_likelihood / total, prior / total)


class Expectations(NamedTuple):
    """What one pass over the rows yields: sums that add up over chunks and over machines."""

    log_likelihood: float
    counts: list[Tensor]
    statistics: dict[str, Tensor]


def expectations(
    model: Mixture,
    data: Data,
    row_weights: Tensor,
    evidence: Mapping[Hashable, Tensor] | None = None,
) -> Expectations:
    """The E-step: expected counts of every table and statistics of the components."""
    counts = [
        torch.zeros(array.shape, dtype=torch.float64, device=array.device)
        for array in model.coefficients.arrays
    ]
    data, row_weights, evidence = weighty(data, row_weights, evidence)
    total, statistics = model.expected(data, row_weights, counts, evidence)
    return Expectations(total, counts, statistics)


def weighty(
    data: Data, row_weights: Tensor, evidence: Mapping[Hashable, Tensor] | None
) -> tuple[Data, Tensor, Mapping[Hashable, Tensor] | None]:
    """The rows that have weight: the others may be impossible."""
    if bool((row_weights > 0).all()):
        return data, row_weights, evidence
    index = (row_weights > 0).nonzero().flatten()
    known = None if evidence is None else {name: logs[index] for name, logs in evidence.items()}
    return data.rows(index), row_weights[index], known


def begin(ranks: Ranks, model: Mixture, options: Any, frozen: Sequence[nn.Module]) -> None:
    """All ranks begin with one model and the same options."""
    kept = {id(part) for part in frozen}
    parts = (*model.coefficients.tables, model.components)
    places = [n for n, part in enumerate(parts) if id(part) in kept]
    ranks.same("pseudo_count and other options", options)
    ranks.same("frozen tables", places)
    ranks.broadcast(model)


def over_ranks(ranks: Ranks, mine: Expectations, prior: float) -> tuple[Expectations, float]:
    """The sums of all ranks' expectations, and the log-prior as rank 0 sees it."""
    if ranks.group is None:
        return mine, prior
    names = sorted(mine.statistics)
    numbers = [mine.log_likelihood, prior if ranks.rank == 0 else 0.0]
    first = torch.tensor(numbers, dtype=torch.float64, device=ranks.device)
    parts = [first, *mine.counts, *(mine.statistics[name] for name in names)]
    head, *sums = ranks.sum(parts)
    counts, statistics = sums[: len(mine.counts)], sums[len(mine.counts) :]
    found = Expectations(float(head[0]), counts, dict(zip(names, statistics, strict=True)))
    return found, float(head[1])


def maximise(
    model: Mixture, expected: Expectations, pseudo_count: float, frozen: Sequence[nn.Module] = ()
) -> None:
    """The M-step; where a component collapses, a ValueError, and nothing has changed."""
    kept = {id(part) for part in frozen}
    if id(model.components) not in kept:
        model.components.maximise(expected.statistics)
    for table, count in zip(model.coefficients.tables, expected.counts, strict=True):
        assert isinstance(table, Table)
        if id(table) not in kept:
            table.maximise(count, pseudo_count)


def log_prior(model: Mixture, pseudo_count: float) -> float:
    """The logarithm of the prior density of tables and components, up to a constant."""
    total = float(model.components.log_prior().detach())
    if pseudo_count:
        for array in model.coefficients.arrays:
            total += pseudo_count * float(array[array > 0].double().log().sum())
    return total


def check_pseudo_count(pseudo_count: float) -> None:
    """Raise ValueError unless non-negative and finite."""
    if not 0 <= pseudo_count < torch.inf:
        raise ValueError(f"pseudo_count must be non-negative and finite, got {pseudo_count}")


def check_frozen(model: Mixture, frozen: Sequence[nn.Module]) -> None:
    """Raise ValueError unless all are tables of the model, or its components."""
    own = {id(part) for part in (*model.coefficients.tables, model.components)}
    if not all(id(part) in own for part in frozen):
        raise ValueError(
            "frozen must be some of model.coefficients.tables, or model.components, got something "
            "else"
        )


def checked_weights(weights: Any, rows: int, model: Mixture, ranks: Ranks = ALONE) -> Tensor:
    """Row weights (n,), ones by default; ValueError unless finite, non-negative and not all
    zero. Of several ranks some may have no rows, or none with weight.
    """
    like, alone = model.coefficients, ranks.group is None
    if rows == 0 and alone:
        raise ValueError("expected at least one row to learn from, got none")
    if weights is None:
        return torch.ones(rows, dtype=like.dtype, device=like.device)
    weights = torch.as_tensor(weights, dtype=like.dtype, device=like.device)
    if weights.shape != (rows,):
        raise ValueError(f"expected weights of shape ({rows},), got {tuple(weights.shape)}")
    valid = bool(((weights >= 0) & weights.isfinite()).all())
    if not valid or (alone and not bool(weights.sum() > 0)):
        raise ValueError("weights must be finite, non-negative and not all zero")
    return weights
