"""TensorBoard's event files, written record by record.

`SummaryWriter` is passed over for the writer below it: it hands events to a thread through a pipe, so its `flush` leaves some
behind, and a full disk kills that thread without a word.
"""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from crucible.effects import Json, Result
from crucible.telemetry.errors import StoreError
from crucible.telemetry.sinks import Ending, Sample, Sink, SinkRun, flat_metadata, guarded, samples_in
from crucible.telemetry.types import EventRecord, MetricPoint

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

_PREFIX = "events"


class TensorBoardSink(Sink):
    """Writes `<folder>/<run id, percent-encoded>/events.out.tfevents.*`, a new file each time a run is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        return f"tensorboard in {self._folder}"

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        return guarded(self.name, lambda: self._opened(run_id))

    def _opened(self, run_id: str) -> SinkRun:
        from tensorboardX.event_file_writer import EventsWriter

        folder = self._folder / quote(f"{run_id}".encode("utf-8", "surrogatepass"), safe="").replace(".", "%2E")
        folder.mkdir(parents=True, exist_ok=True)
        num_before = len(list(folder.glob(f"{_PREFIX}.*")))
        suffix = f".{num_before:06}.{secrets.token_hex(4)}"  # files of the same second are read in this order
        return _TensorBoardRun(self.name, EventsWriter(str(folder / _PREFIX), suffix))


class _TensorBoardRun(SinkRun):
    def __init__(self, name: str, writer: "EventsWriter") -> None:
        self._name = name
        self._writer = writer
        self._metadata: Mapping[str, Json] = {}
        self._is_begun = False

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        self._metadata = metadata
        return guarded(self._name, self._write_metadata if self._is_begun else lambda: None)

    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._write_all(points, tuple(samples_in(events))))

    def flush(self) -> Result[None, StoreError]:
        return guarded(self._name, lambda: _nothing(self._writer.flush()))

    def close(self, ending: Ending) -> Result[None, StoreError]:
        return guarded(self._name, self._close)

    def _close(self) -> None:
        if not self._is_begun:
            self._write_metadata()
        self._writer.close()

    def _write_all(self, points: Sequence[MetricPoint], samples: Sequence[Sample]) -> None:
        steps = [point.step for point in points if point.step is not None] + [sample.step for sample in samples]
        if steps and not self._is_begun:
            self._begin(min(steps))
        for point in points:
            self._write(_scalar(point), point.step or 0, point.timestamp.timestamp())
        for sample in samples:
            self._write(_text(sample), sample.step, sample.timestamp.timestamp())

    def _begin(self, step: int) -> None:
        """Say that a session starts: what an earlier one wrote of this step and later ones is hidden."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._writer.write_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        self._is_begun = True
        self._write_metadata()

    def _write_metadata(self) -> None:
        from tensorboardX.summary import hparams, text

        flat = flat_metadata(self._metadata)
        if flat:
            table = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in flat.items())
            self._write(text("metadata", f"| | |\n| --- | --- |\n{table}"), 0)
            experiment, start, _ = hparams(flat, {})
            self._write(experiment, 0)
            self._write(start, 0)

    def _write(self, summary: object, step: int, wall_time: float | None = None) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(step=step, wall_time=wall_time, summary=summary))


def _scalar(point: MetricPoint) -> object:
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=point.name, simple_value=point.value)])


def _text(sample: Sample) -> object:
    from tensorboardX.summary import text

    shown = f"**prompt**\n\n{sample.prompt}\n\n**answer**\n\n{sample.answer}"
    return text("sample", f"{shown}\n\n**expected**\n\n{sample.expected}" if sample.expected else shown)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", "<br>")


def _nothing(_: object) -> None:
    """Drop an SDK's answer."""
