"""Stores for the telemetry ports that need nothing but Python."""

from crucible.telemetry.stores._line_file import TornTail
from crucible.telemetry.stores.jsonl import JsonlEventStore, JsonlMetricsStore
from crucible.telemetry.stores.memory import InMemoryEventStore, InMemoryMetricsStore
from crucible.telemetry.stores.sqlite import SqliteEventStore, SqliteMetricsStore

__all__ = [
    "InMemoryEventStore",
    "InMemoryMetricsStore",
    "JsonlEventStore",
    "JsonlMetricsStore",
    "SqliteEventStore",
    "SqliteMetricsStore",
    "TornTail",
]
