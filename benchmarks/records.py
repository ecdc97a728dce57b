"""Races as files: one JSON file for each task and number of threads, and all of them as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.race import Race, Standing
from benchmarks.task import Task

COLUMNS = (
    "task",
    "threads",
    "entry",
    "round",
    "seconds",
    "build_seconds",
    "first_seconds",
    "memory_bytes",
    "trouble",
    "versions",
    "sizes",
    "commit",
    "date",
    "cores",
    "load",
)


def save(race: Race, folder: Path) -> None:
    """Write a race to its file, in the place of an older one."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "task": race.task.name,
        "sizes": dict(race.task.sizes),
        "threads": race.threads,
        "stamp": race.stamp,
        "refused": race.refused,
        "standings": [asdict(standing) for standing in race.standings.values()],
    }
    path = folder / f"{race.task.name}-{race.threads}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(folder: Path, tasks: dict[str, Task]) -> list[Race]:
    """All races of a folder, in the order of the tasks; those of unknown tasks are left out."""
    races = [_race(json.loads(path.read_text("utf-8")), tasks) for path in folder.glob("*.json")]
    order = {name: place for place, name in enumerate(tasks)}
    known = [race for race in races if race is not None]
    return sorted(known, key=lambda race: (order[race.task.name], race.threads))


def _race(content: dict[str, Any], tasks: dict[str, Task]) -> Race | None:
    task = tasks.get(content["task"])
    if task is None:
        return None
    standings = {
        entry["entry"]: Standing(**{**entry, "checked": tuple(entry["checked"])})
        for entry in content["standings"]
    }
    task = replace(task, sizes=content["sizes"])
    return Race(task, content["threads"], standings, content["stamp"], content["refused"])


def write_csv(races: Iterable[Race], path: Path) -> None:
    """One line for each round of each entry, and one for each entry without any."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for race in races:
            for standing in race.standings.values():
                writer.writerows(_lines(race, standing))


def _lines(race: Race, standing: Standing) -> list[list[Any]]:
    rounds: list[tuple[Any, Any]] = list(enumerate(standing.seconds)) or [("", "")]
    sizes = " ".join(f"{name}={size}" for name, size in race.task.sizes.items())
    versions = " ".join(f"{name}={text}" for name, text in standing.versions.items())
    own = [standing.build, standing.first, standing.memory, standing.trouble, versions, sizes]
    moment = [race.stamp.get(key, "") for key in ("commit", "date", "cores", "load")]
    head = [race.task.name, race.threads, standing.entry]
    return [[*head, number, seconds, *own, *moment] for number, seconds in rounds]
