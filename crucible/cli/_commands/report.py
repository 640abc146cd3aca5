"""`crucible report`: one HTML page about one or more runs."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path

import anyio

from crucible.cli._options import RUNS, MoreRuns, Run, Runs, Target
from crucible.cli._outcome import Outcome
from crucible.effects import Failure, Result, Success
from crucible.telemetry.experiments import RunAdded, is_experiment
from crucible.telemetry.loading import LoadedRun, RunPlace, SeveralRuns, load_run


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
        run: a run's id or the beginning of it, its folder, or its file; an experiment's stands for all of its runs, and a
            beginning or a folder of several for all of them
        more: more runs, whose curves are drawn over those of the first
        to: the page to write
        title: of the page; the ids of the runs when absent
        runs: where run ids are looked for
        show: open the page in a browser
    """
    loaded = anyio.run(_loaded, (run, *more), runs)
    if isinstance(loaded, Failure):
        return Failure(loaded.failure())
    from crucible.telemetry.report import write_report

    try:
        size = write_report(loaded.unwrap(), to, title=title)
    except ImportError as error:
        return Failure(error)
    except OSError as error:
        return Failure(f"{to}: {error.strerror or error}")
    if show:
        webbrowser.open(to.resolve().as_uri())
    return Success(f"{to} ({size / 1000:,.0f} kB)")


async def _loaded(asked: Sequence[str], runs: Path) -> Result[tuple[LoadedRun, ...], object]:
    """Read runs, each once; in the place of an experiment its runs, and of what fits several all of them."""
    found: dict[str, LoadedRun] = {}
    waiting: list[str | RunPlace] = list(asked)
    while waiting:
        where = waiting.pop(0)
        result = await load_run(where, runs=runs)
        if isinstance(result, Failure):
            missed = result.failure()
            if not isinstance(missed, SeveralRuns):
                return Failure(missed)
            waiting = [*missed.places, *waiting]
            continue
        run = result.unwrap()
        if is_experiment(run.info):
            its_runs = [str(event.attributes["run_id"]) for event in run.events if event.name == RunAdded.NAME]
            if not its_runs and isinstance(where, str):
                return Failure(f"experiment {run.run_id} has no runs yet")
            waiting = [*its_runs, *waiting]
        else:
            found.setdefault(run.run_id, run)
    return Success(tuple(found.values())) if found else Failure("the experiments have no runs yet")
