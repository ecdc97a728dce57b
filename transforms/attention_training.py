"""Small softmax transformers trained at equal steps on a task that mixes two halves: measured.

`python -m transforms.attention_training --out runs.csv` trains every shape of a design with every
learning rate; an interrupted sweep goes on where it stopped. The runs that ship with the library
are read by `attention_runs.measured()`.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from transforms.attention_runs import Run, read, write
from transforms.attention_task import CompositionTask
from transforms.attention_transformer import Transformers, TransformerShape

WARM_UP = 50  # steps until the full learning rate; then half a cosine down to nothing
TENTHS = 10  # the training loss is recorded over each tenth of the steps
HELD_OUT = 2000  # fresh rows to choose learning rates with, and as many to report on


@dataclass(frozen=True)
class Settings:
    """What every run of a sweep shares: the task, steps, rows in a step, seeds, learning rates."""

    task: CompositionTask = field(default_factory=CompositionTask)
    steps: int = 1000
    batch: int = 32
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    learning_rates: tuple[float, ...] = (1e-2, 3e-3)


def train(
    shape: TransformerShape, learning_rate: float, settings: Settings | None = None
) -> list[Run]:
    """Train one network per seed on fresh rows at every step, and measure it; a run for each.

    Adam, a linear warm-up and half a cosine. A seed determines the weights and the rows a network
    sees. All networks advance side by side: four of width 16 cost little more than one.

    >>> few = Settings(CompositionTask(3, (1,)), steps=2, batch=4, seeds=(0,))
    >>> [run] = train(TransformerShape(4, 1), 1e-2, few)
    >>> run.width, run.depth, run.steps
    (4, 1, 2)
    """
    settings = Settings() if settings is None else settings
    task, start = settings.task, time.process_time()
    networks = Transformers(
        shape,
        symbols=task.tokens,
        positions=task.tokens,
        outputs=task.points * len(task.hops),
        seeds=settings.seeds,
    )
    draw = stream(task, settings.seeds)
    history = _descended(networks, draw, learning_rate, settings)
    with torch.no_grad():
        validation, test = (losses(networks, task, *draw(HELD_OUT)) for _ in range(2))
    seconds = (time.process_time() - start) / len(settings.seeds)
    common = {"steps": settings.steps, "batch": settings.batch, "points": task.points}
    return [
        Run(
            **asdict(shape),
            **common,
            hops=task.hops,
            learning_rate=learning_rate,
            seed=seed,
            validation=round(validation[place].mean().item(), 4),
            test=round(test[place].mean().item(), 4),
            by_hop=_rounded(test[place]),
            history=_rounded(history[:, place]),
            seconds=round(seconds, 2),
        )
        for place, seed in enumerate(settings.seeds)
    ]


def losses(
    networks: Transformers, task: CompositionTask, tokens: Tensor, targets: Tensor
) -> Tensor:
    """Cross-entropies in nats, (seeds, hops), of rows (seeds, n, tokens) and their targets."""
    copies, n = tokens.shape[:2]
    logits = networks(tokens)[:, :, : task.points]
    logits = logits.reshape(copies, n, task.points, len(task.hops), task.points)
    found = functional.cross_entropy(logits.movedim(-1, 1), targets, reduction="none")
    return found.mean((1, 2))


def _descended(
    networks: Transformers,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    learning_rate: float,
    settings: Settings,
) -> Tensor:
    """Minimise; the training loss over each tenth of the steps, (tenths, seeds)."""
    optimizer = torch.optim.Adam(networks.parameters(), lr=learning_rate, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, _pace(settings.steps))
    seen = torch.zeros(TENTHS, len(settings.seeds))
    counts = torch.zeros(TENTHS, 1)
    for step in range(settings.steps):
        loss = losses(networks, settings.task, *draw(settings.batch)).mean(-1)
        optimizer.zero_grad()
        loss.sum().backward()  # the networks share nothing: each sees the gradient of its own loss
        optimizer.step()
        rate.step()
        tenth = step * TENTHS // settings.steps
        seen[tenth] += loss.detach()
        counts[tenth] += 1
    return (seen / counts)[counts[:, 0] > 0]


def _pace(steps: int) -> Callable[[int], float]:
    return lambda step: min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def stream(task: CompositionTask, seeds: Sequence[int]) -> Callable[[int], tuple[Tensor, Tensor]]:
    """A function n -> n fresh rows for every seed, (seeds, n, ..); a seed's rows are its own."""
    dice = [torch.Generator().manual_seed(2**32 + seed) for seed in seeds]

    def draw(n: int) -> tuple[Tensor, Tensor]:
        tokens, targets = zip(*(task.draw(n, generator) for generator in dice), strict=True)
        return torch.stack(tokens), torch.stack(targets)

    return draw


# -- sweeps ---------------------------------------------------------------------------------------

BUDGETS = {  # depth: width, 12 L d^2 within a few percent of each other
    256: {1: 16, 2: 11, 3: 9, 4: 8, 6: 6},
    1024: {1: 32, 2: 23, 3: 18, 4: 16, 6: 13},
    4096: {1: 64, 2: 45, 3: 37, 4: 32, 6: 26},
}
GRID = {8: (1, 2, 3, 4, 6), 16: (1, 2, 3, 4, 6), 32: (1, 2, 3, 4, 6)}


def design() -> list[TransformerShape]:
    """The shapes of the sweep: three budgets of matched weights, and all depths at three widths."""
    matched = [(d, L) for widths in BUDGETS.values() for L, d in widths.items()]
    grid = [(d, L) for d, depths in GRID.items() for L in depths]
    return [TransformerShape(d, L) for d, L in dict.fromkeys(matched + grid)]


def sweep(
    path: str | os.PathLike[str],
    shapes: Iterable[TransformerShape],
    settings: Settings | None = None,
) -> Iterator[list[Run]]:
    """Train every shape with every learning rate, yield the runs of each, keep all in a CSV file.

    What the file already holds is not trained again; it is replaced whole after each training, so
    that an interruption loses one training at most. Raises ValueError for a file of other settings.
    """
    settings = Settings() if settings is None else settings
    path, shapes = Path(path), list(shapes)
    held = read(path) if path.exists() else []
    for run in held:
        found = (run.points, run.hops, run.steps, run.batch)
        expected = (settings.task.points, settings.task.hops, settings.steps, settings.batch)
        if found != expected:
            raise ValueError(
                f"expected {path} to hold runs with points, hops, steps and batch {expected}, got "
                f"{found}; give another file"
            )
    done = {(run.shape, run.learning_rate, run.seed) for run in held}
    for learning_rate in settings.learning_rates:
        for shape in shapes:
            if all((shape, learning_rate, seed) in done for seed in settings.seeds):
                continue
            runs = train(shape, learning_rate, settings)
            held += [r for r in runs if (r.shape, r.learning_rate, r.seed) not in done]
            write(path, held)
            yield runs


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values.tolist())


# -- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """`python -m transforms.attention_training --out runs.csv`: the sweep behind `measured()`."""
    parser = argparse.ArgumentParser(
        prog="python -m transforms.attention_training",
        description="Train small softmax transformers on a task of two halves; goes on where an "
        "interrupted sweep stopped. One thread for about a quarter of an hour.",
    )
    parser.add_argument("--out", required=True, help="the CSV file that is written or continued")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seeds", type=int, default=len(Settings.seeds), help="how many seeds")
    parser.add_argument(
        "--shape", action="append", metavar="WIDTHxDEPTH", help="instead of the whole design"
    )
    options = parser.parse_args(arguments)
    console = Console() if console is None else console
    settings = Settings(steps=options.steps, seeds=tuple(range(options.seeds)))
    shapes = design() if options.shape is None else [_shape(text) for text in options.shape]
    for runs in sweep(options.out, shapes, settings):
        first = runs[0]
        console.print(
            f"width {first.width}, depth {first.depth}, rate {first.learning_rate}: test "
            f"{' '.join(f'{run.test:.3f}' for run in runs)} ({first.seconds:.1f} s each)"
        )
    return 0


def _shape(text: str) -> TransformerShape:
    try:
        width, depth = (int(part) for part in text.split("x"))
    except ValueError:
        raise SystemExit(f"expected a shape such as 16x2, width and depth, got {text!r}") from None
    return TransformerShape(width, depth)


if __name__ == "__main__":
    raise SystemExit(main())
