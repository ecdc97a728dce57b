"""Runs of trained transformers: kept in CSV files, their learning rates chosen, summarised."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from transforms.attention_transformer import TransformerShape

SHIPPED = "attention_training.csv"


@dataclass(frozen=True)
class Run:
    """One trained network. Losses are in nats per prediction, a guess costs ln(points).

    validation chooses the learning rate, test is reported; both are on fresh rows. by_hop: the test
    loss for each number of hops. history: the training loss over each tenth of the steps. seconds:
    processor time, shared evenly among the networks trained side by side.
    """

    width: int
    depth: int
    heads: int
    learning_rate: float
    seed: int
    steps: int
    batch: int
    points: int
    hops: tuple[int, ...]
    validation: float
    test: float
    by_hop: tuple[float, ...]
    history: tuple[float, ...]
    seconds: float

    @property
    def shape(self) -> TransformerShape:
        """Width, depth and heads."""
        return TransformerShape(self.width, self.depth, self.heads)


def write(path: str | os.PathLike[str], runs: Iterable[Run]) -> None:
    """Runs as a CSV file; the old file stays until the new one is complete."""
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(column.name for column in fields(Run))
        for run in runs:
            cells = asdict(run).values()
            lines.writerow(
                " ".join(map(str, cell)) if isinstance(cell, tuple) else cell for cell in cells
            )
    partial.replace(path)


def read(path: str | os.PathLike[str]) -> list[Run]:
    """The runs of a file that `write` wrote; ValueError for another one."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return _parsed(file, str(path))


def measured() -> list[Run]:
    """The runs that ship with the library: every shape of `design()` with `Settings()`.

    Recorded on 2026-11-26 at commit a7f14c8 with one thread, both learning rates of every shape.
    """
    with (resources.files("transforms") / SHIPPED).open(encoding="utf-8") as file:
        return _parsed(file, SHIPPED)


WHOLE = {"width", "depth", "heads", "seed", "steps", "batch", "points"}
MANY = {"by_hop", "history"}


def _parsed(file: Iterable[str], name: str) -> list[Run]:
    lines = csv.DictReader(file)
    expected = [column.name for column in fields(Run)]
    if lines.fieldnames != expected:
        raise ValueError(f"expected {name} to have the columns {expected}, got {lines.fieldnames}")
    return [Run(**{key: _cell(key, text) for key, text in line.items()}) for line in lines]


def _cell(key: str, text: str) -> Any:
    if key in WHOLE:
        return int(text)
    if key == "hops":
        return tuple(int(part) for part in text.split())
    return tuple(float(part) for part in text.split()) if key in MANY else float(text)


class Spread(NamedTuple):
    """The mean over seeds, their standard deviation, and all values."""

    mean: float
    deviation: float
    values: tuple[float, ...]


def tuned(runs: Iterable[Run]) -> dict[tuple[int, int], list[Run]]:
    """{(width, depth): its runs, one per seed} with the learning rate of least validation loss.

    The mean over seeds decides, and all seeds share one rate. Test losses are on other rows than
    those it was chosen with.
    """
    groups: dict[tuple[int, int], dict[float, list[Run]]] = {}
    for run in runs:
        rates = groups.setdefault((run.width, run.depth), {})
        rates.setdefault(run.learning_rate, []).append(run)
    return {
        shape: min(rates.values(), key=lambda group: fmean(run.validation for run in group))
        for shape, rates in groups.items()
    }


def spread(runs: Iterable[Run]) -> Spread:
    """Test losses of runs that differ in their seeds.

    >>> round(spread(tuned(measured())[64, 1]).mean, 2)  # one layer, however wide
    1.25
    """
    values = tuple(run.test for run in runs)
    return Spread(fmean(values), stdev(values) if len(values) > 1 else 0.0, values)


def best_depth(
    widths: Mapping[int, int], chosen: Mapping[tuple[int, int], list[Run]]
) -> tuple[int, Spread]:
    """The depth of least mean test loss among {depth: width}, and the losses there."""
    found = {depth: spread(chosen[width, depth]) for depth, width in widths.items()}
    best = min(found, key=lambda depth: found[depth].mean)
    return best, found[best]
