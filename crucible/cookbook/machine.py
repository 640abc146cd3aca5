"""How the recipes wire this machine: torch, reasoning-gym tasks with their verifiers, telemetry in SQLite."""

from pathlib import Path
from typing import TypeAlias

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop, reasoning_gym
from crucible.kitchen.handlers import torch as torch_handlers
from crucible.kitchen.ports import Evaluator, ModelRegistry
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.train.ports import CustomLossClient, DatasetStore, SamplingClient, TrainingClient

MachinePorts: TypeAlias = TrainingClient | CustomLossClient | SamplingClient | DatasetStore | Evaluator | ModelRegistry


def this_machine(root: Path | str) -> Handlers[MachinePorts | MetricsStore | EventStore]:
    """Handle what the recipes need on this machine; whatever is saved goes below `root`."""
    root = Path(root)
    return (
        torch_handlers.local(root, num_threads=1)
        | reasoning_gym.datasets()
        | reasoning_gym.verifier()
        | noop.registry()
        | MetricsStore.handled_by(SqliteMetricsStore(root))
        | EventStore.handled_by(SqliteEventStore(root))
    )
