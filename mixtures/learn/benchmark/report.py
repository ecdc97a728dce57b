"""The table of results with paired differences and published figures, and its picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as Grid

from mixtures.learn.benchmark.data import Published
from mixtures.learn.benchmark.results import Difference, Line, Results, paired
from mixtures.learn.benchmark.run import MODELS, best_of_zoo
from mixtures.plot import axes

ZOO = "best of the zoo"
SHORT = ("TMM", "HMM", "SPN")  # shown with two digits
MARKS = ("<!-- density: begin -->", "<!-- density: end -->")
HEADINGS = (
    *("dataset", "model", "test", "test_error", "valid", "num_parameters", "edges"),
    *("minutes", "cpu_minutes", "gain_over_LTM", "gain_error", "clear"),
    *("best_published", "published_test", "beats_published", "seed", "commit", "chosen"),
)


def table(results: Results, published: Mapping[str, Sequence[Published]]) -> list[dict[str, Any]]:
    """A record for every model of a set, and one more for the best of the zoo by validation.

    Of several lines of one model, of other seeds or budgets, that with the best validation stands.

    Gains over the LTM of the same set are paired, row by row; `clear` ones exceed two standard
    errors. Only figures read in publications are quoted; None where there is none.
    """
    lines = results.lines()
    best = best_of_zoo(lines)
    models = list(dict.fromkeys([*MODELS, *(line.model for line in lines)]))
    found = []
    for name in dict.fromkeys(line.dataset for line in lines):
        mine = [line for line in lines if line.dataset == name]
        several = ([line for line in mine if line.model == model] for model in models)
        own = [max(group, key=lambda line: line.valid) for group in several if group]
        base = next((line for line in own if line.model == "LTM"), None)
        quoted = next(iter(published.get(name, ())), None)
        for title, line in [*((line.model, line) for line in own), (ZOO, best[name])]:
            gain = None if base is None else _gain(results, line, base)
            found.append(_record(title, line, gain, quoted))
    return found


def _gain(results: Results, line: Line, base: Line) -> Difference:
    return paired(results.rows(line).test, results.rows(base).test)


def _record(
    title: str, line: Line, gain: Difference | None, quoted: Published | None
) -> dict[str, Any]:
    chosen = line.chosen if title == line.model else f"{line.model} {line.chosen}"
    values = (
        line.dataset,
        title,
        line.test,
        line.test_error,
        line.valid,
        line.num_parameters,
        line.edges,
        line.minutes,
        line.cpu_minutes,
        None if gain is None else gain.mean,
        None if gain is None else gain.error,
        None if gain is None else gain.clear,
        None if quoted is None else quoted.model,
        None if quoted is None else quoted.test,
        None if quoted is None else line.test > quoted.test,
        line.seed,
        line.commit,
        chosen,
    )
    return dict(zip(HEADINGS, values, strict=True))


def write(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The records as CSV, numbers with six digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        for record in records:
            writer.writerow({name: _rounded(value) for name, value in record.items()})


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def grid(records: Sequence[Mapping[str, Any]]) -> Grid:
    """The table for a terminal."""
    shown = Grid(title="mean log-likelihood of test rows (nats)")
    for heading in ("set", "model", "test", "gain over LTM", "parameters", "minutes", "published"):
        shown.add_column(heading, justify="left" if heading in ("set", "model") else "right")
    for record in records:
        gain, quoted = record["gain_over_LTM"], record["published_test"]
        shown.add_row(
            record["dataset"],
            record["model"],
            f"{record['test']:.3f}",
            "" if gain is None else f"{gain:+.3f} ± {record['gain_error']:.3f}",
            f"{record['num_parameters']:,}",
            f"{record['minutes']:.1f}",
            "" if quoted is None else f"{quoted:.2f} {record['best_published']}",
            end_section=record["model"] == ZOO,
        )
    return shown


def with_block(text: str, records: Sequence[Mapping[str, Any]]) -> str:
    """The text with the table between its marks; ValueError where it has none."""
    first, last = MARKS
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"expected one line {first} and one line {last} in the text")
    before, rest = text.split(first)
    return before + first + "\n" + block(records) + last + rest.split(last)[1]


def block(records: Sequence[Mapping[str, Any]]) -> str:
    """A set a line, in Markdown: every model, and the best of the zoo beside its competitors.

    Takes the records of `table` as well as those read from the CSV.
    """
    head = ("set", *SHORT, "LTM", ZOO, "over the LTM", "best published")
    lines = [head]
    for name in dict.fromkeys(record["dataset"] for record in records):
        own = {record["model"]: record for record in records if record["dataset"] == name}
        zoo = own[ZOO]
        lines.append(
            (
                name,
                *(_number(own.get(model), "test", ".2f") for model in SHORT),
                *(_number(own.get(model), "test", ".3f") for model in ("LTM", ZOO)),
                f"{_number(zoo, 'gain_over_LTM', '+.3f')} ± {_number(zoo, 'gain_error', '.3f')}",
                f"{_number(zoo, 'published_test', '.2f')} {zoo['best_published'] or ''}".strip(),
            )
        )
    first, *rest = (f"| {' | '.join(cells)} |\n" for cells in lines)
    return first + "|---" * len(head) + "|\n" + "".join(rest)


def _number(record: Mapping[str, Any] | None, name: str, how: str) -> str:
    value = None if record is None else record[name]
    return "" if value in (None, "") else format(float(value), how)


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Per set the test log-likelihoods, in percent of that of the single LTM; published ones as
    lines.

    Sets without an LTM are left out.
    """
    base = {r["dataset"]: r["test"] for r in records if r["model"] == "LTM"}
    ax = axes(1.5 + 0.9 * max(4, len(base)), 4.5)
    names = list(base)
    places = {name: place for place, name in enumerate(names)}
    kinds = [r["model"] for r in records if r["model"] != ZOO]
    for number, model in enumerate(dict.fromkeys(kinds)):
        points = [r for r in records if r["model"] == model and r["dataset"] in base]
        ax.errorbar(
            [places[r["dataset"]] + 0.1 * (number - 2) for r in points],
            [_percent(r["test"], base[r["dataset"]]) for r in points],
            [100 * (r["gain_error"] or 0) / abs(base[r["dataset"]]) for r in points],
            fmt="o",
            label=model,
        )
    quoted = [r for r in records if r["model"] == "LTM" and r["published_test"] is not None]
    for number, record in enumerate(quoted):
        place = places[record["dataset"]]
        height = _percent(record["published_test"], base[record["dataset"]])
        label = "best published figure" if number == 0 else None
        ax.hlines(height, place - 0.35, place + 0.35, color="black", label=label)
    ax.set_yscale("symlog", linthresh=1)
    ax.set_xticks(range(len(names)), names, rotation=30)
    ax.set_ylabel("test log-likelihood, % above the LTM")
    ax.legend(fontsize=7)
    ax.figure.savefig(path, dpi=120)


def _percent(value: float, base: float) -> float:
    return 100 * (value - base) / abs(base)


def draw_depth(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Per set the gain over the star of as many parameters, for every structure and size."""
    names = list(dict.fromkeys(record["dataset"] for record in records))
    figure = axes(4.0 * len(names), 3.6).figure
    figure.clear()
    grids = figure.subplots(1, len(names), squeeze=False)
    for name, ax in zip(names, grids[0], strict=True):
        own = [record for record in records if record["dataset"] == name]
        for structure in dict.fromkeys(record["structure"] for record in own):
            points = [record for record in own if record["structure"] == structure]
            ax.errorbar(
                [point["num_parameters"] for point in points],
                [point["gain_over_star"] for point in points],
                [2 * point["gain_error"] for point in points],
                label=structure,
                marker="o",
            )
        ax.set_xscale("log")
        ax.set_title(name)
        ax.set_xlabel("parameters")
    grids[0][0].set_ylabel("nats per test row above the star (± 2 errors)")
    grids[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=120)
