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
from mixtures.learn.benchmark.blocks import most_states, side_by_side, together
from mixtures.learn.benchmark.data import Split
from mixtures.learn.benchmark.results import Rows
from mixtures.learn.benchmark.search import BATCH, Clock, Found, Search, Setting
from mixtures.learn.fit import fit
from mixtures.learn.networks import learn_spn
from mixtures.learn.stochastic import annealed
from mixtures.learn.structure import centre, chow_liu, hidden_chow_liu
from mixtures.ltm import LTM
from mixtures.mixture import Mixture
from mixtures.tmm import TMM
from mixtures.tree import Tree

DTYPE = torch.float32
SMOOTHING = 1.0  # rows' worth of pseudo-counts in the mutual information of every pair
MASSES = (0.1, 0.3, 1.0, 3.0, 10.0)  # pseudo-counts of a whole row of a table between latents
STATES = (2, 4, 8, 16, 32, 64, 128)
RESTART, LONG = 0.1, 0.25  # of the time is what a restart may cost; then one is so much longer
PEAK, MOST_POLISHING = 0.3, 30  # the first rate of learning on, and its walks


class Learned(NamedTuple):
    """A model learned from a set, on columns in the order `order`, and what was chosen.

    log_prob: a faster way to the model's own, if there is one.
    """

    model: Mixture
    order: list[int]
    chosen: dict[str, Any]
    log_prob: Callable[[Tensor], Tensor] | None = None

    def rows(self, split: Split) -> Rows:
        """Its log-likelihoods of validation and test rows."""
        evaluate = self.model.log_prob if self.log_prob is None else self.log_prob
        with torch.no_grad():
            valid, test = (
                evaluate(part[:, self.order]).double().numpy() for part in (split.valid, split.test)
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

    axes = {"states": (*STATES, 256), "mass": MASSES}
    found = climb(job, build, axes, {"states": 32, "mass": 1.0})
    return _learned(found, list(range(job.split.variables)))


def learn_hmm(job: Job) -> Learned:
    """A chain of latents along the columns, ordered by a walk over the Chow-Liu tree."""
    order = columns(job.split)
    ordered = Job(job.split.ordered(order), job.clock, job.generator)

    def build(setting: Setting) -> Mixture:
        states = int(setting["states"])
        return symbols(HMM(len(order), 2, states, generator=job.generator, dtype=DTYPE))

    axes = {"states": STATES, "mass": MASSES}
    return _learned(climb(ordered, build, axes, {"states": 16, "mass": 1.0}), order)


def learn_ltm(job: Job) -> Learned:
    """A hidden Chow-Liu tree; up to `group` variables share a latent.

    Where learning it anew costs little, restarts are put side by side, with the short runs on the
    same tree: their mixture is a latent tree model, too, with as many states as they have together,
    in blocks.
    """
    trees: dict[int, Tree] = {}  # by the number of variables that share a latent

    def build(setting: Setting) -> Mixture:
        group = int(setting["group"])
        if group not in trees:
            trees[group] = _tensor(hidden(job, setting)).tree
        states = int(setting["states"])
        return symbols(LTM(trees[group], 2, states, generator=job.generator, dtype=DTYPE))

    axes = {"states": STATES, "group": (1, 2, 3, 4), "mass": MASSES}
    search = climbing(job, build, axes)
    short = search.climb({"states": 32, "group": 2, "mass": 1.0})
    cheap = short.cost < RESTART * job.clock.seconds
    best = search.finish(short, LONG if cheap else 1.0)
    while cheap and 1.2 * short.cost < job.clock.left:
        search.learn(best.setting, short.walks)
    parts = _blocks(job, search, best)
    model = symbols(side_by_side([_tensor(part.model) for part in parts]))
    chosen = {**best.setting, "walks": best.walks, "blocks": len(parts)}
    return Learned(model, list(range(job.split.variables)), chosen)


def _blocks(job: Job, search: Search, best: Found) -> list[Found]:
    """Of all models learned on the tree of the best, those that do best side by side."""
    found = [one for one in search.found if one.setting["group"] == best.setting["group"]]
    logs = [torch.from_numpy(one.rows) for one in found]
    states = [int(one.setting["states"]) for one in found]
    most = most_states(len(_tensor(best.model).latents))
    return [found[m] for m in together(torch.stack(logs, 1), states, most)]


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
    """A network grown by clustering rows and splitting columns, finer while that helps; then EM."""
    best, best_valid, rows_least = None, -float("inf"), 0
    for share in (0.1, 0.03, 0.01):
        before = job.clock.spent
        rows = max(10, round(share * len(job.split.train)))
        model = learn_spn(
            job.split.train,
            min_rows=rows,
            pseudo_count=1.0,
            components=2,
            generator=job.generator,
            dtype=DTYPE,
        )
        valid = model.score(job.split.valid)
        if valid <= best_valid:
            break
        best, best_valid, rows_least = model, valid, rows
        if 3 * (job.clock.spent - before) > job.clock.left:
            break
    assert best is not None
    walks = polish(job, best, 0.1)
    order = list(range(job.split.variables))
    return Learned(best, order, {"min_rows": rows_least, "walks": walks})


def polish(job: Job, model: Mixture, pseudo_count: float) -> int:
    """Learn on from the parameters as they are, at low rates, while time is left and the validation
    rows gain; the walks over the rows it took.
    """
    train, valid = model.encode(job.split.train), model.encode(job.split.valid)
    batches = -(-len(train) // BATCH)
    before = job.clock.spent
    options: dict[str, Any] = {"method": "stochastic_em", "validation": valid, "start": "model"}
    options |= {"pseudo_count": pseudo_count, "progress": False, "generator": job.generator}
    fit(model, train, step=annealed(batches, PEAK), max_iter=1, **options)
    walks = min(int(0.9 * job.clock.left / (job.clock.spent - before)), MOST_POLISHING)
    if walks < 2:
        return 1
    history = fit(model, train, step=annealed(walks * batches, PEAK), max_iter=walks, **options)
    return 1 + len(history)


def _learned(found: Found, order: list[int]) -> Learned:
    return Learned(found.model, order, {**found.setting, "walks": found.walks})


LEARNERS: dict[str, Learner] = {
    "TMM": learn_tmm,
    "HMM": learn_hmm,
    "LTM": learn_ltm,
    "SPN": learn_network,
}
