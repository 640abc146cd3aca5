"""What is made of the results of a run: files and texts of what it told, and the comparison with an earlier run."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import anyio
import attrs

from crucible.effects import Failure, Json, Result, Success
from crucible.ir import Experiment, OutputSpec, Problem
from crucible.kitchen.compiling.options import option_problems
from crucible.kitchen.compiling.supplies import missing_extra
from crucible.telemetry.export import Row, event_rows, export_rows, point_rows
from crucible.telemetry.loading import LoadedRun, RunPlace, find_runs, load_run, stores_of
from crucible.telemetry.types import MetricPoint

What = Literal["events", "points", "summary"]

_ENDINGS = {"csv": ".csv", "html": ".html", "json": ".json", "markdown": ".md", "parquet": ".parquet"}


@attrs.frozen(kw_only=True)
class Written:
    """What became of an output: the file, or the text for the standard output."""

    name: str
    path: Path | None = None
    text: str = ""


def result_problems(experiment: Experiment) -> Iterator[Problem]:
    """Name outputs with options that no writer takes, and packages that are missing for what is to be made."""
    for index, output in enumerate(experiment.outputs):
        path = f"outputs[{index}]"
        yield from option_problems(f"the output {output.name}", _told, output.options, f"{path}.options")
        needs = {"parquet": ("analysis", "pyarrow"), "html": ("cli", "jinja2")}
        if set(output.formats) == {"html"} and "what" in output.options:
            message = "an html page is about the whole run"
            yield Problem(path=f"{path}.options.what", message=message, fix="leave it out, or take other formats")
        for form in output.formats:
            missing = missing_extra(*needs[form], path=f"{path}.formats") if form in needs else None
            if missing is not None:
                yield missing
    if experiment.baseline is not None:
        missing = missing_extra("analysis", "scipy", "numpy", "datasketches", path="baseline")
        if missing is not None:
            yield missing


def written(output: OutputSpec, run: LoadedRun, folder: Path) -> Iterator[Written]:
    """Write an output in all its formats.

    Raises: OSError when a file cannot be written.
    """
    for form, name in zip(output.formats, names_of(output), strict=True):
        data = _data(form, run, output.options.get("what", "summary" if form == "markdown" else "points"))
        if output.sink == "stdout":
            yield Written(name=name, text=data.decode())
            continue
        path = Path(output.path or folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        yield Written(name=name, path=path)


def names_of(output: OutputSpec) -> tuple[str, ...]:
    """Give the names of an output's files, in the order of its formats.

    >>> names_of(OutputSpec(name="results", formats=("markdown", "csv")))
    ('results.md', 'results.csv')
    """
    return tuple(f"{output.name}{_ENDINGS[form]}" for form in output.formats)


def summary_rows(points: Sequence[MetricPoint]) -> list[Row]:
    """Give a row for each metric: how many points, and the first, the last, the lowest and the highest value.

    >>> from datetime import UTC, datetime
    >>> point = MetricPoint(name="loss", value=0.5, step=1, timestamp=datetime(2026, 1, 1, tzinfo=UTC), sequence=0)
    >>> summary_rows([point])
    [{'metric': 'loss', 'points': 1, 'first': 0.5, 'last': 0.5, 'lowest': 0.5, 'highest': 0.5}]
    """
    values: dict[str, list[float]] = {}
    for point in points:
        values.setdefault(point.name, []).append(point.value)
    return [
        {
            "metric": name,
            "points": len(series),
            "first": series[0],
            "last": series[-1],
            "lowest": min(series),
            "highest": max(series),
        }
        for name, series in sorted(values.items())
    ]


def find_baseline(experiment: str, runs: Path) -> Result[LoadedRun, str]:
    """Give the newest run of an experiment that has told any metric.

    Fails: a sentence, when there is none.
    """
    return anyio.run(_newest_run, experiment, runs)


async def _newest_run(experiment: str, runs: Path) -> Result[LoadedRun, str]:
    began: list[tuple[str, RunPlace]] = []
    for place in find_runs(runs):
        known = await stores_of(place)[0].list_runs()
        began += [
            (str(info.metadata.get("started_at", "")), place)
            for info in known.value_or(())
            if info.run_id == place.run_id and info.metadata.get("experiment") == experiment
        ]
    for _, place in sorted(began, reverse=True):
        loaded = await load_run(place)
        if not isinstance(loaded, Failure) and loaded.unwrap().points:
            return Success(loaded.unwrap())
    return Failure(f"there is no run of the experiment {experiment!r} in {runs} to compare with")


def _data(form: str, run: LoadedRun, what: Json) -> bytes:
    if form == "html":
        from crucible.telemetry.report import render_report  # noqa: PLC0415  # it needs an extra

        return render_report([run]).encode()
    rows = _told(what=what if what in ("events", "summary") else "points")(run)  # type: ignore[arg-type]  # checked before
    if form == "markdown" and not rows:
        return b"No metric was told.\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{_ENDINGS[form]}"
        export_rows(rows, path)
        return path.read_bytes()


def _told(*, what: What = "points") -> Callable[[LoadedRun], Sequence[Row]]:
    """Say what of a run to write."""
    if what == "events":
        return lambda run: event_rows(run.run_id, run.events)
    if what == "points":
        return lambda run: point_rows(run.run_id, run.points)
    return lambda run: summary_rows(run.points)
