"""What was to be reached, and whether it was."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from benchmarks.race import Race
from benchmarks.task import BARE, OURS, Goal, Limit

UNITS = {"time": ("s", 1.0), "memory": ("MiB", 2.0**20)}


class Verdict(NamedTuple):
    """One figure of one race; `met` is None where it could not be judged."""

    task: str
    threads: int
    entry: str
    against: str
    reach: str
    found: str
    met: bool | None

    @property
    def word(self) -> str:
        """met, missed or not judged."""
        return {True: "met", False: "missed", None: "not judged"}[self.met]


def verdicts(race: Race) -> list[Verdict]:
    """One for every figure that holds for so many threads."""
    found = []
    for goal in race.task.goals:
        if isinstance(goal, Limit):
            found.append(_limit(race, goal))
        elif goal.threads in (0, race.threads):
            found.append(_memory(race, goal) if goal.of == "memory" else _ratio(race, goal))
    return found


def spread(values: list[float]) -> str:
    """Median and range of ratios: 5.13 (4.98 to 5.40)."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.3g}x ({low:.3g} to {high:.3g})"


def overview(race: Race) -> tuple[str, str]:
    """This library against its best peer, and against the lower bound; "" where there is none."""
    peers = [name for name in race.standings if name != BARE and not name.startswith(OURS)]
    best = race.best(peers)
    if not race.timed(OURS):
        return "", ""
    peer = "" if best is None else f"{spread(race.ratios(OURS, best))} {best}"
    bare = spread(race.ratios(OURS, BARE)) if race.timed(BARE) else ""
    return peer, bare


def _ratio(race: Race, goal: Goal) -> Verdict:
    best = race.best(goal.against)
    reach = f"{goal.factor:.3g}x"
    head = (race.task.name, race.threads, goal.entry)
    if best is None or not race.timed(goal.entry):
        return Verdict(*head, " or ".join(goal.against), reach, race.refused or "", None)
    ratios = race.ratios(goal.entry, best)
    return Verdict(*head, best, reach, spread(ratios), statistics.median(ratios) >= goal.factor)


def _memory(race: Race, goal: Goal) -> Verdict:
    timed = [name for name in goal.against if race.timed(name)]
    head = (race.task.name, race.threads, goal.entry)
    if not timed or not race.timed(goal.entry):
        return Verdict(*head, " or ".join(goal.against), "less memory", race.refused or "", None)
    best = min(timed, key=lambda name: race.standings[name].memory)
    mine, other = race.standings[goal.entry].memory, race.standings[best].memory
    text = f"{mine / 2**20:.0f} against {other / 2**20:.0f} MiB"
    return Verdict(*head, best, "less memory", text, mine * goal.factor <= other)


def _limit(race: Race, goal: Limit) -> Verdict:
    unit, size = UNITS[goal.of]
    reach = f"at most {goal.most / size:g} {unit}"
    if not race.timed(goal.entry):
        return Verdict(race.task.name, race.threads, goal.entry, "", reach, race.refused, None)
    standing = race.standings[goal.entry]
    value = standing.median if goal.of == "time" else float(standing.memory)
    text = f"{value / size:.3g} {unit}"
    return Verdict(race.task.name, race.threads, goal.entry, "", reach, text, value <= goal.most)
