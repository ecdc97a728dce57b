"""The file of results: a line for every set and model that is finished, and the rows behind it."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray


@dataclass(frozen=True)
class Line:
    """One model on one set. Log-likelihoods are means per row in nats, errors standard errors."""

    dataset: str
    model: str
    test: float
    test_error: float
    valid: float
    num_parameters: int
    edges: int
    minutes: float
    cpu_minutes: float
    budget_minutes: float
    seed: int
    commit: str
    chosen: str  # what was chosen on the validation rows, as JSON

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What a line is about: it is not run again for the same set, model, seed and budget."""
        return self.dataset, self.model, self.seed, self.budget_minutes

    @classmethod
    def of(cls, *, chosen: Mapping[str, Any], **values: Any) -> Line:
        """A line with its choices written as JSON."""
        return cls(chosen=json.dumps(dict(chosen)), **values)

    @property
    def options(self) -> dict[str, Any]:
        """What was chosen on the validation rows."""
        found: dict[str, Any] = json.loads(self.chosen)
        return found


class Rows(NamedTuple):
    """The log-likelihoods of single rows, (n,) each."""

    valid: NDArray[Any]
    test: NDArray[Any]


class Results:
    """The lines of `folder`/results.csv, appended one by one, and the rows behind them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "results.csv"

    def begin(self) -> None:
        """Make the file where there is none, and take away a last line that was cut short."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if not whole:
            whole = ",".join(field.name for field in fields(Line)) + "\n"
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")

    def lines(self) -> list[Line]:
        """All finished lines, the last of each key."""
        found: dict[tuple[Any, ...], Line] = {}
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                for line in map(_line, csv.DictReader(file)):
                    found[line.key] = line
        return list(found.values())

    def add(self, line: Line, rows: Rows) -> None:
        """Append a line, its rows first: what has a line is whole."""
        place = self._place(line)
        place.parent.mkdir(parents=True, exist_ok=True)
        numpy.savez_compressed(place, valid=rows.valid, test=rows.test)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            names = [field.name for field in fields(Line)]
            csv.DictWriter(file, names, lineterminator="\n").writerow(asdict(line))

    def rows(self, line: Line) -> Rows:
        """The log-likelihoods behind a line."""
        with numpy.load(self._place(line)) as held:
            return Rows(held["valid"], held["test"])

    def _place(self, line: Line) -> Path:
        budget = f"{line.budget_minutes:g}"
        name = f"{line.dataset}-{line.model.replace(' ', '-')}-{line.seed}-{budget}"
        return self.folder / "rows" / f"{name}.npz"


def _line(record: dict[str, str]) -> Line:
    kinds = {"int": int, "float": float, "str": str}
    return Line(**{f.name: kinds[str(f.type)](record[f.name]) for f in fields(Line)})


class Difference(NamedTuple):
    """A mean of differences between paired rows, and its standard error."""

    mean: float
    error: float

    @property
    def clear(self) -> bool:
        """More than two standard errors above zero."""
        return self.mean > 2 * self.error


def paired(one: NDArray[Any], two: NDArray[Any]) -> Difference:
    """How much higher the log-likelihoods `one` are than `two`, row by row.

    >>> paired(numpy.array([1.0, 2.0, 4.0]), numpy.array([0.0, 2.0, 2.0]))
    Difference(mean=1.0, error=0.577)
    """
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"expected rows in pairs, got shapes {one.shape} and {two.shape}")
    gaps = one.astype(numpy.float64) - two
    return Difference(float(gaps.mean()), standard_error(gaps))


def standard_error(values: NDArray[Any]) -> float:
    """Of the mean of values (n,): their standard deviation / sqrt(n); infinite for a single one."""
    if len(values) < 2:
        return float("inf")
    return float(values.std(ddof=1) / len(values) ** 0.5)


def commit() -> str:
    """The commit of the source that runs, with + if files differ from it; unknown outside git."""
    here = Path(__file__).parent
    try:
        name = _git(here, "rev-parse", "--short", "HEAD")
        return name + "+" * bool(_git(here, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
