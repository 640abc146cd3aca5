"""The contract of a sink is worth what it catches: each of these breaks one promise, and is found out."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence

import attrs
import pytest

from crucible.effects import Failure, Json, Result, Success
from crucible.telemetry.errors import InvalidRecord, StoreError
from crucible.telemetry.sinks import Ending, InMemorySink, SinkContent, SinkRun
from crucible.telemetry.types import EventRecord, MetricPoint
from crucible.testing import ContractViolationError, check_sink

Points = Sequence[MetricPoint]


class Spoiling(InMemorySink):
    """Loses or changes something on its way to a sink in memory."""

    def __init__(
        self,
        points: Callable[[Points], Points] = lambda points: points,
        *,
        events: bool = True,
        metadata: bool = True,
        runs: Callable[[str], str] = str,
        endings: Sequence[Ending] = ("completed", "failed", "interrupted"),
    ) -> None:
        super().__init__()
        self.points = points
        self.events = events
        self.metadata = metadata
        self.rename = runs
        self.endings = endings

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        return super().open(self.rename(run_id)).map(lambda run: SpoilingRun(self, run))


class SpoilingRun(SinkRun):
    """A run of a `Spoiling` sink."""

    def __init__(self, sink: Spoiling, run: SinkRun) -> None:
        self.sink = sink
        self.run = run

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        return self.run.describe(metadata) if self.sink.metadata else Success(None)

    def write(self, points: Points, events: Sequence[EventRecord]) -> Result[None, StoreError]:
        return self.run.write(self.sink.points(points), events if self.sink.events else ())

    def flush(self) -> Result[None, StoreError]:
        return self.run.flush()

    def close(self, ending: Ending) -> Result[None, StoreError]:
        if ending not in self.sink.endings:
            return Failure(InvalidRecord(message=f"{ending!r} is no ending that it knows"))
        return self.run.close(ending)


def valued(change: Callable[[float], float]) -> Callable[[Points], Points]:
    return lambda points: [attrs.evolve(point, value=change(point.value)) for point in points]


def kept(condition: Callable[[MetricPoint], bool]) -> Callable[[Points], Points]:
    return lambda points: [point for point in points if condition(point)]


def as_float32(value: float) -> float:
    return value if abs(value) > 1e38 else float(struct.unpack("f", struct.pack("f", value))[0])


def refuses_repeated_steps() -> Callable[[Points], Points]:
    """Drop what is not of a later step than all before, as W&B does with its own steps."""
    last: dict[str, int] = {}

    def later(point: MetricPoint) -> bool:
        step, key = point.step or 0, f"{point.name} {point.timestamp.year}"
        if step <= last.get(key, -1) and point.sequence >= 100:
            return False
        last[key] = max(step, last.get(key, -1))
        return True

    return kept(later)


def check(sink: InMemorySink, read_back: Callable[[str], SinkContent] | None = None) -> None:
    check_sink(lambda: sink, read_back or sink.content, patience_seconds=0)


def test_the_sink_in_memory_keeps_the_contract() -> None:
    check(InMemorySink())


@pytest.mark.parametrize(
    ("sink", "promise"),
    [
        (Spoiling(lambda points: points[:-1]), "points are found"),
        (Spoiling(kept(lambda point: "/" not in point.name)), "points are found"),
        (Spoiling(lambda points: [*points, *points]), "points are found"),
        (Spoiling(lambda points: points[:1000]), "many points in one call"),
        (Spoiling(kept(lambda point: not math.isnan(point.value))), "numbers are kept"),
        (Spoiling(valued(lambda value: 1.7e308 if value == math.inf else value)), "numbers are kept"),
        (Spoiling(valued(as_float32)), "numbers are kept"),
        (Spoiling(kept(lambda point: point.step is not None)), "points without a step"),
        (
            Spoiling(lambda points: [attrs.evolve(it, step=(it.step or 0) % 2**31) for it in points]),
            "points without a step",
        ),
        (Spoiling(events=False), "samples and metadata"),
        (Spoiling(metadata=False), "samples and metadata"),
        (Spoiling(runs=lambda run_id: run_id.split("/")[-1]), "runs are apart"),
        (Spoiling(refuses_repeated_steps()), "a run goes on"),
        (Spoiling(endings=("completed", "interrupted")), "a run ends in any way"),
    ],
)
def test_a_sink_that_breaks_a_promise_is_found_out(sink: Spoiling, promise: str) -> None:
    with pytest.raises(ContractViolationError, match=promise):
        check(sink)


def test_a_sink_that_flushes_nothing_is_found_out() -> None:
    sink = InMemorySink()

    def closed(run_id: str) -> SinkContent:
        return sink.content(run_id) if sink.runs[run_id].endings else SinkContent()

    with pytest.raises(ContractViolationError, match="what is flushed is there"):
        check(sink, closed)


def test_a_sink_without_a_name_is_found_out() -> None:
    with pytest.raises(ContractViolationError, match="no name"):
        check(InMemorySink(""))


def test_a_sink_that_raises_is_told_of_with_what_was_checked() -> None:
    def raising(points: Points) -> Points:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug") as caught:
        check(Spoiling(raising))
    assert caught.value.__notes__ == ["while checking that points are found by name, with step and value"]


def test_a_tool_that_keeps_fewer_bits_may_say_so() -> None:
    sink = Spoiling(valued(as_float32))
    check_sink(lambda: sink, sink.content, rounded=as_float32, patience_seconds=0)
