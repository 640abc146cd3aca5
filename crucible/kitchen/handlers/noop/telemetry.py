"""The telemetry ports on nothing: stores in memory."""

from crucible.effects import Handlers
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import InMemoryEventStore, InMemoryMetricsStore


def metrics() -> Handlers[MetricsStore]:
    """Handle metrics with a store that lives as long as these handlers."""
    return MetricsStore.handled_by(InMemoryMetricsStore())


def events() -> Handlers[EventStore]:
    """Handle events with a store that lives as long as these handlers."""
    return EventStore.handled_by(InMemoryEventStore())
