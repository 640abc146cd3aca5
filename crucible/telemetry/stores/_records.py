"""Metric points and event records as lines of strict JSON, and back, exactly."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar, cast

from crucible.effects import Json, UnrecordableError, decode, encode
from crucible.telemetry.errors import CorruptRecord, StoreError
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo

T = TypeVar("T")


class StoppedError(Exception):
    """Carries a typed error out of the middle of a use of a file."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


def point_line(run_id: str, point: MetricPoint) -> bytes:
    """Write one point as a line.

    Raises: UnrecordableError, TypeError or ValueError for metadata that is no JSON.
    """
    return _line(
        {
            "run_id": run_id,
            "metric": point.name,
            "value": encode(point.value),
            "step": point.step,
            "timestamp": point.timestamp.isoformat(),
            "metadata": encode(dict(point.metadata)),
            "sequence": point.sequence,
        }
    )


def event_line(run_id: str, event: EventRecord) -> bytes:
    """Write one event as a line.

    Raises: UnrecordableError, TypeError or ValueError for attributes that are no JSON.
    """
    return _line(
        {
            "run_id": run_id,
            "event": event.name,
            "timestamp": event.timestamp.isoformat(),
            "attributes": encode(dict(event.attributes)),
            "sequence": event.sequence,
        }
    )


def run_line(run: RunInfo) -> bytes:
    """Write the first line of an event file: the run itself.

    Raises: UnrecordableError, TypeError or ValueError for metadata that is no JSON.
    """
    return _line({"run_id": run.run_id, "metadata": encode(dict(run.metadata))})


def read_point(record: Mapping[str, Json]) -> MetricPoint:
    """Read what `point_line` wrote."""
    return MetricPoint(
        name=_text(record["metric"]),
        value=_number(decode(record["value"])),
        step=None if record["step"] is None else _whole(record["step"]),
        timestamp=datetime.fromisoformat(_text(record["timestamp"])),
        metadata=cast("dict[str, Json]", decode(record["metadata"])),
        sequence=_whole(record["sequence"]),
    )


def read_event(record: Mapping[str, Json]) -> EventRecord:
    """Read what `event_line` wrote."""
    return EventRecord(
        name=_text(record["event"]),
        timestamp=datetime.fromisoformat(_text(record["timestamp"])),
        attributes=cast("dict[str, Json]", decode(record["attributes"])),
        sequence=_whole(record["sequence"]),
    )


def read_run(record: Mapping[str, Json]) -> RunInfo:
    """Read what `run_line` wrote."""
    return RunInfo(run_id=_text(record["run_id"]), metadata=cast("dict[str, Json]", decode(record["metadata"])))


def parsed(line: bytes, read: Callable[[Mapping[str, Json]], T], *, path: str, number: int) -> T:
    """Read one line.

    Raises: StoppedError when it is not what `read` expects.
    """
    try:
        return read(json.loads(line))
    except (KeyError, TypeError, ValueError, AttributeError, UnrecordableError) as error:
        message = f"no record can be read from it ({type(error).__name__}: {error})"
        raise StoppedError(CorruptRecord(path=path, line=number, message=message)) from error


def _line(record: Mapping[str, Json]) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    return value


def _whole(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value
