"""A live view of a run in the terminal. Needs the extra `cli`."""

from crucible.telemetry.watch._watching import watch_run

__all__ = ["watch_run"]
