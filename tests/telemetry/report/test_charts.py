"""Charts show every extreme, break where values do, and stay in their frame whatever the values are."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.telemetry.report._charts import BOTTOM, LEFT, RIGHT, TOP, chart_of
from crucible.telemetry.report._numbers import number
from crucible.telemetry.report._scales import fitted, fitted_log
from crucible.telemetry.report._thinning import thinned
from crucible.telemetry.series import Series

anything = st.floats(allow_nan=True, allow_infinity=True)
many = st.lists(anything, min_size=1, max_size=60)


def series(values: list[float], steps: list[int] | None = None) -> Series:
    return Series(name="loss", steps=tuple(steps or range(len(values))), values=tuple(values))


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) ([^MLh]+)", path)]


# Thinning


@given(st.lists(anything, min_size=1, max_size=400), st.integers(1, 20))
def test_thinning_keeps_the_ends_and_every_extreme_and_is_bounded(values: list[float], buckets: int) -> None:
    full, thin = series(values), thinned(series(values), buckets=buckets)
    assert len(thin) <= max(2 * buckets, 3 * buckets + 2)
    assert (thin.steps[0], thin.steps[-1]) == (full.steps[0], full.steps[-1])
    assert set(thin.steps) <= set(full.steps)
    finite = [value for value in values if math.isfinite(value)]
    kept = [value for value in thin.values if math.isfinite(value)]
    assert (min(finite, default=0), max(finite, default=0)) == (min(kept, default=0), max(kept, default=0))
    assert any(map(math.isnan, values)) <= any(not math.isfinite(value) for value in thin.values)


def test_a_short_series_is_not_thinned() -> None:
    short = series([1.0, 2.0])
    assert thinned(short) is short


def test_steps_far_apart_are_no_problem() -> None:
    assert len(thinned(series([1.0] * 3000, [step * 10**12 for step in range(3000)]))) <= 1502


# Scales


@given(many.map(lambda values: [value for value in values if abs(value) < 1e150]), st.integers(2, 8))
def test_ticks_lie_on_the_axis_are_few_and_differ_from_each_other(values: list[float], wanted: int) -> None:
    scale = fitted(values, start=100.0, end=0.0)
    ticks = scale.ticks(wanted)
    assert len(ticks) <= wanted * 1.25 + 1
    assert len(set(ticks)) == len(ticks)
    assert all(-1e-3 <= scale.at(tick) <= 100 + 1e-3 for tick in ticks)


@given(st.lists(st.floats(1e-12, 1e12), min_size=2, max_size=20))
def test_a_log_axis_is_given_for_positive_values_of_many_sizes_only(values: list[float]) -> None:
    scale = fitted_log(values, start=100.0, end=0.0)
    if scale is None:
        assert max(values) / min(values) < 5
    else:
        assert all(0 <= scale.at(value) <= 100 for value in values)
        assert 1 <= len(scale.ticks(5)) <= 14


def test_zero_and_below_have_no_logarithm() -> None:
    assert fitted_log([0.0, 100.0], start=1.0, end=0.0) is None
    assert fitted_log([-1.0, 100.0], start=1.0, end=0.0) is None
    assert fitted_log([], start=1.0, end=0.0) is None


# Charts


@given(many)
def test_whatever_the_values_are_the_lines_stay_in_the_frame_and_the_data_is_strict_json(values: list[float]) -> None:
    chart = chart_of("loss", {0: series(values)}, ["run"])
    views = [chart.linear] if chart.log is None else [chart.linear, chart.log]
    for view in views:
        drawn = places(view.paths[0])
        assert all(LEFT <= x <= RIGHT and TOP - 0.1 <= y <= BOTTOM + 0.1 for x, y in drawn)
        assert len(drawn) == len(values) - chart.num_not_finite
    json.dumps(chart.for_pointer, allow_nan=False)


def test_a_line_is_broken_where_values_are_not_finite_and_a_lone_point_is_a_dot() -> None:
    chart = chart_of("loss", {0: series([1.0, 2.0, math.nan, 3.0, math.inf, 4.0, 5.0])}, ["run"])
    path = chart.linear.paths[0]
    assert (path.count("M"), path.count("L"), path.count("h0")) == (3, 2, 1)
    assert chart.num_not_finite == 2
    assert chart.marks[0].count("M") == 2
    assert "2 values are not finite" in chart.says


def test_a_metric_that_was_never_finite_is_all_marks() -> None:
    chart = chart_of("loss", {0: series([math.nan, math.nan])}, ["run"])
    assert chart.linear.paths == {0: ""}
    assert chart.says == "loss by step. run: 2 values are not finite."


def test_runs_lie_over_each_other_on_one_axis() -> None:
    chart = chart_of("loss", {0: series([1.0, 2.0]), 2: series([3.0, 4.0], [5, 10])}, ["a", "b", "c"])
    assert [places(chart.linear.paths[run])[0][0] for run in (0, 2)] == [LEFT, (LEFT + RIGHT) / 2]
    assert (chart.first_step, chart.last_step, chart.linear.low < 1, chart.linear.high > 4) == (0, 10, True, True)
    assert "c: from 3 at step 5 to 4 at step 10" in chart.says


@pytest.mark.parametrize("num_points", [1, 30, 31])
def test_few_points_are_dots(num_points: int) -> None:
    chart = chart_of("loss", {0: series([float(value) for value in range(num_points)])}, ["run"])
    assert len(places(chart.linear.dots.get(0, ""))) == (num_points if num_points <= 30 else 0)


@given(anything)
def test_any_number_is_written_shortly(value: float) -> None:
    assert len(number(value)) <= 11
