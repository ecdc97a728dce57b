"""Claims of the literature as data: what is said, by whom, how it is tested, what would turn the
verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["quoted", "derived", "verified", "measured"]
Kind = Literal["confirmed", "only a bound", "open", "refuted"]


@dataclass(frozen=True)
class Verdict:
    """What a test found: the kind, at which sizes, and the numbers."""

    kind: Kind
    sizes: str
    found: str


@dataclass(frozen=True)
class Claim:
    """A statement, its source, its status there, and a test that computes a verdict.

    status: "quoted" from a paper, "derived" by a proof, "verified" by exact computations,
    "measured" in experiments whose records are kept.

    test(mutated) computes the claim; with mutated=True it does so with the fault that `mutation`
    names built in, and its verdict must turn.
    """

    name: str
    statement: str
    source: str
    status: Status
    mutation: str
    test: Callable[[bool], Verdict]


CLAIMS: list[Claim] = []


def claim(
    source: str, status: Status, mutation: str
) -> Callable[[Callable[[bool], Verdict]], Callable[[bool], Verdict]]:
    """Enter a test into the catalogue: its name is the claim's, its docstring the statement."""

    def enter(test: Callable[[bool], Verdict]) -> Callable[[bool], Verdict]:
        name, statement = test.__name__.replace("_", "-"), " ".join((test.__doc__ or "").split())
        CLAIMS.append(Claim(name, statement, source, status, mutation, test))
        return test

    return enter


def decide(expected: object, found: object, sizes: str) -> Verdict:
    """Confirmed where what was computed is what was claimed, refuted where it is not."""
    kind: Kind = "confirmed" if expected == found else "refuted"
    return Verdict(kind, sizes, f"{found}" if kind == "confirmed" else f"{found}, not {expected}")
