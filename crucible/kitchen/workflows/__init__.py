"""The workflows: compositions of stages, as values."""

from crucible.kitchen.workflows.supervised import supervised

__all__ = ["supervised"]
