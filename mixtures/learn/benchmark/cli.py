"""The arguments of `python -m mixtures.learn.benchmark`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console

from mixtures.learn.benchmark import chorales, depth, report
from mixtures.learn.benchmark.data import load, names, published
from mixtures.learn.benchmark.results import Line, Results, commit
from mixtures.learn.benchmark.run import MODELS, Plan, run, run_set

DEPTH, CHORALES = "depth", "chorales"
WALKS = {DEPTH: 30, CHORALES: 50}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing and report; 0 on success, 130 when interrupted, 2 for missing files."""
    parser = _parser()
    given = parser.parse_args(arguments)
    given.walks = WALKS.get("".join(given.datasets[:1]), 1) if given.walks is None else given.walks
    counts = (given.jobs, given.walks, given.tries, *given.parameters, *given.states)
    if given.minutes <= 0 or min(counts) < 1:
        parser.error(
            "--minutes, --jobs, --walks, --tries, --states and --parameters must be positive"
        )
    torch.set_num_threads(1)  # tables this small gain nothing from more
    given.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    try:
        others = {DEPTH: _depth, CHORALES: _chorales}
        others.get("".join(given.datasets[:1]), _table)(given, console)
    except KeyboardInterrupt:
        console.print(f"interrupted; finished lines are in {given.out}", soft_wrap=True)
        return 130
    except (ImportError, OSError) as missing:
        Console(file=sys.stderr).print(str(missing), soft_wrap=True)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixtures.learn.benchmark",
        description="Held-out likelihoods of the zoo on sets of binary data.",
    )
    add = parser.add_argument
    add("datasets", nargs="*", metavar="DATASET", help="names of sets, by default all of the "
        "folder; 'depth' before them compares structures of growing depth instead, 'chorales' "
        "alone learns HMMs of jsb_chorales.npz")  # fmt: skip
    add("--data", type=Path, default=Path("../shared/data"), help="the folder of the sets")
    add("--out", type=Path, default=Path("benchmark-results"), help="folder for CSV and pictures")
    add("--models", nargs="+", choices=MODELS, default=list(MODELS), help="which models to run")
    add("--minutes", type=float, default=2.0, help="processor time for an LTM, and for a mixture "
        "of them, of each set; half for each of the other models")  # fmt: skip
    add("--jobs", type=int, default=os.cpu_count() or 1, help="sets at the same time, one thread "
        "each; default: as many as there are cores")  # fmt: skip
    add("--readme", type=Path, help="a text in which the table is put between the lines "
        f"{report.MARKS[0]} and {report.MARKS[1]}")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of all random draws")
    add("--parameters", type=int, nargs="+", default=[1000, 4000, 16000],
        help="of depth: the numbers of parameters")  # fmt: skip
    add("--states", type=int, nargs="+", default=[8, 16, 32, 64, 128],
        help="of chorales: the numbers of states")  # fmt: skip
    add("--tries", type=int, default=chorales.TRIES, help="of chorales: random starts of each kind")
    add("--walks", type=int, help="of depth (30) and chorales (50): walks over the rows")
    add("--mass", type=float, default=1.0, help="of depth: pseudo-counts of a row of a table")
    return parser


def _table(given: argparse.Namespace, console: Console) -> None:
    """Run the lines that are missing, then write table.csv and table.png."""
    results = Results(given.out)
    sets = given.datasets or names(given.data)
    if not sets:
        raise FileNotFoundError(f"there are no sets in {given.data}")
    plan = Plan(given.data, sets, given.models, given.minutes, given.seed)
    for name in plan.datasets:
        load(plan.data, name)  # what is not there is told before anything runs
    for line in _finished(plan, results, min(given.jobs, len(plan.datasets))):
        console.print(
            f"{line.dataset} {line.model}: {line.test:.4f} ± {line.test_error:.4f} on test rows, "
            f"{line.valid:.4f} on validation rows, {line.cpu_minutes:.1f} minutes",
            soft_wrap=True,
        )
    records = report.table(results, published(given.data))
    report.write(records, given.out / "table.csv")
    report.draw(records, given.out / "table.png")
    if given.readme is not None:
        text = given.readme.read_text(encoding="utf-8")
        given.readme.write_text(report.with_block(text, records), encoding="utf-8")
    console.print(report.grid(records))


def _finished(plan: Plan, results: Results, jobs: int) -> Iterator[Line]:
    """Lines as they are finished, by several processes if wanted, a set at a time."""
    if jobs == 1:
        yield from run(plan, results)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        results.begin()
        known, stamp = results.lines(), commit()
        parts = [
            pool.submit(_whole_set, plan._replace(datasets=[name]), known, stamp, results.folder)
            for name in plan.datasets
        ]
        for part in parts:
            yield from part.result()


def _whole_set(plan: Plan, known: list[Line], stamp: str, folder: Path) -> list[Line]:
    """All models of one set, in a process of its own."""
    torch.set_num_threads(1)
    lines = []
    for finished in run_set(plan, plan.datasets[0], known, stamp):
        Results(folder).add(*finished)
        lines.append(finished.line)
    return lines


def _depth(given: argparse.Namespace, console: Console) -> None:
    """Compare structures of growing depth; write depth.csv after every set, and depth.png."""
    if len(given.datasets) < 2:
        raise FileNotFoundError("depth needs the names of sets: depth nltcs plants")
    records: list[depth.Record] = []
    for name in given.datasets[1:]:
        for record in depth.compare(
            load(given.data, name),
            given.parameters,
            walks=given.walks,
            mass=given.mass,
            seed=given.seed,
            stamp={"commit": commit()},
        ):
            records.append(record)
            report.write(records, given.out / "depth.csv")
            console.print(
                f"{name} {record['structure']} with {record['num_parameters']} parameters: "
                f"{record['test']:.4f}, {record['gain_over_star']:+.4f} "
                f"± {record['gain_error']:.4f} over the star",
                soft_wrap=True,
            )
    report.draw_depth(records, given.out / "depth.png")


def _chorales(given: argparse.Namespace, console: Console) -> None:
    """Hidden Markov models of chorales; write chorales.csv after every number of states."""
    parts = chorales.load(given.data)
    records: list[chorales.Record] = []
    stamp = {"commit": commit()}
    options = {"walks": given.walks, "seed": given.seed, "tries": given.tries, "stamp": stamp}
    for record in chorales.compare(parts, given.states, **options):
        records.append(record)
        report.write(records, given.out / "chorales.csv")
        console.print(
            f"{record['states']} states: {record['test']:.3f} nats per step of the test sequences, "
            f"{record['valid']:.3f} of the validation ones, {record['cpu_minutes']:.1f} minutes",
            soft_wrap=True,
        )
