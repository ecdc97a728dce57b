"""The empirical law of depth and width for trained self-attention, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from transforms.optional import needed

if TYPE_CHECKING:
    import pandas

FITTED_DEPTHS = (6, 48)  # the depths of the networks that were trained for the fit


class Estimate(float):
    """A number from the fitted law: a float, with the interval that the fit's errors leave.

    low, high: least and largest value for coefficients within one standard error of the fit,
    whatever their correlation. extrapolated: the depth lies outside those of the fit. status:
    always "quoted".
    """

    low: float
    high: float
    extrapolated: bool
    status = "quoted"

    def __new__(cls, value: float, low: float, high: float, extrapolated: bool) -> Estimate:
        estimate = super().__new__(cls, value)
        estimate.low, estimate.high, estimate.extrapolated = low, high, extrapolated
        return estimate

    def __str__(self) -> str:
        beyond = ", extrapolated" if self.extrapolated else ""
        return f"{float(self):.4g} ({self.low:.4g} to {self.high:.4g}{beyond})"

    __repr__ = __str__


@dataclass(frozen=True)
class Law:
    """ln width = intercept + slope * depth where depth stops paying: N(L) = 12 L exp(2a + 2bL).

    Coefficients and standard errors are quoted from Levine et al., NeurIPS 2020, who trained
    networks of depth 6 to 48; the standard errors are as recalled and were not checked against its
    text, so give your own where it matters. Nothing here is verified.
    """

    intercept: float = 5.039
    slope: float = 0.0555
    intercept_error: float = 0.030
    slope_error: float = 0.0013

    def corners(self) -> list[tuple[float, float]]:
        """The coefficients at the ends of their intervals."""
        return [
            (self.intercept + i * self.intercept_error, self.slope + s * self.slope_error)
            for i, s in product((-1, 1), repeat=2)
        ]


LAW = Law()


def non_embedding_parameters(depth: float, width: float) -> float:
    """N = 12 L d^2, attention and feed-forward weights; embeddings are not counted.

    >>> non_embedding_parameters(12, 768)
    84934656
    """
    _check(depth=depth, width=width)
    return 12 * depth * width**2


def optimal_width(depth: float, law: Law = LAW) -> Estimate:
    """The width exp(a + b L) from which on a network of that depth is not too deep; quoted.

    >>> round(optimal_width(12))
    300
    """
    _check(depth=depth)
    values = [math.exp(a + b * depth) for a, b in law.corners()]
    value = math.exp(law.intercept + law.slope * depth)
    return Estimate(value, min(values), max(values), _extrapolated(depth))


def optimal_depth(parameters: float, law: Law = LAW) -> Estimate:
    """The depth at which N(L) = 12 L exp(2a + 2bL) equals a number of parameters; quoted.

    parameters: without embeddings, `non_embedding_parameters(depth, width)`. Deeper networks of
    that size are too deep, shallower ones do not use what depth offers. 2 b L is the Lambert
    function of 2 b N exp(-2a) / 12, found by Newton's method. Raises ValueError unless
    parameters > 0.

    >>> print(optimal_depth(non_embedding_parameters(12, 768)))
    23.04 (22.28 to 23.83)
    """
    _check(parameters=parameters)
    values = [_depth(parameters, a, b) for a, b in law.corners()]
    value = _depth(parameters, law.intercept, law.slope)
    return Estimate(value, min(values), max(values), _extrapolated(value))


def is_too_deep(depth: float, width: float, law: Law = LAW) -> bool:
    """Whether a network is deeper than optimal for its size, equivalently narrower than
    `optimal_width`; quoted.

    Compare `optimal_width(depth).low` and `.high` with the width to see whether the fit's errors
    leave a doubt.

    >>> is_too_deep(96, 12288), is_too_deep(12, 768)
    (True, False)
    """
    _check(depth=depth, width=width)
    return width < optimal_width(depth, law)


@dataclass(frozen=True)
class TrainedShape:
    """A trained network: its name, the parameters its authors state, depth, width and heads."""

    name: str
    stated: float
    depth: int
    width: int
    heads: int

    @property
    def parameters(self) -> float:
        """Non-embedding parameters, 12 L d^2."""
        return non_embedding_parameters(self.depth, self.width)


# Brown et al., Language Models are Few-Shot Learners, 2020, table 2.1 (width 5140 as printed).
GPT3 = (
    TrainedShape("GPT-3 Small", 125e6, 12, 768, 12),
    TrainedShape("GPT-3 Medium", 350e6, 24, 1024, 16),
    TrainedShape("GPT-3 Large", 760e6, 24, 1536, 16),
    TrainedShape("GPT-3 XL", 1.3e9, 24, 2048, 24),
    TrainedShape("GPT-3 2.7B", 2.7e9, 32, 2560, 32),
    TrainedShape("GPT-3 6.7B", 6.7e9, 32, 4096, 32),
    TrainedShape("GPT-3 13B", 13.0e9, 40, 5140, 40),
    TrainedShape("GPT-3 175B", 175e9, 96, 12288, 96),
)


def gpt3_family(law: Law = LAW) -> pandas.DataFrame:
    """The GPT-3 family beside the law: trained and optimal shapes for the same size.

    Columns: name, stated parameters, non-embedding parameters, trained depth and width, optimal
    depth with the interval of the fit, the width that spends the same parameters at that depth, and
    whether the trained network is too deep. Shapes are quoted from Brown et al., 2020; optima from
    the law. Needs pandas.

    >>> table = gpt3_family()
    >>> list(table.name[table.too_deep])
    ['GPT-3 175B']
    """
    pandas = needed("pandas", "a table of models")
    return pandas.DataFrame([_row(shape, law) for shape in GPT3])


def _row(shape: TrainedShape, law: Law) -> dict[str, object]:
    best = optimal_depth(shape.parameters, law)
    return {
        "name": shape.name,
        "stated": shape.stated,
        "parameters": shape.parameters,
        "depth": shape.depth,
        "width": shape.width,
        "optimal_depth": float(best),
        "optimal_depth_low": best.low,
        "optimal_depth_high": best.high,
        "optimal_width": math.sqrt(shape.parameters / (12 * best)),
        "too_deep": is_too_deep(shape.depth, shape.width, law),
        "extrapolated": best.extrapolated,
    }


def _depth(parameters: float, intercept: float, slope: float) -> float:
    """y + ln y = ln(2 b N / 12) - 2a for y = 2bL; Newton's method on a convex function of ln y."""
    goal = math.log(2 * slope * parameters / 12) - 2 * intercept
    log_y = min(goal, math.log(goal)) if goal > 1 else goal
    for _ in range(60):
        y = math.exp(log_y)
        log_y -= (y + log_y - goal) / (y + 1)
    return math.exp(log_y) / (2 * slope)


def _extrapolated(depth: float) -> bool:
    return not FITTED_DEPTHS[0] <= depth <= FITTED_DEPTHS[1]


def _check(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (number > 0 and math.isfinite(number)):
            raise ValueError(f"expected {name} to be positive and finite, got {number!r}")
