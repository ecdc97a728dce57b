"""Mixtures of latent trees: trees of resampled rows, learned one by one, then all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mixtures.combination import Combination
from mixtures.learn.benchmark.models import Job, Learned, hidden, polish, symbols
from mixtures.learn.benchmark.search import BATCH, FULL_BATCHES, FULL_WALKS, smoothing
from mixtures.learn.fit import fit
from mixtures.mixture import Mixture

MOST_TREES = 12
ALONE = 0.6  # of the time goes into the trees one by one


def learn_forest(job: Job, setting: Mapping[str, Any]) -> Learned:
    """A mixture of hidden Chow-Liu trees of one setting.

    Every tree has its structure from rows drawn with replacement and its tables from all rows, as
    many trees as time allows; their weights are those of greatest likelihood on the validation
    rows. Then they learn together, as one mixture, for as long as the validation rows gain.
    """
    trees: list[Mixture] = []
    cost = 0.0
    walks = _walks(job)
    while len(trees) < MOST_TREES:
        left = ALONE * job.clock.seconds - job.clock.spent
        if trees and cost > left:
            break
        before = job.clock.spent
        trees.append(_tree(job, setting, walks))
        cost = job.clock.spent - before
    with torch.no_grad():
        logs = torch.stack([tree.log_prob(job.split.valid).double() for tree in trees], 1)
    model = symbols(Combination(stacked(logs), [tree.coefficients for tree in trees]))
    together = polish(job, model, smoothing(setting))
    chosen = {**setting, "trees": len(trees), "walks": walks, "walks together": together}
    return Learned(model, list(range(job.split.variables)), chosen)


def stacked(logs: Tensor, steps: int = 100) -> Tensor:
    """Weights (m,) of greatest likelihood of log-densities (n, m), by EM from equal ones.

    None is below 1e-3 / m, so that none is lost.
    """
    weights = torch.full((logs.shape[1],), 1 / logs.shape[1], dtype=logs.dtype)
    for _ in range(steps):
        weights = (logs + weights.log()).softmax(1).mean(0)
    floor = 1e-3 / len(weights)
    return (weights + floor) / (weights + floor).sum()


def _walks(job: Job) -> int:
    batches = -(-len(job.split.train) // BATCH)
    return min(max(round(0.5 * FULL_BATCHES / batches), FULL_WALKS[0]), FULL_WALKS[1] // 2)


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
