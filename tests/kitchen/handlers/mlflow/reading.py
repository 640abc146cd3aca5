"""What MLflow's own client finds of a run."""

import json
import os
from pathlib import Path

from crucible.kitchen.handlers.mlflow import INFINITE
from crucible.telemetry.sinks import SinkContent

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by mlflow when it is imported


def read_run(folder: Path, run_id: str, *, experiment: str = "crucible") -> SinkContent:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    for run in client.search_runs([found.experiment_id]):
        if run.data.tags.get("crucible.run_id") == run_id:
            points: dict[str, list[tuple[int | None, float]]] = {}
            for name in run.data.metrics:
                history = client.get_metric_history(run.info.run_id, name)
                points[name] = [(each.step, each.value) for each in sorted(history, key=lambda each: each.timestamp)]
            for tag, text in run.data.tags.items():
                if tag.startswith(INFINITE):
                    name = tag.removeprefix(INFINITE)
                    pairs = [entry.split(": ") for entry in text.split(", ")]
                    points.setdefault(name, []).extend((int(step), float(value)) for step, value in pairs)
                    points[name].sort()
            files = sorted((folder / "artifacts" / run.info.run_id / "artifacts" / "samples").glob("*.json"))
            shown = [json.loads(file.read_text()) for file in files]
            samples = [(sample["prompt"], sample["answer"]) for sample in shown]
            return SinkContent(points=points, samples=samples, metadata=run.data.params)
    return SinkContent()
