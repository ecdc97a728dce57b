"""SPFlow: its tensorised layers, one module for all nodes of a level.

Its LinsumLayer and EinsumLayer fuse a product of two halves with the sum above it ("reduce
bandwidth pressure", says the latter's docstring); rows go in batches of BATCH, the fastest of
those tried. The layers pair the halves of a level, so trees must have 2^L leaves.
"""

from __future__ import annotations

from typing import Any

import torch
from spflow.meta import Scope
from spflow.modules.einsum import EinsumLayer, LinsumLayer
from spflow.modules.leaves import Bernoulli
from spflow.modules.ops import SplitMode

from benchmarks.protocol import Arrays, Case

BATCH = 500


def circuit(arrays: Arrays) -> Any:
    """Layers from the leaves up; a level's neighbours are the halves of an interleaved split."""
    on, r = torch.as_tensor(arrays["on"]), arrays["on"].shape[1]
    d = len(on)
    if d & (d - 1):
        raise ValueError(f"SPFlow's layers pair halves: {d} leaves are not a power of two")
    joint = arrays["tables"].shape[-1] != r
    tables = [*torch.as_tensor(arrays["tables"]), torch.as_tensor(arrays["root"])[None]]
    module: Any = Bernoulli(Scope(range(d)), probs=on[:, :, None])
    level, names = list(range(d)), {tuple(pair): i for i, pair in enumerate(arrays["children"])}
    while len(level) > 1:
        nodes = [names[pair] for pair in zip(level[::2], level[1::2], strict=True)]
        weights = torch.stack([tables[i] for i in nodes])
        shape = (len(nodes), weights.shape[1], 1, *((r, r) if joint else (r,)))
        layer = EinsumLayer if joint else LinsumLayer
        split = SplitMode.interleaved(num_splits=2)
        module = layer(module, weights.shape[1], weights=weights.reshape(shape), split_mode=split)
        level = [d + i for i in nodes]
    return module


def likelihood(arrays: Arrays) -> Case:
    """`log_likelihood` without gradients; missing entries are NaN."""
    module = circuit(arrays)
    x = torch.as_tensor(arrays["x"], dtype=torch.float32)
    if "observed" in arrays:
        x = x.where(torch.as_tensor(arrays["observed"]), torch.nan)

    def run() -> Any:
        with torch.no_grad():
            return torch.cat([module.log_likelihood(part) for part in x.split(BATCH)])

    return Case(run, lambda found: {"rows": found.flatten()})


CASES = {"ltm": likelihood, "ltm-missing": likelihood, "ht": likelihood}
DISTRIBUTIONS = ("spflow", "torch")
