"""Samples."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.protocol import Arrays, Case, frequencies
from benchmarks.workers.mixtures.trees import model_of
from mixtures import LTM, Mixture


def repeated(arrays: Arrays) -> Case:
    """Draws of one model."""
    model, n = model_of(LTM, arrays), len(arrays["x"])
    generator = torch.Generator().manual_seed(0)
    return Case(lambda: model.sample(n, generator=generator), frequencies)


def first(arrays: Arrays) -> Case:
    """The first draws of a model."""
    held: dict[str, Mixture] = {}
    n, generator = len(arrays["x"]), torch.Generator().manual_seed(0)

    def reset() -> None:
        held["model"] = model_of(LTM, arrays)

    def run() -> Any:
        return held["model"].sample(n, generator=generator)

    return Case(run, frequencies, reset)


CASES = {"samples": repeated, "samples-first": first}
