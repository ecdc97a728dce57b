"""Does depth help? Structures of growing depth with as many parameters, on the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mixtures.coefficients import CoefficientTensor
from mixtures.hmm import HMM
from mixtures.learn.benchmark.data import Split
from mixtures.learn.benchmark.models import DTYPE, SMOOTHING, columns, symbols
from mixtures.learn.benchmark.results import paired, standard_error
from mixtures.learn.fit import fit
from mixtures.learn.structure import hidden_chow_liu
from mixtures.ltm import LTM
from mixtures.tmm import TMM
from mixtures.tree import Node, Tree

Make = Callable[[int, torch.Generator], CoefficientTensor]
Record = dict[str, Any]


def structures(split: Split) -> dict[str, Make]:
    """From shallow to deep: what makes a tensor of r states over the columns of the split."""
    d = split.variables
    found = hidden_chow_liu(split.train, 2, pseudo_count=SMOOTHING, components=2).tree
    return {
        "star": lambda r, g: TMM(d, 2, r, generator=g, dtype=DTYPE),
        "two levels": lambda r, g: LTM(two_levels(d), 2, r, generator=g, dtype=DTYPE),
        "chain": lambda r, g: HMM(d, 2, r, generator=g, dtype=DTYPE),
        "balanced tree": lambda r, g: LTM(Tree.balanced(d), 2, r, generator=g, dtype=DTYPE),
        "hidden Chow-Liu tree": lambda r, g: LTM(found, 2, r, generator=g, dtype=DTYPE),
    }


def two_levels(d: int) -> Tree:
    """A root above about sqrt(d) groups of neighbouring variables.

    >>> two_levels(5).depth
    2
    """
    count = max(1, round(d**0.5))
    starts = [g * d // count for g in range(count + 1)]
    children: dict[Node, Any] = {d + g: range(starts[g], starts[g + 1]) for g in range(count)}
    return Tree({**children, d + count: list(children)})


def states_for(make: Make, parameters: int) -> int:
    """The number of states, 2 at least, whose number of parameters is nearest."""

    def count(states: int) -> int:
        return make(states, torch.Generator()).num_parameters

    states = 2
    while count(states) < parameters:
        states += max(1, states // 8)
    near = range(max(2, states - max(1, states // 8)), states + 1)
    return min(near, key=lambda r: abs(count(r) - parameters))


def compare(
    split: Split,
    parameters: Sequence[int],
    *,
    walks: int,
    mass: float,
    seed: int,
    stamp: Mapping[str, Any],
) -> Iterator[Record]:
    """One record per size and structure; gains are over the star of that size, paired by rows.

    Columns are ordered by a walk over the Chow-Liu tree, so that chain and trees join neighbours.
    """
    ordered = split.ordered(columns(split))
    for size in parameters:
        star = None
        for name, make in structures(ordered).items():
            generator = torch.Generator().manual_seed(seed)
            began, used = time.perf_counter(), time.process_time()
            states = states_for(make, size)
            model = symbols(make(states, generator))
            fit(
                model,
                ordered.train,
                method="stochastic_em",
                validation=ordered.valid,
                pseudo_count=mass / states,
                max_iter=walks,
                progress=False,
                generator=generator,
            )
            with torch.no_grad():
                test = model.log_prob(ordered.test).double().numpy()
            star = test if star is None else star
            gain = paired(test, star)
            yield {
                "dataset": split.name,
                "structure": name,
                "depth": model.coefficients.depth,
                "wanted_parameters": size,
                "num_parameters": model.num_parameters,
                "states": states,
                "test": float(test.mean()),
                "test_error": standard_error(test),
                "valid": model.score(ordered.valid),
                "gain_over_star": gain.mean,
                "gain_error": gain.error,
                "minutes": (time.perf_counter() - began) / 60,
                "cpu_minutes": (time.process_time() - used) / 60,
                "walks": walks,
                "mass": mass,
                "seed": seed,
                **stamp,
            }
