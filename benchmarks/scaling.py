"""Time and peak memory as powers of the sizes: `python -m benchmarks scaling`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy
from rich.console import Console

from benchmarks.machine import stamp
from benchmarks.race import Settings, race
from benchmarks.report import table_of
from benchmarks.task import OURS
from benchmarks.tasks.scaling import CURVES, SYMBOLS, Curve

HEAD = ("curve", "sizes", "seconds", "MiB", "exponent", "at the end", "expected", "memory")


class Point(NamedTuple):
    """One point of a curve."""

    place: float
    seconds: float
    memory: int


class Measured(NamedTuple):
    """A curve with its points."""

    curve: Curve
    points: list[Point]

    def exponent(self, of: str = "seconds", last: int = 0) -> float:
        """The slope in logarithms, by least squares over all points, or over the last ones."""
        return slope([(p.place, max(float(getattr(p, of)), 1.0 if of == "memory" else 1e-9))
                      for p in self.points[-last:]])  # fmt: skip


def slope(pairs: Sequence[tuple[float, float]]) -> float:
    """The exponent e of y = c x^e that fits best in logarithms."""
    x, y = numpy.log(numpy.array(pairs)).T
    return float(numpy.polyfit(x, y, 1)[0])


def measure(curve: Curve, settings: Settings) -> Measured:
    """Every point in a process of its own, with the median of its rounds."""
    points = []
    for value in curve.values:
        task = curve.at(value)
        standing = race(task, 1, settings).standings[OURS]
        if standing.trouble:
            raise RuntimeError(f"{curve.name} = {value}: {standing.trouble}")
        points.append(Point(curve.place(task), standing.median, standing.memory))
    return Measured(curve, points)


def lines(measured: Iterable[Measured]) -> list[tuple[str, ...]]:
    """A line for each curve, with the exponents of time and memory."""
    return [
        (
            m.curve.name,
            _range([p.place for p in m.points], "{:.0f}"),
            _range([p.seconds for p in m.points], "{:.3g}"),
            _range([p.memory / 2**20 for p in m.points], "{:.0f}"),
            f"{m.exponent():.2f}",
            f"{m.exponent(last=2):.2f}",
            m.curve.expected,
            f"{m.exponent('memory'):.2f}",
        )
        for m in measured
    ]


def run(settings: Settings, out: Path, console: Console) -> list[Measured]:
    """Measure all curves; write SCALING.md, .csv and .png."""
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for curve in CURVES:
        found.append(measure(curve, settings))
        console.print(" | ".join(lines(found[-1:])[0]))
    _write_csv(found, out / "SCALING.csv")
    draw(found, out / "SCALING.png")
    (out / "SCALING.md").write_text(markdown(found), encoding="utf-8")
    return found


def markdown(measured: Iterable[Measured]) -> str:
    """SCALING.md."""
    moment = "; ".join(f"{key} {value}" for key, value in stamp().items())
    return f"""\
# Benchmarks: scaling

Written by `python -m benchmarks scaling`; do not edit. One thread, float64, each point in a process
of its own. Exponents of time: over all points, and between the last two. Memory is what a run needs
above model and data, with its exponent.

Stamp: {moment}.

![curves](SCALING.png)

{table_of(HEAD, lines(measured))}"""


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Time and memory of all curves in logarithms."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(SYMBOLS), squeeze=False)
    for column, (axis, symbol) in enumerate(SYMBOLS.items()):
        for m in [m for m in measured if m.curve.axis == axis]:
            places = [p.place for p in m.points]
            label = f"{m.curve.task.name}: {m.exponent():.2f}"
            axes[0, column].loglog(places, [p.seconds for p in m.points], "o-", label=label)
            axes[1, column].loglog(places, [p.memory / 2**20 + 1 for p in m.points], "o-")
        axes[0, column].legend(fontsize=8, title="exponent", title_fontsize=8)
        axes[1, column].set_xlabel(symbol)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory + 1, MiB")
    figure.savefig(path, dpi=110)


def _range(values: Sequence[float], form: str) -> str:
    return f"{form.format(values[0])} to {form.format(values[-1])}"


def _write_csv(measured: Iterable[Measured], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("task", "axis", "value", "seconds", "memory_bytes", "sizes"))
        for m in measured:
            sizes = " ".join(f"{name}={size}" for name, size in m.curve.task.sizes.items())
            for point in m.points:
                writer.writerow((m.curve.task.name, m.curve.axis, *point, sizes))
