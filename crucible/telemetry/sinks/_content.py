"""What trackers show of records: rows of numbers, samples of text, and metadata without nesting."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import attrs

from crucible.effects import Json, encode
from crucible.telemetry.events import SampleShown
from crucible.telemetry.types import EventRecord, MetricPoint


@attrs.frozen(kw_only=True)
class LogRow:
    """Points told together: of one step and one moment, each name once. `sequence` is that of the first."""

    step: int | None
    timestamp: datetime
    sequence: int
    values: Mapping[str, float]


@attrs.frozen(kw_only=True)
class Sample:
    """A prompt and what the model answered at a step, as `SampleShown` tells it."""

    step: int
    timestamp: datetime
    sequence: int
    prompt: str
    answer: str
    expected: str


def log_rows(points: Sequence[MetricPoint]) -> Iterator[LogRow]:
    """Gather points into rows, for the SDKs that log a dict at a time.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> told = [("loss", 2.0, 1), ("lr", 0.1, 1), ("loss", 1.0, 2)]
    >>> points = [
    ...     MetricPoint(name=name, value=value, step=step, timestamp=now, sequence=sequence)
    ...     for sequence, (name, value, step) in enumerate(told)
    ... ]
    >>> [(row.step, dict(row.values)) for row in log_rows(points)]
    [(1, {'loss': 2.0, 'lr': 0.1}), (2, {'loss': 1.0})]
    """
    values: dict[str, float] = {}
    first: MetricPoint | None = None
    for point in points:
        if first is None or (point.step, point.timestamp) != (first.step, first.timestamp) or point.name in values:
            if first is not None:
                yield LogRow(step=first.step, timestamp=first.timestamp, sequence=first.sequence, values=values)
            first, values = point, {}
        values[point.name] = point.value
    if first is not None:
        yield LogRow(step=first.step, timestamp=first.timestamp, sequence=first.sequence, values=values)


def samples_in(events: Sequence[EventRecord]) -> Iterator[Sample]:
    """Give the samples among events."""
    for event in events:
        if event.name == SampleShown.NAME:
            texts = {name: str(event.attributes.get(name, "")) for name in ("prompt", "answer", "expected")}
            step = event.attributes.get("step")
            yield Sample(
                step=step if isinstance(step, int) else 0,
                timestamp=event.timestamp,
                sequence=event.sequence,
                **texts,
            )


def flat_metadata(metadata: Mapping[str, Json]) -> dict[str, str | bool | int | float]:
    """Give a run's metadata without nesting, the configuration under its own names: what trackers compare runs by.

    Lists, and whole numbers of more than 64 bits, become text; None is left out. A field of the configuration that is called as
    something else of the metadata is called `config.<its name>`.

    >>> flat_metadata({"recipe": "sft", "config": {"adam": {"beta": 0.9}, "layers": [1, 2]}, "git": None})
    {'recipe': 'sft', 'adam.beta': 0.9, 'layers': '[1, 2]'}
    """
    config = metadata.get("config")
    if not isinstance(config, Mapping):
        return dict(_flat("", metadata))
    flat = dict(_flat("", {name: value for name, value in metadata.items() if name != "config"}))
    return {**flat, **{f"config.{name}" if name in flat else name: value for name, value in _flat("", config)}}


def _flat(prefix: str, values: Mapping[str, Json]) -> Iterator[tuple[str, str | bool | int | float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        elif isinstance(value, list):
            yield f"{prefix}{name}", json.dumps(encode(value), ensure_ascii=False)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            yield f"{prefix}{name}", str(value)
        elif value is not None:
            yield f"{prefix}{name}", value
