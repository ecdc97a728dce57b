"""Subcommands on a user's own files: fit, score, sample, complete, convert, ranks, info."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from rich.console import Console
from rich.table import Table as Grid

from mixtures import HMM, HT, LTM, SPN, TMM, CoefficientTensor, Mixture, io, load, save
from mixtures.blueprint import Blueprint
from mixtures.cli.frames import MOST_CATEGORIES, Column, decode, encode, learn_columns, read_frame

MANY = 20_000  # rows from which on fitting goes batch by batch
CLASSES: dict[str, type[CoefficientTensor]] = {
    "tmm": TMM,
    "hmm": HMM,
    "ltm": LTM,
    "ht": HT,
    "spn": SPN,
}


def fit(given: argparse.Namespace) -> None:
    """Fit a model to a table and save it."""
    from mixtures import learn

    console = Console()
    frame = read_frame(given.data, header=not given.no_header)
    absent = [name for name in given.drop if name not in frame.columns]
    if absent:
        raise ValueError(f"--drop {absent[0]}: there is no such column in {given.data}")
    frame = frame.drop(columns=given.drop)
    columns = learn_columns(frame, dict(given.kind))
    x = encode(frame, columns)
    console.print(_described(columns, x))
    if len(x) < x.shape[1] and len(x) < 50:
        console.print(
            f"[yellow]only {len(x)} rows for {x.shape[1]} columns: rows are samples; is the table "
            f"on its side?"
        )
    generator = torch.Generator().manual_seed(given.seed)
    order = torch.randperm(len(x), generator=generator).numpy()
    held_out = int(given.validation * len(x))
    valid, train = x[order[:held_out]], x[order[held_out:]]
    dtype = torch.float64 if len(x) <= MANY else torch.float32
    kinds, names = [column.kind for column in columns], [column.name for column in columns]
    plan = Blueprint(
        given.model, kinds, given.states, given.components, tree=None, dtype=dtype, names=names
    )
    model = plan.build(train, x, generator)
    history = learn.fit(
        model,
        train,
        method="em" if len(train) <= MANY else "stochastic_em",
        validation=valid if held_out else None,
        restarts=given.restarts,
        max_iter=given.iterations,
        tol=1e-6,
        pseudo_count=given.pseudo_count,
        generator=generator,
    )
    metadata = {"columns": [column.config() for column in columns], "model": given.model}
    save(model, given.out, metadata=metadata)
    console.print(model.summary(), highlight=False)
    console.print(f"{history}")
    if history.interrupted:
        console.print("[yellow]interrupted: this is the best model so far")
    console.print(f"saved to {given.out}", soft_wrap=True)


def score(given: argparse.Namespace) -> None:
    """The log-likelihood of a table under a model, in all or row by row."""
    model, columns = _loaded(given.model)
    x = encode(read_frame(given.data, header=not given.no_header), columns)
    with torch.no_grad():
        logs = model.log_prob(x).double().numpy()
    console = Console()
    impossible = int(numpy.isneginf(logs).sum())
    console.print(f"{len(logs)} rows, mean log-likelihood {logs.mean():.6g} nats a row")
    if impossible:
        console.print(f"[yellow]{impossible} rows have probability zero under the model")
    if given.out is not None:
        numpy.savetxt(given.out, logs, fmt="%.10g", header="log_prob", comments="")
        console.print(f"one log-likelihood a row in {given.out}", soft_wrap=True)


def sample(given: argparse.Namespace) -> None:
    """New rows drawn from a model, as CSV."""
    model, columns = _loaded(given.model)
    generator = torch.Generator().manual_seed(given.seed)
    frame = decode(model.sample(given.n, generator=generator), columns)
    frame.to_csv(sys.stdout if given.out is None else given.out, index=False)


def complete(given: argparse.Namespace) -> None:
    """A table with its blank cells filled in, as CSV."""
    model, columns = _loaded(given.model)
    frame = read_frame(given.data, header=not given.no_header)
    x = encode(frame, columns)
    generator = torch.Generator().manual_seed(given.seed)
    blank = numpy.isnan(x)
    if given.how == "best":
        filled = model.complete(x, how="mean").numpy()
        for j, column in enumerate(columns):
            if column.kind == "categorical" and blank[:, j].any():
                filled[:, j] = _likeliest(model, x, j)
    else:
        filled = model.complete(x, generator=generator).numpy()
    whole = decode(filled, columns)
    for j, column in enumerate(columns):
        keep = frame[column.name].where(~blank[:, j])
        frame[column.name] = keep.astype(object).where(~blank[:, j], whole[column.name])
    frame.to_csv(sys.stdout if given.out is None else given.out, index=False)


def convert(given: argparse.Namespace) -> None:
    """The same tensor as a model of another class, with its certificate."""
    import transforms

    model = load(given.model)
    target = transforms.convert(model, CLASSES[given.to], budget=given.budget)
    Console().print(str(transforms.certificate(model, target)), highlight=False)
    metadata = io.inspect(given.model)["metadata"]
    save(target, given.out, metadata=metadata)
    Console().print(f"saved to {given.out}", soft_wrap=True)


def ranks(given: argparse.Namespace) -> None:
    """Certified ranks of matricizations: of the cuts asked for, or of a few telling ones."""
    import transforms

    model = load(given.model)
    W = model.coefficients if isinstance(model, Mixture) else model
    d = W.variables
    cuts = [given.rows] if given.rows else _telling(d)
    console = Console()
    table = Grid(title=f"ranks of {W!r}")
    for heading in ("rows", "rank of this tensor", "cheapest cut"):
        table.add_column(heading)
    for rows in cuts:
        wrong = [j for j in rows if not 0 <= j < d]
        if wrong:
            raise ValueError(f"--rows: variables are 0 to {d - 1}, got {wrong[0]}")
        found = transforms.rank(W, rows)
        try:
            cheapest = f"{transforms.min_cut(W, rows):,}"
        except ValueError:
            cheapest = "no tree"
        table.add_row(_listed(rows), str(found), cheapest)
    console.print(table)


def info(given: argparse.Namespace) -> None:
    """What a saved model is, and what columns it knows; a picture if asked for."""
    found = io.inspect(given.model)
    model = load(given.model)
    console = Console()
    console.print(model.summary(), highlight=False)
    columns = [Column.from_config(column) for column in found["metadata"].get("columns", [])]
    for column in columns[:40]:
        console.print(f"  {column.name}: {_kind(column)}", highlight=False)
    if given.picture is not None:
        import matplotlib

        matplotlib.use("Agg")
        from mixtures import plot

        W = model.coefficients if isinstance(model, Mixture) else model
        ax = plot.network(model) if isinstance(W, SPN) else plot.tree(model)
        ax.figure.savefig(given.picture, dpi=150)
        console.print(f"picture in {given.picture}", soft_wrap=True)


def _loaded(path: Path) -> tuple[Mixture, list[Column]]:
    model = load(path)
    columns = io.inspect(path)["metadata"].get("columns")
    if not isinstance(model, Mixture) or columns is None:
        raise ValueError(
            f"{path} was not made by `python -m mixtures fit`: it knows no columns of a table"
        )
    return model, [Column.from_config(column) for column in columns]


def _likeliest(model: Mixture, x: Any, variable: int) -> Any:
    """The most probable category of one variable in every row, given the rest of the row."""
    part = model.components.select([variable])
    categories = part.rows(MOST_CATEGORIES)
    assert categories is not None  # a column of categories has finitely many values
    with torch.no_grad():
        each = part.log_prob(categories)[:, 0].exp()  # (categories, k)
        weights = model.posterior(x)[:, variable, : each.shape[1]]
    return (weights @ each.T).argmax(1).numpy()


def _described(columns: Sequence[Column], x: Any) -> Grid:
    table = Grid(title=f"{len(x):,} rows, {len(columns):,} columns")
    for heading in ("column", "kind", "missing"):
        table.add_column(heading, justify="right" if heading == "missing" else "left")
    for column, values in list(zip(columns, x.T, strict=True))[:30]:
        table.add_row(column.name, _kind(column), f"{numpy.isnan(values).mean():.1%}")
    if len(columns) > 30:
        table.add_row(f".. and {len(columns) - 30} more", "", "")
    return table


def _kind(column: Column) -> str:
    if column.kind != "categorical":
        return "numbers (Gaussian)" if column.kind == "gaussian" else "counts (Poisson)"
    names = ", ".join(column.categories[:6]) + (", .." if len(column.categories) > 6 else "")
    if len(column.categories) == 1:
        return f"always {names}"
    return f"{len(column.categories)} categories: {names}"


def _telling(d: int) -> list[list[int]]:
    """Every other variable, the first half, and the first two."""
    cuts = [list(range(0, d, 2)), list(range(d // 2)), [0, 1], [0]]
    found: list[list[int]] = []
    for cut in cuts:
        if 0 < len(cut) < d and cut not in found:
            found.append(cut)
    return found


def _listed(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:8]))
    return shown + (f", .. ({len(rows)})" if len(rows) > 8 else "")
