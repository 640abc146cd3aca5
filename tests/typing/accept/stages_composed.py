"""What a type checker infers for stages and workflows: states, errors and ports, and nothing is lost on the way."""

from collections.abc import Sequence
from typing import Never, TypeVar, assert_type

import attrs

from crucible.effects import Do, Eff, Handlers, Result, Success, attempt, perform, pure
from crucible.kitchen import (
    Context,
    Iteration,
    Recipe,
    RunFailed,
    RunResult,
    Stage,
    conditional,
    dry_run,
    execute,
    generic_stage,
    loop,
    parallel,
    pure_stage,
    run,
    stage,
    stream_loop,
    zoom,
)
from crucible.kitchen.recipe import InvalidConfig
from crucible.kitchen.run import MissingHandlers, Plan
from crucible.telemetry.ports import EventStore, MetricsStore
from tests.typing.ports import Blank, Clock, ClockError, Noon, Store, StoreError


@attrs.frozen(kw_only=True)
class Begun:
    """Nothing is done yet."""

    key: str


@attrs.frozen(kw_only=True)
class Read(Begun):
    """The text is read."""

    text: str


@attrs.frozen(kw_only=True)
class Timed(Read):
    """It is known when."""

    seconds: float


S = TypeVar("S", bound=Begun)


@stage
def read(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    text = yield from perform(Store.read, context.state.key)
    return context.to(Read(key=context.state.key, text=text))


@stage
def look_at_the_clock(context: Context[Read]) -> Do[ClockError, Clock, Context[Timed]]:
    seconds = yield from perform(Clock.now)
    return context.to(Timed(key=context.state.key, text=context.state.text, seconds=seconds))


@pure_stage
def forget(context: Context[Timed]) -> Context[Begun]:
    return context.to(Begun(key=context.state.key))


def shout(context: Context[Read]) -> Eff[Context[Read], Never, Never]:
    return pure(context)


@generic_stage
def keep(context: Context[S]) -> Do[StoreError, Store, Context[S]]:
    yield from perform(Store.write, context.state.key, "kept")
    return context


def undo(context: Context[Read]) -> Eff[object, Never, Clock]:
    return attempt(perform(Clock.sleep, 1.0))


def is_possible(context: Context[Begun]) -> Result[None, str]:
    return Success(None)


@stage(rollback=undo)
def undone(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    return (yield from read(context))


@stage(validate=is_possible)
def checked(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    return (yield from read(context))


@stage(validate=is_possible, rollback=undo)
def both_of_them(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    return (yield from read(context))


def of_one_stage(context: Context[Begun]) -> None:
    assert_type(read, Stage[Context[Begun], Context[Read], StoreError, Store])
    assert_type(read(context), Eff[Context[Read], StoreError, Store])
    assert_type(forget, Stage[Context[Timed], Context[Begun], Never, Never])
    assert_type(undone, Stage[Context[Begun], Context[Read], StoreError, Store | Clock])
    assert_type(checked, Stage[Context[Begun], Context[Read], StoreError | str, Store])
    assert_type(both_of_them, Stage[Context[Begun], Context[Read], StoreError | str, Store | Clock])


def of_stages_in_a_row() -> None:
    assert_type(
        read >> look_at_the_clock, Stage[Context[Begun], Context[Timed], StoreError | ClockError, Store | Clock]
    )
    assert_type(
        (read >> look_at_the_clock >> forget).named("day"),
        Stage[Context[Begun], Context[Begun], StoreError | ClockError, Store | Clock],
    )
    assert_type(read >> shout, Stage[Context[Begun], Context[Read], StoreError, Store])


def of_a_generic_stage_in_a_row() -> None:
    assert_type(read >> keep, Stage[Context[Begun], Context[Read], StoreError, Store])
    assert_type(
        read >> look_at_the_clock >> keep, Stage[Context[Begun], Context[Timed], StoreError | ClockError, Store | Clock]
    )


@pure_stage
def enter(context: Context[Iteration[Begun, int]]) -> Context[Begun]:
    return context.to(context.state.state)


def three(state: Begun) -> Sequence[int]:
    return (1, 2, 3)


def is_long(state: Begun) -> bool:
    return len(state.key) > 3


@stage
def reread(context: Context[Begun]) -> Do[StoreError, Store, Context[Begun]]:
    yield from perform(Store.read, context.state.key)
    return context


@stage
def wait(context: Context[Begun]) -> Do[ClockError, Clock, Context[Begun]]:
    yield from perform(Clock.sleep, 1.0)
    return context


def of_the_constructs() -> None:
    assert_type(loop("thrice", three, enter >> reread), Stage[Context[Begun], Context[Begun], StoreError, Store])
    assert_type(conditional(is_long, reread), Stage[Context[Begun], Context[Begun], StoreError, Store])
    looped = loop("thrice", three, enter >> conditional(is_long, reread >> wait))
    assert_type(looped, Stage[Context[Begun], Context[Begun], StoreError | ClockError, Store | Clock])


def lengths(state: Begun, read_by_each: Sequence[Read]) -> int:
    return sum(len(each.text) for each in read_by_each)


def seconds_of(state: Begun, index: int) -> Eff[int | None, ClockError, Clock]:
    return perform(Clock.now).map(lambda seconds: int(seconds) if index < 3 else None)


def key_of(name: str) -> Begun:
    return Begun(key=name)


def text_beside(name: str, read_: Read) -> tuple[str, str]:
    return name, read_.text


def of_what_changes_the_state() -> None:
    assert_type(parallel("twice", [read, read], lengths), Stage[Context[Begun], Context[int], StoreError, Store])
    assert_type(
        stream_loop("ticks", seconds_of, enter >> reread),
        Stage[Context[Begun], Context[Begun], StoreError | ClockError, Store | Clock],
    )
    assert_type(zoom(key_of, text_beside, read), Stage[Context[str], Context[tuple[str, str]], StoreError, Store])


def of_a_run(stores: Handlers[MetricsStore | EventStore], context: Context[Begun]) -> None:
    day: Recipe[Begun, Timed, StoreError | ClockError, Store | Clock] = Recipe(
        name="day", description="", workflow=read >> look_at_the_clock, default_config=Begun(key="k")
    )
    wired = Store.handled_by(Blank()) | Clock.handled_by(Noon())
    result = run(day, wired | stores)
    assert_type(result, Result[RunResult[Timed], RunFailed[StoreError | ClockError | InvalidConfig | MissingHandlers]])
    assert_type(
        execute(day, run_id="r"),
        Eff[
            RunResult[Timed],
            RunFailed[StoreError | ClockError | InvalidConfig | MissingHandlers],
            Store | Clock | MetricsStore | EventStore,
        ],
    )
    assert_type(dry_run(day, wired), Result[Plan[Begun], InvalidConfig | MissingHandlers])
    assert_type(wired.run((read >> look_at_the_clock)(context)), Result[Context[Timed], StoreError | ClockError])
