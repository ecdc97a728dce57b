"""The arguments of `python -m mixtures.learn.missing_pixels`, and what is written."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from rich.console import Console

from mixtures.learn.benchmark.results import commit
from mixtures.learn.missing_pixels.classifiers import (
    Classifier,
    Imputed,
    Mixtures,
    SeenNeighbours,
    Sizes,
)
from mixtures.learn.missing_pixels.images import Images, Missing, protocol, read

CHOICES = {False: (Sizes(32, 32), Sizes(64, 64)), True: (Sizes(16, 16), Sizes(32, 32))}  # by deep
JUDGED = (Missing("pixels", 0.0), Missing("pixels", 0.75), Missing("pixels", 0.9))
NEIGHBOURS = 3
SHARE = 0.8  # of the images are learned from, the others tested on


class Line(NamedTuple):
    """One line of the table: what was missing, who classified, and how often rightly."""

    missing: str
    amount: float
    classifier: str
    accuracy: float
    error: float  # standard error over the test images
    images: int
    seed: int
    commit: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn, test, write accuracy.csv and accuracy.png; 0 on success, 2 for missing files."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    console = Console()
    lines: list[Line] = []
    states = {False: given.cp_states, True: given.deep_states}
    try:
        images = read(given.data)
        given.out.mkdir(parents=True, exist_ok=True)
        for some in run(images, given.patch, given.iterations, given.seed, console, states):
            lines += some
            write(lines, given.out / "accuracy.csv")
        draw(lines, given.out / "accuracy.png")
    except KeyboardInterrupt:
        console.print(f"interrupted; finished lines are in {given.out}", soft_wrap=True)
        return 130
    except (ImportError, OSError) as missing:
        Console(file=sys.stderr).print(str(missing), soft_wrap=True)
        return 2
    console.print(f"accuracy.csv and accuracy.png are in {given.out}", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixtures.learn.missing_pixels",
        description="Accuracies on images with missing pixels.",
    )
    add = parser.add_argument
    add("--data", type=Path, help=".npz with x (n, height, width), y (n,); default: small digits")
    add("--out", type=Path, default=Path("missing-pixels"), help="folder for table and picture")
    add("--patch", type=int, help="pixels a side of a patch (default: a seventh or a fourth)")
    states = "states and components of a patch (default: chosen on validation images)"
    add("--cp-states", type=int, help=f"CP mixture: {states}")
    add("--deep-states", type=int, help=f"deep mixture: {states}")
    add("--iterations", type=int, default=25, help="EM iterations for each class")
    add("--seed", type=int, default=0, help="seed of all random draws")
    return parser


def run(
    images: Images,
    patch: int | None,
    iterations: int,
    seed: int,
    console: Console,
    states: Mapping[bool, int | None],
) -> Iterator[list[Line]]:
    """Of every classifier the lines of all ways of missing pixels; states by deep, None: chosen."""
    height = images.x.shape[1]
    if patch is None:
        patch = height // 7 if height % 7 == 0 else height // 4
    count = int(SHARE * len(images.x))
    learned, tested = images.part(slice(0, count)), images.part(slice(count, None))
    stamp = commit()
    for name, classifier in _classifiers(learned, patch, iterations, seed, console, states):
        began = time.process_time()
        classifier.learn(learned)
        lines = []
        for missing in protocol(height):
            rate = accuracy(classifier, tested, missing, seed)
            error = (rate * (1 - rate) / len(tested.x)) ** 0.5
            given = (missing.kind, missing.amount, name, rate, error, len(tested.x))
            lines.append(Line(*given, seed, stamp))
        shown = " ".join(f"{line.accuracy:.3f}" for line in lines)
        seconds = time.process_time() - began
        console.print(f"{name}: {shown} ({seconds:.0f} s of processor time)", soft_wrap=True)
        yield lines


def accuracy(classifier: Classifier, images: Images, missing: Missing, seed: int) -> float:
    """The share of images classified rightly; the same pixels are missing for everyone."""
    seen = missing.seen(images.x.shape, numpy.random.default_rng(seed))
    return float((classifier.classify(images.x, seen) == images.labels).mean())


def _classifiers(
    images: Images,
    patch: int,
    iterations: int,
    seed: int,
    console: Console,
    states: Mapping[bool, int | None],
) -> Iterator[tuple[str, Classifier]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    for name, deep in (("CP mixture", False), ("deep mixture", True)):
        given = states[deep]
        if given is None:
            sizes = chosen(images, deep, patch, iterations, seed, console)
        else:
            sizes = Sizes(given, given)
        yield name, Mixtures(deep, sizes, patch, iterations, seed)
    yield "neighbours, imputed", Imputed(KNeighborsClassifier(NEIGHBOURS))
    yield "neighbours, seen pixels", SeenNeighbours(NEIGHBOURS)
    yield "logistic, imputed", Imputed(LogisticRegression(C=0.1, max_iter=200))


def chosen(
    images: Images, deep: bool, patch: int, iterations: int, seed: int, console: Console
) -> Sizes:
    """The sizes with the best mean accuracy on the last fifth, learned from the rest."""
    count = int(SHARE * len(images.x))
    learned, held_out = images.part(slice(0, count)), images.part(slice(count, None))
    best, score = CHOICES[deep][0], -1.0
    for sizes in CHOICES[deep]:
        classifier = Mixtures(deep, sizes, patch, iterations, seed)
        classifier.learn(learned)
        rates = [accuracy(classifier, held_out, missing, seed + 1) for missing in JUDGED]
        shown = ", ".join(f"{rate:.4f}" for rate in rates)
        console.print(f"{'deep' if deep else 'CP'} {sizes}: {shown} on validation", soft_wrap=True)
        if sum(rates) > score:
            best, score = sizes, sum(rates)
    return best


def write(lines: Sequence[Line], path: Path) -> None:
    """The table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Line._fields)
        writer.writerows(lines)


def draw(lines: Sequence[Line], path: Path) -> None:
    """Accuracy against what is missing, one panel for pixels and one for rectangles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = {"pixels": "share of missing pixels", "rectangle": "side of a hidden square, pixels"}
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, (kind, title) in zip(panels, titles.items(), strict=True):
        for name in dict.fromkeys(line.classifier for line in lines):
            points = [line for line in lines if (line.missing, line.classifier) == (kind, name)]
            x, y = [p.amount for p in points], [p.accuracy for p in points]
            panel.errorbar(x, y, yerr=[2 * p.error for p in points], marker="o", label=name)
        panel.set_xlabel(title)
    panels[0].set_ylabel("accuracy (bars: two standard errors)")
    panels[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
