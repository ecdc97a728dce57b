"""One task, all its contestants, in turn: what each took in every round, once they agree."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from benchmarks.client import Client, WorkerError, interpreter
from benchmarks.machine import SETTLE, quiet, stamp
from benchmarks.task import BARE, OURS, Task

Results = Mapping[str, NDArray[Any]]


@dataclass
class Standing:
    """What is known of one entry: why it was not timed, or its seconds in every round."""

    entry: str
    trouble: str = ""
    seconds: list[float] = field(default_factory=list)
    build: float = 0.0
    first: float = 0.0
    memory: int = 0  # bytes at the peak, above what was resident before the first run
    checked: tuple[str, ...] = ()  # the results compared with this library's
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Seconds of the median round."""
        return statistics.median(self.seconds)


@dataclass
class Race:
    """All standings of a task; `threads` the threads of every worker, `stamp` when and where."""

    task: Task
    threads: int
    standings: dict[str, Standing]
    stamp: dict[str, str] = field(default_factory=dict)
    refused: str = ""  # why nothing was timed

    def ratios(self, entry: str, against: str) -> list[float]:
        """How many times as fast `entry` was as `against`, round by round."""
        mine, other = self.standings[entry].seconds, self.standings[against].seconds
        return [b / a for a, b in zip(mine, other, strict=False)]

    def best(self, against: Sequence[str]) -> str | None:
        """The fastest of those that were timed."""
        timed = [name for name in against if self.timed(name)]
        return min(timed, key=lambda name: self.standings[name].median, default=None)

    def timed(self, entry: str) -> bool:
        """Whether there are seconds of an entry."""
        return entry in self.standings and bool(self.standings[entry].seconds)


@dataclass(frozen=True)
class Settings:
    """How races are run."""

    folder: Path
    rounds: int = 5
    seed: int = 0
    patience: float = 60.0  # seconds that all rounds of one entry may take; two rounds at least
    settle: float = SETTLE  # seconds to wait for a quiet machine


def disagreement(task: Task, mine: Results, other: Results) -> str:
    """Where two sets of results differ by more than the task allows; "" where they do not.

    Results that only one of the two has are not compared; without a common one nothing is known,
    and that is a disagreement, too.
    """
    common = sorted(mine.keys() & other.keys())
    if not common:
        return f"nothing to compare: {sorted(other)} against {sorted(mine)}"
    for name in common:
        relative, absolute = task.allowed(name)
        a, b = numpy.asarray(mine[name], float), numpy.asarray(other[name], float)
        if a.shape != b.shape:
            return f"{name} has shape {b.shape}, not {a.shape}"
        if not numpy.allclose(b, a, rtol=relative, atol=absolute):
            scale = numpy.abs(a).max() or 1.0
            return f"{name} differs by {numpy.abs(a - b).max() / scale:.1e} of its size"
    return ""


@contextmanager
def _started(
    task: Task, threads: int, settings: Settings, where: Path
) -> Iterator[tuple[dict[str, Client], dict[str, Standing]]]:
    """Workers that hold the data, warm; trouble is written into their standings."""
    data = where / "data.npz"
    arrays = task.make(task.sizes, numpy.random.default_rng(settings.seed))
    numpy.savez(data, **arrays)  # type: ignore[arg-type]
    clients: dict[str, Client] = {}
    standings = {entry: Standing(entry) for entry in task.entries}
    with ExitStack() as stack:
        for entry, standing in standings.items():
            python = interpreter(entry, settings.folder)
            if python is None:
                standing.trouble = "missing"
                continue
            log = where / f"{entry.replace(':', '-')}.log"
            client = Client(entry, task.name, threads, python, log)
            stack.callback(client.close)
            try:
                loaded = client.ask("load", arrays=str(data))
                warm = client.ask("warm")
            except WorkerError as error:
                standing.trouble = f"failed: {error}"
                continue
            standing.build, standing.versions = loaded["seconds"], loaded["versions"]
            standing.first = warm["first"]
            clients[entry] = client
        yield clients, standings


def _agree(
    task: Task, clients: dict[str, Client], standings: dict[str, Standing], where: Path
) -> None:
    """Drop the clients whose results are not this library's."""
    found: dict[str, Results] = {}
    for entry, client in list(clients.items()):
        to = where / f"{entry.replace(':', '-')}.npz"
        try:
            client.ask("check", to=str(to))
        except WorkerError as error:
            standings[entry].trouble = f"failed: {error}"
            del clients[entry]
            continue
        with numpy.load(to) as archive:
            found[entry] = {name: archive[name] for name in archive.files}
    if OURS not in found:
        return
    for entry in [name for name in found if name not in (OURS, BARE)]:
        trouble = disagreement(task, found[OURS], found[entry])
        standings[entry].checked = tuple(sorted(found[OURS].keys() & found[entry].keys()))
        if trouble:
            standings[entry].trouble = f"disagrees: {trouble}"
            del clients[entry]


def _round(
    number: int,
    task: Task,
    clients: dict[str, Client],
    standings: dict[str, Standing],
    patience: float,
) -> None:
    """One turn of everybody; an entry too slow for its patience sits out, after two rounds."""
    for entry, client in list(clients.items()):
        standing = standings[entry]
        if number >= 2 and sum(standing.seconds) / number * (number + 1) > patience:
            continue
        try:
            standing.seconds.append(client.ask("time", least=task.least)["seconds"])
        except WorkerError as error:
            standing.trouble, standing.seconds = f"failed: {error}", []
            del clients[entry]


def race(task: Task, threads: int, settings: Settings) -> Race:
    """Rounds A B C A B C of all entries that agree with this library."""
    refused = quiet(threads, settings.settle)
    if refused:
        return Race(task, threads, {}, stamp(), refused)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        where = Path(folder)
        with _started(task, threads, settings, where) as (clients, standings):
            _agree(task, clients, standings, where)
            for number in range(settings.rounds):
                _round(number, task, clients, standings, settings.patience)
            for entry, client in clients.items():
                memory = client.ask("memory")
                standings[entry].memory = memory["peak"] - memory["before"]
    return Race(task, threads, standings, stamp())
