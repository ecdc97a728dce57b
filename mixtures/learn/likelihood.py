"""Greedy maximum likelihood: a mixture of atoms that explains weighted rows, one atom at a time."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixtures.components import Data
from mixtures.learn.growth import Stage
from mixtures.learn.simplex import likelihood_step, likelihood_weights
from mixtures.learn.symbols import checked_weights as checked
from mixtures.mixture import Mixture


class Rows(NamedTuple):
    """Encoded rows, their weights (n,) float64 that sum to one, how many rows they stand for, and
    how likely the target finds them: log f (n,), or None where the rows are all there is.
    """

    x: Data
    weights: Tensor
    total: float
    target: Tensor | None = None

    def mean(self, values: Tensor) -> float:
        """The weighted mean of values (n,); rows without weight do not matter."""
        return float((self.weights * values.double().where(self.weights > 0, 0)).sum())

    def error(self, logs: Tensor) -> float:
        """The negative log-likelihood per row of log-densities (n,); KL(f || .) given a target."""
        return -self.mean(logs if self.target is None else logs - self.target)

    def standard_error(self, logs: Tensor) -> float:
        """Of `error`, for rows that are equally weighted draws from the target."""
        assert self.target is not None
        values = (self.target - logs).double()
        return 0.0 if bool(values.isinf().any()) else float(values.std()) / len(values) ** 0.5


class Judges(NamedTuple):
    """On which rows the error is measured: those learned from, or draws kept apart (`fresh`); and
    validation rows, if any.
    """

    fresh: Rows | None
    validation: Data | None


class Discovery(NamedTuple):
    """An atom's place among the atoms after it was taken in, and the share found best for it."""

    place: int
    exact: bool
    step: float


class Bank(ABC):
    """Atoms, and their log-densities of all rows: `logs` (n, t) float64."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.logs = torch.zeros((len(rows.x), 0), dtype=torch.float64)

    @abstractmethod
    def discover(self, weights: Tensor, mixed: Tensor | None) -> Discovery:
        """Find an atom for the mixture of these weights, log-densities `mixed` (n,); take it in."""

    @abstractmethod
    def gap(self, weights: Tensor, mixed: Tensor) -> tuple[float, bool]:
        """The largest E[atom / f_t] - 1 known, and whether it is over all atoms."""

    @abstractmethod
    def mixture(self, weights: Tensor) -> Mixture:
        """The mixture of the atoms with these weights."""

    def refit(self, weights: Tensor) -> Tensor:
        """Learn all parameters a little, if that is wanted; the new weights."""
        return weights

    def mixed(self, weights: Tensor) -> Tensor:
        """The log-densities of all rows, (n,)."""
        return (self.logs + weights.log()).logsumexp(1)


class Constants(NamedTuple):
    """What KL(f || f_t) <= gamma c^2 / t is made of (Li and Barron, 1999); inf if unknown."""

    gamma: float = math.inf
    square: float = math.inf

    @property
    def product(self) -> float:
        """gamma c^2."""
        return self.gamma * self.square

    def holds(self, steps: int, before: float, error: float) -> bool:
        """Whether the step was good enough for the induction that proves the bound:
        error <= (1 - a) before + a^2 gamma c^2 / 4 with a = 2 / (steps + 1).
        """
        share = 2 / (steps + 1)
        rest = (1 - share) * before if steps > 1 else 0.0
        return error <= rest + share**2 * self.product / 4


def climb(
    bank: Bank,
    judges: Judges,
    constants: Constants,
    *,
    corrective: bool,
    max_atoms: int,
    tol: float,
    patience: int,
    began: float,
) -> Iterator[Stage]:
    """Stage after stage, until `max_atoms` steps are made, the error falls by less than tol, or
    the validation rows have not gained for `patience` stages.
    """
    weights = torch.zeros(0, dtype=torch.float64)
    mixed: Tensor | None = None
    before, proven, best, stale = math.inf, math.isfinite(constants.product), -math.inf, 0
    for steps in range(1, max_atoms + 1):
        found = bank.discover(weights, mixed)
        weights = _moved(bank, weights, found, corrective)
        weights = bank.refit(weights)
        mixed = bank.mixed(weights)
        mixture = bank.mixture(weights)
        own = bank.rows.error(mixed)
        error, noise = own, 0.0
        if judges.fresh is not None:
            with torch.no_grad():
                logs = mixture.log_prob(judges.fresh.x).double()
            error, noise = judges.fresh.error(logs), judges.fresh.standard_error(logs)
        proven = proven and constants.holds(steps, before, own)
        gap, certified = bank.gap(weights, mixed)
        validation = None if judges.validation is None else mixture.score(judges.validation)
        yield Stage(
            steps=steps,
            atoms=int((weights > 0).sum()),
            error=error,
            standard_error=noise,
            gap=gap,
            bound=constants.product / steps if proven else math.inf,
            slope=0.0,
            exact_oracle=found.exact,
            certified=certified,
            step=found.step,
            relative=None,
            validation=validation,
            seconds=time.perf_counter() - began,
            mixture=mixture,
        )
        stale = 0 if validation is None or validation > best + tol else stale + 1
        best = best if validation is None else max(best, validation)
        if before - own <= tol or stale >= patience:
            return
        before = own


def _moved(bank: Bank, weights: Tensor, found: Discovery, corrective: bool) -> Tensor:
    """The weights after a step towards an atom, or all of them anew."""
    moved = torch.zeros(bank.logs.shape[1], dtype=torch.float64)
    moved[: len(weights)] = (1 - found.step) * weights
    moved[found.place] += found.step
    if not corrective:
        return moved
    return likelihood_weights(bank.logs, bank.rows.weights, moved)


def best_step(mixed: Tensor | None, logs: Tensor, rows: Rows) -> float:
    """The share of an atom that makes the likelihood of the rows greatest."""
    return 1.0 if mixed is None else likelihood_step(mixed, logs, rows.weights)


def row_weights(weights: Any, rows: int) -> Tensor:
    """Row weights (n,) float64, ones by default; ValueError unless finite, non-negative and not
    all zero.
    """
    if rows == 0:
        raise ValueError("expected at least one row to learn from, got none")
    found = checked(weights, rows)
    return torch.ones(rows, dtype=torch.float64) if found is None else found
