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
from transforms.attention_runs import Run, Spread, spread
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

    The scale is logarithmic: ranks that grow double-exponentially with depth are straight lines,
    which bend where width begins to limit them. Lines: the derived upper bound. Dots: certified
    lower bounds, {(width, depth): Rank}, as `separation_rank` gives them. Dotted verticals: the
    quoted threshold log_3(width).
    """
    ax = axes() if ax is None else ax
    for width in widths:
        bounds = [separation_bound(AttentionArchitecture(width, depth)) for depth in depths]
        heights = [math.log(bound, 3) for bound in bounds]
        (line,) = ax.plot(depths, heights, label=f"width {width}", zorder=2)
        ax.axvline(
            depth_threshold(width),
            color=line.get_color(),
            linestyle=":",
        )
        found = {L: r for (w, L), r in (certified or {}).items() if w == width}
        lowers = [math.log(found[depth].lower, 3) for depth in found]
        ax.plot(list(found), lowers, "o", color=line.get_color())
    ax.plot([], [], "k-", label="upper bound (derived)")
    ax.plot([], [], "ko", label="certified")
    ax.plot([], [], "k:", label="threshold log₃ width (quoted)")
    ax.set_yscale("log")
    ax.set_xlabel("depth")
    ax.set_xticks(list(depths))
    ax.set_ylabel("log₃ of the separation rank")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
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
            shape.name, (shape.depth, shape.width), xytext=(-5, 0), textcoords="offset points",
            ha="right", va="center", fontsize=8,
        )  # fmt: skip
    ax.margins(x=0.12)
    ax.set_yscale("log")
    ax.set_xlabel("depth")
    ax.set_ylabel("width")
    ax.text(0.03, 0.93, "depth still pays", transform=ax.transAxes)
    ax.text(0.97, 0.05, "too deep", transform=ax.transAxes, ha="right")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.1))
    return ax


Chosen = Mapping[tuple[int, int], Sequence[Run]]


def loss_against_depth(chosen: Chosen, *, widths: Sequence[int], ax: Any = None) -> Any:
    """Measured test loss against depth, a line per width; returns the axes.

    chosen: {(width, depth): runs}, as `tuned` returns them. Bars are one standard deviation over
    seeds, dots the seeds themselves; the dotted line is the loss of a guess.
    """
    lines = {
        f"width {width}": {
            depth: spread(runs) for (w, depth), runs in sorted(chosen.items()) if w == width
        }
        for width in widths
    }
    return _losses(lines, chosen, ax)


def loss_at_budgets(
    chosen: Chosen, budgets: Mapping[int, Mapping[int, int]], *, ax: Any = None
) -> Any:
    """Measured test loss against depth at matched sizes: {weights / 12: {depth: width}}.

    Wider on the left, deeper on the right of every line; bars and dots as in `loss_against_depth`.
    """
    lines = {
        f"about {12 * budget:,} weights": {
            depth: spread(chosen[width, depth]) for depth, width in sorted(widths.items())
        }
        for budget, widths in budgets.items()
    }
    return _losses(lines, chosen, ax)


def learning_curves(chosen: Chosen, shapes: Sequence[tuple[int, int]], *, ax: Any = None) -> Any:
    """The training loss over each tenth of the steps, for (width, depth); returns the axes.

    Lines are means over seeds, bands one standard deviation either way.
    """
    ax = axes() if ax is None else ax
    for width, depth in shapes:
        losses = numpy.array([run.history for run in chosen[width, depth]])
        steps = chosen[width, depth][0].steps * (numpy.arange(losses.shape[1]) + 0.5)
        steps /= losses.shape[1]
        mean, deviation = losses.mean(0), losses.std(0, ddof=1 if len(losses) > 1 else 0)
        (line,) = ax.plot(steps, mean, label=f"width {width}, depth {depth}")
        ax.fill_between(
            steps, mean - deviation, mean + deviation, alpha=0.2, color=line.get_color()
        )
    ax.set_xlabel("step")
    ax.set_ylabel("training loss (nats)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _losses(lines: Mapping[str, Mapping[int, Spread]], chosen: Chosen, ax: Any) -> Any:
    ax = axes() if ax is None else ax
    points = next(iter(chosen.values()))[0].points
    for place, (label, found) in enumerate(lines.items()):
        shifted = [depth + 0.06 * (place - len(lines) / 2 + 0.5) for depth in found]
        means, bars = ([held[k] for held in found.values()] for k in (0, 1))
        drawn = ax.errorbar(shifted, means, bars, label=label, capsize=3, fmt="o-", markersize=5)
        for x, held in zip(shifted, found.values(), strict=True):
            color = drawn[0].get_color()
            ax.plot([x] * len(held.values), held.values, ".", color=color, alpha=0.4, zorder=1)
    ax.axhline(math.log(points), linestyle=":", color="0.5")
    ax.set_xticks(sorted({depth for found in lines.values() for depth in found}))
    ax.set_xlabel("depth")
    ax.set_ylabel("test loss (nats); dotted: a guess")
    ax.legend()
    return ax
