"""torchtt: its TT-SVD, which takes a tolerance."""

from __future__ import annotations

import torch
import torchtt

from benchmarks.protocol import Arrays, Case


def ranks(arrays: Arrays) -> Case:
    """The ranks of the train of a dense tensor, up to 1e-9 of its norm."""
    tensor = torch.as_tensor(arrays["tensor"])
    return Case(lambda: torchtt.TT(tensor, eps=1e-9), lambda found: {"ranks": found.R[1:-1]})


CASES = {"tt-ranks": ranks}
DISTRIBUTIONS = ("torchtt", "torch")
