"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy
from rich.console import Console

from benchmarks import scaling
from benchmarks.client import ROOT, default_folder
from benchmarks.install import install
from benchmarks.libraries import PEERS
from benchmarks.machine import SETTLE
from benchmarks.picture import draw
from benchmarks.race import Race, Settings, race
from benchmarks.records import read, save, write_csv
from benchmarks.report import show, write_markdown
from benchmarks.task import Task
from benchmarks.tasks import TASKS

EPILOG = """\
python -m benchmarks install            an environment for each peer, in benchmarks/.peers
python -m benchmarks                    all tasks, 5 rounds, 1 and 2 threads; writes RESULTS.md
python -m benchmarks --tasks hmm ltm --threads 1 --rounds 9 --jitter
python -m benchmarks scaling            time and memory as powers of d, k, r, n and edges
python -m benchmarks report             RESULTS.md again, of the races kept in OUT/races
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Times this library against its peers, in turn, on the same work.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = ("run", "scaling", "install", "report", "list")
    found.add_argument("command", nargs="?", default="run", choices=commands)
    found.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", help="default: all")
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    found.add_argument(
        "--jitter", type=float, nargs="?", const=0.2, default=0.0, metavar="SHARE",
        help="vary every size at random by up to this share (0.2 if none is given)",
    )  # fmt: skip
    found.add_argument(
        "--settle", type=float, default=SETTLE, metavar="SECONDS",
        help="how long to wait for a quiet machine before two threads are timed",
    )  # fmt: skip
    found.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="what the rounds of one entry may take; it has two at least",
    )  # fmt: skip
    found.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works")
    found.add_argument("--seed", type=int, default=0, help="of data and sizes")
    found.add_argument(
        "--out", type=Path, help="default: benchmarks, with --quick build/benchmarks"
    )
    found.add_argument("--peers", type=Path, default=default_folder(), help="where they are")
    found.add_argument("--install", nargs="+", choices=PEERS, default=PEERS, metavar="PEER")
    return found


def chosen(options: argparse.Namespace) -> list[Task]:
    """The tasks asked for, at the sizes asked for."""
    rng = numpy.random.default_rng(options.seed)
    tasks = [TASKS[name] for name in options.tasks or TASKS]
    if options.quick:
        tasks = [task.small() for task in tasks]
    return [task.varied(rng, options.jitter) for task in tasks] if options.jitter else tasks


def settings_of(options: argparse.Namespace) -> Settings:
    """How races are to be run."""
    return Settings(options.peers, options.rounds, options.seed, options.patience, options.settle)


def run(options: argparse.Namespace, out: Path, console: Console) -> list[Race]:
    """Race every task; each race is kept as soon as it is over."""
    settings = settings_of(options)
    for task in chosen(options):
        for threads in options.threads:
            console.print(f"{task.name}, {threads} threads ..")
            found = race(task, threads, settings)
            save(found, out / "races")
            show([found], console)
    return write(out, console)


def write(out: Path, console: Console) -> list[Race]:
    """Tables, CSV and picture of all races that are kept."""
    races = read(out / "races", TASKS)
    write_csv(races, out / "RESULTS.csv")
    try:
        draw(races, out / "RESULTS.png")
        picture: str | None = "RESULTS.png"
    except ModuleNotFoundError:
        console.print("no picture: matplotlib is missing (the extra `plot`)")
        picture = None
    write_markdown(races, out / "RESULTS.md", picture)
    console.print(f"written: {out / 'RESULTS.md'}")
    return races


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 1 if a peer could not be installed."""
    options = parser().parse_args(arguments)
    console = Console(soft_wrap=False)
    out = options.out or ROOT / ("build/benchmarks" if options.quick else "benchmarks")
    if options.command == "list":
        for task in TASKS.values():
            console.print(f"{task.name:18} {task.title}")
    elif options.command == "install":
        return int(any(install(options.install, options.peers).values()))
    elif options.command == "scaling":
        scaling.run(settings_of(options), out, console)
    elif options.command == "report":
        show(write(out, console), console)
    else:
        run(options, out, console)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
