"""Learning with everything around it: restarts, early stopping, progress, interruption."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mixtures.checks import checked_evidence
from mixtures.learn.batches import Batch
from mixtures.learn.em import check_frozen, check_pseudo_count, checked_weights, weighty
from mixtures.learn.history import History
from mixtures.learn.initial import check_start, initialise
from mixtures.learn.methods import Method, Optimize, Task, started
from mixtures.learn.parallel import Group, Ranks
from mixtures.learn.progress import Display
from mixtures.learn.rowstarts import ROW_STARTS
from mixtures.learn.run import Limits, Run
from mixtures.learn.stochastic import Schedule
from mixtures.mixture import Mixture

STARTS = ("data", *ROW_STARTS, "model")
WALKS = 50  # of stochastic EM over the rows, unless told


def fit(
    model: Mixture,
    x: Any,
    *,
    method: str = "em",
    validation: Any = None,
    restarts: int = 1,
    tol: float = 1e-7,
    max_iter: int | None = None,
    patience: int | None = None,
    start: str = "data",
    observed: Any = None,
    weights: Any = None,
    evidence: Mapping[Hashable, Tensor] | None = None,
    pseudo_count: float = 0.0,
    frozen: Sequence[nn.Module] = (),
    batch_size: int | None = None,
    step: Schedule | None = None,
    optimizer: Optimize | None = None,
    history: History | None = None,
    progress: bool = True,
    generator: torch.Generator | None = None,
    group: Group | None = None,
) -> History:
    """Learn a model from rows x and say how it went; the model is left with the best parameters.

    method: "em"; "stochastic_em", an iteration being one walk over the rows in batches of
    `batch_size` (at most 500) with step sizes `step`; or "descend", an iteration being one walk
    with the torch optimizer that `optimizer(parameters)` makes (Adam). x, observed, weights,
    evidence, pseudo_count and frozen are those of `em`.

    It ends after `max_iter` iterations (1000); under em, once a step gains less than `tol` nats per
    row; and once `patience` (10) iterations in a row have not gained `tol` on the validation rows
    (without validation: on the objective as batches met it). Without `step`, stochastic_em walks
    over the rows `max_iter` (50) times, with rates that fall linearly to zero at the end
    (`annealed`), and patience is endless unless told: what rates so high keep from happening
    happens late. More walks are better, and a positive pseudo_count is. With validation rows the
    parameters that did
    best on them are restored, otherwise the last are kept. Ctrl-C ends it, too, and keeps the best
    so far (`history.interrupted`).

    start: "data", "k-means" and "spectral" begin from `initialise(model, x, start=start)`, "model"
    from the parameters as they are. Each of the `restarts` begins anew from the data; the one with
    the best validation score, or objective, wins. history: what an earlier fit of this model
    returned; this one goes on from there, and its history contains that one's. progress: a bar, if
    standard error is a terminal.

    group: the processes that learn together by em or stochastic_em, each from its own rows and
    validation rows, of any number (`mixtures.learn.parallel`). All of them begin where the first
    with rows does, take the same decisions and end with the same model; Ctrl-C on one of them ends
    it on all.

    Raises ValueError for bad options and rows of probability zero, and RuntimeError where a step of
    em lowers its objective, which would be a bug of a family. Costs one E-step per iteration, one
    upward pass over the validation rows if any, and twice the memory of the parameters.

    >>> from mixtures import HMM, Mixture
    >>> from mixtures.components import Bernoulli
    >>> model = Mixture(HMM(3, 2, 2), Bernoulli(3, 2))
    >>> history = fit(model, [[0, 1, 0], [1, 1, 0], [1, 1, 1]], restarts=3, max_iter=20)
    >>> bool(history.best.log_likelihood <= 0)
    True
    """
    limits = _limits(method, step, tol, max_iter, patience)
    _check(restarts, start, history)
    ranks = Ranks(group, model.coefficients.device)
    task = _task(model, x, observed, weights, evidence, pseudo_count, frozen, validation, ranks)
    checked = (method, restarts, limits, start, task.validation is None, batch_size)
    ranks.same("options of fit", checked)
    if start in ROW_STARTS and task.rows.evidence:
        raise ValueError(f"evidence names the states already; start={start!r} would name them anew")
    if start != "model":
        check_start(model, start)

    def begin(memory: Any) -> Method:
        own = (batch_size, step, limits.max_iter, optimizer, generator)
        return started(method, task, memory, *own)

    begin(None)  # refuses options before anything changes
    run = Run(task, limits, time.perf_counter(), history)
    wanted = progress and ranks.rank == 0
    with ranks.deferring_interrupts(), Display(limits.max_iter, wanted=wanted) as display:
        if history is not None:
            run.learn(begin(history.memory), display)
            return run.history()
        return _restarted(run, begin, restarts, start, generator, display)


def _limits(
    method: str, step: Schedule | None, tol: float, max_iter: int | None, patience: int | None
) -> Limits:
    """When learning ends, by default that of the method."""
    planned = method == "stochastic_em" and step is None
    if max_iter is None:
        max_iter = WALKS if planned else 1000
    if patience is None:
        patience = max(1, max_iter) if planned else 10
    return Limits(tol=tol, max_iter=max_iter, patience=patience)


def _task(
    model: Mixture,
    x: Any,
    observed: Any,
    weights: Any,
    evidence: Mapping[Hashable, Tensor] | None,
    pseudo_count: float,
    frozen: Sequence[nn.Module],
    validation: Any,
    ranks: Ranks,
) -> Task:
    """What is learned from what, checked on every rank."""
    check_pseudo_count(pseudo_count)
    check_frozen(model, frozen)
    with ranks.together():
        data = model.encode(x, observed)
        row_weights = checked_weights(weights, len(data), model, ranks)
        known = checked_evidence(model.coefficients, evidence, (len(data),))
        held_out = None if validation is None else model.encode(validation)
        if held_out is not None and len(held_out) == 0:
            raise ValueError("expected at least one validation row, got none")
    rows = Batch(data, row_weights, known)
    return Task(model, rows, pseudo_count, tuple(frozen), held_out, ranks)


def _restarted(
    run: Run,
    begin: Callable[[Any], Method],
    restarts: int,
    start: str,
    generator: torch.Generator | None,
    display: Display,
) -> History:
    """Every restart in turn, and the best of them."""
    given = copy.deepcopy(run.task.model.state_dict())
    for number in range(restarts):
        if number or start != "model":
            try:
                run.task.model.load_state_dict(given)  # zeros that EM arrived at are no structure
                _initialise(run.task, start, generator)
            except KeyboardInterrupt:
                if number == 0:
                    raise
                run.interrupted = True
                break
        run.learn(begin(None), display, f"{number + 1}/{restarts} " if restarts > 1 else "")
        if run.interrupted:
            break
    return run.history()


def _initialise(task: Task, start: str, generator: torch.Generator | None) -> None:
    """Starting parameters from the data; what is frozen keeps its own."""
    kept = [copy.deepcopy(part.state_dict()) for part in task.frozen]
    source = task.ranks.first(len(task.rows.x) > 0)
    with task.ranks.together():
        if task.ranks.rank == source:
            own, mass, _ = weighty(task.rows.x, task.rows.weights, None)
            initialise(task.model, own, weights=mass, start=start, generator=generator)
    for part, values in zip(task.frozen, kept, strict=True):
        part.load_state_dict(values)
    task.ranks.broadcast(task.model, source)


def _check(restarts: int, start: str, history: History | None) -> None:
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if start not in STARTS:
        known = ", ".join(map(repr, STARTS))
        raise ValueError(f"start must be one of {known}, got {start!r}")
    if history is not None and restarts > 1:
        raise ValueError(f"a history is gone on from once, got restarts={restarts}")
