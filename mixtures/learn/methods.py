"""The three ways of learning, as iterations that can be watched, kept and gone on from."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, cast

import torch
from torch import nn

from mixtures.components import Data
from mixtures.learn.batches import Batch, Batches
from mixtures.learn.descend import descend
from mixtures.learn.em import ALONE, Step, em, log_prior
from mixtures.learn.parallel import Ranks
from mixtures.learn.stochastic import Running, Schedule, annealed, stochastic_em
from mixtures.mixture import Mixture

BATCH = 500  # rows per batch at most, unless told
FORGOTTEN = 1e-6  # what is left of older statistics after a walk, where a batch may not decide

Optimize = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The default optimizer: Adam with learning rate 0.01."""
    return torch.optim.Adam(parameters, lr=0.01)


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned from what: a model, encoded rows with their weights and evidence, priors."""

    model: Mixture
    rows: Batch
    pseudo_count: float
    frozen: tuple[nn.Module, ...]
    validation: Data | None
    ranks: Ranks = ALONE

    @cached_property
    def total(self) -> float:
        """The sum of the row weights, over all ranks."""
        return self.ranks.total(float(self.rows.weights.double().sum()))

    def measure(self) -> Step:
        """Log-likelihood and log-prior per row of the model as it is: one upward pass."""
        weights = self.rows.weights.double()
        with self.ranks.together(), torch.no_grad():
            logs = self.model.log_prob(self.rows.x, evidence=self.rows.evidence).double()
            mine = (weights * logs.where(weights > 0, 0)).sum()
        (likelihood,) = self.ranks.sum([mine])
        prior = log_prior(self.model, self.pseudo_count)
        return Step(float(likelihood) / self.total, prior / self.total)

    def validate(self) -> float | None:
        """The mean log-likelihood of the validation rows, over all ranks."""
        if self.validation is None:
            return None
        with self.ranks.together(), torch.no_grad():
            logs = self.model.log_prob(self.validation).double()
        likelihood, count = self.ranks.sum([logs.sum(), torch.ones_like(logs).sum()])
        return float(likelihood / count)


class Method(ABC):
    """One way of learning a task; `exact` says whether steps report the likelihood of all rows."""

    exact = False

    @abstractmethod
    def advance(self) -> Step:
        """One iteration."""

    @abstractmethod
    def memory(self) -> Any:
        """What it knows besides the model, as a copy."""


class FullBatch(Method):
    """EM: an iteration is a step."""

    exact = True

    def __init__(self, task: Task) -> None:
        rows = task.rows
        self.steps = em(
            task.model,
            rows.x,
            weights=rows.weights,
            evidence=rows.evidence,
            pseudo_count=task.pseudo_count,
            frozen=task.frozen,
            group=task.ranks,
        )

    def advance(self) -> Step:
        return next(self.steps)

    def memory(self) -> None:
        return None


class Stochastic(Method):
    """Stochastic EM: an iteration goes through all batches once, `walks` times if nothing stops it.

    Without `step` the rates are `annealed` over all these walks, from 1 where tables with a
    pseudo-count are all there is to learn, otherwise from at most 1/2, and such that a walk leaves
    a trace of what was known before. All rows in one batch are EM.
    """

    def __init__(
        self,
        task: Task,
        memory: Running | None,
        batch_size: int | None,
        step: Schedule | None,
        walks: int,
        generator: torch.Generator | None,
    ) -> None:
        self.task, self.given, self.walks = task, step, walks
        self.running = Running() if memory is None else copy.copy(memory)
        self.begun = self.running.batches
        rows = max(1, len(task.rows.x))
        alike = -(-rows // -(-rows // BATCH))  # batches of equal sizes
        size = min(alike if batch_size is None else batch_size, rows)
        self.batches = Batches(task.rows, size, size < len(task.rows.x), generator)

    @cached_property
    def step(self) -> Schedule:
        """The rates, known once all ranks have told how many batches they have."""
        if self.given is not None:
            return self.given
        ranks = self.task.ranks
        count = max(1, math.ceil(ranks.total(float(len(self.batches))) / ranks.size))
        if count == 1:
            return lambda t: 1.0
        model = self.task.model
        if self.task.pseudo_count > 0 and not any(True for _ in model.components.parameters()):
            peak = 1.0
        else:
            peak = min(0.5, 1 - FORGOTTEN ** (1 / count))
        return annealed(max(1, self.begun + self.walks * count), peak)

    def advance(self) -> Step:
        steps = stochastic_em(
            self.task.model,
            (batch for batch in self.batches if bool(batch.weights.sum() > 0)),
            step=self.step,
            pseudo_count=self.task.pseudo_count,
            total=self.task.total,
            frozen=self.task.frozen,
            running=self.running,
            group=self.task.ranks,
        )
        return mean(steps)

    def memory(self) -> Running:
        return copy.copy(self.running)


class Descent(Method):
    """Gradient steps: an iteration goes through all rows once."""

    def __init__(
        self,
        task: Task,
        memory: Any,
        batch_size: int | None,
        optimize: Optimize | None,
        generator: torch.Generator | None,
    ) -> None:
        rows = task.rows
        kept = {id(parameter) for part in task.frozen for parameter in part.parameters()}
        free = [p for p in task.model.parameters() if p.requires_grad and id(p) not in kept]
        if not free:
            raise ValueError("expected something to learn, but every parameter is frozen")
        self.optimizer = (adam if optimize is None else optimize)(free)
        if memory is not None:
            self.optimizer.load_state_dict(memory)
        self.count = 1 if batch_size is None else -(-len(rows.x) // batch_size)
        self.steps: Iterator[Step] = descend(
            task.model,
            rows.x,
            self.optimizer,
            batch_size=batch_size,
            weights=rows.weights,
            evidence=rows.evidence,
            pseudo_count=task.pseudo_count,
            generator=generator,
        )

    def advance(self) -> Step:
        return mean(islice(self.steps, self.count))

    def memory(self) -> Any:
        return copy.deepcopy(self.optimizer.state_dict())


def mean(steps: Iterable[Step]) -> Step:
    """The mean of some steps."""
    likelihoods, priors = zip(*steps, strict=True)
    return Step(sum(likelihoods) / len(likelihoods), sum(priors) / len(priors))


def started(
    method: str,
    task: Task,
    memory: Any,
    batch_size: int | None,
    step: Schedule | None,
    walks: int,
    optimizer: Optimize | None,
    generator: torch.Generator | None,
) -> Method:
    """The method of that name; ValueError for options of another one."""
    given = {"batch_size": batch_size, "step": step, "optimizer": optimizer}
    allowed = {
        "em": set(),
        "stochastic_em": {"batch_size", "step"},
        "descend": {"batch_size", "optimizer"},
    }.get(method)
    if allowed is None:
        raise ValueError(f"method must be 'em', 'stochastic_em' or 'descend', got {method!r}")
    for name, value in given.items():
        if value is not None and name not in allowed:
            raise ValueError(f"method {method!r} takes no {name}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if method == "descend" and task.ranks.group is not None:
        raise ValueError("method 'descend' takes no group; 'em' and 'stochastic_em' do")
    if method == "em":
        return FullBatch(task)
    if method == "stochastic_em":
        known = cast("Running | None", memory)
        return Stochastic(task, known, batch_size, step, walks, generator)
    return Descent(task, memory, batch_size, optimizer, generator)
