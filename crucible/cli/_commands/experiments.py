"""`crucible experiment`: starts, lists, pauses, resumes, stops, tags and archives experiments, whichever process their runs are in."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import attrs
import tyro

from crucible.cli._options import RUNS, Runs
from crucible.cli._outcome import Group, Outcome
from crucible.cli._tables import table
from crucible.effects import Eff, Failure, Handlers, Result, Success
from crucible.telemetry.experiments import (
    Design,
    Experiment,
    Status,
    archive,
    get_experiment,
    list_experiments,
    pause,
    resume,
    start_experiment,
    stop,
    tag,
)
from crucible.telemetry.loading import find_runs
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore, SqliteMetricsStore

E = TypeVar("E")

Id: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EXPERIMENT")]
"""An experiment's id, or the beginning of it."""

Name: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]

Tags: TypeAlias = Annotated[tuple[str, ...], tyro.conf.arg(metavar="[TAG ...]", help_behavior_hint="")]

MoreTags: TypeAlias = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[TAG ...]", help_behavior_hint="")
]

_COLUMNS = ("experiment", "name", "condition", "status", "runs", "tags", "started")


@attrs.frozen(kw_only=True)
class _Plan:
    """What an experiment is for.

    Args:
        hypothesis: what it is to show
        condition: the arm of a comparison that its runs are
        tags: to find it by
        sample_size: how many runs it takes
        seed: of its runs, for who repeats it
    """

    hypothesis: str = ""
    condition: str = "default"
    tags: Tags = ()
    sample_size: int | None = None
    seed: int | None = None


def _start(name: Name, /, *, plan: Annotated[_Plan, tyro.conf.OmitArgPrefixes] = _Plan(), runs: Runs = RUNS) -> Outcome:
    """Start an experiment and print its id.

    Args:
        name: what to call it
        plan: what it is for
        runs: the folder that its runs are kept in
    """
    from crucible.kitchen.provenance import surroundings

    try:
        design = Design(name=name, environment=surroundings(), **attrs.asdict(plan))
    except ValueError:
        return Failure("an experiment needs a name, and a sample size, where there is one, of 1 or more")
    return _stores(runs).run(start_experiment(design)).map(lambda experiment: experiment.id)


def _list(*, tag: str | None = None, status: Status | None = None, runs: Runs = RUNS) -> Outcome:
    """List the experiments, oldest first.

    Args:
        tag: only those that have this tag
        status: only those of this status
        runs: the folder that they are kept in
    """
    if not runs.is_dir():
        return Failure(f"{runs}: no such folder (say where experiments are with --runs FOLDER)")
    found = _stores(runs).run(list_experiments(tag=tag, status=status))
    return found.map(lambda them: table(_COLUMNS, [_row(it) for it in them]) if them else "no experiments")


def _show(experiment: Id, /, *, runs: Runs = RUNS) -> Outcome:
    """Show what is known of an experiment.

    Args:
        experiment: its id, or the beginning of it
        runs: the folder that it is kept in
    """
    return _with(runs, experiment, get_experiment).map(_shown)


def _pause(experiment: Id, /, *, runs: Runs = RUNS) -> Outcome:
    """Let the runs of an experiment wait before their next calls.

    Args:
        experiment: its id, or the beginning of it
        runs: the folder that it is kept in
    """
    return _with(runs, experiment, pause).map(_standing)


def _resume(experiment: Id, /, *, runs: Runs = RUNS) -> Outcome:
    """Let the runs of a paused experiment go on.

    Args:
        experiment: its id, or the beginning of it
        runs: the folder that it is kept in
    """
    return _with(runs, experiment, resume).map(_standing)


def _stop(experiment: Id, /, *, runs: Runs = RUNS) -> Outcome:
    """End the runs of an experiment; it takes no more.

    Args:
        experiment: its id, or the beginning of it
        runs: the folder that it is kept in
    """
    return _with(runs, experiment, stop).map(_standing)


def _tag(experiment: Id, tags: MoreTags = (), /, *, remove: Tags = (), runs: Runs = RUNS) -> Outcome:
    """Put tags on an experiment, or take them off.

    Args:
        experiment: its id, or the beginning of it
        tags: to put on it
        remove: to take off it
        runs: the folder that it is kept in
    """
    if not tags and not remove:
        return Failure("no tag: name one, or one to --remove")
    changed = _with(runs, experiment, lambda id_: tag(id_, *tags, remove=remove))
    return changed.map(lambda it: f"{it.id} has the tags {', '.join(it.tags)}" if it.tags else f"{it.id} has no tags")


def _archive(experiment: Id, /, *, to: Path, delete_runs: bool = False, runs: Runs = RUNS) -> Outcome:
    """Write a stopped experiment and all of its runs to a folder, and check that it can be read.

    Args:
        experiment: its id, or the beginning of it
        to: the folder to write, which is not there yet
        delete_runs: forget its runs afterwards
        runs: the folder that it is kept in
    """
    known = _with(runs, experiment, get_experiment)
    if isinstance(known, Failure):
        return Failure(known.failure())
    below = [it for it in find_runs(runs) if it.run_id in known.unwrap().run_ids and it.folder != runs]
    if below:
        where = ", ".join(f"{it.run_id} is kept in {it.folder}" for it in below)
        return Failure(f"{where}: move the files of runs to {runs}, beside their experiment, to archive them with it")
    done = _with(runs, experiment, lambda id_: archive(id_, to, delete_runs=delete_runs))
    return done.map(lambda it: f"{_standing(it)} in {it.archive} (runs: {len(it.run_ids)})")


EXPERIMENT = Group(
    about="Start, list, pause, resume, stop, tag and archive experiments (groups of runs).",
    commands={
        "start": _start,
        "list": _list,
        "show": _show,
        "pause": _pause,
        "resume": _resume,
        "stop": _stop,
        "tag": _tag,
        "archive": _archive,
    },
)
"""`crucible experiment ...`."""


def _stores(runs: Path) -> Handlers[EventStore | MetricsStore]:
    """Open the stores of a folder: JSON lines where it has some and no database, else SQLite."""
    if any(runs.glob("*.events.jsonl")) and not any(runs.glob("*.sqlite")):
        return EventStore.handled_by(JsonlEventStore(runs)) | MetricsStore.handled_by(JsonlMetricsStore(runs))
    return EventStore.handled_by(SqliteEventStore(runs)) | MetricsStore.handled_by(SqliteMetricsStore(runs))


def _with(
    runs: Path, asked: str, make: Callable[[str], Eff[Experiment, E, EventStore | MetricsStore]]
) -> Result[Experiment, object]:
    """Do something with the experiment whose id, or the beginning of it, was typed."""
    stores = _stores(runs)
    if isinstance(stores.run(get_experiment(asked)), Success):
        return stores.run(make(asked)).alt(_any)
    known = stores.run(list_experiments())
    if isinstance(known, Failure):
        return Failure(known.failure())
    ids = [it.id for it in known.unwrap()]
    fitting = [id_ for id_ in ids if id_.startswith(asked)]
    if len(fitting) != 1:
        there = ", ".join(fitting or ids) or "none (say where they are with --runs FOLDER)"
        what = f"{asked!r} fits several" if fitting else f"no experiment {asked!r} in {runs}"
        return Failure(f"{what}: there are {there}")
    return stores.run(make(fitting[0])).alt(_any)


def _any(error: object) -> object:
    return error


def _row(it: Experiment) -> tuple[str, ...]:
    size = "" if it.sample_size is None else f"/{it.sample_size}"
    started = f"{it.started_at:%Y-%m-%d %H:%M:%S}"
    return (it.id, it.name, it.condition, it.status, f"{len(it.run_ids)}{size}", " ".join(it.tags), started)


def _standing(it: Experiment) -> str:
    return f"{it.id} is {it.status}"


def _shown(it: Experiment) -> str:
    now = datetime.now(UTC)
    facts: dict[str, object] = {
        "experiment": it.id,
        "name": it.name,
        "hypothesis": it.hypothesis,
        "condition": it.condition,
        "status": it.status,
        "tags": " ".join(it.tags),
        "started": f"{it.started_at:%Y-%m-%d %H:%M:%S} UTC",
        "stopped": "" if it.stopped_at is None else f"{it.stopped_at:%Y-%m-%d %H:%M:%S} UTC",
        "paused": f"{it.paused_seconds_at(now):.0f} s (pauses: {it.pause_count})" if it.pause_count else "",
        "sample size": it.sample_size,
        "seed": it.seed,
        "fingerprint": it.fingerprint,
        "git revision": it.git_revision,
        "archive": it.archive,
        "metadata": dict(it.metadata) or "",
        "runs": ", ".join(it.run_ids),
    }
    return "\n".join(f"{name:<13} {fact}" for name, fact in facts.items() if fact not in (None, ""))
