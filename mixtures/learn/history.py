"""What a run of learning saw: likelihoods, priors and validation scores, iteration by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Record(NamedTuple):
    """What is known of the parameters after some number of iterations, per row of data.

    `validation` is the mean log-likelihood of the validation rows, None without any; `seconds` have
    passed since learning began.
    """

    log_likelihood: float
    log_prior: float
    validation: float | None
    seconds: float

    @property
    def objective(self) -> float:
        """Log-likelihood plus log-prior, per row."""
        return self.log_likelihood + self.log_prior


@dataclass(frozen=True, eq=False)
class History:
    """The records of a run of learning; `steps[t]` is about the parameters after t iterations.

    Under em all of them are exact. Under stochastic_em and descend the log-likelihood of steps[t]
    is the mean over the batches of the iteration that follows, as they were met; that of the last
    one and of `best` is exact. `best` is about the parameters that the model was left with: those
    that did best on the validation rows, or the last ones where there were none.

    `restarts` holds the best record of every restart; `converged` and `interrupted` say why
    learning ended. `fit(model, x, history=history)` goes on where this one ends.

    >>> history = History([Record(-2.0, 0.0, None, 0.1), Record(-1.5, 0.0, None, 0.2)], 1)
    >>> history
    History(1 iteration, log-likelihood -1.5, 0.2 s)
    >>> history.best.log_likelihood, len(history)
    (-1.5, 1)
    """

    steps: Sequence[Record]
    kept: int
    converged: bool = False
    interrupted: bool = False
    restarts: Sequence[Record] = ()
    memory: Any = field(default=None, repr=False)

    @property
    def best(self) -> Record:
        """The record of the parameters that the model was left with."""
        return self.steps[self.kept]

    def __len__(self) -> int:
        return len(self.steps) - 1

    def __repr__(self) -> str:
        best, count = self.best, len(self)
        parts = [f"{count} iteration" if count == 1 else f"{count} iterations"]
        parts.append(f"log-likelihood {best.log_likelihood:.6g}")
        if best.validation is not None:
            parts.append(f"validation {best.validation:.6g} after {self.kept}")
        parts += ["converged"] * self.converged + ["interrupted"] * self.interrupted
        return f"History({', '.join([*parts, f'{self.steps[-1].seconds:.3g} s'])})"

    def plot(self, ax: Any = None) -> Any:
        """Log-likelihoods per row over the iterations, of the data and of the validation rows.

        Needs matplotlib; returns the axes.
        """
        from mixtures.plot import curves

        series: dict[str, Sequence[float]] = {}
        series["log-likelihood"] = [step.log_likelihood for step in self.steps]
        if any(step.log_prior for step in self.steps):
            series["with log-prior"] = [step.objective for step in self.steps]
        checked = [step.validation for step in self.steps if step.validation is not None]
        if checked:
            series["validation"] = checked
        return curves(series, xlabel="parameters in turn", ylabel="nats per row", ax=ax)
