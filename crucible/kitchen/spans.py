"""`EffectSpans`: what was called in a run, and for how long, told as events of that run."""

from typing import TypeVar

from crucible.effects import Failure, Handlers, TracedCall, trace
from crucible.kitchen.writer import StoreWriter
from crucible.telemetry.events import EffectPerformed
from crucible.telemetry.ports import EventStore, MetricsStore

R = TypeVar("R")


class EffectSpans:
    """Tells each call of a run to its writer, when it has ended; calls of the telemetry itself are not told."""

    def __init__(self) -> None:
        self.writer: StoreWriter | None = None

    def around(self, handlers: Handlers[R]) -> Handlers[R]:
        """Give handlers whose calls are told."""
        return trace(handlers, into=self._tell)

    def _tell(self, traced: TracedCall) -> None:
        call = traced.call
        if self.writer is not None and call.port not in (MetricsStore, EventStore):
            event = EffectPerformed(effect=call.name, seconds=traced.seconds, error=_error_of(traced))
            self.writer.append(call.path, event)


def _error_of(traced: TracedCall) -> str | None:
    if traced.result is None:
        return "ended by an exception or a cancellation"
    return str(traced.result.failure()) if isinstance(traced.result, Failure) else None
