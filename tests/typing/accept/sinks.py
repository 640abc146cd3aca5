"""Handlers of a run, fanned out to sinks, are handlers of the same ports."""

from typing import Never, assert_type

from crucible.effects import Do, Handlers
from crucible.kitchen import Context, Recipe, run, stage
from crucible.kitchen.handlers import noop
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.sinks import InMemorySink, fan_out
from crucible.train.ports import DatasetStore


@stage
def load(context: Context[int]) -> Do[Never, DatasetStore, Context[int]]:
    """Load nothing."""
    yield from ()
    return context


recipe = Recipe(name="loading", description="Loads nothing.", workflow=load, default_config=1)
stores = noop.metrics() | noop.events()
assert_type(stores, Handlers[MetricsStore | EventStore])
assert_type(fan_out(stores, InMemorySink()), Handlers[MetricsStore | EventStore])
everything = noop.all()
run(recipe, fan_out(everything, InMemorySink()))
run(recipe, fan_out(noop.all(), InMemorySink(), InMemorySink()))
run(recipe, fan_out(noop.datasets() | stores, InMemorySink()))
run(recipe, noop.datasets() | fan_out(stores, InMemorySink()))
