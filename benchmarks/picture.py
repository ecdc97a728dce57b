"""The ratios of all races in one picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.race import Race
from benchmarks.task import BARE, OURS, Goal


def draw(races: Sequence[Race], path: Path) -> None:
    """A bar for each race: this library against its best peer, range and figures marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = [bar for bar in map(_bar, races) if bar is not None]
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(bars)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (_, ratios, goals) in enumerate(reversed(bars)):
        middle = statistics.median(ratios)
        axes.barh(place, middle, color="tab:blue" if middle >= 1 else "tab:red", height=0.6)
        axes.plot([min(ratios), max(ratios)], [place, place], color="black", linewidth=1)
        axes.plot(goals, [place] * len(goals), "d", color="tab:orange", markersize=5)
    axes.set_yticks(range(len(bars)), [bar[0] for bar in reversed(bars)], fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the best peer (line: range; diamond: figure to reach)")
    figure.savefig(path, dpi=120)


def _bar(race: Race) -> tuple[str, list[float], list[float]] | None:
    peers = [name for name in race.standings if name != BARE and not name.startswith(OURS)]
    best = race.best(peers)
    if best is None or not race.timed(OURS):
        return None
    goals = [
        goal.factor
        for goal in race.task.goals
        if isinstance(goal, Goal) and goal.entry == OURS and best in goal.against
        and goal.of == "time"
    ]  # fmt: skip
    label = f"{race.task.name}, {race.threads} threads: {best}"
    return label, race.ratios(OURS, best), [goal for goal in goals if goal > 1]
