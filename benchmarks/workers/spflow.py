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
from spflow.modules.leaves import Bernoulli, Categorical
from spflow.modules.ops import SplitMode
from spflow.modules.products import Product
from spflow.modules.sums import Sum
from spflow.zoo.hclt.chow_liu import learn_chow_liu_tree_binary

from benchmarks.protocol import Arrays, Case, frequencies, imports, information
from benchmarks.tasks.networks import INPUT, SUM

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


def network(arrays: Arrays) -> Case:
    """A module for each node, as SPFlow's own LearnSPN makes them; sums over symbols are leaves."""
    torch.set_default_dtype(torch.float64)
    values: list[Any] = []
    kind, start, child = arrays["kind"].tolist(), arrays["start"].tolist(), arrays["child"].tolist()
    for node, code in enumerate(kind):
        edges = slice(start[node], start[node + 1])
        below, weights = child[edges], torch.as_tensor(arrays["weight"][edges])
        if code == INPUT:
            values.append(None)
        elif code == SUM and kind[below[0]] == INPUT:
            chances = weights.reshape(1, 1, 1, 2)
            values.append(Categorical(Scope([below[0] // 2]), probs=chances))
        elif code == SUM:
            whole = weights.reshape(1, -1, 1, 1)
            values.append(Sum([values[i] for i in below], weights=whole))
        else:
            values.append(Product([values[i] for i in below]))
    module, x = values[-1], torch.as_tensor(arrays["x"], dtype=torch.float64)

    def run() -> Any:
        with torch.no_grad():
            return module.log_likelihood(x)

    return Case(run, lambda found: {"rows": found.flatten()})


def repeated(arrays: Arrays) -> Case:
    """Samples of one circuit."""
    module, n = circuit(arrays), len(arrays["x"])

    def run() -> Any:
        with torch.no_grad():
            return module.sample(num_samples=n)

    return Case(run, frequencies)


def first(arrays: Arrays) -> Case:
    """The first samples of a circuit."""
    held: dict[str, Any] = {}
    n = len(arrays["x"])

    def reset() -> None:
        held["module"] = circuit(arrays)

    def run() -> Any:
        with torch.no_grad():
            return held["module"].sample(num_samples=n)

    return Case(run, frequencies, reset)


def tree(arrays: Arrays) -> Case:
    """The learner for binary data, without its pseudo-count."""
    x = torch.as_tensor(arrays["x"])

    def run() -> Any:
        return learn_chow_liu_tree_binary(x, pseudocount=0.0)

    return Case(run, lambda edges: {"information": information(arrays["x"], edges)})


CASES = {
    "ltm": likelihood,
    "ltm-missing": likelihood,
    "ht": likelihood,
    "spn": network,
    "samples": repeated,
    "samples-first": first,
    "chow-liu": tree,
    "chow-liu-40": tree,
    "import": imports("torch, spflow"),
}
DISTRIBUTIONS = ("spflow", "torch")
