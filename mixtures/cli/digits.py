"""The main job: every class of the zoo on handwritten digits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from torch import Tensor

from mixtures import HMM, HT, LTM, SPN, TMM, CoefficientTensor, Mixture, Tree, datasets
from mixtures.components import Categorical
from mixtures.learn import em, initialise

HELD_OUT = 397  # the last rows; the first 1400 are fitted
GREY_LEVELS = 17
NEIGHBOURS = 5


class Fitted(NamedTuple):
    """A fitted model and what is reported of it."""

    name: str
    model: Mixture
    curve: list[float]  # log-likelihood per training row before each step
    held_out: float
    seconds: float


def zoo(size: tuple[int, int], generator: torch.Generator) -> dict[str, CoefficientTensor]:
    """One coefficient tensor of each class over the pixels of an image."""
    height, width = size
    d = height * width
    draw: dict[str, Any] = {"generator": generator, "dtype": torch.float32}
    return {
        "TMM": TMM(d, 40, 40, emission=False, **draw),
        "HMM": HMM(d, 24, 24, emission=False, **draw),
        "LTM": LTM(Tree.quad(height, width), 12, 20, **draw),
        "HT": HT(Tree.balanced(d), 8, 8, **draw),
        "SPN": SPN.random(d, 8, depth=4, sums=5, repetitions=6, **draw),
    }


def run(folder: Path, iterations: int, seed: int) -> None:
    """Fit, compare, complete half-hidden digits, draw; all files go to `folder`."""
    torch.set_num_threads(1)  # tables this small gain nothing from more, and lose on a busy machine
    console = Console()
    started = time.perf_counter()
    images = datasets.digits()
    generator = torch.Generator().manual_seed(seed)
    train, test = images.x[:-HELD_OUT], images.x[-HELD_OUT:]
    console.print(
        f"{len(train)} handwritten digits to learn from, {len(test)} held out; "
        f"{train.shape[1]} pixels of {GREY_LEVELS} grey levels."
    )
    fitted = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for name, tensor in zoo(images.size, generator).items():
            task = progress.add_task(f"{name:4s} EM", total=iterations)
            step = lambda task=task: progress.advance(task)  # noqa: E731
            fitted.append(fit(name, tensor, train, test, iterations, generator, step))
    console.print(comparison(fitted))
    hidden = numpy.zeros(images.size, dtype=bool)
    hidden[images.size[0] // 2 :] = True
    guesses = complete(fitted, train, test, hidden.reshape(-1))
    console.print(errors(guesses, test, hidden.reshape(-1)))
    files = draw(folder, fitted, guesses, test, hidden.reshape(-1), images.size, generator)
    console.print(f"pictures in {folder.resolve()}: {', '.join(files)}", soft_wrap=True)
    console.print(f"{time.perf_counter() - started:.0f} s in all")


def fit(
    name: str,
    tensor: CoefficientTensor,
    train: NDArray[Any],
    test: NDArray[Any],
    iterations: int,
    generator: torch.Generator,
    step: Callable[[], None],
) -> Fitted:
    """EM from seeded components, with a pseudo-count on every table."""
    components = Categorical(
        tensor.variables,
        tensor.shape[0],
        GREY_LEVELS,
        pseudo_count=0.1,
        generator=generator,
        dtype=torch.float32,
    )
    model = Mixture(tensor, components)
    data = model.encode(train)
    initialise(model, data, concentration=0.03, generator=generator)
    started = time.perf_counter()
    curve = []
    learning = em(model, data, pseudo_count=0.1)
    for _ in range(iterations):
        curve.append(next(learning).log_likelihood)
        step()
    seconds = time.perf_counter() - started
    return Fitted(name, model, curve, model.score(test), seconds)


def comparison(fitted: list[Fitted]) -> Grid:
    """Held-out log-likelihood, size and time of each model."""
    table = Grid(title="held-out log-likelihood (nats per image)")
    for heading in ("model", "held out", "training", "edges", "parameters", "seconds"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in fitted:
        tensor = row.model.coefficients
        table.add_row(
            row.name,
            f"{row.held_out:.2f}",
            f"{row.curve[-1]:.2f}",
            f"{tensor.size:,}",
            f"{row.model.num_parameters:,}",
            f"{row.seconds:.1f}",
        )
    return table


def complete(
    fitted: list[Fitted], train: NDArray[Any], test: NDArray[Any], hidden: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Posterior means of the hidden pixels, beside the mean image and the nearest neighbours."""
    rows = torch.as_tensor(test)
    observed = torch.as_tensor(~hidden).expand(rows.shape)
    guesses: dict[str, NDArray[Any]] = {}
    for row in fitted:
        guesses[row.name] = row.model.complete(rows, observed=observed, how="mean").numpy()
    guesses["mean image"] = numpy.where(hidden, train.mean(0), test)
    visible: Tensor = torch.as_tensor(train[:, ~hidden]).float()
    distances = torch.cdist(torch.as_tensor(test[:, ~hidden]).float(), visible)
    nearest = distances.topk(NEIGHBOURS, largest=False).indices.numpy()
    guesses[f"{NEIGHBOURS} nearest neighbours"] = numpy.where(hidden, train[nearest].mean(1), test)
    return guesses


def errors(guesses: dict[str, NDArray[Any]], test: NDArray[Any], hidden: NDArray[Any]) -> Grid:
    """Root mean square error of each guess on the hidden pixels."""
    table = Grid(title="error on the hidden lower half (grey levels, root mean square)")
    table.add_column("guess")
    table.add_column("error", justify="right")
    for name, guess in guesses.items():
        wrong = numpy.sqrt(((guess - test)[:, hidden] ** 2).mean())
        table.add_row(name, f"{wrong:.3f}")
    return table


def draw(
    folder: Path,
    fitted: list[Fitted],
    guesses: dict[str, NDArray[Any]],
    test: NDArray[Any],
    hidden: NDArray[Any],
    size: tuple[int, int],
    generator: torch.Generator,
) -> list[str]:
    """Write learning curves, samples and completions; the names of the files."""
    import matplotlib

    matplotlib.use("Agg")
    from mixtures import plot

    folder.mkdir(parents=True, exist_ok=True)
    count = 15
    curve = plot.curves(
        {row.name: row.curve for row in fitted}, xlabel="EM step", ylabel="log-likelihood per image"
    )
    rows = {"held out": test[:count], "seen": numpy.where(hidden, numpy.nan, test)[:count]}
    rows.update({name: guess[:count] for name, guess in guesses.items()})
    samples = {row.name: row.model.sample(count, generator=generator).numpy() for row in fitted}
    sheets = {
        "learning.png": curve,
        "samples.png": plot.sheet(samples, size),
        "completions.png": plot.sheet(rows, size),
    }
    for name, ax in sheets.items():
        ax.figure.savefig(folder / name, dpi=120)
    return list(sheets)
