"""The loops that evaluate a tape over blocks of rows, compiled by numba (the extra `fast`).

A value is m 2^e with an exponent of its own, so that nothing overflows or is lost, and neither
exponentials nor logarithms are taken on the way. Zero is m = 0 with the exponent NONE.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy

from mixtures.circuit import ONE, ZERO
from mixtures.tape import BLOCK, LOOKUP, NONE, PRODUCT

LOWEST = -1000  # a term so many powers of two below the largest exponent is counted as that small
RANGE = 800  # a sum at most so many powers below is right all the same
SAFE = 2.0**-RANGE
SHIFT, BIAS = 52, 1023  # of the exponent in the bits of a float64
MANTISSA, UNIT = 2**52 - 1, 1023 << 52
LN2 = 0.6931471805599453


def compiled(function: Any) -> Any:
    """Compiled at its first call, and kept on disk where that can be written to."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # an installation that is read-only, and no other place for a cache
        return numba.njit(nogil=True)(function)


@compiled
def evaluate(
    code: Any,
    weights: Any,
    table: Any,
    table_exponents: Any,
    given: Any,
    given_exponents: Any,
    symbols: Any,
    slots: int,
    widest: int,
    root: int,
    start: int,
    stop: int,
    out: Any,
) -> None:
    """Write the logarithms of rows start..stop-1 to `out`; `code` is a tape's."""
    m = numpy.empty((slots, BLOCK))
    e = numpy.empty((slots, BLOCK), numpy.int64)
    scaled = numpy.empty((widest, BLOCK))
    top = numpy.empty(BLOCK, numpy.int64)
    index = numpy.empty(BLOCK, numpy.uint16)  # no negative numbers, which count from the end
    m[ONE], m[ZERO] = 1.0, 0.0
    e[ONE], e[ZERO] = 0, NONE
    for begin in range(start, stop, BLOCK):
        first = min(begin, stop - BLOCK)
        for g in range(given.shape[0]):
            for b in range(BLOCK):
                m[2 + g, b] = given[g, first + b]
                e[2 + g, b] = given_exponents[g, first + b]
        at = 0
        while at < code.shape[0]:
            if code[at] == LOOKUP:
                at = _lookup(code, at, table, table_exponents, symbols, first, index, m, e)
            elif code[at] == PRODUCT:
                at = _product(code, at, m, e)
            else:
                at = _sum(code, at, weights, scaled, top, m, e)
        for b in range(BLOCK):
            mantissa, exponent = m[root, b], e[root, b]
            if mantissa > 1.5:  # nothing cancels in the sum of logarithms then
                mantissa, exponent = mantissa / 2, exponent + 1
            out[first + b] = numpy.log(mantissa) + exponent * LN2


@compiled
def _lookup(
    code: Any,
    at: int,
    table: Any,
    table_exponents: Any,
    symbols: Any,
    first: int,
    index: Any,
    m: Any,
    e: Any,
) -> int:
    """LOOKUP, slot, where its table begins, digits, then of each (variable, stride)."""
    slot, begin, digits = code[at + 1], code[at + 2], code[at + 3]
    at += 4
    part = symbols[code[at]][first : first + BLOCK]
    for b in range(BLOCK):
        index[b] = part[b]  # the first stride is one
    for digit in range(1, digits):
        part, stride = (
            symbols[code[at + 2 * digit]][first : first + BLOCK],
            code[at + 2 * digit + 1],
        )
        for b in range(BLOCK):
            index[b] += part[b] * stride
    own, exponents = table[begin:], table_exponents[begin:]
    for b in range(BLOCK):
        m[slot, b] = own[index[b]]
        e[slot, b] = exponents[index[b]]
    return at + 2 * digits


@compiled
def _product(code: Any, at: int, m: Any, e: Any) -> int:
    """PRODUCT, slot, normalised or not, factors, then their slots."""
    slot, settle, factors = code[at + 1], code[at + 2], code[at + 3]
    at += 4
    child = code[at]
    for b in range(BLOCK):
        m[slot, b] = m[child, b]
        e[slot, b] = e[child, b]
    for factor in range(1, factors):
        child = code[at + factor]
        for b in range(BLOCK):
            m[slot, b] *= m[child, b]
            e[slot, b] += e[child, b]
    if settle:
        _normalise(slot, m, e)
    return at + factors


@compiled
def _normalise(slot: int, m: Any, e: Any) -> None:
    for b in range(BLOCK):
        bits = numpy.float64(m[slot, b]).view(numpy.int64)
        exponent = (bits >> SHIFT) - BIAS
        zero = m[slot, b] == 0.0
        e[slot, b] = NONE if zero else e[slot, b] + exponent
        m[slot, b] = 0.0 if zero else numpy.int64(bits & MANTISSA | UNIT).view(numpy.float64)


@compiled
def _sum(code: Any, at: int, weights: Any, scaled: Any, top: Any, m: Any, e: Any) -> int:
    """SUM, children, parents, where their weights begin, slots of children, slots of parents.

    The children are scaled to the largest exponent among them.
    """
    children, parents, begin = code[at + 1], code[at + 2], code[at + 3]
    at += 4
    child = code[at]
    for b in range(BLOCK):
        top[b] = e[child, b]
    for c in range(1, children):
        child = code[at + c]
        for b in range(BLOCK):
            top[b] = max(top[b], e[child, b])
    for c in range(children):
        child = code[at + c]
        for b in range(BLOCK):
            power = max(e[child, b] - top[b], LOWEST) + BIAS
            scaled[c, b] = m[child, b] * numpy.int64(power << SHIFT).view(numpy.float64)
    for p in range(parents):
        slot, row = code[at + children + p], begin + p * children
        weight = weights[row]
        for b in range(BLOCK):
            m[slot, b] = weight * scaled[0, b]
        for c in range(1, children):
            weight = weights[row + c]
            for b in range(BLOCK):
                m[slot, b] += weight * scaled[c, b]
        low = 0
        for b in range(BLOCK):
            low += m[slot, b] < SAFE
            bits = numpy.float64(m[slot, b]).view(numpy.int64)
            e[slot, b] = top[b] + (bits >> SHIFT) - BIAS
            m[slot, b] = numpy.int64(bits & MANTISSA | UNIT).view(numpy.float64)
        if low:
            for b in range(BLOCK):
                if e[slot, b] < top[b] - RANGE:
                    m[slot, b], e[slot, b] = _exactly(code, at, children, row, weights, b, m, e)
    return at + children + parents


@compiled
def _exactly(
    code: Any, at: int, children: int, row: int, weights: Any, b: int, m: Any, e: Any
) -> Any:
    """A sum in one row, its terms scaled to the largest exponent of the terms themselves."""
    most = NONE
    for c in range(children):
        if weights[row + c] > 0 and m[code[at + c], b] > 0:
            most = max(most, math.frexp(weights[row + c])[1] + e[code[at + c], b])
    total = 0.0
    for c in range(children):
        if weights[row + c] > 0 and m[code[at + c], b] > 0:
            share, exponent = math.frexp(weights[row + c])
            power = max(exponent + e[code[at + c], b] - most, LOWEST) + BIAS
            total += share * m[code[at + c], b] * numpy.int64(power << SHIFT).view(numpy.float64)
    share, exponent = math.frexp(total)
    return (2 * share, most + exponent - 1) if total > 0 else (0.0, NONE)
