"""Windows: what numpy gives for a mask on the raw values, no tail cut, every value in as many windows as reach over it."""

import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.telemetry.analysis import spans_of, windows_by_step, windows_by_time, windows_of_events, within
from crucible.telemetry.types import EventRecord, MetricPoint

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

values = st.floats(-1e6, 1e6)
series = st.lists(st.tuples(st.integers(-50, 200), values), min_size=1, max_size=60)
widths = st.tuples(st.integers(1, 12), st.integers(1, 6))  # a stride, and how many make a width


def points(pairs: list[tuple[int, float]]) -> list[MetricPoint]:
    return [
        MetricPoint(name="loss", value=value, step=step, timestamp=START + step * SECOND, sequence=i)
        for i, (step, value) in enumerate(pairs)
    ]


@given(series, widths)
def test_a_window_is_what_numpy_says_of_its_steps(pairs: list[tuple[int, float]], sizes: tuple[int, int]) -> None:
    stride, width = sizes[0], sizes[0] * sizes[1]
    steps_N, values_N = np.array([step for step, _ in pairs]), np.array([value for _, value in pairs])
    for window in windows_by_step(points(pairs), width=width, stride=stride):
        assert window.end - window.start == width
        inside_N = values_N[(window.start <= steps_N) & (steps_N < window.end)]
        assert window.summary.count == len(inside_N)
        assert window.total == pytest.approx(float(inside_N.sum()), rel=1e-9, abs=1e-6)
        if len(inside_N):
            assert window.summary.mean == pytest.approx(float(inside_N.mean()), rel=1e-9, abs=1e-6)
            assert (window.summary.minimum, window.summary.maximum) == (inside_N.min(), inside_N.max())
            assert window.summary.p50 == pytest.approx(float(np.percentile(inside_N, 50)), rel=1e-9, abs=1e-6)
            assert window.summary.p95 == pytest.approx(float(np.percentile(inside_N, 95)), rel=1e-9, abs=1e-6)
        if len(inside_N) > 1:
            assert window.summary.sd == pytest.approx(float(inside_N.std(ddof=1)), rel=1e-6, abs=1e-6)


@given(series, widths, st.none() | st.integers(-500, 500))
def test_every_value_is_in_as_many_windows_as_strides_make_a_width(
    pairs: list[tuple[int, float]], sizes: tuple[int, int], origin: int | None
) -> None:
    stride, width = sizes[0], sizes[0] * sizes[1]
    found = windows_by_step(points(pairs), width=width, stride=stride, origin=origin)
    for step, _ in pairs:
        assert sum(it.start <= step < it.end for it in found) == sizes[1]
    assert sum(it.summary.count for it in found) == sizes[1] * len(pairs)
    starts = [it.start for it in found]
    assert [after - before for before, after in itertools.pairwise(starts)] == [stride] * (len(found) - 1)
    assert all((start - (min(pairs)[0] if origin is None else origin)) % stride == 0 for start in starts)


@given(series, st.integers(1, 12), st.integers(0, 11))
def test_a_value_is_never_left_out_where_the_stride_does_not_divide_the_width(
    pairs: list[tuple[int, float]], stride: int, more: int
) -> None:
    width = stride + more
    found = windows_by_step(points(pairs), width=width, stride=stride)
    for step, _ in pairs:
        assert sum(it.start <= step < it.end for it in found) in {width // stride, math.ceil(width / stride)}


@given(series, st.integers(1, 300))
def test_the_sums_of_windows_that_do_not_overlap_are_the_whole(pairs: list[tuple[int, float]], width: int) -> None:
    found = windows_by_step(points(pairs), width=width)
    assert math.fsum(it.total for it in found) == pytest.approx(math.fsum(value for _, value in pairs), abs=1e-6)
    assert found[0].start == min(step for step, _ in pairs), "a window that is wider than the whole is one window"
    assert found[-1].start <= max(step for step, _ in pairs) < found[-1].end


@given(series, widths)
def test_windows_of_time_are_those_of_steps_where_a_step_takes_a_second(
    pairs: list[tuple[int, float]], sizes: tuple[int, int]
) -> None:
    stride, width = sizes[0], sizes[0] * sizes[1]
    by_step = windows_by_step(points(pairs), width=width, stride=stride)
    by_time = windows_by_time(points(pairs), width=width * SECOND, stride=stride * SECOND)
    assert [((it.start - START) / SECOND, it.total) for it in by_time] == [(it.start, it.total) for it in by_step]
    assert [repr(it.summary) for it in by_time] == [repr(it.summary) for it in by_step]


@given(series, widths)
def test_without_the_empty_ones_the_others_are_the_same(pairs: list[tuple[int, float]], sizes: tuple[int, int]) -> None:
    stride, width = sizes[0], sizes[0] * sizes[1]
    kept = windows_by_step(points(pairs), width=width, stride=stride)
    full = windows_by_step(points(pairs), width=width, stride=stride, keep_empty=False)
    assert [repr(it) for it in full] == [repr(it) for it in kept if it.summary.count]


def test_a_long_gap_costs_nothing_when_empty_windows_are_left_out() -> None:
    found = windows_by_step(points([(0, 1.0), (10**9, 2.0)]), width=2, stride=1, keep_empty=False)
    assert [(it.start, it.total) for it in found] == [(-1, 1.0), (0, 1.0), (10**9 - 1, 2.0), (10**9, 2.0)]


def test_what_is_not_finite_is_counted_and_left_out_and_what_has_no_step_is_in_none() -> None:
    stepless = MetricPoint(name="loss", value=5.0, timestamp=START, sequence=99)
    [window] = windows_by_step([*points([(0, 1.0), (1, math.nan), (1, math.inf)]), stepless], width=10)
    assert (window.total, window.summary.count, window.summary.num_not_finite) == (1.0, 1, 2)


def test_nothing_has_no_windows() -> None:
    assert windows_by_step([], width=1) == ()
    assert windows_by_time([], width=SECOND) == ()
    assert windows_of_events([], width=SECOND) == ()


@pytest.mark.parametrize(("width", "stride"), [(0, None), (-1, None), (2, 0), (2, 3)])
def test_windows_that_leave_values_out_are_refused(width: int, stride: int | None) -> None:
    makes: list[Callable[[], object]] = [
        lambda: windows_by_step([], width=width, stride=stride),
        lambda: windows_by_time([], width=width * SECOND, stride=None if stride is None else stride * SECOND),
    ]
    for make in makes:
        with pytest.raises(ValueError, match="must be positive"):
            make()


# Events


phases = st.lists(
    st.tuples(st.sampled_from(["start", "stop", "exception"]), st.integers(0, 9)), min_size=1, max_size=40
)


@given(phases, widths)
def test_events_and_the_spans_that_end_are_counted_once_for_each_window_that_reaches_over_them(
    told: list[tuple[str, int]], sizes: tuple[int, int]
) -> None:
    seconds = np.cumsum([after for _, after in told])
    events = [
        EventRecord(name=f"stage.{phase}", timestamp=START + int(second) * SECOND, sequence=i)
        for i, ((phase, _), second) in enumerate(zip(told, seconds, strict=True))
    ]
    stride = sizes[0] * SECOND
    found = windows_of_events(events, width=stride * sizes[1], stride=stride)
    ended = [span for span in spans_of(events) if span.seconds is not None]
    assert sum(it.num_events for it in found) == sizes[1] * len(events)
    assert sum(it.num_failed for it in found) == sizes[1] * sum(span.error is not None for span in ended)
    assert sum(it.num_succeeded for it in found) == sizes[1] * sum(span.error is None for span in ended)
    for window in found:
        took_N = [
            span.seconds
            for span in ended
            if span.seconds is not None and window.start <= span.started + span.seconds * SECOND < window.end
        ]
        assert window.seconds.count == len(took_N)
        if took_N:
            assert window.seconds.mean == pytest.approx(float(np.mean(took_N)))


# Since, until, last


@given(series, st.integers(-60, 210), st.integers(-60, 210), st.none() | st.integers(0, 70))
def test_within_gives_the_newest_of_those_between(
    pairs: list[tuple[int, float]], since: int, until: int, last: int | None
) -> None:
    found = within(points(pairs), since=START + since * SECOND, until=START + until * SECOND, last=last)
    fitting = sorted(step for step, _ in pairs if since <= step <= until)
    assert [it.step for it in found] == (fitting if last is None else fitting[len(fitting) - min(last, len(fitting)) :])


def test_within_takes_all_when_nothing_is_asked_and_refuses_a_negative_number() -> None:
    assert len(within(points([(2, 1.0), (1, 1.0)]))) == 2
    with pytest.raises(ValueError, match="0 or more"):
        within(points([(2, 1.0)]), last=-1)
