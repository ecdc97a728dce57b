"""The harness of the benchmarks: workers run, results are compared first, ratios are of rounds."""

from __future__ import annotations

import dataclasses
import importlib

import numpy
import pytest
import torch

from benchmarks import machine, report, verdicts
from benchmarks import race as racing
from benchmarks.client import Client, WorkerError
from benchmarks.libraries import LIBRARIES
from benchmarks.protocol import Case, Stopwatch
from benchmarks.race import Race, Settings, Standing, disagreement, race
from benchmarks.records import read, save, write_csv
from benchmarks.scaling import Measured, Point
from benchmarks.task import Goal, Limit
from benchmarks.tasks import TASKS
from benchmarks.tasks.scaling import CURVES
from benchmarks.tasks.trees import balanced
from mixtures import Tree

SMALL = dataclasses.replace(TASKS["hmm"].small(), entries=("mixtures", "bare"), least=0.0)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "no-environments", rounds=3)


@pytest.mark.slow
def test_workers_agree_before_they_are_timed(settings, monkeypatch):
    pytest.importorskip("hmmlearn")
    there = racing.interpreter

    def installed(library, folder):
        return None if library == "pomegranate" else there(library, folder)

    monkeypatch.setattr(racing, "interpreter", installed)
    task = dataclasses.replace(SMALL, entries=("mixtures", "hmmlearn", "pomegranate", "bare"))
    found = race(task, 1, settings)
    assert found.standings["pomegranate"].trouble == "missing"
    assert found.standings["hmmlearn"].checked == ("total",)
    for entry in ("mixtures", "hmmlearn", "bare"):
        standing = found.standings[entry]
        assert standing.trouble == "" and len(standing.seconds) == 3
        assert min(standing.seconds) > 0 and standing.versions
    ratios = found.ratios("mixtures", "hmmlearn")
    mine, other = (found.standings[entry].seconds for entry in ("mixtures", "hmmlearn"))
    assert ratios == [b / a for a, b in zip(mine, other, strict=True)]


def test_what_a_library_prints_does_not_reach_the_driver(settings, tmp_path):
    arrays = tmp_path / "data.npz"
    numpy.savez(arrays, **SMALL.make(SMALL.sizes, numpy.random.default_rng(0)))
    client = Client(
        "mixtures", "hmm", 1, racing.interpreter("mixtures", tmp_path), tmp_path / "log"
    )
    try:
        assert client.ask("load", arrays=str(arrays))["versions"] == {"torch": torch.__version__}
        with pytest.raises(WorkerError, match="KeyError"):
            client.ask("nonsense")
        assert client.ask("warm")["first"] > 0
        assert client.ask("memory")["peak"] > 0
    finally:
        client.close()


class Pretender:
    """Answers like a worker whose results are given."""

    def __init__(self, **results):
        self.results = results

    def ask(self, do, **message):
        assert do == "check"
        numpy.savez(message["to"], **self.results)
        return {}


def agreeing(tmp_path, **results):
    clients = {"mixtures": Pretender(rows=numpy.array([-1.0, -2.0]))}
    clients["hmmlearn"] = Pretender(**results)
    standings = {entry: Standing(entry) for entry in clients}
    racing._agree(SMALL, clients, standings, tmp_path)
    return clients, standings["hmmlearn"].trouble


def test_a_library_that_disagrees_is_not_timed(tmp_path):
    clients, trouble = agreeing(tmp_path, rows=numpy.array([-1.0, -2.00001]))
    assert list(clients) == ["mixtures"]
    assert trouble.startswith("disagrees: rows differs by")
    clients, trouble = agreeing(tmp_path, rows=numpy.array([-1.0, -2.000001]))
    assert list(clients) == ["mixtures", "hmmlearn"] and trouble == ""


@pytest.mark.parametrize(
    "results",
    [
        {"total": numpy.array(-3.0)},
        {"rows": numpy.array([-1.0])},
        {"rows": numpy.full(2, numpy.nan)},
    ],
)
def test_results_that_cannot_be_compared_are_a_disagreement(tmp_path, results):
    clients, trouble = agreeing(tmp_path, **results)
    assert list(clients) == ["mixtures"] and trouble.startswith("disagrees")


def test_tolerance_is_that_of_the_task():
    mine, other = {"rows": numpy.array([1.0])}, {"rows": numpy.array([1 + 5e-6])}
    assert disagreement(TASKS["ltm"], mine, other) == ""
    assert disagreement(TASKS["ltm-64"], mine, other) != ""


def test_two_threads_are_not_timed_on_a_busy_machine(monkeypatch, settings):
    monkeypatch.setattr(machine, "load", lambda: 3.0)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    found = race(SMALL, 2, dataclasses.replace(settings, settle=0.0))
    assert "load average 3.00" in found.refused and found.standings == {}
    assert machine.quiet(1) == ""
    monkeypatch.setattr(machine, "load", lambda: 0.4)
    assert machine.quiet(2, settle=0.0) == ""
    assert "3 threads, but 2 cores" in machine.quiet(3)


def result(goals, **seconds):
    task = dataclasses.replace(SMALL, goals=goals, entries=tuple(seconds))
    standings = {entry: Standing(entry, seconds=times) for entry, times in seconds.items()}
    standings["mixtures"].memory = 10 * 2**20
    return Race(task, 1, standings, {"load": "0.5", "commit": "abc"})


def test_figures_are_judged_by_the_median_round_against_the_best_peer():
    goals = (
        Goal(3, ("hmmlearn", "dynamax")),
        Goal(0.5, ("bare",)),
        Limit(2.0),
        Goal(9, ("sparc",)),
    )
    found = result(
        goals, mixtures=[1, 1, 2], hmmlearn=[9, 9, 9], dynamax=[2, 4, 4], bare=[0.4, 0.6, 1.2]
    )
    judged = verdicts.verdicts(found)
    assert [v.met for v in judged] == [False, True, True, None]
    assert judged[0].against == "dynamax" and judged[0].found == "2x (2 to 4)"


def test_races_are_kept_and_reported(tmp_path):
    found = result((Goal(3, ("hmmlearn",)),), mixtures=[1.0, 2.0], hmmlearn=[4.0, 4.0])
    found.standings["dynamax"] = Standing("dynamax", trouble="missing")
    save(found, tmp_path)
    (again,) = read(tmp_path, TASKS)
    assert again.standings == found.standings
    again = dataclasses.replace(again, task=found.task)
    stamp = {**found.stamp, "load": "3.00"}
    refused = Race(found.task, 2, {}, stamp, "load average 3.00, above 1.2: not timed")
    text = report.markdown([again, refused], None)
    assert "Not timed at 2 threads (load average too high, above 1.2: not timed): hmm." in text
    assert "| hmm | 1 | mixtures | hmmlearn | 3x | 3x (2 to 4) | met |" in text
    assert "Missing, so not compared: dynamax" in text
    write_csv([again], tmp_path / "all.csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 1 + 2 + 2 + 1


def test_a_turn_is_filled_with_runs_each_after_its_reset():
    calls = []
    case = Case(lambda: calls.append("run"), lambda _: {}, lambda: calls.append("reset"))
    assert len(Stopwatch(case).turn(0.001)) > 1
    assert calls[:4] == ["reset", "run", "reset", "run"]


def test_a_turn_begins_with_a_run_that_is_not_timed_unless_runs_are_long():
    calls = []
    watch = Stopwatch(Case(lambda: calls.append("run"), lambda _: {}))
    assert len(watch.turn(0.0)) == 1
    assert len(calls) == 2
    watch.seconds = 2.0
    assert len(watch.turn(0.0)) == 1
    assert len(calls) == 3


def test_sizes_vary_by_the_share_asked_for():
    rng = numpy.random.default_rng(0)
    task = TASKS["sequence"]
    for _ in range(20):
        varied = task.varied(rng, 0.2)
        assert varied.sizes["rows"] == 1, "fixed"
        assert 0.79 < varied.sizes["steps"] / task.sizes["steps"] < 1.21
    assert len({task.varied(rng, 0.2).sizes["steps"] for _ in range(9)}) == 9


@pytest.mark.parametrize("d", [2, 3, 7, 8, 13])
def test_the_trees_of_the_tasks_are_balanced_trees(d):
    children = {d + i: tuple(pair) for i, pair in enumerate(balanced(d).tolist())}
    mine, theirs = Tree(children), Tree.balanced(d)

    def blocks(tree):
        found = {j: (j,) for j in range(d)}
        for node in tree.inner:
            found[node] = tuple(sorted(j for child in tree.children[node] for j in found[child]))
        return set(found.values())

    assert blocks(mine) == blocks(theirs)
    assert mine.root == 2 * d - 2


@pytest.mark.parametrize("library", ["mixtures", "bare", "nodewise"])
def test_every_entry_of_every_task_has_its_code(library):
    cases = importlib.import_module(f"benchmarks.workers.{library}").CASES
    tasks = [*TASKS.values(), *(curve.task for curve in CURVES)]
    for task in tasks:
        for entry in task.entries:
            name, _, variant = entry.partition(":")
            assert name in LIBRARIES
            if name == library:
                assert (f"{task.name}:{variant}" if variant else task.name) in cases


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_this_library_does_every_task(name, settings):
    entries = tuple(entry for entry in TASKS[name].entries if entry.startswith("mixtures"))
    task = dataclasses.replace(TASKS[name].small(), entries=entries, least=0.0)
    found = race(task, 1, dataclasses.replace(settings, rounds=1))
    assert {standing.trouble for standing in found.standings.values()} == {""}


def test_exponents_are_slopes_in_logarithms():
    measured = Measured(CURVES[0], [Point(n, 3 * n**2, 7) for n in (10.0, 20.0, 40.0)])
    assert measured.exponent() == pytest.approx(2)
    assert measured.exponent("memory") == pytest.approx(0)
    assert CURVES[0].at(64).sizes["variables"] == 64
