"""Entropy, divergence and inner products of mixtures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.combination import Combination
from mixtures.dense import einsum_operands
from mixtures.treetensor import TreeTensor

if TYPE_CHECKING:
    from mixtures.mixture import Mixture

LISTED = 2**16  # rows that are listed one by one before Monte Carlo takes over


class Estimate(NamedTuple):
    """A number, its standard error (0 if exact), and how it was found: "exact" or "Monte Carlo".

    >>> float(Estimate(0.5, 0.0, "exact"))
    0.5
    """

    value: float
    standard_error: float
    how: str

    def __float__(self) -> float:
        return self.value


def entropy(mixture: Mixture, samples: int, generator: torch.Generator | None) -> Estimate:
    """- E[log f(x)] in nats."""
    return _expected(mixture, lambda rows, logs: -logs, samples, generator)


def kl(
    first: Mixture, second: Mixture, samples: int, generator: torch.Generator | None
) -> Estimate:
    """E[log f - log g] under f, in nats."""
    if first.variables != second.variables or first.components.event != second.components.event:
        raise ValueError(
            f"expected a mixture of {first.variables} variables with event "
            f"{first.components.event}, got {second.variables} and {second.components.event}"
        )
    return _expected(first, lambda rows, logs: logs - second.log_prob(rows), samples, generator)


def _expected(
    mixture: Mixture, function: Any, samples: int, generator: torch.Generator | None
) -> Estimate:
    with torch.no_grad():
        listed = mixture.components.rows(LISTED)
        if listed is not None:
            logs = mixture.log_prob(listed).double()
            possible = logs > -torch.inf
            rows, logs = listed[possible], logs[possible]
            values = function(rows, logs)
            return Estimate(float((logs.exp() * values).sum()), 0.0, "exact")
        if samples < 2:
            raise ValueError(f"expected at least two samples, got {samples}")
        rows = mixture.sample(samples, generator=generator)
        values = function(rows, mixture.log_prob(rows).double())
        certain = bool(values.isinf().any())  # one draw that the other excludes settles it
        error = 0.0 if certain else float(values.std()) / samples**0.5
        return Estimate(float(values.mean()), error, "Monte Carlo")


def inner(first: CoefficientTensor, second: CoefficientTensor, gram: Tensor) -> Tensor:
    """sum over i, i' of W[i] prod_j gram[j, i_j, i'_j] V[i'], gram (d, k, k').

    Both tensors and the Gram matrices are one network, contracted through opt_einsum.
    """
    if first.variables != second.variables:
        raise ValueError(
            f"expected a tensor of {first.variables} variables, got {second.variables}"
        )
    total = gram.new_zeros(())
    with torch.no_grad():
        for weight, left, left_start in _summands(first):
            for other, right, right_start in _summands(second):
                total = total + weight * other * _contracted(
                    left, right, _blocks(gram, left, left_start, right, right_start)
                )
    return total


def _summands(
    tensor: CoefficientTensor,
) -> list[tuple[Tensor | float, CoefficientTensor, list[int]]]:
    """(weight, part, first component of each variable) of a combination, nested ones taken
    apart.
    """
    start = [0] * tensor.variables
    if not isinstance(tensor, Combination):
        return [(1.0, tensor, start)]
    found = []
    for weight, part in zip(tensor.weights, tensor.each(), strict=True):
        for own, inner_part, first in _summands(part):
            shifted = [a + b for a, b in zip(start, first, strict=True)]
            found.append((weight * own, inner_part, shifted))
        if tensor.side_by_side:
            start = [a + k for a, k in zip(start, part.shape, strict=True)]
    return found


def _blocks(
    gram: Tensor,
    left: CoefficientTensor,
    left_start: Sequence[int],
    right: CoefficientTensor,
    right_start: Sequence[int],
) -> list[Tensor]:
    return [
        gram[j, a : a + left.shape[j], b : b + right.shape[j]]
        for j, (a, b) in enumerate(zip(left_start, right_start, strict=True))
    ]


def _contracted(left: CoefficientTensor, right: CoefficientTensor, gram: list[Tensor]) -> Tensor:
    import opt_einsum

    d = len(gram)
    arguments: list[Any] = []
    highest = 0
    for tensor, base in ((left, 0), (right, 1)):
        for table, labels in network(tensor):
            highest = max(highest, *labels)
            arguments += [table, [2 * label + base for label in labels]]
    for j in range(d):
        arguments += [gram[j], [2 * j, 2 * j + 1]]
    result: Tensor = opt_einsum.contract(*arguments, [], optimize="auto")
    return result


@singledispatch
def network(tensor: CoefficientTensor) -> list[tuple[Tensor, list[int]]]:
    """A tensor as a network of tables: (table, labels), the variables labelled 0..d-1.

    Tree models have one of linear size; any other tensor is written out (SizeError if too large).
    """
    return [(tensor.dense(), list(range(tensor.variables)))]


@network.register
def _(tensor: TreeTensor) -> list[tuple[Tensor, list[int]]]:
    tables = {node: tensor.table(node) for node in tensor.tree.nodes}
    sizes = {node: (tensor.rows(node), tensor.states(node)) for node in tensor.tree.nodes}
    return einsum_operands(tensor.tree, tables, sizes, tensor.joint)
