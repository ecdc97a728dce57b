"""What a walk down a spine collects besides the gradients of leaves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mixtures.sides import Arrangement


@dataclass(frozen=True, eq=False)
class Tally:
    """Where it goes, step by step of a segment."""

    counts: Tensor | None = None  # (steps or 1, P, C) float64, to be multiplied by the tables
    observed: Tensor | None = None  # (steps, B): whether anything is observed below
    states: Tensor | None = None  # (steps, C, B) posteriors of the latents


class Placed:
    """A tally in the order of an arrangement."""

    def __init__(self, arrangement: Arrangement, tally: Tally) -> None:
        self.arrangement = arrangement
        self.counts = None if tally.counts is None else arrangement.steps(tally.counts)
        self.states = None if tally.states is None else arrangement.steps(tally.states)
        self.observed: Tensor | None = None
        if tally.observed is not None and self.counts is not None:
            self.observed = arrangement.together(arrangement.steps(tally.observed)[:, :, None])

    def add_states(self, start: int, stop: int, found: Tensor) -> None:
        """Note the posteriors (m, G, C, M) of some steps."""
        assert self.states is not None
        self.states[start:stop] = self.arrangement.apart(found)

    def seen(self, start: int, stop: int, flows: Tensor) -> Tensor:
        """Flows where anything is observed below."""
        return flows if self.observed is None else flows * self.observed[start:stop]
