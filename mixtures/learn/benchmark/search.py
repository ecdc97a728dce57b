"""Choosing options on validation rows: short runs of neighbouring settings, then one long run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from mixtures.components import Data
from mixtures.learn.benchmark.results import paired
from mixtures.learn.fit import fit
from mixtures.mixture import Mixture

Setting = Mapping[str, float]
Build = Callable[[Setting], Mixture]

PILOT_BATCHES, PILOT_WALKS = 210, (3, 12)  # length of a short run: batches, within so many walks
FULL_BATCHES, FULL_WALKS = 3500, (8, 60)
BATCH = 500
PILOTS, FIRST = 0.5, 0.2  # of the time goes at most into short runs, and into the first of them


def smoothing(setting: Setting) -> float:
    """The pseudo-count of every entry: the mass of a row, shared among its states."""
    return setting["mass"] / setting["states"]


class Clock:
    """So many seconds of processor time, counted from now, whatever else the machine does."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.begun, self.wall = seconds, time.process_time(), time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds of processor time since it began."""
        return time.process_time() - self.begun

    @property
    def left(self) -> float:
        """Seconds of processor time that remain."""
        return self.seconds - self.spent


class Found(NamedTuple):
    """A learned model, how it scores on the validation rows, its setting, seconds per walk."""

    model: Mixture
    valid: float
    setting: dict[str, float]
    walks: int
    seconds: float  # of processor time, per walk
    rows: NDArray[Any]  # the log-likelihoods of the validation rows

    @property
    def cost(self) -> float:
        """Seconds of processor time that learning it took."""
        return self.walks * self.seconds


@dataclass(eq=False)
class Search:
    """Climbs a lattice of settings from `start`, one axis at a time, by scores of short runs.

    axes: of every option the values it may take, in order. A neighbour is tried only while short
    runs have taken less than their part of the time, and if it is cheap enough. `tried` holds the
    short run of every setting, `found` all runs.
    """

    train: Data
    valid: Data
    build: Build
    axes: Mapping[str, Sequence[float]]
    clock: Clock
    generator: torch.Generator
    tried: dict[tuple[float, ...], Found] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pilot = self._walks(PILOT_BATCHES, PILOT_WALKS)  # over the rows, of a short run

    def run(self, start: Setting) -> Found:
        """The best model by validation rows: short runs, then the best setting at length."""
        return self.finish(self.climb(start))

    def climb(self, start: Setting) -> Found:
        """The best of short runs, of which the first takes a part of the time at most."""
        walk = self.learn(start, 1).seconds
        self.pilot = min(self.pilot, max(1, int(FIRST * self.clock.seconds / walk)))
        best = self._try(dict(start), self.pilot)
        improved = True
        while improved:
            improved = False
            for axis in self.axes:
                for direction in (1, -1):
                    while (found := self._neighbour(best, axis, direction)) is not None:
                        if not self._better(found, best):
                            break
                        best, improved = found, True
        return best

    def _better(self, found: Found, best: Found) -> bool:
        """Higher on the validation rows; with more states, by more than a paired standard error."""
        gain = paired(found.rows, best.rows)
        larger = found.setting["states"] > best.setting["states"]
        return gain.mean > (gain.error if larger else 0.0)

    def finish(self, best: Found, share: float = 1.0) -> Found:
        """Learn the best setting anew, as long as a share of the time that is left allows;
        whichever is better on the validation rows.
        """
        affordable = int(0.9 * share * self.clock.left / best.seconds)
        walks = min(self._walks(FULL_BATCHES, FULL_WALKS), affordable)
        if walks <= best.walks:
            return best
        return max(best, self.learn(best.setting, walks), key=lambda found: found.valid)

    def _walks(self, batches: int, limits: tuple[int, int]) -> int:
        wanted = round(batches / -(-len(self.train) // BATCH))
        return min(max(wanted, limits[0]), limits[1])

    def _neighbour(self, best: Found, axis: str, direction: int) -> Found | None:
        """The next setting along an axis, if there is one, not tried yet, and affordable."""
        values = self.axes[axis]
        place = values.index(best.setting[axis]) + direction
        if not 0 <= place < len(values):
            return None
        setting = best.setting | {axis: values[place]}
        if tuple(setting.values()) in self.tried:
            return None
        growth = values[place] / best.setting[axis] if axis == "states" else 1.0
        cost = best.seconds * growth**1.6 * self.pilot
        allowed = PILOTS * self.clock.seconds - self.clock.spent
        return self._try(setting, self.pilot) if cost < allowed else None

    def _try(self, setting: dict[str, float], walks: int) -> Found:
        found = self.learn(setting, walks)
        self.tried[tuple(setting.values())] = found
        return found

    def learn(self, setting: Setting, walks: int) -> Found:
        """A new model of that setting, learned in so many walks over the rows."""
        begun = self.clock.spent
        model = self.build(setting)
        history = fit(
            model,
            self.train,
            method="stochastic_em",
            validation=self.valid,
            pseudo_count=smoothing(setting),
            max_iter=walks,
            progress=False,
            generator=self.generator,
        )
        assert history.best.validation is not None
        with torch.no_grad():
            rows = model.log_prob(self.valid).double().numpy()
        seconds = (self.clock.spent - begun) / walks
        found = Found(model, history.best.validation, dict(setting), walks, seconds, rows)
        self.found.append(found)
        return found
