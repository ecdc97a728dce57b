"""What a growing mixture looked like after every atom: errors, certificates, proven bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mixtures.mixture import Mixture


class Stage(NamedTuple):
    """A mixture of `atoms` atoms after `steps` steps, and what is known of it.

    error: under "l2" the squared distance ||f_t - f||^2 (`relative`: divided by ||f||^2); under
    "kl" KL(f || f_t) for a target f, the negative log-likelihood per row for data; nats.
    standard_error: of `error`, where it was estimated from draws, otherwise 0.
    gap: the largest <f - f_t, atom - f_t>, or E_f[atom / f_t] - 1, that the oracle found; where
    `certified` it is over all atoms, and no mixture of them has an error below `error` - `gap`.
    bound: what the error is proven to stay below, inf where nothing is proven (any more).
    slope: <f_{t-1} - f, atom - f> of the atom that came last, at most 0 where the bound holds (l2).
    exact_oracle: whether that atom was proven to be the best of all; otherwise it was found by a
    heuristic. step: the weight it was given.
    """

    steps: int
    atoms: int
    error: float
    standard_error: float
    gap: float
    bound: float
    slope: float
    exact_oracle: bool
    certified: bool
    step: float
    relative: float | None
    validation: float | None
    seconds: float
    mixture: Mixture

    @property
    def bound_holds(self) -> bool:
        """Whether a finite bound is proven and the error is below it."""
        return self.bound < float("inf") and self.error <= self.bound * (1 + 1e-9) + 1e-12


class Growth:
    """The stages of a growing mixture, one at a time; it remembers those it has yielded.

    `for stage in growth` computes as it goes; `growth.stages` are those so far, `growth.best` the
    one that did best on the validation rows, or has the smallest error. Ctrl-C while a stage is
    computed ends the iteration, and keeps what there is (`growth.interrupted`). What was kept makes
    a table (`.table()`) and a picture (`.plot()`).
    """

    def __init__(self, steps: Iterator[Stage]) -> None:
        self._steps = steps
        self.stages: list[Stage] = []
        self.interrupted = False

    def __iter__(self) -> Growth:
        return self

    def __next__(self) -> Stage:
        try:
            stage = next(self._steps)
        except KeyboardInterrupt:
            if not self.stages:
                raise
            self.interrupted = True
            raise StopIteration from None
        self.stages.append(stage)
        return stage

    def run(self) -> Growth:
        """Compute all stages that are left."""
        for _ in self:
            pass
        return self

    @property
    def best(self) -> Stage:
        """The stage that is best on the validation rows, or, without any, of smallest error."""
        if not self.stages:
            raise ValueError("no stage was computed yet: iterate, or call .run()")
        return max(self.stages, key=_merit)

    @property
    def mixture(self) -> Mixture:
        """The mixture of the best stage."""
        return self.best.mixture

    def __len__(self) -> int:
        return len(self.stages)

    def __repr__(self) -> str:
        if not self.stages:
            return "Growth(no stage yet)"
        best = self.best
        parts = [f"{len(self)} stages", f"best with {best.atoms} atoms: error {best.error:.6g}"]
        if best.validation is not None:
            parts.append(f"validation {best.validation:.6g}")
        return f"Growth({', '.join(parts + ['interrupted'] * self.interrupted)})"

    def table(self) -> Any:
        """A pandas data frame, one line per stage; needs pandas."""
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "tables need pandas: pip install 'homogeneous-mixtures[sklearn]'"
            ) from None
        columns = [name for name in Stage._fields if name != "mixture"]
        lines = [[getattr(stage, name) for name in columns] for stage in self.stages]
        return pandas.DataFrame(lines, columns=columns)

    def plot(self, ax: Any = None) -> Any:
        """Error beside bound and certified gap, over the steps; returns the axes (matplotlib)."""
        from mixtures.plot import curves

        series: dict[str, Sequence[float]] = {"error": [stage.error for stage in self.stages]}
        if any(stage.bound < float("inf") for stage in self.stages):
            series["proven bound"] = [stage.bound for stage in self.stages]
        if any(stage.certified for stage in self.stages):
            nothing = float("nan")
            series["gap"] = [s.gap if s.certified else nothing for s in self.stages]
        checked = [stage.validation for stage in self.stages if stage.validation is not None]
        if checked:
            series["validation (negative)"] = [-value for value in checked]
        drawn = curves(series, xlabel="steps", ylabel="error", ax=ax)
        if all(value > 0 for value in series["error"]):
            drawn.set_yscale("log")
        return drawn


def _merit(stage: Stage) -> float:
    return -stage.error if stage.validation is None else stage.validation
