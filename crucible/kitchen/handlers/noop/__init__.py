"""Handlers that need nothing: deterministic, lawful, and good enough to test a real workflow on.

`noop.all()` handles every port; `noop.training()` and the others handle one each.
"""

from crucible.kitchen.handlers.noop._every_port import EveryPort
from crucible.kitchen.handlers.noop._every_port import every_port as all  # noqa: A004  # read as noop.all()
from crucible.kitchen.handlers.noop._shelf import Shelf
from crucible.kitchen.handlers.noop.blobs import Blobs, blobs
from crucible.kitchen.handlers.noop.code import code
from crucible.kitchen.handlers.noop.completer import completer
from crucible.kitchen.handlers.noop.datasets import DEFAULT_SPLITS, datasets
from crucible.kitchen.handlers.noop.embeddings import embeddings
from crucible.kitchen.handlers.noop.evaluator import evaluator
from crucible.kitchen.handlers.noop.feedback import DEFAULT_EXCHANGES, feedback
from crucible.kitchen.handlers.noop.hub import hub
from crucible.kitchen.handlers.noop.llm import llm
from crucible.kitchen.handlers.noop.registry import registry
from crucible.kitchen.handlers.noop.sampling import sampling
from crucible.kitchen.handlers.noop.telemetry import events, metrics
from crucible.kitchen.handlers.noop.training import training
from crucible.kitchen.handlers.noop.vectors import vectors

__all__ = [
    "DEFAULT_EXCHANGES",
    "DEFAULT_SPLITS",
    "Blobs",
    "EveryPort",
    "Shelf",
    "all",
    "blobs",
    "code",
    "completer",
    "datasets",
    "embeddings",
    "evaluator",
    "events",
    "feedback",
    "hub",
    "llm",
    "metrics",
    "registry",
    "sampling",
    "training",
    "vectors",
]
