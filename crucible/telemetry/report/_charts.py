"""Line charts as values: paths, ticks and what a reader's pointer asks for. The template writes them as inline SVG."""

import math
from collections.abc import Mapping, Sequence

import attrs

from crucible.effects import Json
from crucible.telemetry.report._numbers import number
from crucible.telemetry.report._scales import DRAWABLE, Scale, fitted, fitted_log
from crucible.telemetry.report._thinning import thinned
from crucible.telemetry.series import Series
from crucible.telemetry.units import unit_of

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 50, 408, 10, 184
_DOTS_UP_TO = 30


@attrs.frozen(kw_only=True)
class Tick:
    """A label on an axis."""

    place: float
    label: str


@attrs.frozen(kw_only=True)
class View:
    """A chart on one kind of vertical axis.

    Args:
        paths: of the lines, by the number of the run.
        dots: of the points, for lines of few.
        ticks: of the vertical axis.
        low: the value at the lower end of the axis.
        high: at the upper end.
    """

    paths: Mapping[int, str]
    dots: Mapping[int, str]
    ticks: tuple[Tick, ...]
    low: float
    high: float


@attrs.frozen(kw_only=True)
class Chart:
    """One metric of one or more runs, by step.

    Args:
        name: of the metric.
        linear: how it looks on a linear axis.
        log: on a logarithmic one, where that shows more.
        marks: places of values that are not finite, by run.
        steps: labels of the horizontal axis.
        num_not_finite: how many values are NaN, infinite or too large to draw.
        says: the chart in a sentence, for who cannot see it.
        data: the points drawn, for the pointer: `[number of the run, steps, values]`.
        first_step: at the left end.
        last_step: at the right end.
    """

    name: str
    linear: View
    log: View | None
    marks: Mapping[int, str]
    steps: tuple[Tick, ...]
    num_not_finite: int
    says: str
    data: Json
    first_step: float
    last_step: float

    @property
    def unit(self) -> str:
        """What its values are measured in, where that is known."""
        return unit_of(self.name)

    @property
    def for_pointer(self) -> Json:
        """What the page's script needs to read values off the chart."""
        return {
            "series": self.data,
            "steps": [self.first_step, self.last_step],
            "linear": [self.linear.low, self.linear.high],
            "log": None if self.log is None else [self.log.low, self.log.high],
            "frame": [LEFT, RIGHT, TOP, BOTTOM],
        }


def chart_of(name: str, series: Mapping[int, Series], labels: Sequence[str]) -> Chart:
    """Draw a metric.

    Args:
        name: of the metric.
        series: by the number of the run.
        labels: of all runs, in the order of their numbers.

    >>> falling = Series(name="loss", steps=(0, 1, 2, 3), values=(8.0, 4.0, float("nan"), 1.0))
    >>> chart = chart_of("loss", {0: falling}, ["a run"])
    >>> chart.linear.paths[0].count("M"), chart.num_not_finite, chart.says
    (2, 1, 'loss by step. a run: from 8 at step 0 to 1 at step 3, between 1 and 8; 1 value is not finite.')
    """
    shown = {run: thinned(each) for run, each in series.items()}
    values = [value for each in shown.values() for value in each.values if _is_drawable(value)]
    steps = [step for each in shown.values() for step in each.steps]
    across = fitted([float(min(steps)), float(max(steps))], start=LEFT, end=RIGHT, margin=0.0)
    upwards = fitted(values, start=BOTTOM, end=TOP)
    log = fitted_log(values, start=BOTTOM, end=TOP)
    return Chart(
        name=name,
        linear=_view(shown, across, upwards),
        log=None if log is None else _view(shown, across, log),
        marks={run: marks for run, each in shown.items() if (marks := _marks(each, across))},
        steps=tuple(
            Tick(place=_short(across.at(tick)), label=number(tick)) for tick in across.ticks(4) if tick % 1 == 0
        ),
        num_not_finite=sum(not _is_drawable(value) for each in series.values() for value in each.values),
        says=f"{name} by step. " + " ".join(_sentence(labels[run], each) for run, each in series.items()),
        data=[[run, list(each.steps), [_exact(value) for value in each.values]] for run, each in shown.items()],
        first_step=across.low,
        last_step=across.high,
    )


def _view(shown: Mapping[int, Series], across: Scale, upwards: Scale) -> View:
    return View(
        paths={run: _path(each, across, upwards) for run, each in shown.items()},
        dots={run: _dots(each, across, upwards) for run, each in shown.items() if len(each) <= _DOTS_UP_TO},
        ticks=tuple(Tick(place=_short(upwards.at(tick)), label=number(tick)) for tick in upwards.ticks(5)),
        low=upwards.low,
        high=upwards.high,
    )


def _path(series: Series, across: Scale, upwards: Scale) -> str:
    """Write a line that is broken where a value is not finite; a point between two gaps is a dot."""
    parts: list[str] = []
    length = 0
    for step, value in zip(series.steps, series.values, strict=True):
        if _is_drawable(value):
            parts.append(f"{'L' if length else 'M'}{_short(across.at(step)):g} {_short(upwards.at(value)):g}")
            length += 1
        else:
            parts += ["h0"] if length == 1 else []
            length = 0
    return "".join([*parts, *(["h0"] if length == 1 else [])])


def _dots(series: Series, across: Scale, upwards: Scale) -> str:
    places = (
        f"M{_short(across.at(step)):g} {_short(upwards.at(value)):g}h0"
        for step, value in zip(series.steps, series.values, strict=True)
        if _is_drawable(value)
    )
    return "".join(places)


def _marks(series: Series, across: Scale) -> str:
    """Write a small cross at the lower edge for each place where values are not finite."""
    odd = (step for step, value in zip(series.steps, series.values, strict=True) if not _is_drawable(value))
    places = dict.fromkeys(round(across.at(step)) for step in odd)
    return "".join(f"M{place - 3} {BOTTOM - 6}l6 6m0 -6l-6 6" for place in places)


def _sentence(label: str, series: Series) -> str:
    finite = [(step, value) for step, value in zip(series.steps, series.values, strict=True) if _is_drawable(value)]
    num_odd = len(series) - len(finite)
    odd = f"{num_odd} value{'s are' if num_odd > 1 else ' is'} not finite" if num_odd else ""
    if not finite:
        return f"{label}: {odd}."
    (first, began), (last, ended) = finite[0], finite[-1]
    values = [value for _, value in finite]
    told = f"from {number(began)} at step {first} to {number(ended)} at step {last}"
    between = f"between {number(min(values))} and {number(max(values))}"
    return f"{label}: {told}, {between}{'; ' if odd else ''}{odd}."


def _is_drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= DRAWABLE


def _short(place: float) -> float:
    return round(place, 1)


def _exact(value: float) -> float | str:
    """Give a value that JSON can write, in as many digits as a reader wants."""
    return float(f"{value:.6g}") if math.isfinite(value) else number(value)
