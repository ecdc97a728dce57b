"""Races as tables: in the terminal, and as RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.libraries import NEEDED
from benchmarks.race import Race, Standing
from benchmarks.verdicts import overview, verdicts

FIGURES = ("task", "threads", "entry", "against", "to reach", "found", "")
TIMES = ("task", "threads", "entry", "median", "range", "build", "first call", "memory", "rounds")
MEANING = """\
Ratios are medians over rounds, with their range: how many times as fast an entry was as the one it
is held against, in the same round. A turn begins with a run that is not timed, unless runs take
more than a second. `mixtures` gets raw rows in every call, checks included;
`mixtures:encoded` rows that were encoded once; `mixtures:rows` looks leaves up row by row, with no
patterns of more than one leaf, as it does for columns of many symbols; `mixtures:densities`
computes the density of every entry, as it does for real numbers, which is more work than looking
up, as its peers do. `bare` is the matrix products that the task cannot do without.
`build` and `first call` are once, in a fresh process; `memory` is the peak above what was resident
before the first call. Results agree to 1e-6 relative (float32: 1e-5) before a time counts.
"""


def figures(races: Iterable[Race]) -> list[tuple[str, ...]]:
    """Every figure to reach, and what was found."""
    lines: list[tuple[str, ...]] = []
    for race in races:
        for v in verdicts(race):
            lines.append((v.task, str(v.threads), v.entry, v.against, v.reach, v.found, v.word))
    return lines


def times(races: Iterable[Race]) -> list[tuple[str, ...]]:
    """Every entry of every race."""
    lines: list[tuple[str, ...]] = []
    for race in races:
        head = (race.task.name, str(race.threads))
        if race.refused:
            lines.append((*head, "all", race.refused, *[""] * 5))
        lines += [(*head, *_entry(standing)) for standing in race.standings.values()]
    return lines


def _entry(standing: Standing) -> tuple[str, ...]:
    if not standing.seconds:
        return (standing.entry, standing.trouble, *[""] * 5)
    low, high = min(standing.seconds), max(standing.seconds)
    return (
        standing.entry,
        _seconds(standing.median),
        f"{_seconds(low)} to {_seconds(high)}",
        _seconds(standing.build),
        _seconds(standing.first),
        f"{standing.memory / 2**20:.0f} MiB",
        str(len(standing.seconds)),
    )


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def show(races: Sequence[Race], console: Console) -> None:
    """Print both tables, and this library against the best peer and the lower bound."""
    summary = []
    for race in races:
        peer, bare = overview(race)
        summary.append((race.task.title, str(race.threads), peer or race.refused, bare))
    for title, head, lines in (
        ("all entries", TIMES, times(races)),
        ("this library against", ("task", "threads", "its best peer", "bare products"), summary),
        ("figures to reach", FIGURES, figures(races)),
    ):
        table = Table(*head, title=title)
        for line in lines:
            table.add_row(*line)
        if lines:
            console.print(table)


def markdown(races: Sequence[Race], picture: str | None) -> str:
    """RESULTS.md: stamp, figures, times, versions, what is missing."""
    refused = [race for race in races if race.refused]
    races = [race for race in races if not race.refused]
    judged = [verdict for race in races for verdict in verdicts(race)]
    counts = {word: sum(v.word == word for v in judged) for word in ("met", "missed", "not judged")}
    parts = [
        "# Benchmarks: results\n",
        "Written by `python -m benchmarks`; do not edit.\n",
        MEANING,
        _stamps(races),
        _refused(refused),
        f"Figures: {', '.join(f'{count} {word}' for word, count in counts.items())}.\n",
        f"![ratios]({picture})\n" if picture else "",
        "## Figures to reach\n",
        table_of(FIGURES, figures(races)),
        _reasons(races),
        "## All entries\n",
        table_of(TIMES, times(races)),
        "## Sizes and versions\n",
        table_of(("task", "what", "sizes"), _sizes(races)),
        _versions(races),
    ]
    return "\n".join(part for part in parts if part)


def write_markdown(races: Sequence[Race], path: Path, picture: str | None) -> None:
    """Write RESULTS.md."""
    path.write_text(markdown(races, picture), encoding="utf-8")


def table_of(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    table = [head, ["---"] * len(head), *lines]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in table
        )
        + "\n"
    )


def _stamps(races: Iterable[Race]) -> str:
    known = sorted({tuple(sorted(race.stamp.items())) for race in races})
    seen: dict[str, list[str]] = {}
    for stamp in map(dict, known):
        for key, value in stamp.items():
            seen.setdefault(key, [])
            seen[key] += [value] if value not in seen[key] else []
    lines = []
    for key, values in seen.items():
        short = values if len(values) < 4 else [values[0], "..", values[-1]]
        text = (
            f"{min(map(float, values))} to {max(map(float, values))}"
            if key == "load"
            else ", ".join(short)
        )
        lines.append(f"{key} {text}")
    return "Stamp: " + "; ".join(lines) + ".\n"


def _refused(races: Iterable[Race]) -> str:
    """What was not timed, and why."""
    found: dict[tuple[int, str], list[str]] = {}
    for race in races:
        reason = race.refused.replace(race.stamp.get("load", "?"), "too high")
        found.setdefault((race.threads, reason), []).append(race.task.name)
    lines = [
        f"Not timed at {threads} threads ({reason}): {', '.join(names)}.\n"
        for (threads, reason), names in found.items()
    ]
    return "\n".join(lines)


def _reasons(races: Iterable[Race]) -> str:
    lines = []
    for race in races:
        if race.task.note and any(v.met is False for v in verdicts(race)):
            line = f"* `{race.task.name}`: {race.task.note}"
            lines += [] if line in lines else [line]
    return (
        "Why the missed ones are missed, as far as is known:\n\n" + "\n".join(lines) + "\n"
        if lines
        else ""
    )


def _sizes(races: Iterable[Race]) -> list[tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for race in races:
        sizes = ", ".join(f"{name} {size}" for name, size in race.task.sizes.items())
        found[race.task.name] = (race.task.name, race.task.title, sizes)
    return list(found.values())


def _versions(races: Iterable[Race]) -> str:
    versions: dict[str, str] = {}
    missing: set[str] = set()
    for race in races:
        for standing in race.standings.values():
            versions.update(standing.versions)
            if standing.trouble == "missing":
                missing.add(name if (name := standing.entry) in NEEDED else name.partition(":")[0])
    text = "Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + ".\n"
    if missing:
        text += f"\nMissing, so not compared: {', '.join(sorted(missing))}.\n"
    return text
