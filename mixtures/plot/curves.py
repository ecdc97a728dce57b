"""Curves that share one horizontal axis: learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtures.plot.axes import axes


def curves(
    series: Mapping[str, Sequence[float]], *, xlabel: str, ylabel: str, ax: Any = None
) -> Any:
    """One line per name, over the number of its entries; returns the axes."""
    ax = axes() if ax is None else ax
    for name, values in series.items():
        ax.plot(range(1, len(values) + 1), values, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.legend()
    return ax
