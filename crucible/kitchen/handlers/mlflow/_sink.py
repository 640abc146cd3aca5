"""MLflow as a sink: one MLflow run for each run, found again by a tag."""

import hashlib
import math
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crucible.effects import Json, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.sinks import Ending, Sample, Sink, SinkRun, flat_metadata, guarded, samples_in
from crucible.telemetry.types import EventRecord, MetricPoint, exact

if TYPE_CHECKING:
    from mlflow import MlflowClient

INFINITE = "crucible.infinite."
"""Begins the tag that names the infinite values of a metric, as `step: value` with commas between."""

_KEY = "crucible.run"
_STATUS: Mapping[Ending, str] = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_METRICS, _PARAMS, _NAME_CHARACTERS, _PARAM_CHARACTERS, _TAG_CHARACTERS = 1000, 100, 250, 6000, 8000


class MlflowSink(Sink):
    """Writes to `<folder>/mlflow.db` and `<folder>/artifacts`, or to a tracking server."""

    def __init__(self, place: Path | str, experiment: str, tags: Mapping[str, str]) -> None:
        self._place = place
        self._experiment = experiment
        self._tags = tags

    @property
    def name(self) -> str:
        return f"mlflow in {self._place}"

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        return guarded(self.name, lambda: self._opened(run_id))

    def _opened(self, run_id: str) -> SinkRun:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        uri, artifacts = str(self._place), None
        if isinstance(self._place, Path):
            self._place.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{self._place.resolve() / 'mlflow.db'}"
            artifacts = (self._place.resolve() / "artifacts").as_uri()
        client = MlflowClient(uri)
        experiment = self._experiment_id(client, artifacts)
        key = hashlib.blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        found = client.search_runs([experiment], filter_string=f"tags.`{_KEY}` = '{key}'")
        if found:
            client.update_run(found[0].info.run_id, status="RUNNING")
            return _MlflowRun(self.name, client, found[0].info.run_id)
        tags = {**self._tags, _KEY: key, "crucible.run_id": run_id}
        made = client.create_run(experiment, tags=tags, run_name=run_id)
        return _MlflowRun(self.name, client, made.info.run_id)

    def _experiment_id(self, client: "MlflowClient", artifacts: str | None) -> str:
        """Give the experiment's id; another process may make it at the same time."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(client.create_experiment(self._experiment, artifact_location=artifacts))
            except MlflowException:
                found = client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return str(found.experiment_id)


class _MlflowRun(SinkRun):
    def __init__(self, name: str, client: "MlflowClient", run_id: str) -> None:
        self._name = name
        self._client = client
        self._id = run_id
        self._infinite: dict[str, list[str]] = {}

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._describe(metadata))

    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._write(points, events))

    def flush(self) -> Result[None, StoreError]:
        """Do nothing: what was logged is committed."""
        return Success(None)

    def close(self, ending: Ending) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._close(ending))

    def _close(self, ending: Ending) -> None:
        self._client.set_terminated(self._id, _STATUS[ending])

    def _describe(self, metadata: Mapping[str, Json]) -> None:
        from mlflow.entities import Param

        there = self._client.get_run(self._id).data.params
        flat = {_legal(name): str(value) for name, value in flat_metadata(metadata).items()}
        params = [Param(name, _cut(text, _PARAM_CHARACTERS)) for name, text in flat.items() if name not in there]
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(self._id, params=params[start : start + _PARAMS])
        self._client.log_text(self._id, exact(metadata), "metadata.json")

    def _write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_legal(point.name), point.value, int(point.timestamp.timestamp() * 1000), point.step or 0)
            for point in points
            if not math.isinf(point.value)
        ]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + _METRICS])
        self._name_infinite([point for point in points if math.isinf(point.value)])
        for sample in samples_in(events):
            self._log_sample(sample)

    def _name_infinite(self, points: Sequence[MetricPoint]) -> None:
        for point in points:
            tag = _cut(INFINITE + _legal(point.name), _NAME_CHARACTERS)
            if tag not in self._infinite:
                before = self._client.get_run(self._id).data.tags.get(tag)
                self._infinite[tag] = [before] if before else []
            self._infinite[tag].append(f"{point.step or 0}: {point.value}")
        for tag in {_cut(INFINITE + _legal(point.name), _NAME_CHARACTERS) for point in points}:
            self._client.set_tag(self._id, tag, _cut(", ".join(self._infinite[tag]), _TAG_CHARACTERS))

    def _log_sample(self, sample: Sample) -> None:
        content = {
            "step": sample.step,
            "time": sample.timestamp.isoformat(),
            "prompt": sample.prompt,
            "answer": sample.answer,
            "expected": sample.expected,
        }
        self._client.log_dict(self._id, content, f"samples/{sample.step:08}_{sample.sequence}.json")


def _legal(name: str) -> str:
    """Give a name as MLflow takes it."""
    legal = re.sub(r"[^\w.\- :/]", "_", name)
    if posixpath.normpath(legal) != legal or legal.startswith(("/", "..")) or legal == ".":
        legal = legal.replace("/", "_").replace(".", "_")
    return _cut(legal, _NAME_CHARACTERS)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
