"""The catalogue of claims: run every test, print a table with a verdict each."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from transforms import claims_attention, claims_cuts, claims_sizes
from transforms.claims import CLAIMS, Claim, Verdict

SOURCES = (claims_cuts, claims_sizes, claims_attention)  # importing them enters their claims


def run(claim: Claim, *, mutated: bool = False) -> Verdict:
    """The verdict of one claim; with its fault built in if `mutated`."""
    return claim.test(mutated)


def find(names: Sequence[str]) -> list[Claim]:
    """The claims of these names, all if there are none; ValueError for an unknown one."""
    known = {claim.name: claim for claim in CLAIMS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no claim {unknown[0]!r}; the claims are {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """`python -m transforms.separation [--mutate] [--list] [claims]`: 0 unless a verdict is wrong.

    Wrong: a claim that is refuted, or, with --mutate, one whose verdict its mutation does not turn.
    """
    parser = argparse.ArgumentParser(
        prog="python -m transforms.separation",
        description="Test the separation claims of the literature and print a verdict each.",
    )
    parser.add_argument("claims", nargs="*", help="names of claims, default all")
    parser.add_argument(
        "--mutate", action="store_true", help="show that the mutations turn verdicts"
    )
    parser.add_argument("--list", action="store_true", help="only list the claims")
    options = parser.parse_args(arguments)
    console = Console() if console is None else console
    chosen = find(options.claims)
    if options.list:
        console.print(_listing(chosen))
        return 0
    table, wrong = _verdicts(chosen, options.mutate, console)
    console.print(table)
    console.print(f"{len(chosen)} claims, {wrong} verdicts that should not be")
    return int(wrong > 0)


def _listing(chosen: Sequence[Claim]) -> Table:
    table = Table("claim", "statement", "source", "status", "mutation")
    for claim in chosen:
        table.add_row(claim.name, claim.statement, claim.source, claim.status, claim.mutation)
    return table


def _verdicts(chosen: Sequence[Claim], mutate: bool, console: Console) -> tuple[Table, int]:
    """The table, and the number of verdicts that are not what they should be."""
    titles = ["claim", "statement", "verdict", *(["mutation and verdict then"] if mutate else [])]
    table = Table(*(Column(title, overflow="fold") for title in titles), show_lines=True)
    wrong = 0
    with console.status("testing the claims") as status:
        for claim in chosen:
            status.update(claim.name)
            start = time.perf_counter()
            verdict = run(claim)
            wrong += verdict.kind == "refuted"
            seconds = f"{time.perf_counter() - start:.1f}"
            cells = [f"{claim.name}\n({claim.status})", f"{claim.statement}\n[{claim.source}]"]
            cells += [f"{verdict.kind} at {verdict.sizes}: {verdict.found} ({seconds} s)"]
            if mutate:
                turned = run(claim, mutated=True)
                wrong += turned.kind == verdict.kind
                cells += [f"{claim.mutation}: {turned.kind}, {turned.found}"]
            table.add_row(*map(escape, cells))
    return table, wrong
