"""What only chains allow: filtering, longer chains of the same tables, states as one array."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from mixtures import engine
from mixtures.checks import name_rows
from mixtures.coefficients import CoefficientTensor
from mixtures.components import Data
from mixtures.hmm import HMM
from mixtures.ltm import LTM
from mixtures.moments import state_marginals
from mixtures.tmm import TMM
from mixtures.tree import Tree


@singledispatch
def stacked(tensor: CoefficientTensor, states: Mapping[Hashable, Tensor]) -> Any:
    """{latent: states} as it is; of an HMM one array over time, if all latents have as many
    states.
    """
    return dict(states)


@stacked.register
def _(tensor: HMM, states: Mapping[Hashable, Tensor]) -> Any:
    d = tensor.variables
    parts = [states[d + j] for j in range(d)]
    if len({part.shape for part in parts}) > 1:
        return dict(states)
    return torch.stack(parts, dim=1)


@singledispatch
def of_length(tensor: CoefficientTensor, variables: int) -> CoefficientTensor:
    """The same shared tables for another number of variables."""
    raise ValueError(
        f"only an HMM or a CP model with shared tables has another length, "
        f"got {type(tensor).__name__}"
    )


@of_length.register
def _(tensor: HMM, variables: int) -> CoefficientTensor:
    d = at_least_one(variables, "variables")
    if tensor.tree != Tree.chain(tensor.variables):
        raise ValueError("a chain in another order than its variables has one length only")
    emission = None if tensor.table(0) is None else _only(tensor, range(tensor.variables))
    moves = None
    if d > 1:
        latents = range(tensor.variables + 1, 2 * tensor.variables)
        if not len(latents):
            raise ValueError("a chain of one variable has no transition to go on with")
        moves = _only(tensor, latents)
    return HMM.from_tables(tensor.initial, moves, emission, variables=d)


@of_length.register
def _(tensor: TMM, variables: int) -> CoefficientTensor:
    d = at_least_one(variables, "variables")
    if len(tensor.tree.inner) > 1:
        raise ValueError("a deep TMM has one length only; a CP model (arity=None) any")
    if tensor.table(0) is None:
        return TMM.from_factors(tensor.weights, variables=d)
    factor = _only(tensor, range(tensor.variables))
    return TMM.from_factors(tensor.weights, [factor] * d)


def _only(tensor: HMM | TMM, nodes: range) -> Tensor:
    """The one table that all these nodes share."""
    places = {tensor.place(node) for node in nodes}
    table = tensor.table(nodes[0])
    if len(places) > 1 or table is None:
        raise ValueError("tables must be shared (shared=True) to be used at another length")
    return table


def filtered(tensor: CoefficientTensor, source: engine.Source) -> Tensor:
    """P(z_t | x_1, .., x_t), (n, d, r): values of the chain hung from its other end, times the
    prior.

    Turned round, the latent of variable t has x_1, .., x_t below it and so the value
    P(x_1, .., x_t | z_t); multiplied by P(z_t) and normalised it is the filter.
    """
    if not isinstance(tensor, HMM):
        raise ValueError(f"only an HMM can be filtered, got {type(tensor).__name__}")
    d = tensor.variables
    prior = state_marginals(tensor)
    turned = _turned(tensor, prior)
    found = tensor.arrays[0].new_empty((source.rows, d, tensor.states(d)))
    sizes = {tensor.states(d + j) for j in range(d)}
    if len(sizes) > 1:
        raise ValueError(f"filtering needs as many states at every time, got {sorted(sizes)}")
    for start, stop, insides in engine.insides(turned.circuit, turned.arrays, source):
        for j in range(d):
            logs = insides[d + j] + prior[d + j].log()[:, None]
            found[start:stop, j] = logs.softmax(0).T
    bad = found.isnan().any(-1).any(-1)
    if bool(bad.any()):
        raise ValueError(f"probability zero, so there is no filter, in {name_rows(bad)}")
    return found


def _turned(tensor: HMM, prior: Mapping[Hashable, Tensor]) -> LTM:
    """The chain hung from the latent of the last variable."""
    d = tensor.variables
    leaf = [tensor.tree.children[d + j][0] for j in range(d)]  # in the order of the chain
    children: dict[Hashable, list[Hashable]] = {d: [leaf[0]]}
    children.update({d + j: [leaf[j], d + j - 1] for j in range(1, d)})
    tables: dict[Hashable, Tensor] = dict(enumerate(tensor.emission))
    tables[2 * d - 1] = prior[2 * d - 1][None]
    for j, transition in enumerate(tensor.transition):
        joint = prior[d + j][:, None] * transition
        total = joint.sum(0)[:, None]
        states = joint.shape[0]
        tables[d + j] = torch.where(total > 0, joint.T / total, joint.new_tensor(1 / states))
    return LTM.from_tables(Tree(children), tables)


def lengthened(data: Data, steps: int) -> Data:
    """The rows with `steps` missing variables more."""
    values = data.values
    more = values.new_zeros((steps, *values.shape[1:]))
    seen = data.observed
    if seen is None:
        seen = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    unseen = seen.new_zeros((steps, *seen.shape[1:]))
    return Data(torch.cat([values, more]), torch.cat([seen, unseen]))


def at_least_one(number: int, what: str) -> int:
    """The number, if it is a whole number of at least one."""
    if int(number) != number or number < 1:
        raise ValueError(f"{what} must be a whole number of at least one, got {number!r}")
    return int(number)
