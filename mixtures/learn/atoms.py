"""Atoms learned from rows: weighted EM against what the mixture explains already."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mixtures.combination import Combination
from mixtures.components import Data
from mixtures.learn.batches import Batch, Batches
from mixtures.learn.em import em
from mixtures.learn.likelihood import Bank, Discovery, Rows, best_step
from mixtures.learn.stochastic import Running, stochastic_em
from mixtures.mixture import Mixture, mix

Make = Callable[[Data, Tensor, "torch.Generator | None"], Mixture]

LEAST = 1e-3  # the share at which an atom is learned on that would not be wanted as it is
TRIALS, WALKS = 8, 2  # rounds after which starting points are compared: of EM, of walks in batches


@dataclass(frozen=True)
class Learning:
    """How an atom is learned: rounds of EM until one gains less than `tol`, at most `max_iter`.

    batch_size: rows a batch of stochastic EM, a round being one walk over the rows; None: EM on all
    rows at once. pseudo_count: of the tables. refit: rounds on all atoms together after each step.
    """

    max_iter: int = 100
    tol: float = 1e-6
    batch_size: int | None = None
    pseudo_count: float = 0.0
    refit: int = 0


class LearnedBank(Bank):
    """Atoms made by `make(x, weights, generator)` and learned by weighted EM.

    For an atom phi with share a the rows count in proportion to a phi / ((1 - a) f_t + a phi): a
    round of EM never lowers the likelihood of (1 - a) f_t + a phi. Starting weights are drawn
    `restarts` times, and the most promising start is learned to the end.
    """

    def __init__(
        self,
        rows: Rows,
        make: Make,
        learning: Learning,
        *,
        fixed: bool,
        restarts: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(rows)
        self.make, self.learning, self.fixed = make, learning, fixed
        self.restarts, self.generator = restarts, generator
        self.atoms: list[Mixture] = []

    def discover(self, weights: Tensor, mixed: Tensor | None) -> Discovery:
        """The atom with which the rows become most likely, of those that EM found."""
        trials = []
        for shares in self._starts(weights, mixed):
            trial = Trial(self, mixed, shares)
            trial.learn(TRIALS if self.learning.batch_size is None else WALKS)
            trials.append(trial)
        best = max(trials, key=lambda trial: trial.value)
        best.learn(self.learning.max_iter)
        self.atoms.append(best.atom)
        self.logs = torch.cat([self.logs, best.logs[:, None]], 1)
        return Discovery(len(self.atoms) - 1, False, best.step)

    def gap(self, weights: Tensor, mixed: Tensor) -> tuple[float, bool]:
        """Over the atoms that were found: no certificate."""
        ratios = (self.logs - mixed[:, None]).exp()
        used = self.rows.weights > 0
        return float((self.rows.weights[used] @ ratios[used]).amax()) - 1, False

    def mixture(self, weights: Tensor) -> Mixture:
        """A combination of the atoms that have weight; components side by side, or shared."""
        kept = [atom for atom, weight in zip(self.atoms, weights, strict=True) if weight > 0]
        if len(kept) == 1:
            return kept[0]
        shares = weights[weights > 0]
        return mix((shares / shares.sum()).tolist(), kept)

    def refit(self, weights: Tensor) -> Tensor:
        """Some rounds of EM on all atoms and weights at once; earlier stages keep their atoms."""
        if not self.learning.refit or len(self.atoms) < 2:
            return weights
        used = weights > 0
        shared = {id(atom.components): atom.components for atom in self.atoms} if self.fixed else {}
        memory: dict[int, Any] = dict(shared)
        pairs = zip(self.atoms, used.tolist(), strict=True)
        self.atoms = [copy.deepcopy(atom, memory) for atom, keep in pairs if keep]
        weights = weights[used]
        whole = self.mixture(weights)
        rounds = learned(
            whole, self.rows, self.rows.weights, self.learning, self.fixed, self.generator
        )
        for _ in range(self.learning.refit):
            next(rounds)
        with torch.no_grad():
            parts = [atom.log_prob(self.rows.x).double() for atom in self.atoms]
        self.logs = torch.stack(parts, 1)
        if not isinstance(whole.coefficients, Combination) or len(parts) == 1:
            return weights
        return whole.coefficients.weights.double()

    # -- where an atom starts ---------------------------------------------------------------------

    def _starts(self, weights: Tensor, mixed: Tensor | None) -> Iterator[Tensor]:
        """Shares (n,) of the rows that an atom starts with."""
        if mixed is None:
            yield from [torch.ones_like(self.rows.weights)] * self.restarts
            return
        yield self._neglected(mixed, len(self.atoms) + 1)
        for _ in range(self.restarts - 1):
            yield self._half(weights, mixed)

    def _neglected(self, mixed: Tensor, parts: int) -> Tensor:
        """Rows in proportion to f_t(x)^-s, s at most 1 (the gradient), such that the effective
        number of rows is a share of 1 / parts, at least.
        """
        rows = self.rows.weights
        logs = -mixed.where(rows > 0, mixed[rows > 0].amax())
        logs = (logs - logs.mean()).nan_to_num(posinf=700.0)
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            shares = rows * (middle * (logs - logs.amax())).exp()
            enough = float(shares.sum() ** 2 / (shares.square() / rows.clamp(min=1e-300)).sum())
            low, high = (middle, high) if enough > 1 / parts else (low, middle)
        return (low * (logs - logs.amax())).exp()

    def _half(self, weights: Tensor, mixed: Tensor) -> Tensor:
        """The rows of one atom, drawn by its weight, that are nearer to one of two of its rows,
        which are drawn as k-means++ draws them.
        """
        atom = int(torch.multinomial(weights, 1, generator=self.generator))
        own = (self.logs[:, atom] + weights[atom].log() - mixed).exp().nan_to_num(0.0)
        chance = (own * self.rows.weights).clamp(min=0)
        points = standardised(self.rows.x)
        first = int(torch.multinomial(chance, 1, generator=self.generator))
        near = (points - points[:, first, None]).square().sum(0)
        if not bool((chance * near).sum() > 0):
            return torch.ones_like(own)
        second = int(torch.multinomial(chance * near, 1, generator=self.generator))
        far = (points - points[:, second, None]).square().sum(0)
        return own * (0.05 + 0.9 * (near < far))


def standardised(x: Data) -> Tensor:
    """Rows as points (d e, n): entries centred, of variance one, 0 where missing."""
    values = x.values.double().movedim(1, -1)
    seen = torch.ones_like(values, dtype=torch.bool)
    if x.observed is not None:
        mask = x.observed.movedim(1, -1)
        seen = mask.reshape(
            len(mask), *mask.shape[1:-1], *[1] * (values.ndim - mask.ndim), mask.shape[-1]
        )
        seen = seen.expand(values.shape)
    values, seen = values.flatten(0, -2), seen.flatten(0, -2)
    count = seen.sum(1, keepdim=True).clamp(min=1)
    values = values.where(seen, 0)
    values = (values - values.sum(1, keepdim=True) / count).where(seen, 0)
    scale = (values.square().sum(1, keepdim=True) / count).sqrt()
    return values / scale.masked_fill(scale == 0, 1.0)


class Trial:
    """One atom while it is learned against f_t, with its share a."""

    def __init__(self, bank: LearnedBank, mixed: Tensor | None, shares: Tensor) -> None:
        self.bank, self.mixed = bank, mixed
        weights = bank.rows.weights * shares
        self.atom = bank.make(bank.rows.x, weights, bank.generator)
        self.rounds = learned(
            self.atom, bank.rows, weights, bank.learning, bank.fixed, bank.generator
        )
        self.value, self.step = -math.inf, 1.0
        next(self.rounds)
        self._measure()

    def learn(self, rounds: int) -> None:
        """So many more rounds, or until one gains less than tol."""
        for _ in range(rounds):
            before = self.value
            self.rounds.send(self._rows())
            self._measure()
            if self.value - before < self.bank.learning.tol:
                break

    def _rows(self) -> Tensor:
        """The weights of the rows times the probability that the atom explains them."""
        if self.mixed is None:
            return self.bank.rows.weights
        own = self.logs + math.log(max(self.step, LEAST))
        rest = self.mixed + math.log1p(-min(self.step, 1 - 1e-16))
        return self.bank.rows.weights * torch.sigmoid(own - rest).nan_to_num(0.5)

    def _measure(self) -> None:
        with torch.no_grad():
            self.logs = self.atom.log_prob(self.bank.rows.x).double()
        rows = self.bank.rows
        self.step = best_step(self.mixed, self.logs, rows)
        if self.mixed is None:
            self.value = rows.mean(self.logs)
        else:
            share = torch.tensor([1 - self.step, self.step], dtype=torch.float64).log()
            both = torch.stack([self.mixed, self.logs], 1) + share
            self.value = rows.mean(both.logsumexp(1))


def learned(
    model: Mixture,
    rows: Rows,
    weights: Tensor,
    learning: Learning,
    fixed: bool,
    generator: torch.Generator | None,
) -> Generator[None, Tensor | None, None]:
    """Rounds of EM, each on the weights (n,) that were sent last; rows without weight are left out.

    `fixed`: the components keep their parameters.
    """
    frozen = [model.components] if fixed else []
    running, pseudo_count = Running(), learning.pseudo_count
    while True:
        heavy = weights > torch.finfo(model.coefficients.dtype).tiny
        x, counts = rows.x, weights * rows.total
        if not bool(heavy.all()):
            x, counts = x.rows(heavy.nonzero().flatten()), counts[heavy]
        if not len(counts):
            pass  # nothing to learn from: the model stays as it is
        elif learning.batch_size is None:
            next(em(model, x, weights=counts, pseudo_count=pseudo_count, frozen=frozen))
        else:
            size = min(learning.batch_size, len(counts))
            cut = Batches(Batch(x, counts), size, size < len(counts), generator)
            total = float(counts.sum())
            steps = stochastic_em(
                model, cut, pseudo_count=pseudo_count, total=total, frozen=frozen, running=running
            )
            for _ in steps:
                pass
        sent = yield
        weights = weights if sent is None else sent
