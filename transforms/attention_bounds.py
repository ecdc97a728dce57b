"""Bounds on what depth buys a self-attention network, each saying how well it is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from mixtures.errors import SizeError
from transforms.attention_ranks import Attending, separation_bound, separation_rank
from transforms.attention_weights import AttentionArchitecture
from transforms.ranks import Rank

Status = Literal["quoted", "derived", "verified"]
Scale = Literal["rank", "log3 of the rank", "width", "depth"]
PAPER = "Levine, Wies, Sharir, Bata, Shashua, NeurIPS 2020"
WIDEST = 10**6  # the largest width that is tried


class Planned(Protocol):
    """A network or an architecture."""

    @property
    def architecture(self) -> AttentionArchitecture: ...


@dataclass(frozen=True)
class Bound:
    """A number, what it bounds, and its status.

    status: "quoted" from a paper and not checked here; "derived", proved for this library;
    "verified", certified by an exact computation for this very case.
    """

    value: float
    scale: Scale
    kind: Literal["lower", "upper", "threshold"]
    status: Status
    source: str

    def __str__(self) -> str:
        number = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.kind} bound {number} ({self.scale}; {self.status}: {self.source})"


def depth_threshold(width: int) -> float:
    """L_th = log_3(width): below it depth pays double-exponentially, above it width limits. Quoted.

    Raises ValueError unless width is a positive integer.

    >>> round(depth_threshold(768), 2)
    6.05

    Source: Levine et al., NeurIPS 2020; its two theorems are quoted here, not verified.
    """
    _check_sizes(width=width)
    return math.log(width, 3)


def quoted_lower_bound(width: int, depth: int, heads: int = 1) -> Bound:
    """log_3 sep >= 3^(L-2) (log_3(d - H) + 2 - L - log_3 2) for almost all weights; quoted.

    It is stated below the threshold, L <= log_3 d, and says nothing where it is negative. Raises
    ValueError above the threshold, and unless width exceeds heads.

    >>> quoted_lower_bound(27, 2).status
    'quoted'
    """
    _check_sizes(width=width, depth=depth, heads=heads)
    if width <= heads:
        raise ValueError(f"expected more width than heads, got width {width} and {heads} heads")
    if 3**depth > width:
        raise ValueError(
            f"expected a depth of at most log_3(width) = {depth_threshold(width):.2f}, got {depth}"
        )
    inner = math.log(width - heads, 3) + 2 - depth - math.log(2, 3)
    return Bound(3.0 ** (depth - 2) * inner, "log3 of the rank", "lower", "quoted", PAPER)


def quoted_upper_form(width: int, depth: int) -> Bound:
    """The form 2 d L of the upper bound on log_3 sep above the threshold; quoted from memory.

    Constants and logarithmic factors of the theorem were not available in full: use this as a
    scale to draw, `derived_upper_bound` for what is certain. Raises ValueError at or below the
    threshold.

    >>> quoted_upper_form(3, 4).value
    24.0
    """
    _check_sizes(width=width, depth=depth)
    if 3**depth <= width:
        raise ValueError(
            f"expected a depth above log_3(width) = {depth_threshold(width):.2f}, got {depth}"
        )
    source = f"{PAPER}, recalled: form only, constants unchecked"
    return Bound(2.0 * width * depth, "log3 of the rank", "upper", "quoted", source)


def derived_upper_bound(
    width: int, depth: int, heads: int = 1, *, embedding: int | None = None
) -> Bound:
    """sep <= sum_c min(binom(c+D-1, D-1), d binom(C-c+D-1, D-1)), fewer with narrow heads; derived.

    See `separation_bound`, which also knows partitions with few tokens. Holds for all weights.

    >>> derived_upper_bound(2, 3).value
    232
    """
    plan = AttentionArchitecture(width, depth, heads, embedding=embedding)
    source = "monomials counted, proof in the docstrings of attention_counts"
    return Bound(separation_bound(plan), "rank", "upper", "derived", source)


def verified_bounds(found: Rank) -> tuple[Bound, Bound]:
    """What `separation_rank` certified, as bounds: the lower one is verified, the upper one derived
    unless they meet.

    >>> plan = AttentionArchitecture(width=2, depth=2)
    >>> [bound.status for bound in verified_bounds(separation_rank(plan))]
    ['verified', 'verified']
    """
    status: Status = "derived" if found.exact is None else "verified"
    return (
        Bound(found.lower, "rank", "lower", "verified", found.how),
        Bound(found.upper, "rank", "upper", status, found.how),
    )


def width_needed(
    depth: int,
    to_match: Attending,
    *,
    certify: bool = False,
    generator: torch.Generator | None = None,
) -> Bound:
    """The least width at which a network of another depth can reach a separation rank at all.

    The smallest width at which the derived upper bound for `depth` layers (any number of heads, of
    any width) is not below the rank of `to_match`, at two large halves. That rank is taken from the
    formula, and the result is "derived", a comparison of two formulas; with `certify=True` it is
    the certified lower bound of `separation_rank`, and the result is "verified": every narrower
    network is proved too small. That this width suffices is claimed neither for the rank nor for f.

    Raises ValueError for a depth that is no positive integer, SizeError where more than a million
    would be needed.

    >>> print(width_needed(1, AttentionArchitecture(width=2, depth=2), certify=True).value)
    17
    """
    _check_sizes(depth=depth)
    status: Status = "verified" if certify else "derived"
    if certify:
        goal = separation_rank(to_match, generator=generator).lower
        source = f"a certified separation rank of at least {goal}, and monomials counted"
    else:
        goal = separation_bound(to_match.architecture)
        source = f"monomials counted on both sides: {goal} to match"
    return Bound(_least_width(depth, goal), "width", "lower", status, source)


def _least_width(depth: int, goal: int) -> int:
    """Bisection: the formula grows with width."""
    low, high = 0, 1
    while separation_bound(AttentionArchitecture(high, depth)) < goal:
        low, high = high, 2 * high
        if high > WIDEST:
            raise SizeError(f"more than width {WIDEST} would be needed at depth {depth}")
    while high - low > 1:
        middle = (low + high) // 2
        if separation_bound(AttentionArchitecture(middle, depth)) < goal:
            low = middle
        else:
            high = middle
    return high


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"expected {name} to be a positive integer, got {size!r}")
