"""The tour: five models on handwritten digits, moved up the hierarchy, ranked, approximated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mixtures import datasets
from mixtures.cli import digits
from mixtures.cli.guide import Guide
from mixtures.cli.report import Report

TITLE = "Homogeneous mixture models: a tour"


def run(folder: Path, iterations: int, seed: int) -> None:
    """All chapters; the report so far is written also when Ctrl-C ends the tour."""
    started = time.perf_counter()
    images = datasets.digits()
    _use_agg()
    folder.mkdir(parents=True, exist_ok=True)
    guide = Guide(Console(), Report(TITLE))
    path = folder / "report.html"
    try:
        _chapters(guide, images, iterations, seed)
    finally:
        guide.report.write(path)
        guide.console.print(f"\nreport in {path.resolve()}", soft_wrap=True, highlight=False)
    guide.console.print(f"{time.perf_counter() - started:.0f} s in all", highlight=False)


def _chapters(guide: Guide, images: datasets.Images, iterations: int, seed: int) -> None:
    from mixtures.cli import hierarchy, shallow

    guide.say(
        "One formula, f(x) = sum over i of W[i] f_1(x_1) .. f_d(x_d), is behind tensorial "
        "mixtures, hidden Markov models, latent tree models and sum-product networks. W is a "
        "tensor with "
        "k^d entries, held as a circuit. Everything below was computed on this machine just now; "
        f"the seed is {seed}."
    )
    generator = torch.Generator().manual_seed(seed)
    fitted = digits.fitting(guide, images, iterations, generator)
    digits.completing(guide, fitted, images)
    hierarchy.converting(guide, fitted[0].model, images.x[-digits.HELD_OUT :])
    hierarchy.ranking(guide, generator)
    shallow.approximating(guide, generator)
    guide.chapter("Where to go from here", "Your own tables: `python -m mixtures fit data.csv`.")
    guide.code(EXAMPLE)


EXAMPLE = """\
from mixtures import LTM, Mixture, Tree, save
from mixtures.components import Gaussian
from mixtures.learn import fit

model = Mixture(LTM(Tree.balanced(8), components=3, states=2), Gaussian(8, 3))
fit(model, x)                  # x: (n, 8), NaN where a value is missing
model.log_prob(x), model.complete(x), model.sample(10)
save(model, "model.safetensors")"""


def _use_agg() -> Any:
    """Draw to files, whatever screen there is."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            "the tour draws pictures: pip install 'homogeneous-mixtures[plot]'"
        ) from None
    matplotlib.use("Agg")
