"""What stages and workflows tell of themselves: when they began and how they ended."""

from typing import TypeVar

from anyio import get_cancelled_exc_class

from crucible.effects import Do, Eff, do, flush, tell
from crucible.telemetry.events import (
    StageFailed,
    StageStarted,
    StageStopped,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowStopped,
)

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


@do
def told_as_stage(name: str, eff: Eff[A, E, R]) -> Do[E, R, A]:
    """Tell when the stage began and how it ended, and bring what it told to safety."""
    yield from tell(StageStarted(stage=name))
    try:
        value = yield from eff
    except GeneratorExit:
        raise
    except BaseException as error:
        yield from tell(StageFailed(stage=name, error=describe(error)))
        yield from flush()
        raise
    yield from tell(StageStopped(stage=name))
    yield from flush()
    return value


@do
def told_as_workflow(name: str, eff: Eff[A, E, R]) -> Do[E, R, A]:
    """Tell when the workflow began and how it ended."""
    yield from tell(WorkflowStarted(workflow=name))
    try:
        value = yield from eff
    except GeneratorExit:
        raise
    except BaseException as error:
        yield from tell(WorkflowFailed(workflow=name, error=describe(error)))
        raise
    yield from tell(WorkflowStopped(workflow=name))
    return value


def describe(error: BaseException) -> str:
    """Write an error for an event: its own words, or its class where it has none.

    A cancellation's own words name an address in memory; an event says the same in every run of the same thing.
    """
    return "cancelled" if isinstance(error, get_cancelled_exc_class()) else str(error) or type(error).__name__
