"""Mixtures of latent trees: trees of resampled rows, learned one by one, then all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixtures.combination import Combination
from mixtures.learn.batches import Batches, batches
from mixtures.learn.benchmark.models import Job, Learned, hidden, symbols
from mixtures.learn.benchmark.search import smoothing
from mixtures.learn.fit import fit
from mixtures.learn.stochastic import annealed, stochastic_em
from mixtures.mixture import Mixture

TREES = (4, 48)  # at least and at most
WALKS = (5, 20)  # over the rows, of every tree alone
ALONE = 0.6  # of the time goes into the trees one by one
BATCH, ROUNDS, PEAK, PATIENCE = 500, 20, 0.5, 2  # of learning together


def learn_forest(job: Job, setting: Mapping[str, Any]) -> Learned:
    """A mixture of hidden Chow-Liu trees of one setting.

    Every tree has its structure from rows drawn with replacement and its tables from all rows, as
    many trees as time allows; their weights are those of greatest likelihood on the validation
    rows. Then they learn together, for as long as the validation rows gain.
    """
    trees = [_tree(job, setting, WALKS[0])]
    cost = job.clock.spent / WALKS[0]
    wanted = int((ALONE * job.clock.seconds - job.clock.spent) / cost / (TREES[0] - 1))
    walks = min(max(wanted, WALKS[0]), WALKS[1])
    _grow(job, setting, trees, walks, ALONE)
    weights = stacked(_logs(trees, job.split.valid))
    weights, rounds = together(job, trees, weights, smoothing(setting))
    if rounds == 0:  # it did not help, so what time is left goes into more trees
        _grow(job, setting, trees, walks, 1.0)
        weights = stacked(_logs(trees, job.split.valid))
    model = symbols(Combination(weights, [tree.coefficients for tree in trees]))
    chosen = {**setting, "trees": len(trees), "walks": walks, "rounds": rounds}
    by_parts = partial(_mixed, trees, weights)  # trees alone are evaluated far faster
    return Learned(model, list(range(job.split.variables)), chosen, by_parts)


def _grow(
    job: Job, setting: Mapping[str, Any], trees: list[Mixture], walks: int, share: float
) -> None:
    """More trees, as long as one more fits into a share of all the time."""
    cost = 0.0
    while len(trees) < TREES[1] and cost <= share * job.clock.seconds - job.clock.spent:
        before = job.clock.spent
        trees.append(_tree(job, setting, walks))
        cost = job.clock.spent - before


def stacked(logs: Tensor, steps: int = 100) -> Tensor:
    """Weights (m,) of greatest likelihood of log-densities (n, m), by EM from equal ones.

    None is below 1e-3 / m, so that none is lost.
    """
    weights = torch.full((logs.shape[1],), 1 / logs.shape[1], dtype=logs.dtype)
    for _ in range(steps):
        weights = (logs + weights.log()).softmax(1).mean(0)
    floor = 1e-3 / len(weights)
    return (weights + floor) / (weights + floor).sum()


class Stand(NamedTuple):
    """Where learning together stands: how the mixture scores on validation rows, and what it is."""

    valid: float
    weights: Tensor
    parameters: list[dict[str, Tensor]]


def together(
    job: Job, trees: Sequence[Mixture], weights: Tensor, pseudo_count: float
) -> tuple[Tensor, int]:
    """EM of a mixture of models: each learns, one walk a round, from the rows it answers for.

    Ends when time does, or when rounds have not gained on the validation rows; the models get the
    best parameters met. Returns their weights, and the number of rounds that led there.
    """
    train, valid = job.split.train, job.split.valid
    best, best_round, cost = _stand(trees, weights, valid), 0, 0.0
    for number in range(1, ROUNDS + 1):
        if cost > job.clock.left or number > best_round + PATIENCE:
            break
        before = job.clock.spent
        shares = (_logs(trees, train) + weights.log()).softmax(1)
        weights = shares.mean(0)
        for tree, share in zip(trees, shares.unbind(1), strict=True):
            rows = batches(tree.encode(train), BATCH, weights=share, generator=job.generator)
            step = annealed(len(rows), PEAK * (1 - (number - 1) / ROUNDS))
            learning = stochastic_em(
                tree,
                _weighty(rows),
                step=step,
                pseudo_count=pseudo_count,
                total=max(float(share.sum()), 1.0),
            )
            for _ in learning:
                pass
        stand = _stand(trees, weights, valid)
        if stand.valid > best.valid:
            best, best_round = stand, number
        cost = job.clock.spent - before
    for tree, parameters in zip(trees, best.parameters, strict=True):
        tree.load_state_dict(parameters)
    return best.weights, best_round


def _weighty(rows: Batches) -> Any:
    """The batches whose rows have some weight, each a little."""
    for batch in rows:
        yield batch._replace(weights=batch.weights + 1e-6)


def _stand(trees: Sequence[Mixture], weights: Tensor, valid: Tensor) -> Stand:
    score = float(_mixed(trees, weights, valid).mean())
    states = [{k: v.clone() for k, v in tree.state_dict().items()} for tree in trees]
    return Stand(score, weights, states)


def _mixed(trees: Sequence[Mixture], weights: Tensor, rows: Tensor) -> Tensor:
    """The log-density of rows under the mixture of the trees, (n,)."""
    return (_logs(trees, rows) + weights.log()).logsumexp(1)


def _logs(trees: Sequence[Mixture], rows: Tensor) -> Tensor:
    """The log-densities of rows under each of the trees, (n, m)."""
    with torch.no_grad():
        return torch.stack([tree.log_prob(rows).double() for tree in trees], 1)


def _tree(job: Job, setting: Mapping[str, Any], walks: int) -> Mixture:
    n = len(job.split.train)
    drawn = torch.randint(n, (n,), generator=job.generator).bincount(minlength=n)
    model = hidden(job, setting, drawn.double())
    fit(
        model,
        job.split.train,
        method="stochastic_em",
        validation=job.split.valid,
        pseudo_count=smoothing(setting),
        max_iter=walks,
        progress=False,
        generator=job.generator,
    )
    return model
