"""What TensorBoard's own reader finds in the event files of a run."""

import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data
from tensorboard.util import tensor_util

from crucible.telemetry.sinks import SinkContent


def read_run(folder: Path, run_id: str) -> SinkContent:
    files = folder / quote(run_id, safe="").replace(".", "%2E")
    events = EventAccumulator(str(files), size_guidance={"scalars": 0, "tensors": 0})
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events.Reload()
    tags: dict[str, Any] = events.Tags()
    points = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in tags["scalars"]}

    def texts(tag: str) -> list[str]:
        found = events.Tensors(f"{tag}/text_summary") if f"{tag}/text_summary" in tags["tensors"] else []
        return [tensor_util.make_ndarray(each.tensor_proto).item().decode() for each in found]

    samples = [
        re.fullmatch(r"\*\*prompt\*\*\n\n(.*)\n\n\*\*answer\*\*\n\n(.*)", text, re.DOTALL) for text in texts("sample")
    ]
    rows = [row for text in texts("metadata")[-1:] for row in text.split("\n")[2:]]
    cells = [re.split(r"(?<!\\) \| ", row[2:-2]) for row in rows]
    metadata = {name: value.replace("<br>", "\n").replace("\\|", "|") for name, value in cells}
    return SinkContent(points=points, samples=[(found[1], found[2]) for found in samples if found], metadata=metadata)


def read_hyperparameters(folder: Path, run_id: str) -> dict[str, object]:
    files = folder / quote(run_id, safe="").replace(".", "%2E")
    events = EventAccumulator(str(files)).Reload()
    content = events.PluginTagToContent("hparams")[SESSION_START_INFO_TAG]
    found = parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()}
