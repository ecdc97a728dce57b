"""The models that are compared, and how each is learned from one set within a budget of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import networkx
import numpy
import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.components import Indicator
from mixtures.hmm import HMM
from mixtures.learn.benchmark.data import Split
from mixtures.learn.benchmark.results import Rows
from mixtures.learn.benchmark.search import Clock, Found, Search, Setting
from mixtures.learn.networks import learn_spn
from mixtures.learn.structure import centre, chow_liu, hidden_chow_liu
from mixtures.ltm import LTM
from mixtures.mixture import Mixture
from mixtures.tmm import TMM
from mixtures.tree import Node

DTYPE = torch.float32
SMOOTHING = 1.0  # rows' worth of pseudo-counts in the mutual information of every pair
PSEUDO_COUNTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
STATES = (2, 4, 8, 16, 32, 64)
MOST_BLOCKS = 4
RESTART = 0.1  # of the time is what a restart may cost


class Learned(NamedTuple):
    """A model learned from a set, on columns in the order `order`, and what was chosen."""

    model: Mixture
    order: list[int]
    chosen: dict[str, Any]

    def rows(self, split: Split) -> Rows:
        """Its log-likelihoods of validation and test rows."""
        with torch.no_grad():
            valid, test = (
                self.model.log_prob(part[:, self.order]).double().numpy()
                for part in (split.valid, split.test)
            )
        return Rows(numpy.asarray(valid), numpy.asarray(test))


@dataclass(frozen=True, eq=False)
class Job:
    """What a model is learned with: the rows, the time, the seed."""

    split: Split
    clock: Clock
    generator: torch.Generator


Learner = Callable[[Job], Learned]


def symbols(tensor: CoefficientTensor) -> Mixture:
    """The mixture whose components are the symbols themselves: f = W."""
    return Mixture(tensor, Indicator(tensor.variables, tensor.shape, dtype=DTYPE))


def columns(split: Split) -> list[int]:
    """The columns in the order of a depth-first walk over the Chow-Liu tree, neighbours close."""
    graph = chow_liu(split.train, pseudo_count=SMOOTHING)
    return [int(j) for j in networkx.dfs_preorder_nodes(graph, centre(graph))]


def climb(
    job: Job,
    build: Callable[[Setting], Mixture],
    axes: Mapping[str, Sequence[float]],
    start: Setting,
) -> Found:
    """The best setting by validation rows, learned at length."""
    return climbing(job, build, axes).run(start)


def climbing(
    job: Job, build: Callable[[Setting], Mixture], axes: Mapping[str, Sequence[float]]
) -> Search:
    """A search among settings, its rows encoded."""
    leaves = Indicator(job.split.variables, 2, dtype=DTYPE)
    train, valid = leaves.encode(job.split.train), leaves.encode(job.split.valid)
    return Search(train, valid, build, axes, job.clock, job.generator)


def learn_tmm(job: Job) -> Learned:
    """One latent above all variables (CP)."""

    def build(setting: Setting) -> Mixture:
        states = int(setting["states"])
        return symbols(TMM(job.split.variables, 2, states, generator=job.generator, dtype=DTYPE))

    axes = {"pseudo_count": PSEUDO_COUNTS, "states": (*STATES, 128, 256)}
    found = climb(job, build, axes, {"states": 32, "pseudo_count": 0.1})
    return _learned(found, list(range(job.split.variables)))


def learn_hmm(job: Job) -> Learned:
    """A chain of latents along the columns, ordered by a walk over the Chow-Liu tree."""
    order = columns(job.split)
    ordered = Job(job.split.ordered(order), job.clock, job.generator)

    def build(setting: Setting) -> Mixture:
        states = int(setting["states"])
        return symbols(HMM(len(order), 2, states, generator=job.generator, dtype=DTYPE))

    axes = {"pseudo_count": PSEUDO_COUNTS, "states": STATES}
    return _learned(climb(ordered, build, axes, {"states": 16, "pseudo_count": 0.1}), order)


def learn_ltm(job: Job) -> Learned:
    """A hidden Chow-Liu tree; up to `group` variables share a latent.

    Where learning it anew costs little, restarts are put side by side: their mixture is a latent
    tree model, too, with as many states as they have together, in blocks.
    """

    def build(setting: Setting) -> Mixture:
        return hidden(job, setting)

    axes = {"pseudo_count": PSEUDO_COUNTS, "group": (1, 2, 3, 4), "states": STATES}
    search = climbing(job, build, axes)
    best = search.run({"states": 16, "pseudo_count": 0.1, "group": 1})
    parts = [best.model]
    while len(parts) < MOST_BLOCKS and best.cost < min(job.clock.left, RESTART * job.clock.seconds):
        parts.append(search.learn(best.setting, best.walks).model)
    counted = range(1, len(parts) + 1)
    joined = [symbols(side_by_side([_tensor(part) for part in parts[:m]])) for m in counted]
    scores = [model.score(job.split.valid) for model in joined]
    blocks = max(counted, key=lambda m: scores[m - 1])
    chosen = {**best.setting, "walks": best.walks, "blocks": blocks}
    return Learned(joined[blocks - 1], list(range(job.split.variables)), chosen)


def side_by_side(parts: Sequence[LTM]) -> LTM:
    """The mixture, in equal parts, of models on one tree, as a model on that tree.

    A latent has the states of all parts, one block after the other; none is left within a tree.
    """
    tree = parts[0].tree
    tables: dict[Node, Tensor] = {}
    for node in tree.nodes:
        each = [cast(Tensor, part.table(node)) for part in parts]
        if node == tree.root:
            tables[node] = torch.cat(each, 1) / len(parts)
        else:
            tables[node] = torch.block_diag(*each) if node in tree.children else torch.cat(each)
    return LTM.from_tables(tree, tables)


def _tensor(model: Mixture) -> LTM:
    return cast(LTM, model.coefficients)


def hidden(job: Job, setting: Setting, weights: Any = None) -> Mixture:
    """A random hidden Chow-Liu tree of a setting, its structure from rows with these weights."""
    tensor = hidden_chow_liu(
        job.split.train,
        int(setting["states"]),
        weights=weights,
        pseudo_count=SMOOTHING,
        components=2,
        group=int(setting["group"]),
        generator=job.generator,
        dtype=DTYPE,
    )
    return symbols(tensor)


def learn_network(job: Job) -> Learned:
    """A network grown by clustering rows and splitting columns; leaves smoothed, then EM."""
    best: Learned | None = None
    best_valid, cost = -float("inf"), 0.0
    for share in (0.1, 0.03, 0.01):
        if cost * 3 > job.clock.left:
            break
        before = job.clock.spent
        rows = max(10, round(share * len(job.split.train)))
        for pseudo_count in (0.1, 1.0):
            model = learn_spn(
                job.split.train,
                min_rows=rows,
                pseudo_count=pseudo_count,
                components=2,
                generator=job.generator,
                dtype=DTYPE,
            )
            valid = model.score(job.split.valid)
            if valid > best_valid:
                chosen = {"min_rows": rows, "pseudo_count": pseudo_count}
                best, best_valid = Learned(model, list(range(job.split.variables)), chosen), valid
        cost = job.clock.spent - before
    assert best is not None
    return best


def _learned(found: Found, order: list[int]) -> Learned:
    return Learned(found.model, order, {**found.setting, "walks": found.walks})


LEARNERS: dict[str, Learner] = {
    "TMM": learn_tmm,
    "HMM": learn_hmm,
    "LTM": learn_ltm,
    "SPN": learn_network,
}
