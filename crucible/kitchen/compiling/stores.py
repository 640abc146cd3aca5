"""What is remembered of runs: telemetry, the registry of models, the feedback of users. SQLite, all of it."""

from collections.abc import Iterator
from pathlib import Path

from crucible.effects import Port
from crucible.ir import Experiment, ExportSpec, FeedbackLoopSpec, Problem
from crucible.kitchen.compiling.supplies import Found, Supply
from crucible.kitchen.handlers import sqlite
from crucible.kitchen.ports import FeedbackClient, ModelRegistry
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.train.types import is_blob_path


def telemetry_found() -> Iterator[Found]:
    """Give the stores of what a run tells, in its own folder."""
    yield Supply(
        said="SQLite, in the folder of the run",
        make=lambda places: (
            MetricsStore.handled_by(SqliteMetricsStore(places.run))
            | EventStore.handled_by(SqliteEventStore(places.run))
        ),
    )


def registry_found(needed: frozenset[type[Port]]) -> Iterator[Found]:
    """Give the registry that all runs of a folder share."""
    if ModelRegistry in needed:
        yield Supply(
            said="SQLite, registry.sqlite beside the runs",
            make=lambda places: sqlite.registry(places.runs / "registry.sqlite"),
        )


def feedback_found(experiment: Experiment, needed: frozenset[type[Port]]) -> Iterator[Found]:
    """Give the feedback of users, where a stage reads it; what is said of keeping it cannot be acted on in a run."""
    spec = experiment.feedback
    if spec is None:
        return
    if FeedbackClient not in needed:
        message = "no stage of this pipeline reads feedback"
        yield Problem(path="feedback", message=message, fix="leave it out, or train by the method feedback_loop")
        return
    usual = type(spec)(storage=spec.storage, path=spec.path)
    for name in ("sampling_rate", "feedback_types", "thresholds", "curation"):
        if getattr(spec, name) != getattr(usual, name):
            message = "a run reads feedback, and keeps none"
            fix = "leave it out: thresholds and curation stand in the training, the rest is for who records"
            yield Problem(path=f"feedback.{name}", message=message, fix=fix)
    if isinstance(experiment.training, FeedbackLoopSpec):
        yield from _export_problems(experiment.training.export)
    path, folder = spec.path, spec.export_folder
    if spec.storage == "sqlite" and path is not None:
        if not Path(path).exists():
            fix = "correct the path, or record exchanges first"
            yield Problem(path="feedback.path", message=f"there is no file {path}", fix=fix)
        yield Supply(
            said=f"SQLite, {path}",
            make=lambda places: sqlite.feedback(path, places.run if folder is None else folder),
        )


def _export_problems(export: ExportSpec) -> Iterator[Problem]:
    """Name what no export of the feedback kept here can be."""
    if export.format != "jsonl":
        message = f"feedback that is kept here is not exported as {export.format}"
        yield Problem(path="training.export.format", message=message, fix="set it to jsonl")
    if not is_blob_path(export.path):
        message = f"must be a path below the folder of exports, not {export.path!r}"
        fix = "write one such as today.jsonl; feedback.export_folder says below which folder"
        yield Problem(path="training.export.path", message=message, fix=fix)
