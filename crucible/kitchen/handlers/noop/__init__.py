"""Handlers that need nothing: deterministic, lawful, and good enough to test a real workflow on."""

from crucible.kitchen.handlers.noop._shelf import Shelf
from crucible.kitchen.handlers.noop.datasets import datasets
from crucible.kitchen.handlers.noop.sampling import sampling
from crucible.kitchen.handlers.noop.training import training

__all__ = ["Shelf", "datasets", "sampling", "training"]
