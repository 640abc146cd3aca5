"""`Courier`: brings one sink what it is offered, on a thread of its own, for as long as runs go on."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import attrs

from crucible.effects import Failure, Result
from crucible.telemetry.errors import StoreError
from crucible.telemetry.events import WorkflowFailed, WorkflowStopped
from crucible.telemetry.sinks._sink import Ending, Sink, SinkLimits, SinkProblem, SinkRun, guarded
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo

T = TypeVar("T")

_AT_ONCE = 1000
"""Records that a sink is given in one call: as many as MLflow takes."""


@attrs.define
class _Parcel:
    """What waits for a sink of one run."""

    points: list[MetricPoint] = attrs.field(factory=list)
    events: list[EventRecord] = attrs.field(factory=list)

    def __len__(self) -> int:
        return len(self.points) + len(self.events)

    def parts(self) -> Iterator["_Parcel"]:
        """Cut it into what is given at once."""
        for start in range(0, max(len(self.points), len(self.events)), _AT_ONCE // 2):
            part = slice(start, start + _AT_ONCE // 2)
            yield _Parcel(self.points[part], self.events[part])


class Courier:
    """Delivers to one sink between the start of a run and its end. `offer` never waits, and nothing here raises.

    Args:
        sink: only ever called from this courier's thread.
        limits: what it may cost.
        told: takes each problem once.
    """

    def __init__(self, sink: Sink, limits: SinkLimits, told: Callable[[SinkProblem], object]) -> None:
        self._sink = sink
        self._limits = limits
        self._told = told
        self._changed = threading.Condition()
        self._waiting: dict[str, _Parcel] = {}
        self._known: dict[str, RunInfo] = {}
        self._described: dict[str, RunInfo] = {}
        self._open: dict[str, SinkRun] = {}
        self._endings: dict[str, Ending] = {}
        self._messages: set[str] = set()
        self._num_carried = 0
        self._num_lost = 0
        self._failures = 0
        self._called_at: float | None = None
        self._interrupted = False
        self._closing = False
        self._left_out = False
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether its thread is still at work: in a call that does not come back, after `finish`."""
        return self._thread is not None and self._thread.is_alive()

    def know(self, run: RunInfo) -> None:
        """Take what a run is of."""
        with self._changed:
            self._known[run.run_id] = run
            self._waiting.setdefault(run.run_id, _Parcel())
            self._wake()

    def offer(self, run_id: str, points: list[MetricPoint], events: list[EventRecord]) -> None:
        """Take records for the sink; they are lost to it where it is left out or too many wait already."""
        with self._changed:
            self._notice_hanging()
            num_waiting = self._num_carried + sum(map(len, self._waiting.values()))
            if self._left_out:
                self._num_lost += len(points) + len(events)
                return
            if num_waiting + len(points) + len(events) > self._limits.records:
                message = f"more than {self._limits.records} records wait for it: those that come now are lost to it"
                self._num_lost += len(points) + len(events)
                self._tell(message)
                return
            parcel = self._waiting.setdefault(run_id, _Parcel())
            parcel.points += points
            parcel.events += events
            self._wake()

    def close(self, *, interrupted: bool) -> None:
        """Let the thread end when everything is delivered."""
        with self._changed:
            self._interrupted = interrupted
            self._closing = True
            self._changed.notify()

    def wait(self, until: float) -> None:
        """Wait for the thread to end, until a time of `time.monotonic`; then tell what was lost."""
        with self._changed:
            self._notice_hanging()
            is_stuck = self._left_out and self._called_at is not None
        if self._thread is not None and not is_stuck:
            self._thread.join(max(0.0, until - time.monotonic()))
        with self._changed:
            if self.is_alive:
                self._leave_out("it was not done in time at the end of the run: what it had not taken is lost to it")
            elif self._num_lost:
                self._tell("the run is over, and not all of it has reached this sink")

    # On the thread

    def _work(self) -> None:
        while (parcels := self._next()) is not None:
            for run_id, parcel in parcels.items():
                self._deliver(run_id, parcel)
        for run_id in list(self._open):
            self._close(run_id)

    def _next(self) -> dict[str, _Parcel] | None:
        """Wait for something to deliver; None when there is nothing more to do."""
        with self._changed:
            while not (self._waiting or self._closing or self._left_out):
                self._changed.wait()
            if self._left_out or not self._waiting:
                return None
            parcels, self._waiting = self._waiting, {}
            self._num_carried = sum(map(len, parcels.values()))
            return parcels

    def _deliver(self, run_id: str, parcel: _Parcel) -> None:
        run = self._opened(run_id)
        if run is None:
            self._settle(len(parcel), lost=True)
            return
        num_written = 0
        for part in parcel.parts():
            if self._left_out:
                return
            if self._called(partial(run.write, part.points, part.events)) is None:
                self._settle(len(part), lost=True)
            else:
                num_written += len(part)
                self._note_ending(run_id, part.events)
        if num_written:
            flushed = self._called(run.flush)
            self._settle(num_written, lost=flushed is None)

    def _opened(self, run_id: str) -> SinkRun | None:
        """Give the sink's run, which has heard what is known of it; None where it cannot be opened."""
        if self._left_out:
            return None
        if run_id not in self._open:
            opened = self._called(partial(self._sink.open, run_id))
            if opened is None:
                return None
            [self._open[run_id]] = opened
        run, known = self._open[run_id], self._known.get(run_id)
        if known is not None and self._described.get(run_id) != known:
            self._described[run_id] = known
            self._called(partial(run.describe, known.metadata))
        return run

    def _close(self, run_id: str) -> None:
        broken = self._interrupted or self._left_out
        ending: Ending = "interrupted" if broken else self._endings.get(run_id, "completed")
        self._called(partial(self._open.pop(run_id).close, ending))

    def _note_ending(self, run_id: str, events: list[EventRecord]) -> None:
        """Keep how the last workflow ended: the outermost is the last to tell."""
        for event in events:
            if event.name == WorkflowFailed.NAME:
                self._endings[run_id] = "failed"
            elif event.name == WorkflowStopped.NAME:
                self._endings[run_id] = "completed"

    def _called(self, call: Callable[[], Result[T, StoreError]]) -> tuple[T] | None:
        """Give what a call of the sink gives, in a tuple; None where it fails."""
        with self._changed:
            self._called_at = time.monotonic()
        answer = guarded(self._sink.name, call)
        result = Failure(answer.failure()) if isinstance(answer, Failure) else answer.unwrap()
        with self._changed:
            self._called_at = None
            if isinstance(result, Failure):
                self._failures += 1
                self._tell(str(result.failure()).removeprefix(f"{self._sink.name}: "))
                if self._failures == self._limits.failures:
                    self._leave_out(f"it failed {self._failures} times in a row: left out for the rest of the run")
                return None
            return (result.unwrap(),)

    # With the lock

    def _wake(self) -> None:
        """Let the thread see what has come; the first that comes starts it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"sink {self._sink.name}", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _settle(self, num_records: int, *, lost: bool) -> None:
        """Count records that the thread carried; where the sink is left out all of them are counted already."""
        with self._changed:
            if not lost:
                self._failures = 0
            if not self._left_out:
                self._num_carried -= num_records
                self._num_lost += num_records if lost else 0

    def _notice_hanging(self) -> None:
        if self._called_at is not None and time.monotonic() - self._called_at > self._limits.seconds:
            self._leave_out(f"a call took longer than {self._limits.seconds:g} s: left out for the rest of the run")

    def _leave_out(self, message: str) -> None:
        """Give up: what waits is lost, and so is what the thread carries."""
        if not self._left_out:
            self._left_out = True
            self._num_lost += self._num_carried + sum(map(len, self._waiting.values()))
            self._num_carried, self._waiting = 0, {}
            self._changed.notify()
        self._tell(message)

    def _tell(self, message: str) -> None:
        """Tell of a problem once."""
        if message not in self._messages:
            self._messages.add(message)
            self._told(SinkProblem(sink=self._sink.name, message=message, num_lost=self._num_lost))
