"""What Trackio's own storage and API find of a run."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

from crucible.kitchen.handlers import trackio
from crucible.telemetry.sinks import SinkContent

FOLDER = Path(tempfile.mkdtemp(prefix="trackio-"))
"""Trackio has one folder in a process, so all tests share it, each with a project of its own."""

atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
trackio.sink("any", folder=FOLDER)


def read_run(project: str, name: str) -> SinkContent:
    from trackio.api import Api
    from trackio.sqlite_storage import SQLiteStorage

    points: dict[str, list[tuple[int | None, float]]] = {}
    for row in SQLiteStorage.get_logs(project, run=name, run_id=name):
        for key in row.keys() - {"step", "timestamp"}:
            points.setdefault(key, []).append((row["step"], row[key]))
    traces: list[dict[str, Any]] = SQLiteStorage.get_traces(project, run=name, run_id=name)
    samples = [tuple(message["content"] for message in trace["messages"]) for trace in traces]
    [run] = [run for run in Api().runs(project) if run.name == name]
    metadata = {key: value if isinstance(value, str) else str(value) for key, value in (run.config or {}).items()}
    return SinkContent(points=points, samples=sorted(samples), metadata=metadata)
