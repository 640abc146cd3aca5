"""Sinks: copies of what a run records, for the tools that people look at runs with.

A store is the truth and can be read back; a sink is only written to. `fan_out` lets handlers of the telemetry ports feed sinks;
those over SDKs are in `crucible.kitchen.handlers`: `tensorboard`, `wandb`, `mlflow`, `trackio`.
"""

from crucible.telemetry.sinks._content import LogRow, Sample, flat_metadata, log_rows, samples_in
from crucible.telemetry.sinks._fan_out import fan_out, log_problem
from crucible.telemetry.sinks._memory import InMemorySink, SinkContent
from crucible.telemetry.sinks._sink import Ending, Sink, SinkLimits, SinkProblem, SinkRun, guarded

__all__ = [
    "Ending",
    "InMemorySink",
    "LogRow",
    "Sample",
    "Sink",
    "SinkContent",
    "SinkLimits",
    "SinkProblem",
    "SinkRun",
    "fan_out",
    "flat_metadata",
    "guarded",
    "log_problem",
    "log_rows",
    "samples_in",
]
