"""The tiny model of the engine's tests in a folder, with a chat template; and small supervised runs on it."""

from pathlib import Path
from typing import Any

import attrs

from crucible.effects import Handlers, Result, Success
from crucible.kitchen import Recipe
from crucible.kitchen.handlers import noop, torch
from crucible.kitchen.handlers.rows import RowStore
from crucible.kitchen.ports import Evaluator, ModelRegistry
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore
from crucible.train.errors import TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig, LoraConfig, Row, SessionConfig
from tests.engine.tiny import tiny_model
from tests.train.renderers.chatml import trained

Ports = TrainingClient | SamplingClient | DatasetStore | Evaluator | ModelRegistry | MetricsStore | EventStore


def save_tiny(folder: Path, *, seed: int = 0) -> str:
    """Save the tiny model and a tokenizer with a chat template to `folder`."""
    tiny_model(seed=seed).model.save_pretrained(folder)
    trained().save_pretrained(folder)
    return str(folder)


def sums(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
    """Give questions with answers, other ones in each split."""
    first = 0 if config.split == "train" else 50
    return Success(tuple({"prompt": f"{i}+1?", "completion": f"{i + 1}."} for i in range(first, first + 24)))


def config_for(model: str, **changes: Any) -> SupervisedConfig:  # Any: a value for any field
    """Configure twelve steps in two epochs, a checkpoint after every fourth."""
    config = SupervisedConfig(
        session=SessionConfig(model=model, lora=LoraConfig(rank=4, seed=1)),
        dataset=DatasetConfig(name="sums"),
        epochs=2,
        batch_size=4,
        learning_rate=5e-3,
        save_every=4,
        seed=3,
    )
    return attrs.evolve(config, **changes)


def recipe(config: SupervisedConfig) -> Recipe[SupervisedConfig, SupervisedState, object, Ports]:
    """Make the recipe of a supervised run."""
    return Recipe(name="sums", description="", workflow=supervised, default_config=config)


def on_this_machine(root: Path, training: Handlers[TrainingClient | SamplingClient] | None = None) -> Handlers[Ports]:
    """Handle every port of a run: torch, rows in memory, telemetry in JSON lines below `root`."""
    return (
        noop.all()
        | (training or torch.local(root, num_threads=1))
        | DatasetStore.handled_by(RowStore(sums))
        | MetricsStore.handled_by(JsonlMetricsStore(root))
        | EventStore.handled_by(JsonlEventStore(root))
    )
