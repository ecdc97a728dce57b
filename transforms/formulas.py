"""Closed formulas for ranks of balanced trees, and the cuts they are about."""

from __future__ import annotations


def alternate_blocks(variables: int, size: int) -> tuple[int, ...]:
    """Every second block of `size` consecutive variables; size 1: the even variables."""
    return tuple(j for j in range(variables) if j // size % 2 == 0)


def signed_weight(q: int) -> int:
    """The weight of the non-adjacent (signed-digit) form of a whole number.

    >>> [signed_weight(q) for q in (1, 3, 7, 11)]
    [1, 2, 2, 3]
    """
    return ((3 * q) ^ q).bit_count()


def prefix_rank(variables: int, q: int, states: int) -> int:
    """The prefix rank of a balanced binary tree with d = 2^L leaves and k >= r, at q variables."""
    return int(states ** min(signed_weight(q), signed_weight(variables - q)))
