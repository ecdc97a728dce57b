"""Scalar networks, trees found in data, mixtures of Gaussians."""

from __future__ import annotations

import sys
from typing import Any

import numpy
import torch

from benchmarks.protocol import Arrays, Case, information
from benchmarks.tasks.networks import INPUT, SUM
from benchmarks.workers.mixtures.chains import likelihood
from mixtures import SPN, TMM, Mixture, compiled
from mixtures.components import Gaussian, Indicator
from mixtures.learn import chow_liu, em
from mixtures.network import NetworkMaker


def network(arrays: Arrays) -> Mixture:
    """The network over indicators of the symbols."""
    maker, start, d = NetworkMaker(), arrays["start"], arrays["x"].shape[1]
    for node, kind in enumerate(arrays["kind"].tolist()):
        edges = slice(start[node], start[node + 1])
        below = arrays["child"][edges].tolist()
        if kind == INPUT:
            maker.input(node // 2, node % 2)
        elif kind == SUM:
            maker.sum(below, arrays["weight"][edges].tolist())
        else:
            maker.product(below)
    found = SPN(maker.finish((2,) * d), dtype=torch.float64)
    return Mixture(found, Indicator(d, 2, dtype=torch.float64))


def plain(arrays: Arrays) -> Case:
    """log f(x) of all rows, as without the extra `fast`."""
    compiled.LEAST = sys.maxsize
    return likelihood(network)(arrays)


def tree(arrays: Arrays) -> Case:
    """The mutual information of the tree's edges, computed anew from the data."""
    x = arrays["x"]
    return Case(lambda: chow_liu(x), lambda found: {"information": information(x, found.edges)})


def clouds(arrays: Arrays) -> Mixture:
    """One latent, whose states are the components of every variable."""
    mean, variance = (torch.as_tensor(arrays[name].T.copy()) for name in ("mean", "variance"))
    family = Gaussian.from_parameters(mean, variance, pseudo_scatter=0.0)
    k, d = arrays["mean"].shape
    shallow = TMM(d, k, k, emission=False, dtype=torch.float64)
    shallow.tables[0].set(torch.as_tensor(arrays["weights"])[None, None])
    return Mixture(shallow, family)


def learning(arrays: Arrays) -> Case:
    """10 EM iterations."""
    held: dict[str, Mixture] = {}

    def reset() -> None:
        held["model"] = clouds(arrays)

    def run() -> None:
        steps = em(held["model"], arrays["x"])
        for _ in range(10):
            next(steps)

    def results(_: Any) -> dict[str, Any]:
        family = held["model"].components
        order = numpy.argsort(arrays["mean"][:, 0], kind="stable")
        return {
            "mean": family.mean().detach().numpy().T[order],
            "total": held["model"].score(arrays["x"]),
        }

    return Case(run, results, reset)


CASES = {
    "spn": plain,
    "spn:compiled": likelihood(network),
    "chow-liu": tree,
    "chow-liu-40": tree,
    "gaussians": likelihood(clouds),
    "gaussians-em": learning,
}
