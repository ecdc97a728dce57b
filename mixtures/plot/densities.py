"""Densities of one or two variables of a mixture, with the data they should fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch

from mixtures.plot.axes import LATENT, VARIABLE, axes

if TYPE_CHECKING:
    from mixtures.mixture import Mixture

POINTS = 400  # of a curve
LEVELS = 12  # of contours
GRID = 120  # of a plane, each way
SPREAD = 4.0  # standard deviations to show where there are no data


def density(
    mixture: Mixture,
    variables: int | Sequence[int],
    *,
    x: Any = None,
    support: Sequence[Any] | None = None,
    ax: Any = None,
) -> Any:
    """The marginal density of one variable as a curve (bars on whole numbers), of two as contours.

    x: rows (n, d) to draw beside it, a histogram or points; support: the range (low, high) of each
    variable, default that of x, or the mean and four standard deviations. Returns the axes.
    Raises ValueError for more than two variables, and for vector-valued ones.
    """
    chosen = [variables] if isinstance(variables, int) else [int(j) for j in variables]
    if len(chosen) not in (1, 2):
        raise ValueError(f"expected one or two variables, got {len(chosen)}")
    if mixture.components.event:
        raise ValueError("expected variables that are numbers, got vectors")
    part = mixture.marginal(chosen)
    data = None if x is None else numpy.asarray(x, dtype=float)[:, chosen]
    ranges = _ranges(part, data, [support] if support and len(chosen) == 1 else support)
    whole = _on_whole_numbers(part)
    ax = axes() if ax is None else ax
    draw = _curve if len(chosen) == 1 else _contours
    draw(part, data, ranges, whole, ax)
    names = mixture.names
    labels = [f"variable {j}" if names is None else str(names[j]) for j in chosen]
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1] if len(labels) == 2 else "probability" if whole[0] else "density")
    return ax


def _curve(part: Mixture, data: Any, ranges: Any, whole: list[bool], ax: Any) -> None:
    low, high = ranges[0]
    points = _points(low, high, POINTS, whole[0])
    values = _values(part, points[:, None])
    if whole[0]:
        ax.bar(points, values, width=0.8, color=LATENT, alpha=0.8, label="model")
    else:
        ax.plot(points, values, color=LATENT, label="model")
    if data is not None:
        column = data[~numpy.isnan(data[:, 0]), 0]
        edges = numpy.append(points, points[-1] + 1) - 0.5 if whole[0] else 40
        ax.hist(column, bins=edges, density=True, histtype="step", color=VARIABLE, label="data")
    ax.legend()


def _contours(part: Mixture, data: Any, ranges: Any, whole: list[bool], ax: Any) -> None:
    ticks = [
        _points(low, high, GRID, each) for (low, high), each in zip(ranges, whole, strict=True)
    ]
    across, up = numpy.meshgrid(*ticks)
    values = _values(part, numpy.stack([across.ravel(), up.ravel()], 1)).reshape(across.shape)
    if any(whole):
        ax.pcolormesh(across, up, values, cmap="Blues", shading="nearest")
    else:
        levels = values.max() * numpy.linspace(0, 1, LEVELS) ** 3  # low densities are seen, too
        ax.contourf(across, up, values, levels=levels, cmap="Blues", norm=_gamma(values))
    if data is not None:
        ax.plot(data[:, 0], data[:, 1], ".", color=VARIABLE, markersize=3, alpha=0.6)


def _gamma(values: Any) -> Any:
    from matplotlib.colors import PowerNorm

    return PowerNorm(1 / 3, 0, values.max())


def _values(part: Mixture, points: Any) -> Any:
    rows = torch.as_tensor(points, device=part.coefficients.device)
    with torch.no_grad():
        return part.log_prob(rows).exp().cpu().double().numpy()


def _ranges(part: Mixture, data: Any, given: Any) -> list[tuple[float, float]]:
    """Where to look at each variable."""
    if given is not None:
        return [(float(low), float(high)) for low, high in given]
    if data is not None:
        spans = [(float(numpy.nanmin(c)), float(numpy.nanmax(c))) for c in data.T]
        return [(low - 0.1 * (high - low), high + 0.1 * (high - low)) for low, high in spans]
    with torch.no_grad():
        means = part.mean().double().tolist()
        spreads = part.covariance().double().diagonal().clamp(min=0).sqrt().tolist()
    pairs = zip(means, spreads, strict=True)
    return [(mean - SPREAD * spread, mean + SPREAD * spread) for mean, spread in pairs]


def _points(low: float, high: float, count: int, whole: bool) -> Any:
    if not whole:
        return numpy.linspace(low, high, count)
    return numpy.arange(max(0, numpy.ceil(low)), numpy.floor(high) + 1)


def _on_whole_numbers(part: Mixture) -> list[bool]:
    generator = torch.Generator(part.coefficients.device)
    draws = [part.marginal([j]).sample(1, generator=generator) for j in range(part.variables)]
    return [not draw.is_floating_point() for draw in draws]
