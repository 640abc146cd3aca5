"""What is in the records that W&B wrote offline: no reader of them ships with it."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

from crucible.kitchen.handlers.wandb import STEP
from crucible.telemetry.sinks import SinkContent

_BLOCK, _HEADER = 32768, 7


def records(path: Path) -> Iterator[Any]:
    """Read a file of W&B: after 7 bytes, blocks of parts, each with a checksum, a length and a place in its record."""
    message: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]  # generated, without types
    data, position, record = path.read_bytes(), 7, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, place = struct.unpack("<IHB", data[position : position + _HEADER])
        record += data[position + _HEADER : position + _HEADER + length]
        position += _HEADER + length
        if place in {1, 4}:  # whole, or the last part
            yield message.FromString(record)
            record = b""


def read_run(folder: Path, name: str) -> SinkContent:
    """Gather what all W&B runs of that name logged, in order."""
    points: dict[str, list[tuple[int | None, float]]] = {}
    samples: list[tuple[str, str]] = []
    metadata: dict[str, str] = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        found = list(records(path))
        if any(record.run.display_name == name for record in found):
            for record in found:
                for update in (*record.run.config.update, *record.config.update):
                    value = json.loads(update.value_json)
                    metadata[update.key or ".".join(update.nested_key)] = (
                        value if isinstance(value, str) else str(value)
                    )
                row = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                step = row.pop(STEP, None)
                if "sample/prompt" in row:
                    samples.append((row["sample/prompt"], row["sample/answer"]))
                else:
                    for key in (key for key in row if not key.startswith("_")):
                        points.setdefault(key, []).append((step, float(row[key])))
    return SinkContent(points=points, samples=samples, metadata=metadata)
