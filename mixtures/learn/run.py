"""One run of learning: iterations until nothing is gained, and the best parameters kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixtures.learn.em import Step
from mixtures.learn.history import History, Record
from mixtures.learn.methods import Method, Task
from mixtures.learn.parallel import RankError
from mixtures.learn.progress import Display


@dataclass(frozen=True)
class Limits:
    """When learning ends; ValueError for numbers that make no sense."""

    tol: float
    max_iter: int
    patience: int

    def __post_init__(self) -> None:
        if not 0 <= self.tol < torch.inf:
            raise ValueError(f"tol must be non-negative and finite, got {self.tol}")
        if self.max_iter < 0:
            raise ValueError(f"max_iter must be at least 0, got {self.max_iter}")
        if self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")


class Kept(NamedTuple):
    """Parameters after `iteration` iterations, and what the method knows besides them."""

    iteration: int
    parameters: dict[str, Tensor]
    memory: Any


@dataclass(eq=False)
class Course:
    """One restart as it goes: records, the present and the best parameters, and for how long
    nothing was gained.
    """

    steps: list[Record] = field(default_factory=list)
    present: Kept | None = None
    best: Kept | None = None
    best_score: float = -torch.inf
    goal: float = -torch.inf
    stale: int = 0

    def gained(self, score: float, tol: float) -> None:
        """Count the iterations since the score last rose by more than tol."""
        if score > self.goal + tol or score == -torch.inf:
            self.goal, self.stale = max(score, self.goal), 0
        else:
            self.stale += 1


class Run:
    """Restarts of one task, and which of them is the best so far."""

    def __init__(self, task: Task, limits: Limits, began: float, history: History | None) -> None:
        self.task, self.limits, self.began = task, limits, began
        self.earlier = history
        if history is not None:
            self.began -= history.best.seconds
        self.winner: History | None = None
        self.parameters: dict[str, Tensor] = {}
        self.restarts: list[Record] = []
        self.interrupted = False

    def history(self) -> History:
        """What happened; the model gets the best parameters."""
        assert self.winner is not None
        self.task.model.load_state_dict(self.parameters)
        found = self.winner
        return History(
            found.steps,
            found.kept,
            found.converged,
            self.interrupted,
            tuple(self.restarts),
            found.memory,
        )

    def learn(self, method: Method, display: Display, title: str = "") -> None:
        """One restart, until it ends or is interrupted."""
        course = self._course()
        converged = False
        try:
            converged = self._iterate(course, method, display, title)
        except KeyboardInterrupt:
            self.interrupted = True
            if course.present is None:
                if self.winner is None:
                    raise
                return
        except RankError:
            self._restore(course)
            raise
        self._finish(course, converged)

    def _restore(self, course: Course) -> None:
        """The best parameters so far, where nothing can be measured any more."""
        found, best = self.winner, course.best
        if found is not None and (best is None or course.best_score <= _score(found.best)):
            self.task.model.load_state_dict(self.parameters)
        elif best is not None:
            self.task.model.load_state_dict(best.parameters)

    def _course(self) -> Course:
        """Empty, or the earlier records up to the parameters that were kept."""
        course = Course()
        if self.earlier is None:
            return course
        for record in self.earlier.steps[: self.earlier.kept]:
            course.steps.append(record)
            score = record.objective if record.validation is None else record.validation
            course.gained(score, self.limits.tol)
        return course

    def _iterate(self, course: Course, method: Method, display: Display, title: str) -> bool:
        """Iterations; whether they ended because nothing was gained any more."""
        limits, first, converged = self.limits, len(course.steps), False
        while True:
            validation = self._keep(course, method)
            if validation is not None:
                course.gained(validation, limits.tol)
            ended = converged or course.stale >= limits.patience
            if ended or len(course.steps) - first >= limits.max_iter:
                return ended
            step = method.advance()
            if method.exact and course.steps:
                converged = self._gain(course.steps[-1], step) < limits.tol
            if validation is None and not method.exact:
                course.gained(step.objective, limits.tol)
            course.steps.append(self._record(step, validation))
            display.show(len(course.steps) - first, course.steps[-1], title)

    def _keep(self, course: Course, method: Method) -> float | None:
        """Remember the present parameters, as the best ones, too, if they are."""
        validation = self.task.validate()
        state = self.task.model.state_dict()
        parameters = {name: value.clone() for name, value in state.items()}
        course.present = Kept(len(course.steps), parameters, method.memory())
        score = -torch.inf if validation is None else validation
        if score > course.best_score or score == course.best_score == -torch.inf:
            course.best, course.best_score = course.present, score
        return validation

    def _gain(self, before: Record, step: Step) -> float:
        """What a step of em gained; RuntimeError if it lost."""
        gain = step.objective - before.objective
        dtype = self.task.model.coefficients.dtype
        rounding = torch.finfo(dtype).eps ** 0.5 * (1 + abs(before.objective))
        if gain < -rounding:
            raise RuntimeError(
                f"a step of em lowered log-likelihood + log-prior per row from "
                f"{before.objective:.12g} to {step.objective:.12g}: this is a bug in the M-step or "
                f"the prior of {type(self.task.model.components).__name__}, please report it (in "
                f"float32 it may be rounding: does model.double() fall, too?)"
            )
        return gain

    def _record(self, step: Step, validation: float | None) -> Record:
        seconds = time.perf_counter() - self.began
        return Record(step.log_likelihood, step.log_prior, validation, seconds)

    def _finish(self, course: Course, converged: bool) -> None:
        """Measure the parameters that are kept, and see whether they beat the earlier restarts."""
        present, best = course.present, course.best
        assert present is not None and best is not None
        unknown = len(course.steps) == present.iteration
        if unknown:
            course.steps.append(self._measured(present))
        if best is not present or not unknown:
            course.steps[best.iteration] = self._measured(best, course.steps[best.iteration])
        record = course.steps[best.iteration]
        self.restarts.append(record)
        if self.winner is None or _score(record) > _score(self.winner.best):
            kept = best.iteration
            self.winner = History(tuple(course.steps), kept, converged, memory=best.memory)
            self.parameters = best.parameters

    def _measured(self, kept: Kept, known: Record | None = None) -> Record:
        self.task.model.load_state_dict(kept.parameters)
        step = self.task.measure()
        if known is not None:
            return known._replace(log_likelihood=step.log_likelihood, log_prior=step.log_prior)
        return self._record(step, self.task.validate())


def _score(record: Record) -> float:
    """What restarts are compared by."""
    return record.objective if record.validation is None else record.validation
