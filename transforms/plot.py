"""Pictures of ranks: matricizations as heat maps, profiles over cuts, sizes against theory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from transforms.matricize import matricize
from transforms.ranks import Rank


def heat_map(W: Any, rows: Sequence[int], ax: Any = None) -> Any:
    """A matricization as a heat map, written out: small tensors only. Returns the axes."""
    ax = _axes(ax)
    matrix = matricize(W, rows)
    image = ax.imshow(matrix.dense(), aspect="auto", cmap="viridis")
    ax.figure.colorbar(image, ax=ax)
    ax.set_xlabel(f"variables {_listed(matrix.columns)}")
    ax.set_ylabel(f"variables {_listed(matrix.rows)}")
    return ax


def profile(ranks: Mapping[tuple[int, ...], Rank], ax: Any = None) -> Any:
    """Ranks over cuts, on a log scale: points where bounds meet, bars from lower to upper where
    not.

    ranks: what `rank_profile` returns. Returns the axes.
    """
    ax = _axes(ax)
    for place, found in enumerate(ranks.values()):
        if found.exact is not None:
            ax.plot([place], [found.exact], "o", color="C0")
        else:
            ax.plot([place, place], [found.lower, found.upper], "_-", color="C1")
    ax.set_yscale("log", base=2)
    ax.set_xticks(range(len(ranks)), [_listed(rows) for rows in ranks], rotation=90)
    ax.set_xlabel("rows of the cut")
    ax.set_ylabel("rank")
    return ax


def sizes(table: Any, theory: Callable[[float], float] | None = None, ax: Any = None) -> Any:
    """Certified and constructed sizes against d on a log scale, theory as a curve behind them.

    table: what `separation.compare` returns; theory: d -> size, default the column `predicted`.
    Returns the axes.
    """
    ax = _axes(ax)
    d = [int(value) for value in table.d]
    if theory is not None:
        fine = numpy.linspace(min(d), max(d), 200)
        ax.plot(fine, [theory(float(x)) for x in fine], "-", color="0.7", label="theory", zorder=1)
    else:
        _column(ax, d, table.predicted, "-", "theory", "0.7", 1)
    _column(ax, d, table.constructed, "s", "constructed", "C1", 2)
    _column(ax, d, table.certified, "o", "certified", "C0", 3)
    ax.set_yscale("log", base=2)
    ax.set_xlabel("variables d")
    ax.set_ylabel(f"{table.shallow.iloc[0]} needed for {table.deep.iloc[0]}")
    ax.legend()
    return ax


def _column(
    ax: Any, d: Sequence[int], values: Any, style: str, label: str, color: str, order: int
) -> None:
    """The known values of a column; markers hollow, so that what lies behind stays visible."""
    known = [(x, float(y)) for x, y in zip(d, values, strict=True) if y is not None]
    if known:
        ax.plot(
            *zip(*known, strict=True), style, label=label, color=color, zorder=order,
            markersize=9 if style == "s" else 5, fillstyle="none" if style == "s" else "full",
        )  # fmt: skip


def _listed(variables: Sequence[int]) -> str:
    return ",".join(map(str, variables))


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(layout="constrained").add_subplot()
