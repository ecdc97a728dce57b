"""Pictures of depth against width in self-attention; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy

from mixtures.plot import axes
from transforms.attention_bounds import depth_threshold
from transforms.attention_law import GPT3, LAW, Law, TrainedShape, optimal_width
from transforms.attention_ranks import separation_bound
from transforms.attention_weights import AttentionArchitecture
from transforms.ranks import Rank


def rank_against_depth(
    widths: Sequence[int],
    depths: Sequence[int],
    *,
    certified: Mapping[tuple[int, int], Rank] | None = None,
    ax: Any = None,
) -> Any:
    """log_3 of the separation rank against depth, a line per width; returns the axes.

    Lines: the derived upper bound. Dots: certified lower bounds, {(width, depth): Rank}, as
    `separation_rank` gives them. Dotted verticals: the quoted threshold log_3(width).
    """
    ax = axes() if ax is None else ax
    for place, width in enumerate(widths):
        bounds = [separation_bound(AttentionArchitecture(width, depth)) for depth in depths]
        heights = [math.log(bound, 3) for bound in bounds]
        (line,) = ax.plot(depths, heights, label=f"width {width}", zorder=2)
        ax.axvline(
            depth_threshold(width),
            color=line.get_color(),
            linestyle=":",
            label=None if place else "threshold (quoted)",
        )
        found = {L: r for (w, L), r in (certified or {}).items() if w == width}
        lowers = [math.log(found[depth].lower, 3) for depth in found]
        ax.plot(list(found), lowers, "o", color=line.get_color())
    ax.set_xlabel("depth")
    ax.set_ylabel("log₃ separation rank: upper bound (derived)\nand certified values (dots)")
    ax.legend()
    return ax


def depth_width_plane(
    *,
    depths: tuple[float, float] = (1, 110),
    shapes: Iterable[TrainedShape] = GPT3,
    law: Law = LAW,
    ax: Any = None,
) -> Any:
    """The plane of depth and width with its two regimes, trained networks on it; returns the axes.

    The line is the quoted law with its band; it is dashed beyond the depths of its fit. Above it
    depth still pays, below it networks are too deep.
    """
    ax = axes() if ax is None else ax
    grid = numpy.linspace(*depths, 200)
    found = [optimal_width(float(depth), law) for depth in grid]
    beyond = numpy.array([width.extrapolated for width in found])
    line = numpy.array([float(width) for width in found])
    ax.fill_between(grid, [w.low for w in found], [w.high for w in found], alpha=0.3)
    ax.plot(grid, numpy.where(beyond, numpy.nan, line), "C0-", label="law (quoted)")
    ax.plot(grid, numpy.where(beyond, line, numpy.nan), "C0--", label="extrapolated")
    for shape in shapes:
        ax.plot(shape.depth, shape.width, "k.")
        ax.annotate(
            shape.name, (shape.depth, shape.width), xytext=(4, 2), textcoords="offset points"
        )
    ax.set_yscale("log")
    ax.set_xlabel("depth")
    ax.set_ylabel("width")
    ax.text(0.03, 0.93, "depth still pays", transform=ax.transAxes)
    ax.text(0.97, 0.05, "too deep", transform=ax.transAxes, ha="right")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.1))
    return ax
