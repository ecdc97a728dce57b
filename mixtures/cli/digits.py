"""Chapters on handwritten digits: every class of the zoo fitted, compared, and completing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from mixtures import HMM, HT, LTM, SPN, TMM, CoefficientTensor, Mixture, Tree, plot
from mixtures.cli.guide import Guide
from mixtures.components import Categorical
from mixtures.datasets import Images
from mixtures.learn import em, initialise

HELD_OUT = 397  # the last rows; the first 1400 are fitted
GREY_LEVELS = 17
NEIGHBOURS = 5
SHOWN = 15  # images in a line


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


def fitting(
    guide: Guide, images: Images, iterations: int, generator: torch.Generator
) -> list[Fitted]:
    """Fit every class, and say how well it does on digits it has not seen."""
    train, test = images.x[:-HELD_OUT], images.x[-HELD_OUT:]
    guide.chapter(
        "1. Five classes, one EM",
        f"{len(train)} handwritten digits to learn from, {len(test)} held out; {train.shape[1]} "
        f"pixels of {GREY_LEVELS} grey levels. One E-step and one M-step serve all classes: "
        f"expected counts are a gradient.",
    )
    fitted = []
    with guide.progress() as progress:
        for name, tensor in zoo(images.size, generator).items():
            task = progress.add_task(f"{name:4s} EM", total=iterations)
            step = lambda task=task: progress.advance(task)  # noqa: E731
            fitted.append(_fit(name, tensor, train, test, iterations, generator, step))
    headings = ["model", "held out, nats an image", "training", "edges", "parameters", "seconds"]
    guide.table(headings, [_line(row) for row in fitted])
    curves = {row.name: row.curve for row in fitted}
    guide.picture(
        plot.curves(curves, xlabel="EM step", ylabel="nats an image"),
        "The training log-likelihood never falls (up to the prior).",
    )
    samples = {row.name: row.model.sample(SHOWN, generator=generator) for row in fitted}
    guide.picture(plot.sheet(samples, images.size), "New digits, drawn from each model.")
    return fitted


def _fit(
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


def _line(row: Fitted) -> list[str]:
    return [
        row.name,
        f"{row.held_out:.2f}",
        f"{row.curve[-1]:.2f}",
        f"{row.model.coefficients.size:,}",
        f"{row.model.num_parameters:,}",
        f"{row.seconds:.1f}",
    ]


def completing(guide: Guide, fitted: list[Fitted], images: Images) -> None:
    """Posterior means of the hidden lower half, beside the mean image and nearest neighbours."""
    train, test = images.x[:-HELD_OUT], images.x[-HELD_OUT:]
    lower = numpy.zeros(images.size, dtype=bool)
    lower[images.size[0] // 2 :] = True
    hidden = lower.reshape(-1)
    guesses = _guesses(fitted, train, test, hidden)
    guide.chapter(
        "2. Half of it is missing",
        "The lower half of every held-out digit is hidden. A missing value is summed out, so the "
        "models complete what they see without having been trained to. The error is the root mean "
        f"square over the hidden pixels, in grey levels; {NEIGHBOURS} nearest neighbours and the "
        "mean image are no models, but a fair yardstick.",
    )
    rows = []
    for name, guess in guesses.items():
        wrong = numpy.sqrt(((guess - test)[:, hidden] ** 2).mean())
        rows.append([name, f"{wrong:.3f}"])
    guide.table(["guess", "error"], rows)
    lines = {"held out": test[:SHOWN], "seen": numpy.where(hidden, numpy.nan, test)[:SHOWN]}
    lines |= {name: guess[:SHOWN] for name, guess in guesses.items()}
    guide.picture(plot.sheet(lines, images.size), "Digits, what is seen of them, and completions.")


def _guesses(
    fitted: list[Fitted], train: NDArray[Any], test: NDArray[Any], hidden: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    rows = torch.as_tensor(test)
    observed = torch.as_tensor(~hidden).expand(rows.shape)
    guesses: dict[str, NDArray[Any]] = {}
    for row in fitted:
        guesses[row.name] = row.model.complete(rows, observed=observed, how="mean").numpy()
    guesses["mean image"] = numpy.where(hidden, train.mean(0), test)
    visible = torch.as_tensor(train[:, ~hidden]).float()
    distances = torch.cdist(torch.as_tensor(test[:, ~hidden]).float(), visible)
    nearest = distances.topk(NEIGHBOURS, largest=False).indices.numpy()
    guesses[f"{NEIGHBOURS} nearest neighbours"] = numpy.where(hidden, train[nearest].mean(1), test)
    return guesses
