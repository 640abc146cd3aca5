"""Trackio's local database as a sink."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from crucible.effects import Json, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.sinks import Ending, Sample, Sink, SinkRun, flat_metadata, guarded, log_rows, samples_in
from crucible.telemetry.types import EventRecord, MetricPoint

_FOLDER = "TRACKIO_DIR"
_RESERVED = frozenset({"project", "run", "timestamp", "step", "time", "metrics"})


class TrackioSink(Sink):
    """Writes `<folder>/<project>.db`."""

    def __init__(self, project: str, folder: Path | None) -> None:
        self._project = project
        if folder is not None:
            _use(folder.resolve())

    @property
    def name(self) -> str:
        return f"trackio project {self._project}"

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        return guarded(self.name, lambda: self._opened(run_id))

    def _opened(self, run_id: str) -> SinkRun:
        from trackio.sqlite_storage import SQLiteStorage

        SQLiteStorage.validate_project_name(self._project)
        SQLiteStorage.init_db(self._project)
        return _TrackioRun(self.name, self._project, run_id)


class _TrackioRun(SinkRun):
    def __init__(self, name: str, project: str, run_id: str) -> None:
        self._name = name
        self._project = project
        self._run_id = run_id
        self._config: dict[str, object] | None = None

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        """Keep it for the first rows: Trackio takes it with them."""
        self._config = {"_Created": str(metadata.get("started_at", "")), **flat_metadata(metadata)}
        return Success(None)

    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._write(points, events))

    def flush(self) -> Result[None, StoreError]:
        """Do nothing: what was written is committed."""
        return Success(None)

    def close(self, ending: Ending) -> Result[None, StoreError]:
        """Do nothing: Trackio has no place for how a run ended."""
        return Success(None)

    def _write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        rows = list(log_rows(points))
        samples = list(samples_in(events))
        if not rows and not samples:
            return
        SQLiteStorage.bulk_log(
            self._project,
            self._run_id,
            [{_legal(name): value for name, value in row.values.items()} for row in rows]
            + [{"sample": _trace(sample)} for sample in samples],
            steps=[row.step or 0 for row in rows] + [sample.step for sample in samples],
            timestamps=[row.timestamp.isoformat() for row in rows] + [each.timestamp.isoformat() for each in samples],
            config=self._config,
            log_ids=[f"{self._run_id}:{row.sequence}" for row in rows]
            + [f"{self._run_id}:sample:{sample.sequence}" for sample in samples],
            run_id=self._run_id,
        )
        self._config = None


def _use(folder: Path) -> None:
    """Let Trackio keep its databases in a folder: it reads where once, when it is imported.

    Raises: ValueError where it has read it, and it is another.
    """
    if "trackio.utils" in sys.modules:
        from trackio.utils import TRACKIO_DIR
    else:
        before = os.environ.get(_FOLDER)
        os.environ[_FOLDER] = str(folder)
        try:
            from trackio.utils import TRACKIO_DIR
        finally:
            if before is None:
                del os.environ[_FOLDER]
            else:
                os.environ[_FOLDER] = before
    if Path(TRACKIO_DIR).resolve() != folder:
        raise ValueError(f"trackio uses one folder in a process, and it is {TRACKIO_DIR} already, not {folder}")


def _trace(sample: Sample) -> Mapping[str, object]:
    messages = [{"role": "user", "content": sample.prompt}, {"role": "assistant", "content": sample.answer}]
    return {"_type": "trackio.trace", "messages": messages, "metadata": {"expected": sample.expected}, "spans": []}


def _legal(name: str) -> str:
    return f"__{name}" if name in _RESERVED else name
