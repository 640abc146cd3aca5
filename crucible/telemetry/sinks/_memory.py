"""`InMemorySink`: a sink that keeps what it is given in this object, for tests and for looking."""

from collections.abc import Mapping, Sequence

import attrs

from crucible.effects import Json, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.sinks._content import flat_metadata, samples_in
from crucible.telemetry.sinks._sink import Ending, Sink, SinkRun
from crucible.telemetry.types import EventRecord, MetricPoint


@attrs.frozen(kw_only=True)
class SinkContent:
    """What can be read of one run where a sink wrote it, in the order of writing.

    Args:
        points: step and value by the metric's name.
        samples: prompt and answer of each sample.
        metadata: without nesting (`flat_metadata`), as text.
    """

    points: Mapping[str, Sequence[tuple[int | None, float]]] = attrs.field(factory=dict)
    samples: Sequence[tuple[str, str]] = ()
    metadata: Mapping[str, str] = attrs.field(factory=dict)


class InMemorySink(Sink):
    """Keeps records by run in this object.

    >>> sink = InMemorySink()
    >>> _ = sink.open("a").unwrap().describe({"recipe": "sft"})
    >>> sink.content("a").metadata
    {'recipe': 'sft'}
    """

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self.runs: dict[str, InMemorySinkRun] = {}

    @property
    def name(self) -> str:
        """The name it was made with."""
        return self._name

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        """Go on with the run, or begin it."""
        return Success(self.runs.setdefault(run_id, InMemorySinkRun()))

    def content(self, run_id: str) -> SinkContent:
        """Give what a run wrote; nothing where it is not known."""
        kept = self.runs.get(run_id, InMemorySinkRun())
        points: dict[str, list[tuple[int | None, float]]] = {}
        for point in kept.points:
            points.setdefault(point.name, []).append((point.step, point.value))
        samples = [(sample.prompt, sample.answer) for sample in samples_in(kept.events)]
        metadata = {name: str(value) for name, value in kept.metadata.items()}
        return SinkContent(points=points, samples=samples, metadata=metadata)


class InMemorySinkRun(SinkRun):
    """A run of an `InMemorySink`."""

    def __init__(self) -> None:
        self.metadata: dict[str, object] = {}
        self.points: list[MetricPoint] = []
        self.events: list[EventRecord] = []
        self.endings: list[Ending] = []

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        """Keep it, without nesting."""
        self.metadata.update(flat_metadata(metadata))
        return Success(None)

    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        """Keep them."""
        self.points += points
        self.events += events
        return Success(None)

    def flush(self) -> Result[None, StoreError]:
        """Do nothing: memory is all there is."""
        return Success(None)

    def close(self, ending: Ending) -> Result[None, StoreError]:
        """Note how the run ended."""
        self.endings.append(ending)
        return Success(None)
