"""Latent tree models and hierarchical Tucker tensors over binary variables."""

from __future__ import annotations

import sys
from typing import Any

import torch

from benchmarks.protocol import Arrays, Case, Maker
from mixtures import HT, LTM, Mixture, Tree, planner
from mixtures.components import Bernoulli, coding
from mixtures.learn import em


def model_of(kind: Any, arrays: Arrays) -> Mixture:
    """Tables of the inner nodes; the states of the parents of leaves are the components."""
    d, r = arrays["on"].shape
    tree = Tree({d + i: below.tolist() for i, below in enumerate(arrays["children"])})
    on = torch.as_tensor(arrays["on"])
    model = kind(tree, r, r, emission=False, dtype=on.dtype)
    stacks = [table.values.clone() for table in model.tables]
    given = {d + i: table for i, table in enumerate(arrays["tables"])}
    for node, table in {**given, tree.root: arrays["root"][None]}.items():
        stack, slot = model.place(node)
        stacks[stack][slot] = torch.as_tensor(table)
    for table, values in zip(model.tables, stacks, strict=True):
        table.set(values)
    return Mixture(model, Bernoulli.from_parameters(on, pseudo_count=0.0))


def likelihood(kind: Any) -> Any:
    """log f(x) of all rows; what is not `observed` is summed out."""

    def make(arrays: Arrays) -> Case:
        model, x, observed = model_of(kind, arrays), arrays["x"], arrays.get("observed")

        def run() -> Any:
            with torch.no_grad():
                return model.log_prob(x, observed=observed)

        return Case(run, lambda found: {"rows": found})

    return make


def encoded(kind: Any) -> Any:
    """The same of rows that were encoded once, as for many queries on one data set."""

    def make(arrays: Arrays) -> Case:
        model = model_of(kind, arrays)
        data = model.encode(arrays["x"], arrays.get("observed"))

        def run() -> Any:
            with torch.no_grad():
                return model.log_prob(data)

        return Case(run, lambda found: {"rows": found})

    return make


def learning(kind: Any) -> Any:
    """One iteration among many, so the rows are encoded already, as the peers' are tensors."""

    def make(arrays: Arrays) -> Case:
        held: dict[str, Mixture] = {"model": model_of(kind, arrays)}
        data = held["model"].encode(arrays["x"])

        def reset() -> None:
            held["model"] = model_of(kind, arrays)

        def run() -> float:
            return next(em(held["model"], data)).log_likelihood

        return Case(run, lambda found: {"mean": found}, reset)

    return make


def row_by_row(make: Maker) -> Maker:
    """The same with leaves looked up row by row: of no two leaves is there a pattern."""

    def made(arrays: Arrays) -> Case:
        planner.LEAVES = 1
        return make(arrays)

    return made


def densities(make: Maker) -> Maker:
    """The same with the density of every entry computed: no column is one of symbols."""

    def made(arrays: Arrays) -> Case:
        coding.FEWEST_ROWS = sys.maxsize
        return make(arrays)

    return made


PLAIN = {
    "ltm": likelihood(LTM),
    "ltm-64": likelihood(LTM),
    "ltm-missing": likelihood(LTM),
    "ltm-em": learning(LTM),
    "ht": likelihood(HT),
    "ht-em": learning(HT),
}
CASES = {
    **PLAIN,
    **{f"{task}:rows": row_by_row(make) for task, make in PLAIN.items()},
    **{f"{task}:densities": densities(make) for task, make in PLAIN.items()},
    "ltm:encoded": encoded(LTM),
    "ltm-64:encoded": encoded(LTM),
    "ltm-missing:encoded": encoded(LTM),
    "ht:encoded": encoded(HT),
}
