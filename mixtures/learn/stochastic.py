"""EM on batches: running averages of expected statistics, and an M-step after every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mixtures.learn.batches import Batch, as_batch
from mixtures.learn.em import (
    ALONE,
    Expectations,
    Step,
    begin,
    check_frozen,
    check_pseudo_count,
    checked_weights,
    expectations,
    log_prior,
    maximise,
    over_ranks,
)
from mixtures.learn.parallel import Group, Ranks
from mixtures.mixture import Mixture

Schedule = Callable[[int], float]


def decreasing(t: int) -> float:
    """The step sizes of learning without a known end, (t + 2) ** -0.6."""
    return (t + 2) ** -0.6


def annealed(steps: int, peak: float = 1.0) -> Schedule:
    """Step sizes for a known number of steps: peak (1 - t / steps), and peak / steps from then on.

    High rates early forget bad starts and jump between modes; the last steps average over about
    sqrt(2 steps / peak) batches. Far better than `decreasing` where the end is known: that is why
    it is what `fit` does. Under a rate of 1 a batch alone decides, so entries of tables that no row
    of it needs become zero for ever unless there is a pseudo-count.

    >>> [annealed(4)(t) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.25, 0.25]
    """
    if steps < 1 or not 0 < peak <= 1:
        raise ValueError(f"expected steps >= 1 and a peak in (0, 1], got {steps} and {peak}")
    return lambda t: peak * max(1 - t / steps, 1 / steps)


@dataclass
class Running:
    """Where stochastic EM stands: batches met, their rows, and the expected statistics per row.

    Given to `stochastic_em` once more it goes on from there.
    """

    batches: int = 0
    rows: float = 0.0
    expected: Expectations | None = None


def stochastic_em(
    model: Mixture,
    batches: Iterable[Any],
    *,
    step: Schedule = decreasing,
    pseudo_count: float = 0.0,
    total: float | None = None,
    epochs: int = 1,
    frozen: Sequence[nn.Module] = (),
    running: Running | None = None,
    group: Group | Ranks | None = None,
) -> Iterator[Step]:
    """EM batch by batch, for data that do not fit in memory: one E-step and one M-step for each.

        S <- (1 - step(t)) S + step(t) (expected statistics of batch t, per row),  t = 0, 1, ..

    and parameters maximise `total` S plus the priors. The statistics begin as those of the model as
    it is: the mass of the first batch, shared out as the tables say; what components learn from
    begins with the first batch.

    batches: rows, encoded `Data`, `Batch` (rows with weights, evidence or a mask), or what a torch
    DataLoader of a TensorDataset yields; `batches(x, size)` cuts arrays and memory maps. They are
    gone through `epochs` times. step: rates between 0 and 1. total: how many rows the batches stand
    for, against which pseudo-counts weigh; default: those met so far, in the first of the epochs.
    running: what to go on from. Yields log-likelihood per row of the batch and log-prior per row of
    `total`, of the parameters the step began with. With a rate of 1 and all rows in one batch it
    is em. group: the processes that learn together (`mixtures.learn.parallel`): a step takes the
    next batch of every rank as one, and an epoch ends when no rank has any left. Costs one E-step
    per batch, and a few numbers per parameter.

    Source: Cappe and Moulines, On-line expectation-maximization for latent data models, 2009.

    >>> from mixtures import HMM, Mixture
    >>> from mixtures.components import Bernoulli
    >>> from mixtures.learn import batches
    >>> model = Mixture(HMM(2, 2, 2), Bernoulli(2, 2))
    >>> len(list(stochastic_em(model, batches([[0, 1], [1, 1], [0, 0]], 2), epochs=3)))
    6
    """
    ranks = Ranks.of(group, model.coefficients.device)
    with ranks.together():
        _check_options(model, pseudo_count, frozen, total, epochs)
    running = Running() if running is None else running
    begin(ranks, model, (pseudo_count, total, epochs, running.batches), frozen)
    first = running.batches == 0
    for epoch in range(epochs):
        empty = True
        for weight, expected, prior in _epoch(model, batches, pseudo_count, ranks):
            empty = False
            rows = running.rows + weight * (first and epoch == 0)
            size = rows if total is None else total
            mixed = _mixed(model, running, expected, _rate(step, running.batches))
            maximise(model, _times(size, mixed), pseudo_count, frozen)
            running.batches, running.rows, running.expected = running.batches + 1, rows, mixed
            yield Step(expected.log_likelihood, prior / size)
        if empty:
            raise ValueError(_nothing_in(epoch))


def _nothing_in(epoch: int) -> str:
    spent = "; an iterator is spent after one epoch" if epoch else ""
    return f"expected at least one batch, got none in epoch {epoch}{spent}"


def _check_options(
    model: Mixture,
    pseudo_count: float,
    frozen: Sequence[nn.Module],
    total: float | None,
    epochs: int,
) -> None:
    check_pseudo_count(pseudo_count)
    check_frozen(model, frozen)
    if total is not None and not 0 < total < torch.inf:
        raise ValueError(f"total must be positive and finite, got {total}")
    if epochs < 0:
        raise ValueError(f"epochs must be at least 0, got {epochs}")


def _rate(step: Schedule, t: int) -> float:
    rate = float(step(t))
    if not 0 <= rate <= 1:
        raise ValueError(f"step({t}) must be between 0 and 1, got {rate}")
    return rate


def _epoch(
    model: Mixture, batches: Iterable[Any], pseudo_count: float, ranks: Ranks
) -> Iterator[tuple[float, Expectations, float]]:
    """Of every step the weight of its rows, what is expected per row, and the log-prior.

    A step takes one batch of every rank that has some left.
    """
    walk = iter(batches)
    while True:
        with ranks.together():
            given = next(walk, None)
        if ranks.first(given is not None) == ranks.size:
            return
        with ranks.together():
            batch = _nothing(model) if given is None else as_batch(given, model)
            data = model.encode(batch.x, batch.observed)
            alone = ALONE if given is not None else ranks
            weights = checked_weights(batch.weights, len(data), model, alone)
            mine = expectations(model, data, weights, batch.evidence)
        weight = ranks.total(float(weights.double().sum()))
        expected, prior = over_ranks(ranks, mine, log_prior(model, pseudo_count))
        yield weight, _times(1 / weight, expected), prior


def _nothing(model: Mixture) -> Batch:
    """A batch without rows."""
    leaves = model.components
    shape = (0, leaves.variables, *leaves.event)
    return Batch(torch.empty(shape, dtype=leaves.dtype, device=leaves.device))


def _mixed(model: Mixture, running: Running, new: Expectations, rate: float) -> Expectations:
    """(1 - rate) * what is known + rate * what is new."""
    old = running.expected
    if old is None:
        tables = zip(new.counts, model.coefficients.arrays, strict=True)
        known = [count.sum(-1, keepdim=True) * array.double() for count, array in tables]
        old = Expectations(new.log_likelihood, known, new.statistics)
    pairs = zip(old.counts, new.counts, strict=True)
    return Expectations(
        (1 - rate) * old.log_likelihood + rate * new.log_likelihood,
        [_between(a, b, rate) for a, b in pairs],
        {
            name: _between(old.statistics[name], new.statistics[name], rate)
            for name in new.statistics
        },
    )


def _between(old: Tensor, new: Tensor, rate: float) -> Tensor:
    return new if rate == 1 else (1 - rate) * old + rate * new


def _times(factor: float, expected: Expectations) -> Expectations:
    return Expectations(
        factor * expected.log_likelihood,
        [factor * count for count in expected.counts],
        {name: factor * value for name, value in expected.statistics.items()},
    )
