"""`fan_out`: what the stores accept goes to sinks too."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import attrs

from crucible.effects import Call, Handlers, Hooks, Port, Proceed, Result, Success
from crucible.telemetry.events import RunOpened, TelemetryRefused
from crucible.telemetry.numbering import first_for_sink_problems
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.sinks._courier import Courier
from crucible.telemetry.sinks._sink import Sink, SinkLimits, SinkProblem
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo

HandlersT = TypeVar("HandlersT", bound=Handlers[MetricsStore | EventStore])
Rec = TypeVar("Rec", MetricPoint, EventRecord)

_LOGGER = logging.getLogger("crucible.telemetry")


class _AlsoMetricsStore(Port):
    """No program needs it, nor `_AlsoEventStore`: as further choices in a type they let mypy infer `a | b` as an argument.

    Where handlers of a store are missing, the checkers' message names them.
    """


class _AlsoEventStore(Port):
    """No program needs it either."""


def log_problem(problem: SinkProblem) -> None:
    """Write a problem to the logger `crucible.telemetry`, as a warning."""
    _LOGGER.warning("%s", problem)


def fan_out(
    handlers: HandlersT | Handlers[_AlsoMetricsStore] | Handlers[_AlsoEventStore],
    *sinks: Sink,
    limits: SinkLimits = SinkLimits(),
    on_problem: Callable[[SinkProblem], object] = log_problem,
) -> HandlersT:
    """Give every sink what the stores among `handlers` accept, from the start of each run to its end.

    Sinks work on threads of their own: the run waits for them at its end only, and for no longer than `limits` says. A sink
    that fails, raises or hangs changes neither the run nor what the stores answer. What it lost is counted and told to
    `on_problem`: each problem when it first comes, and the count at the end of the run. Those that come while the run still
    tells events are kept with it, as events too.

    A record reaches a sink once, also when it is offered to the store again.

    Raises: TypeError when `handlers` do not handle MetricsStore and EventStore.

    >>> from crucible.effects import perform
    >>> from crucible.telemetry.sinks import InMemorySink
    >>> from crucible.telemetry.stores import InMemoryEventStore, InMemoryMetricsStore
    >>> stores = MetricsStore.handled_by(InMemoryMetricsStore()) | EventStore.handled_by(InMemoryEventStore())
    >>> sink = InMemorySink()
    >>> opening = perform(EventStore.open_run, "evening", metadata={"recipe": "sft"})
    >>> _ = fan_out(stores, sink).run(opening)
    >>> sink.content("evening").metadata
    {'recipe': 'sft'}
    """
    for port in (MetricsStore, EventStore):
        if not handlers.ports & {port, Port}:
            raise TypeError(f"nothing to fan out: add {port.__name__}.handled_by(...) to the handlers")

    kept = _KeptProblems()

    def told(problem: SinkProblem) -> None:
        kept.untold.append(problem)
        try:
            on_problem(problem)
        except Exception:
            _LOGGER.exception("telling of a problem failed: %s", problem)

    dispatch = _Dispatch(sinks, limits, told)

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        if isinstance(result, Success):
            dispatch.take(call, result.unwrap())
            also = kept.beside(call) if call.operation == EventStore.insert else None
            if also is not None:
                await proceed(also)
        return result

    hooks = Hooks(
        at_start=dispatch.start,
        at_end=lambda: dispatch.end(interrupted=False),
        at_break=lambda _: dispatch.end(interrupted=True),
    )
    return cast("HandlersT", handlers.wrap(around, hooks))


class _KeptProblems:
    """Makes events of problems, to be kept with the run that tells next: one that a process has opened to write."""

    def __init__(self) -> None:
        self.untold: deque[SinkProblem] = deque()
        self._opened: set[str] = set()
        self._numbers: Counter[int] = Counter()

    def beside(self, call: Call) -> Call | None:
        """Give the call that inserts problems after another that inserted events; None where there are none to tell."""
        run_id, events = cast("tuple[str, Sequence[EventRecord]]", (call.by_name["run_id"], call.by_name["events"]))
        if any(event.name == RunOpened.NAME for event in events):
            self._opened.add(run_id)
        if run_id not in self._opened or not events or not self.untold:
            return None
        first = first_for_sink_problems(events[0].sequence)
        records = []
        while self.untold:
            attributes = {"path": "", "problem": str(self.untold.popleft())}
            sequence, timestamp = first + self._numbers[first], events[-1].timestamp
            self._numbers[first] += 1
            record = EventRecord(
                name=TelemetryRefused.NAME, sequence=sequence, timestamp=timestamp, attributes=attributes
            )
            records.append(record)
        return attrs.evolve(call, arguments=(run_id, records), keywords={})


class _Dispatch:
    """Knows which records the sinks have been given, and how many runs are going on."""

    def __init__(self, sinks: Sequence[Sink], limits: SinkLimits, on_problem: Callable[[SinkProblem], object]) -> None:
        self._sinks = sinks
        self._limits = limits
        self._on_problem = on_problem
        self._couriers: dict[Sink, Courier] = {}
        self._num_runs = 0
        self._interrupted = False
        self._lock = threading.Lock()
        self._given: dict[tuple[str, type], set[int]] = {}

    def start(self) -> None:
        """Set out, unless another run has."""
        with self._lock:
            self._num_runs += 1
            if self._num_runs == 1:
                self._interrupted = False
                for sink in self._sinks:
                    self._set_out(sink)

    def end(self, *, interrupted: bool) -> None:
        """Wait for the sinks when the last run of those that go on has ended."""
        with self._lock:
            self._num_runs -= 1
            self._interrupted = self._interrupted or interrupted
            if self._num_runs == 0:
                until = time.monotonic() + self._limits.seconds
                for courier in self._couriers.values():
                    courier.close(interrupted=self._interrupted)
                for courier in self._couriers.values():
                    courier.wait(until)

    def take(self, call: Call, answer: object) -> None:
        """Look at a call that a store has answered with a success."""
        if call.operation == MetricsStore.record:
            run_id, points = (call.by_name[name] for name in ("run_id", "points"))
            self._offer(cast("str", run_id), cast("Sequence[MetricPoint]", points), ())
        elif call.operation == EventStore.insert:
            run_id, events = (call.by_name[name] for name in ("run_id", "events"))
            self._offer(cast("str", run_id), (), cast("Sequence[EventRecord]", events))
        elif call.operation == EventStore.open_run:
            for courier in self._couriers.values():
                courier.know(cast("RunInfo", answer))
        elif call.operation == EventStore.delete_run:
            self._given.pop((cast("str", call.by_name["run_id"]), EventRecord), None)

    def _set_out(self, sink: Sink) -> None:
        before = self._couriers.pop(sink, None)
        if before is not None and before.is_alive:
            self._couriers[sink] = before
            message = "a call of an earlier run has still not come back: left out of this run"
            self._on_problem(SinkProblem(sink=sink.name, message=message))
        else:
            self._couriers[sink] = Courier(sink, self._limits, self._on_problem)

    def _offer(self, run_id: str, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> None:
        with self._lock:
            new_points, new_events = self._new(run_id, MetricPoint, points), self._new(run_id, EventRecord, events)
            for courier in self._couriers.values():
                courier.offer(run_id, new_points, new_events)

    def _new(self, run_id: str, kind: type, records: Sequence[Rec]) -> list[Rec]:
        """Give those that the sinks have not been given in this process."""
        given = self._given.setdefault((run_id, kind), set())
        new: dict[int, Rec] = {}
        for record in records:
            if record.sequence not in given:
                new.setdefault(record.sequence, record)
        given.update(new)
        return list(new.values())
