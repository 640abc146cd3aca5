"""The telemetry ports: each is defined here and nowhere else."""

from crucible.telemetry.ports.events import EventStore
from crucible.telemetry.ports.metrics import MetricsStore

__all__ = ["EventStore", "MetricsStore"]
