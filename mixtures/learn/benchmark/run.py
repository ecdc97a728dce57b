"""The table: every model on every set, resumable, and the best of the zoo by validation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mixtures.learn.benchmark.data import Split, load
from mixtures.learn.benchmark.forest import learn_forest
from mixtures.learn.benchmark.models import LEARNERS, Job, Learned
from mixtures.learn.benchmark.results import Line, Results, Rows, commit, standard_error
from mixtures.learn.benchmark.search import Clock

FOREST = "mixture of LTMs"
MODELS = (*LEARNERS, FOREST)
SHARES = {"LTM": 1.0, FOREST: 1.0}  # of the minutes of a plan; of the other models OTHERS
OTHERS = 0.5


class Plan(NamedTuple):
    """What is to be run: sets of a folder, models, the seed, and minutes of processor time for an
    LTM or a mixture of them, half of that for another model.
    """

    data: Path
    datasets: Sequence[str]
    models: Sequence[str]
    minutes: float
    seed: int


class Finished(NamedTuple):
    """A line and the rows behind it."""

    line: Line
    rows: Rows


def run(plan: Plan, results: Results, known: str | None = None) -> Iterator[Line]:
    """Every line that `results` does not hold yet, added to them as soon as it is finished."""
    results.begin()
    for name in plan.datasets:
        for finished in run_set(plan, name, results.lines(), commit() if known is None else known):
            results.add(*finished)
            yield finished.line


def run_set(plan: Plan, name: str, lines: Iterable[Line], stamp: str) -> Iterator[Finished]:
    """The models of one set that have no line yet."""
    done = {line.key: line for line in lines}
    split = None
    for model in plan.models:
        key = (name, model, plan.seed, plan.minutes)
        if key in done:
            continue
        split = load(plan.data, name) if split is None else split
        ltm = done.get((name, "LTM", plan.seed, plan.minutes))
        finished = run_one(plan, split, model, ltm, stamp)
        done[key] = finished.line
        yield finished


def run_one(plan: Plan, split: Split, model: str, ltm: Line | None, stamp: str) -> Finished:
    """One model on one set."""
    seconds = 60 * plan.minutes * SHARES.get(model, OTHERS)
    job = Job(split, Clock(seconds), torch.Generator().manual_seed(plan.seed))
    learned = _learn(model, job, ltm)
    minutes, cpu_minutes = (time.perf_counter() - job.clock.wall) / 60, job.clock.spent / 60
    rows = learned.rows(split)
    return Finished(_line(plan, split, model, learned, rows, (minutes, cpu_minutes), stamp), rows)


def _learn(model: str, job: Job, ltm: Line | None) -> Learned:
    if model != FOREST:
        return LEARNERS[model](job)
    if ltm is None:
        half = Job(job.split, Clock(job.clock.left / 2), job.generator)
        setting = LEARNERS["LTM"](half).chosen
    else:
        setting = ltm.options
    return learn_forest(job, {name: setting[name] for name in ("mass", "group", "states")})


def _line(
    plan: Plan,
    split: Split,
    model: str,
    learned: Learned,
    rows: Rows,
    minutes: tuple[float, float],
    stamp: str,
) -> Line:
    return Line.of(
        dataset=split.name,
        model=model,
        test=float(rows.test.mean()),
        test_error=standard_error(rows.test),
        valid=float(rows.valid.mean()),
        num_parameters=learned.model.num_parameters,
        edges=learned.model.coefficients.size,
        minutes=minutes[0],
        cpu_minutes=minutes[1],
        budget_minutes=plan.minutes,
        seed=plan.seed,
        commit=stamp,
        chosen=learned.chosen,
    )


def best_of_zoo(lines: Iterable[Line]) -> dict[str, Line]:
    """Of every set the line whose model scored best on the validation rows."""
    best: dict[str, Line] = {}
    for line in lines:
        if line.dataset not in best or line.valid > best[line.dataset].valid:
            best[line.dataset] = line
    return best
