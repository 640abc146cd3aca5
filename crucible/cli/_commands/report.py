"""`crucible report`: one HTML page about one or more runs."""

import functools
import webbrowser
from pathlib import Path

import anyio

from crucible.cli._options import RUNS, MoreRuns, Run, Runs, Target
from crucible.cli._outcome import Outcome
from crucible.effects import Failure, Success
from crucible.telemetry.loading import LoadedRun, load_run


def report(
    run: Run,
    more: MoreRuns = (),
    /,
    *,
    to: Target = Path("report.html"),
    title: str = "",
    runs: Runs = RUNS,
    show: bool = False,
) -> Outcome:
    """Write one HTML page about one or more runs: curves, samples, stages, configuration, differences.

    Args:
        run: a run's id or the beginning of it, its folder, or its file
        more: more runs, whose curves are drawn over those of the first
        to: the page to write
        title: of the page; the ids of the runs when absent
        runs: where run ids are looked for
        show: open the page in a browser
    """
    loaded: list[LoadedRun] = []
    for asked in (run, *more):
        found = anyio.run(functools.partial(load_run, asked, runs=runs))
        if isinstance(found, Failure):
            return Failure(found.failure())
        loaded.append(found.unwrap())
    from crucible.telemetry.report import write_report

    try:
        size = write_report(loaded, to, title=title)
    except ImportError as error:
        return Failure(error)
    except OSError as error:
        return Failure(f"{to}: {error.strerror or error}")
    if show:
        webbrowser.open(to.resolve().as_uri())
    return Success(f"{to} ({size / 1000:,.0f} kB)")
