"""Workflows that must not type-check: wrong order, missing handlers, hidden errors, effects that are dropped."""

from collections.abc import Sequence
from typing import Never

from crucible.effects import Do, Eff, Failure, Handlers, Result, Success, perform
from crucible.kitchen import (
    Context,
    Iteration,
    Recipe,
    conditional,
    dry_run,
    execute,
    loop,
    parallel,
    pure_stage,
    run,
    stage,
    stream_loop,
    zoom,
)
from crucible.kitchen.handlers import noop
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.supervised import SupervisedConfig, build_supervised_dataset
from crucible.kitchen.stages.training import await_step, forward_backward, optim_step
from crucible.kitchen.stage import starting_from
from crucible.kitchen.workflows import supervised
from crucible.telemetry.ports import EventStore, MetricsStore
from tests.typing.accept.stages_composed import Begun, Read, Timed, enter, forget, is_long, look_at_the_clock, read, reread, three
from tests.typing.ports import Blank, Clock, ClockError, Noon, Store, StoreError

clock = Clock.handled_by(Noon())
store = Store.handled_by(Blank())
begin = Context.start(Begun(key="k"))

# A step before what it needs

reading_twice = read >> look_at_the_clock >> forget >> look_at_the_clock  # E: operator "Stage[Context[Read], Context[Timed], ClockError, Clock]"
on_the_wrong_context = look_at_the_clock(begin)  # E: arg-type "expected "Context[Read]""
training_before_a_session = starting_from(SupervisedConfig) >> load_dataset >> init_tokenizer  # E: var-annotated # E: operator "Opened[C]"
data_before_its_tokenizer = starting_from(SupervisedConfig) >> load_dataset >> init_session >> build_supervised_dataset  # E: operator "Tokenized[SupervisedConfig]"
a_checkpoint_of_nothing = starting_from(SupervisedConfig) >> load_dataset >> save_checkpoint  # E: operator "Context[S]"
started = starting_from(SupervisedConfig) >> load_dataset >> init_session >> init_tokenizer >> build_supervised_dataset
stepping_without_gradients = started >> optim_step  # E: var-annotated # E: operator "Submitted[S]"
awaiting_nothing = started >> await_step  # E: var-annotated # E: operator "Stepping[S]"
gradients_of_no_batch = started >> forward_backward  # E: var-annotated # E: operator "Batched[S]"

# A missing handler: the message names the port

both = read >> look_at_the_clock
missing: Result[Context[Timed], StoreError | ClockError] = store.run(both(begin))  # E: arg-type "Store | Clock]"; expected"
config = Context.start(SupervisedConfig.__new__(SupervisedConfig))
whole = supervised(config)
only_training = noop.training().run(whole)  # E: var-annotated # E: arg-type "SamplingClient"

day: Recipe[Begun, Timed, StoreError | ClockError, Store | Clock] = Recipe(
    name="day", description="", workflow=both, default_config=Begun(key="k")
)
# `run(day, store | clock)` is rejected by mypy alone: pyright 1.1.414 overlooks the ports that stand beside a variable.
without_stores = (store | clock).run(execute(day, run_id="r"))  # E: var-annotated # E: arg-type "MetricsStore | EventStore"
wired: Handlers[Store | MetricsStore | EventStore] = store | noop.metrics() | noop.events()
without_a_clock = run(day, wired)  # E: misc "Cannot infer value of type parameter"
executed_without_a_clock = wired.run(execute(day, run_id="r"))  # E: arg-type "Clock"
planned_without_a_clock = dry_run(day, store)  # E: misc "Cannot infer value of type parameter"

# A recipe whose parts do not fit

of_another_config: Recipe[str, Timed, StoreError | ClockError, Store | Clock] = Recipe(name="d", description="", workflow=both, default_config="k")  # E: arg-type "workflow"
of_fewer_ports: Recipe[Begun, Timed, StoreError | ClockError, Store] = Recipe(name="d", description="", workflow=both, default_config=Begun(key="k"))  # E: arg-type "workflow"
of_fewer_errors: Recipe[Begun, Timed, StoreError, Store | Clock] = Recipe(name="d", description="", workflow=both, default_config=Begun(key="k"))  # E: arg-type "workflow"

# Inside of a stage


@stage
def hides_its_port(context: Context[Begun]) -> Do[ClockError, Store, Context[Begun]]:
    yield from perform(Clock.now)  # E: misc
    return context


@stage
def hides_its_error(context: Context[Begun]) -> Do[StoreError, Clock, Context[Begun]]:
    yield from perform(Clock.now)  # E: misc
    return context


@stage
def drops_an_effect(context: Context[Begun]) -> Do[ClockError, Clock, Context[Begun]]:
    perform(Clock.now)  # E: unused-awaitable
    yield from perform(Clock.now)
    return context


@stage
def gives_another_state(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    yield from perform(Store.read, "key")
    return context  # E: return-value


# Rollback and validation


def may_fail(context: Context[Read]) -> Eff[object, StoreError, Store]:
    return perform(Store.write, "key", "")


def of_another_context(context: Context[Timed]) -> Eff[object, Never, Never]:
    raise NotImplementedError


def of_a_text(context: Context[str]) -> Result[None, str]:
    return Failure("no")


@stage(rollback=may_fail)  # E: arg-type "expected "Callable[[Context[Read]], Eff[object, Never, Store]]""
def not_undone(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    return (yield from read(context))


@stage(rollback=of_another_context)  # E: arg-type
def undone_as_another(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    return (yield from read(context))


@stage(validate=of_a_text)  # E: arg-type
def checked_as_another(context: Context[Begun]) -> Do[StoreError, Store, Context[Read]]:
    return (yield from read(context))


# Constructs whose parts do not fit


@pure_stage
def enter_a_text(context: Context[Iteration[Begun, str]]) -> Context[Begun]:
    return context.to(context.state.state)


def lengths(state: Begun, texts: Sequence[str]) -> int:
    return len(texts)


def key_of(name: str) -> Begun:
    return Begun(key=name)


def seconds_beside(name: str, timed: Timed) -> float:
    return timed.seconds


def texts_of(state: Begun, index: int) -> Eff[str | None, StoreError, Store]:
    return perform(Store.read, "key")



@stage
def measure(context: Context[Begun]) -> Do[StoreError, Store, Context[int]]:
    text = yield from perform(Store.read, context.state.key)
    return context.to(len(text))


changes_its_state = conditional(is_long, measure)  # E: misc "parameter "S" of "conditional""
over_other_items = loop("thrice", three, enter_a_text >> reread)  # E: misc
gives_no_state_back = loop("thrice", three, enter >> measure)  # E: misc "parameter "S" of "loop""
merges_another_state = parallel("twice", [read, read], lengths)  # E: misc "parameter "T" of "parallel""
puts_another_state = zoom(key_of, seconds_beside, read)  # E: misc "parameter "B" of "zoom""
streams_other_items = stream_loop("ticks", texts_of, enter >> reread)  # E: misc "parameter "I" of "stream_loop""
