"""Depth against width: every bound says how it is known, and the law carries its errors."""

from __future__ import annotations

import math

import matplotlib
import matplotlib.pyplot
import numpy
import pytest
from scipy.special import lambertw

from mixtures.errors import SizeError
from transforms.attention import (
    GPT3,
    LAW,
    AttentionArchitecture,
    Law,
    depth_threshold,
    depth_width_plane,
    derived_upper_bound,
    gpt3_family,
    is_too_deep,
    non_embedding_parameters,
    optimal_depth,
    optimal_width,
    quoted_lower_bound,
    quoted_upper_form,
    rank_against_depth,
    separation_bound,
    separation_rank,
    verified_bounds,
    width_needed,
)

matplotlib.use("Agg")

# ---------------------------------------------------------------- bounds


def test_the_threshold_is_the_depth_at_which_three_to_the_depth_is_the_width():
    for depth in (0, 1, 5):
        assert depth_threshold(3**depth) == pytest.approx(depth)


def test_the_quoted_bounds_say_that_they_are_quoted():
    lower, upper = quoted_lower_bound(81, 3, heads=2), quoted_upper_form(3, 4)
    assert (lower.status, upper.status) == ("quoted", "quoted")
    assert lower.value == pytest.approx(3 * (math.log(79, 3) + 2 - 3 - math.log(2, 3)))
    assert "recalled" in upper.source
    assert "quoted" in str(lower)


def test_the_quoted_lower_bound_never_exceeds_the_derived_upper_bound():
    """No confirmation of either: the two are consistent where both speak."""
    for width, depth in [(9, 2), (27, 2), (27, 3), (81, 4)]:
        derived = derived_upper_bound(width, depth)
        assert derived.status == "derived"
        assert quoted_lower_bound(width, depth).value <= math.log(derived.value, 3)


def test_only_what_was_certified_is_verified():
    met = separation_rank(AttentionArchitecture(2, 2))
    assert [(b.value, b.status) for b in verified_bounds(met)] == [
        (18, "verified"),
        (18, "verified"),
    ]
    apart = separation_rank(AttentionArchitecture(2, 3), budget=10_000)
    lower, upper = verified_bounds(apart)
    assert (lower.value, lower.status) == (apart.lower, "verified")
    assert (upper.value, upper.status) == (232, "derived")


def test_quoted_bounds_are_refused_outside_their_regime():
    with pytest.raises(ValueError, match=r"depth of at most log_3\(width\) = 2\.10, got 3"):
        quoted_lower_bound(10, 3)
    with pytest.raises(ValueError, match="more width than heads"):
        quoted_lower_bound(4, 1, heads=4)
    with pytest.raises(ValueError, match=r"depth above log_3\(width\) = 3\.00, got 3"):
        quoted_upper_form(27, 3)
    with pytest.raises(ValueError, match="expected width to be a positive integer, got 0"):
        depth_threshold(0)


@pytest.mark.parametrize(("depth", "width", "deep"), [(1, 2, 2), (1, 2, 3), (2, 2, 3), (2, 3, 3)])
def test_the_width_needed_is_the_least_whose_bound_is_not_below(depth, width, deep):
    goal = separation_bound(AttentionArchitecture(width, deep))
    needed = width_needed(depth, AttentionArchitecture(width, deep))
    assert needed.status == "derived"
    assert separation_bound(AttentionArchitecture(needed.value, depth)) >= goal
    assert separation_bound(AttentionArchitecture(needed.value - 1, depth)) < goal


def test_a_network_needs_its_own_width_and_a_deeper_one_no_more():
    plan = AttentionArchitecture(3, 2)
    assert width_needed(2, plan).value == 3
    assert width_needed(3, plan).value <= 3


def test_certified_widths_rest_on_certified_ranks():
    found = width_needed(1, AttentionArchitecture(2, 2, heads=2), certify=True)
    assert (found.value, found.status) == (16, "verified")  # one layer: at most 1 + width; 17
    with pytest.raises(SizeError, match="more than width"):
        width_needed(1, AttentionArchitecture(4, 4))


# ---------------------------------------------------------------- the empirical law


def test_the_optimal_depth_of_a_size_is_a_lambert_function():
    for parameters in (1e5, 8.5e7, 1.74e11, 1e15):
        depth = float(optimal_depth(parameters))
        a, b = LAW.intercept, LAW.slope
        lambert = lambertw(2 * b * parameters * math.exp(-2 * a) / 12).real / (2 * b)
        assert depth == pytest.approx(lambert, rel=1e-9)
        assert non_embedding_parameters(depth, optimal_width(depth)) == pytest.approx(parameters)


@pytest.mark.parametrize(("depth", "width", "best"), [(12, 768, 23.0), (96, 12288, 80.5)])
def test_the_quoted_optima_come_out(depth, width, best):
    found = optimal_depth(non_embedding_parameters(depth, width))
    assert round(found, 1) == best
    assert found.low < found < found.high
    assert found.status == "quoted"
    assert found.extrapolated == (best > 48)


def test_a_network_is_too_deep_exactly_if_it_is_deeper_than_optimal_for_its_size():
    for depth in (3, 12, 40, 96):
        for width in (64, 300, 2000, 12288, 40000):
            best = optimal_depth(non_embedding_parameters(depth, width))
            assert is_too_deep(depth, width) == (depth > best)


def test_intervals_hold_every_law_within_the_errors_and_close_without_errors():
    rng = numpy.random.default_rng(0)
    width, depth = optimal_width(30), optimal_depth(1e9)
    for i, s in rng.uniform(-1, 1, (50, 2)):
        a, b = LAW.intercept + i * LAW.intercept_error, LAW.slope + s * LAW.slope_error
        law = Law(a, b, 0.0, 0.0)
        assert width.low <= optimal_width(30, law) <= width.high
        assert depth.low <= optimal_depth(1e9, law) <= depth.high
    exact = optimal_depth(1e9, Law(intercept_error=0.0, slope_error=0.0))
    assert exact.low == exact.high == float(exact)


def test_the_gpt3_family_stands_beside_the_law():
    table = gpt3_family().set_index("name")
    assert len(table) == len(GPT3) == 8
    assert list(table.index[table.too_deep]) == ["GPT-3 175B"]
    largest = table.loc["GPT-3 175B"]
    assert round(largest.optimal_depth, 1) == 80.5
    spent = non_embedding_parameters(largest.optimal_depth, largest.optimal_width)
    assert spent == pytest.approx(largest.parameters)
    smaller = table.parameters / table.stated
    assert smaller.between(0.6, 1.05).all()  # without embeddings


@pytest.mark.parametrize("number", [0, -1, math.nan, math.inf])
def test_sizes_that_are_none_are_refused(number):
    with pytest.raises(ValueError, match="to be positive and finite"):
        optimal_depth(number)
    with pytest.raises(ValueError, match="to be positive and finite"):
        optimal_width(number)
    with pytest.raises(ValueError, match="to be positive and finite"):
        is_too_deep(12, number)


# ---------------------------------------------------------------- pictures


def test_the_picture_of_ranks_draws_bounds_dots_and_thresholds():
    certified = {(2, 2): separation_rank(AttentionArchitecture(2, 2))}
    ax = rank_against_depth([2, 3], [1, 2, 3], certified=certified)
    lines = [numpy.asarray(line.get_xydata(), dtype=float) for line in ax.get_lines()]
    bounds = [math.log(separation_bound(AttentionArchitecture(3, L)), 3) for L in (1, 2, 3)]
    assert any(line.shape == (3, 2) and numpy.allclose(line[:, 1], bounds) for line in lines)
    assert any(numpy.allclose(line, [[2, math.log(18, 3)]]) for line in lines if len(line) == 1)
    assert any(numpy.allclose(line[:, 0], math.log(2, 3)) for line in lines if len(line) == 2)
    matplotlib.pyplot.close(ax.figure)


def test_the_plane_shows_the_law_and_the_networks():
    ax = depth_width_plane()
    places = {tuple(line.get_xydata()[0]) for line in ax.get_lines() if len(line.get_xdata()) == 1}
    assert places == {(shape.depth, shape.width) for shape in GPT3}
    texts = {text.get_text() for text in ax.texts}
    assert {"depth still pays", "too deep", "GPT-3 175B"} <= texts
    matplotlib.pyplot.close(ax.figure)
