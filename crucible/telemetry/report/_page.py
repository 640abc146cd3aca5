"""A report as a value: everything that the template writes, worked out."""

import math
from collections.abc import Mapping, Sequence

import attrs

from crucible.telemetry.analysis import Summary, spans_of, summarize_series
from crucible.telemetry.analysis.summary import Better
from crucible.telemetry.loading import LoadedRun, standing_of
from crucible.telemetry.report._cards import Card, card_of
from crucible.telemetry.report._charts import Chart, chart_of
from crucible.telemetry.report._configuration import Setting, settings_of, surroundings_of
from crucible.telemetry.report._differences import (
    Difference,
    GroupComparison,
    baseline_of,
    differences,
    group_comparisons,
    groups_of,
)
from crucible.telemetry.report._effects import Effects, calls_of, effects_of
from crucible.telemetry.report._names import short_names
from crucible.telemetry.report._numbers import number
from crucible.telemetry.report._scales import DRAWABLE
from crucible.telemetry.report._timeline import Timeline, timeline_of
from crucible.telemetry.report._told import Samples, problems_of, samples_of
from crucible.telemetry.series import Series, series_of

_HIGHER = ("accuracy", "reward", "margin", "score", "success", "correct", "win", "f1", "bleu")
_LOWER = ("loss", "kl", "gap_sample", "perplexity", "error", "failed", "nll")
_FIRST = ("loss", "reward", "accuracy", "margin", "kl", "gap_sample")


@attrs.frozen(kw_only=True)
class Detail:
    """What is shown of each run alone."""

    card: Card
    samples: Samples
    timeline: Timeline
    effects: Effects | None
    problems: tuple[str, ...]


@attrs.frozen(kw_only=True)
class SummaryRow:
    """One metric of one run in numbers; `best` says at which step it was best, where it is known what is better."""

    name: str
    run: int
    last: float
    summary: Summary
    best: str


@attrs.frozen(kw_only=True)
class Page:
    """A report.

    Args:
        charts: of the metrics that a reader looks for first.
        more_charts: of the others.
        constants: metrics with one value all the time, in words.
        groups: the numbers of runs that differ in nothing but seeds.
        tests: of two such groups.
        baseline: the number of the run that the others are compared with.
        short_names: of the runs, for tables.
    """

    title: str
    details: tuple[Detail, ...]
    charts: tuple[Chart, ...]
    more_charts: tuple[Chart, ...]
    constants: tuple[str, ...]
    summaries: tuple[SummaryRow, ...]
    differences: tuple[Difference, ...]
    groups: tuple[tuple[int, ...], ...]
    tests: tuple[GroupComparison, ...]
    settings: tuple[Setting, ...]
    surroundings: tuple[Setting, ...]
    baseline: int
    short_names: tuple[str, ...]


def page_of(runs: Sequence[LoadedRun], *, title: str) -> Page:
    """Work out a report.

    Raises: ValueError for no runs.
    """
    if not runs:
        raise ValueError("a report needs a run")
    series = [series_of(run.points) for run in runs]
    labels = [run.run_id for run in runs]
    by_name = _by_name(series)
    constant = {name for name, each in by_name.items() if _is_constant(each)}
    charts = [chart_of(name, by_name[name], labels) for name in by_name if name not in constant]
    found, groups = differences(series) if len(runs) > 1 else (), groups_of(runs)
    return Page(
        title=title,
        details=tuple(_detail(index, run, series[index]) for index, run in enumerate(runs)),
        charts=tuple(chart for chart in charts if _rank(chart.name) < len(_FIRST)),
        more_charts=tuple(chart for chart in charts if _rank(chart.name) >= len(_FIRST)),
        constants=tuple(f"{name} {number(_values(by_name[name])[0])}" for name in sorted(constant)),
        summaries=tuple(_summary(name, run, each) for name, them in by_name.items() for run, each in them.items()),
        differences=found,
        groups=groups,
        tests=group_comparisons(groups, found),
        settings=settings_of([run.info for run in runs]),
        surroundings=surroundings_of([run.info for run in runs]),
        baseline=baseline_of(series),
        short_names=short_names(labels),
    )


def better_of(name: str) -> Better | None:
    """Tell from the name of a metric which values are better; None where the name does not tell.

    >>> better_of("eval/accuracy"), better_of("held_out/teacher_kl"), better_of("grad_norm")
    ('higher', 'lower', None)
    """
    last = name.rpartition("/")[2]
    if any(word in last for word in _HIGHER):
        return "higher"
    return "lower" if any(word in last for word in _LOWER) else None


def _detail(index: int, run: LoadedRun, series: Mapping[str, Series]) -> Detail:
    calls = calls_of(run.events)
    standing = standing_of(run.events)
    stages = [span for span in spans_of(run.events) if span.name.endswith("stage.run")]
    return Detail(
        card=card_of(index, run, series),
        samples=samples_of(run.events),
        timeline=Timeline(rows=(), seconds=0.0)
        if standing.last_told is None
        else timeline_of(stages, until=standing.last_told),
        effects=effects_of(calls),
        problems=problems_of(run.events, calls, series),
    )


def _by_name(series: Sequence[Mapping[str, Series]]) -> dict[str, dict[int, Series]]:
    """Give the series of all runs by name, those that a reader looks for first at the front."""
    names = {name for each in series for name in each}
    ordered = sorted(names, key=lambda name: (_rank(name), name))
    return {name: {run: each[name] for run, each in enumerate(series) if name in each} for name in ordered}


def _rank(name: str) -> int:
    last = name.rpartition("/")[2]
    return next((rank for rank, word in enumerate(_FIRST) if word in last), len(_FIRST) + last.startswith("num_"))


def _values(series: Mapping[int, Series]) -> list[float]:
    return [value for each in series.values() for value in each.values]


def _is_constant(series: Mapping[int, Series]) -> bool:
    values = _values(series)
    return len(values) > 1 and math.isfinite(values[0]) and len(set(values)) == 1


def _summary(name: str, run: int, series: Series) -> SummaryRow:
    sized = attrs.evolve(series, values=tuple(value if abs(value) <= DRAWABLE else math.inf for value in series.values))
    better = better_of(name)
    summary = summarize_series(sized, better=better or "lower")
    best = "" if better is None or summary.best_step is None else f"{summary.best_step:,}"
    return SummaryRow(name=name, run=run, last=series.values[-1], summary=summary, best=best)
