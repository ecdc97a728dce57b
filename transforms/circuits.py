"""Circuits of any shape: bounds on ranks and denominators, and entries put together from
residues.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy
from torch import Tensor

from mixtures.circuit import CONSTANTS, Circuit, Layer
from transforms.elimination import HIGH, denominator

Ints = Any  # object arrays of Python integers


def rank_bound(circuit: Circuit, arrays: Sequence[Tensor], rows: Collection[int]) -> int:
    """A bound on the rank of a matricization: ranks multiply at products and add up at sums.

    At every node the rank is also at most the number of rows and of columns of its own scope.
    """
    bound = _buffer(circuit, lambda j: 1)
    height = _buffer(circuit, lambda j: circuit.inputs[j] if j in rows else 1)
    width = _buffer(circuit, lambda j: 1 if j in rows else circuit.inputs[j])

    def node(layer: Layer, step: int, position: int) -> None:
        inside = combined(layer, step, position, bound)
        tall = combined(layer, step, position, height)
        wide = combined(layer, step, position, width)
        scope = max(tall), max(wide)  # children of a sum share their scope, padding has none
        first = layer.row + (step * layer.nodes + position) * layer.width
        for state in range(layer.width):
            terms = _row(layer, arrays, step, position, state, len(inside))
            used = [value for value, weight in zip(inside, terms, strict=True) if weight]
            place = first + state
            bound[place] = min(sum(used), *scope)
            height[place], width[place] = scope

    _upward(circuit, node)
    return int(bound[circuit.row_of[circuit.root]])


def exponent(circuit: Circuit, arrays: Sequence[Tensor]) -> int:
    """e such that 2^e W is a tensor of integers: tables hold floats, so denominators are powers of
    two.

    Exponents add up at products; at a sum the table's is added to the largest below.
    """
    costs = [denominator(array.detach().cpu().numpy()).bit_length() - 1 for array in arrays]
    found = _buffer(circuit, lambda j: 0, constant=0)

    def node(layer: Layer, step: int, position: int) -> None:
        inside = combined(layer, step, position, found, add=True)
        most = max(inside) + (0 if layer.table is None else costs[layer.table])
        first = layer.row + (step * layer.nodes + position) * layer.width
        found[first : first + layer.width] = most

    _upward(circuit, node)
    return int(found[circuit.row_of[circuit.root]])


def from_residues(
    shape: Sequence[int], height: float, scale: int, entries: Callable[[int], Tensor]
) -> numpy.ndarray:
    """Rationals times `scale`, which makes them integers of at most 2^height, from their residues.

    As many primes as it takes (Chinese remainders).
    """
    total = numpy.zeros(math.prod(shape), dtype=object)
    modulus, p = 1, HIGH
    while modulus.bit_length() <= height + 2:
        p = _prime_below(p)
        new = entries(p).numpy().astype(object) * (scale % p)
        total = total + modulus * ((new - total) * pow(modulus, -1, p) % p)
        modulus *= p
    total = numpy.where(total > modulus // 2, total - modulus, total)
    return total.reshape(tuple(shape))


def combined(layer: Layer, step: int, position: int, held: Ints, *, add: bool = False) -> list[Any]:
    """What the children of a node combine to, state by state; products add up where `add`."""
    firsts = layer.children[:, step, position]
    parts = [held[f : f + w].tolist() for f, w in zip(firsts, layer.widths, strict=True)]
    if layer.combine == "concatenate":
        return [value for part in parts for value in part]
    whole = sum if add else math.prod
    if layer.combine == "product":
        return [whole(values) for values in zip(*parts, strict=True)]
    result = parts[0]
    for part in parts[1:]:
        result = [whole((one, two)) for one in result for two in part]
    return result


def _row(
    layer: Layer, arrays: Sequence[Tensor], step: int, position: int, state: int, inside: int
) -> list[bool]:
    if layer.table is None:
        return [place == state for place in range(inside)]
    assert layer.slots is not None
    table = arrays[layer.table][int(layer.slots[step, position])]
    return (table[state] != 0).tolist()  # type: ignore[no-any-return]


def _buffer(circuit: Circuit, value: Callable[[int], int], constant: int = 1) -> Ints:
    """A buffer with the inputs filled in; the ring's one and zero have no scope and count as
    `constant`.
    """
    held = numpy.full(circuit.rows, constant, dtype=object)
    for j, k in enumerate(circuit.inputs):
        first = int(circuit.row_of[CONSTANTS + j])
        held[first : first + k] = value(j)
    return held


def _upward(circuit: Circuit, node: Callable[[Layer, int, int], None]) -> None:
    for layer in circuit.layers:
        for step in range(layer.steps):
            for position in range(layer.nodes):
                node(layer, step, position)


def _prime_below(number: int) -> int:
    from flint import fmpz

    number -= 1
    while not fmpz(number).is_prime():
        number -= 1
    return number
