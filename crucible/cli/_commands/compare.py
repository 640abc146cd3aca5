"""`crucible compare`: how two runs differ at their ends."""

import functools

import anyio

from crucible.cli._options import RUNS, Run, Runs
from crucible.cli._outcome import Outcome
from crucible.cli._tables import table
from crucible.effects import Failure, Success
from crucible.telemetry.loading import load_run
from crucible.telemetry.series import series_of

_COLUMNS = ("metric", "A", "B", "B - A", "95 % interval", "values")
_CAUTION = (
    "Levels are means of the last values. The interval is of the noise between steps, not between seeds:"
    " for a claim about configurations, compare several seeds (crucible report A1 A2 B1 B2)."
)


def compare(a: Run, b: Run, /, *, metric: str | None = None, runs: Runs = RUNS) -> Outcome:
    """Compare the ends of two runs, metric by metric.

    Args:
        a: the baseline: a run's id or the beginning of it, its folder, or its file
        b: what is compared with it
        metric: only this one (loss, eval/accuracy, ...)
        runs: where run ids are looked for
    """
    from crucible.telemetry.report import compared_ends

    series = []
    for asked in (a, b):
        found = anyio.run(functools.partial(load_run, asked, runs=runs))
        if isinstance(found, Failure):
            return Failure(found.failure())
        series.append(series_of(found.unwrap().points))
    shared = sorted(set(series[0]) & set(series[1]))
    if metric is not None and metric not in shared:
        return Failure(f"no metric {metric!r} in both runs: they share {', '.join(shared) or 'none'}")
    rows = [compared_ends(series[0][name], series[1][name]) for name in ([metric] if metric else shared)]
    return (
        Success(f"{table(_COLUMNS, [row.cells for row in rows])}\n\n{_CAUTION}")
        if rows
        else Failure("the runs share no metric")
    )
