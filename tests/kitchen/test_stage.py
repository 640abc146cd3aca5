"""Stages: what they do when all goes well, and that what completed is undone when it does not."""

from functools import partial
from typing import Never

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Proceed,
    Result,
    Success,
    TimedOut,
    attempt,
    fail,
    located,
    perform,
    pure,
    show_path,
    tell,
    timeout,
)
from crucible.kitchen import Context, Stage, as_stage, generic_stage, pure_stage, stage
from crucible.telemetry.events import (
    StageFailed,
    StageStarted,
    StageStopped,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowStopped,
)
from tests.kitchen.fakes import (
    Burnt,
    Cook,
    Cooking,
    Dish,
    Meal,
    Plate,
    Stove,
    Told,
    Waiter,
    call_number,
    cooking,
    fails_with,
    in_a_row,
    meddling,
    raises,
    recording,
    run_and_cancel,
    start,
    take_back_the_last,
    waits_for_ever,
)

soup, fish, cake = cooking("soup"), cooking("fish"), cooking("cake")


def stove() -> tuple[Stove, Handlers[Cook]]:
    made = Stove()
    return made, Cook.handled_by(made)


# Composition


def test_stages_in_a_row_each_work_on_what_the_last_gave() -> None:
    kitchen, handlers = stove()
    meal = handlers.run((soup >> fish >> cake)(start())).unwrap().state
    assert meal.names() == ("soup", "fish", "cake")
    assert kitchen.made == ["soup", "fish", "cake"]
    assert kitchen.taken_back == []


def test_nothing_happens_before_the_handlers_run_it() -> None:
    kitchen, handlers = stove()
    work = (soup >> fish)(start())
    assert kitchen.made == []
    handlers.run(work).unwrap()
    handlers.run(work).unwrap()
    assert kitchen.made == ["soup", "fish"] * 2


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=8), st.data())
def test_composition_is_associative_in_result_effects_and_shape(names: list[str], data: st.DataObject) -> None:
    stages = [cooking(name) for name in names]

    def grouped(some: list[Cooking]) -> Cooking:
        if len(some) == 1:
            return some[0]
        cut = data.draw(st.integers(1, len(some) - 1))
        return grouped(some[:cut]) >> grouped(some[cut:])

    first, second = grouped(stages), grouped(stages)
    assert recording(stove()[1], first(start())) == recording(stove()[1], second(start()))
    assert first.outline == second.outline


def test_a_stage_used_twice_has_paths_of_its_own() -> None:
    _, calls = recording(stove()[1], (soup >> soup >> fish)(start()))
    assert [call.path for call in calls] == ["soup/#1", "soup~2/#1", "fish/#1"]


def test_a_stage_knows_its_name_and_shows_itself() -> None:
    assert soup.name == "soup"
    assert repr(soup) == "<Stage soup>"
    assert repr(soup >> fish) == "<Stage soup >> fish>"
    assert soup.show() == "soup  [Cook]"


# Kinds of stages


def test_a_plain_function_is_a_stage_of_its_name() -> None:
    def add_salt(plate: Plate) -> Eff[Plate, Never, Never]:
        """Add salt.

        Not too much.
        """
        return pure(plate)

    _, calls = recording(stove()[1], (soup >> add_salt >> fish)(start()))
    assert [call.path for call in calls] == ["soup/#1", "fish/#1"]
    made = as_stage(add_salt)
    assert (made.outline.name, made.outline.doc) == ("add_salt", "Add salt.")
    assert as_stage(made) is made


def test_a_partial_function_is_a_stage_of_the_name_of_what_it_fills_in() -> None:
    def season(salt: float, plate: Plate) -> Eff[Plate, Burnt, Cook]:
        """Add some salt."""
        return perform(Cook.make, f"{salt} g of salt").map(lambda _: plate)

    made = as_stage(partial(season, 2.5))
    assert made.show() == "season  [Cook]  Add some salt."


def test_a_callable_object_is_a_stage_of_the_name_of_its_class() -> None:
    class Season:
        """Adds salt."""

        def __call__(self, plate: Plate) -> Eff[Plate, Burnt, Cook]:
            return perform(Cook.make, "salt").map(lambda _: plate)

    assert as_stage(Season()).show() == "Season  [Cook]  Adds salt."


def test_a_pure_stage_needs_nothing_and_is_told() -> None:
    @pure_stage
    def eat(plate: Plate) -> Context[int]:
        """Count the dishes."""
        return plate.to(len(plate.state.dishes))

    told = Told()
    assert stove()[1].run((soup >> eat)(start()), writer=told).unwrap().state == 1
    assert (StageStarted(stage="eat"), StageStopped(stage="eat")) == (told.events[-2][1], told.events[-1][1])
    assert eat.show() == "eat  Count the dishes."


def test_a_generic_stage_is_a_stage_whose_type_is_a_function() -> None:
    @generic_stage
    def taste(plate: Plate) -> Do[Burnt, Cook, Plate]:
        """Taste it."""
        yield from perform(Cook.make, "spoon")
        return plate

    assert isinstance(taste, Stage)
    assert as_stage(taste) is taste
    assert stove()[1].run((soup >> taste)(start())) == Success(
        Context.start(Meal(dishes=(Dish(name="soup", number=1),)))
    )


def test_validation_runs_first_and_its_failure_is_the_stages() -> None:
    def hungry(plate: Plate) -> Result[None, str]:
        return Failure("nobody is hungry") if plate.state.dishes else Success(None)

    @stage(validate=hungry, rollback=take_back_the_last)
    def starter(plate: Plate) -> Do[Burnt, Cook, Plate]:
        number = yield from perform(Cook.make, "starter")
        return plate.to(Meal(dishes=(Dish(name="starter", number=number),)))

    kitchen, handlers = stove()
    failed = handlers.run(located((starter >> starter)(start()))).failure()
    assert (show_path(failed.path), failed.error) == ("starter~2", "nobody is hungry")
    assert kitchen.made == ["starter"]
    assert kitchen.taken_back == [1]


def test_a_validated_stage_without_rollback_is_made_too() -> None:
    def anything(plate: Plate) -> Result[None, str]:
        return Success(None)

    @stage(validate=anything)
    def starter(plate: Plate) -> Do[Burnt, Cook, Plate]:
        yield from perform(Cook.make, "starter")
        return plate

    assert stove()[1].run(starter(start())) == Success(start())


def test_the_ports_of_a_rollback_are_among_those_of_its_stage() -> None:
    def carry_away(plate: Plate) -> Eff[object, Never, Waiter]:
        return attempt(perform(Waiter.carry, 1))

    @stage(rollback=carry_away)
    def starter(plate: Plate) -> Do[Burnt, Cook, Plate]:
        yield from perform(Cook.make, "starter")
        return plate

    assert starter.outline.ports == {Cook, Waiter}


# Telling


def test_each_stage_and_workflow_tells_its_beginning_and_its_end() -> None:
    told = Told()
    stove()[1].run((soup >> fish).named("lunch")(start()), writer=told).unwrap()
    kinds = [(path, type(event).__name__) for path, event in told.events]
    assert kinds == [
        ("lunch", "WorkflowStarted"),
        ("lunch/soup", "StageStarted"),
        ("lunch/soup", "Served"),
        ("lunch/soup", "StageStopped"),
        ("lunch/fish", "StageStarted"),
        ("lunch/fish", "Served"),
        ("lunch/fish", "StageStopped"),
        ("lunch", "WorkflowStopped"),
    ]
    assert told.events[0][1] == WorkflowStarted(workflow="lunch")
    assert told.events[-1][1] == WorkflowStopped(workflow="lunch")


def test_what_is_told_is_flushed_at_the_end_of_each_stage_failed_ones_too() -> None:
    told = Told()
    stove()[1].run((soup >> fish)(start()), writer=told).unwrap()
    assert told.num_flushes == 2 + 1
    told = Told()
    handlers = meddling(stove()[1], call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    handlers.run((soup >> fish >> cake)(start()), writer=told).failure()
    assert told.num_flushes == 2 + 1


def test_a_failure_is_told_by_the_stage_and_by_the_workflow_in_its_own_words() -> None:
    told = Told()
    handlers = meddling(stove()[1], call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    assert handlers.run((soup >> fish).named("lunch")(start()), writer=told) == Failure(Burnt(dish="fish"))
    assert told.events[-2:] == [
        ("lunch/fish", StageFailed(stage="fish", error="fish is burnt")),
        ("lunch", WorkflowFailed(workflow="lunch", error="fish is burnt")),
    ]


def test_an_error_without_words_is_told_by_its_class() -> None:
    told = Told()
    handlers = meddling(stove()[1], call_number("Cook.make", 1), raises(ValueError()))
    with pytest.raises(ValueError, match="in crucible path soup"):
        handlers.run(soup(start()), writer=told)
    assert told.events[-1] == ("soup", StageFailed(stage="soup", error="ValueError"))


@pytest.mark.anyio
async def test_a_cancelled_stage_tells_the_same_in_every_run() -> None:
    """The cancellation's own words name an address in memory: a replayed event would differ."""
    told = Told()
    handlers = meddling(stove()[1], call_number("Cook.make", 2), waits_for_ever)
    result = await handlers.arun(timeout((soup >> fish)(start()), seconds=0.02), writer=told)
    assert result == Failure(TimedOut(seconds=0.02))
    assert told.events[-1] == ("fish", StageFailed(stage="fish", error="cancelled"))


# Rollback

MENU = ("soup", "fish", "meat", "cheese", "cake")


@given(
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.data(),
    st.sampled_from(["failure", "exception", "cancellation"]),
    st.integers(0, 2),
)
def test_when_stage_k_fails_what_completed_before_it_is_rolled_back_once_in_reverse(
    with_rollback: list[bool], data: st.DataObject, how: str, named: int
) -> None:
    k = data.draw(st.integers(1, len(with_rollback)), label="k")
    stages = [cooking(dish, rollback=undone) for dish, undone in zip(MENU, with_rollback, strict=False)]
    whole = in_a_row(stages)
    for number in range(named):
        whole = whole.named(f"meal-{number}")
    kitchen, handlers = stove()
    chosen, work = call_number("Cook.make", k), located(whole(start()))
    path = "/".join([*(f"meal-{number}" for number in reversed(range(named))), MENU[k - 1]])
    if how == "exception":
        with pytest.raises(OSError, match="gas") as raised:
            meddling(handlers, chosen, raises(OSError("gas"))).run(work)
        assert raised.value.__notes__ == [f"in crucible path {path}"]
    elif how == "failure":
        failed = meddling(handlers, chosen, fails_with(Burnt(dish="it"))).run(work).failure()
        assert (show_path(failed.path), failed.error) == (path, Burnt(dish="it"))
    else:
        anyio.run(run_and_cancel, handlers, chosen, work)
    assert kitchen.made == list(MENU[: k - 1])
    completed = [number for number in range(1, k) if with_rollback[number - 1]]
    assert kitchen.taken_back == completed[::-1]


@pytest.mark.anyio
async def test_after_a_time_limit_what_completed_is_rolled_back() -> None:
    kitchen, handlers = stove()
    handlers = meddling(handlers, call_number("Cook.make", 3), waits_for_ever)
    result = await handlers.arun(timeout((soup >> fish >> cake)(start()), seconds=0.02))
    assert result == Failure(TimedOut(seconds=0.02))
    assert kitchen.taken_back == [2, 1]


@pytest.mark.parametrize("how", ["failure", "exception"])
def test_a_rollback_that_goes_wrong_does_not_stop_the_others_and_is_told(how: str) -> None:
    def gives_up(plate: Plate) -> Eff[object, Never, Cook]:
        if how == "exception":
            raise OSError("the bin is full")
        return fail("the bin is full")  # type: ignore[arg-type]  # a rollback that breaks its promise

    @stage(rollback=gives_up)
    def bread(plate: Plate) -> Do[Burnt, Cook, Plate]:
        yield from perform(Cook.make, "bread")
        return plate

    kitchen, handlers = stove()
    handlers = meddling(handlers, call_number("Cook.make", 4), fails_with(Burnt(dish="cake")))
    told = Told()
    failed = handlers.run(located((soup >> bread >> fish >> cake)(start())), writer=told).failure()
    assert (show_path(failed.path), failed.error) == ("cake", Burnt(dish="cake"))
    assert kitchen.taken_back == [3, 1]
    said = "OSError('the bin is full')" if how == "exception" else "the bin is full"
    assert told.events[-1] == ("rollback~2", StageFailed(stage="rollback", error=said))


def test_an_exception_carries_a_note_of_the_rollback_that_went_wrong() -> None:
    handlers = meddling(stove()[1], call_number("Cook.make", 2), raises(OSError("gas")))
    handlers = meddling(handlers, call_number("Cook.take_back"), raises(RuntimeError("the bin is full")))
    with pytest.raises(OSError, match="gas") as raised:
        handlers.run((soup >> fish)(start()))
    assert raised.value.__notes__ == [
        "in crucible path fish",
        "a rollback went wrong: RuntimeError('the bin is full')",
    ]


@pytest.mark.anyio
async def test_a_cancellation_during_the_rollbacks_does_not_stop_them() -> None:
    kitchen, handlers = stove()
    outer = anyio.CancelScope()

    async def interrupt(call: Call, proceed: Proceed) -> Result[object, object]:
        outer.cancel()
        await anyio.lowlevel.checkpoint()
        return await proceed(call)

    handlers = meddling(handlers, call_number("Cook.make", 4), fails_with(Burnt(dish="cake")))
    handlers = meddling(handlers, call_number("Cook.take_back", 1), interrupt)
    with outer:
        await handlers.arun((soup >> fish >> soup >> cake)(start()))
    assert kitchen.taken_back == [3, 2, 1]


def test_effects_of_rollbacks_have_paths_of_their_own() -> None:
    handlers = meddling(stove()[1], call_number("Cook.make", 3), fails_with(Burnt(dish="cake")))
    _, calls = recording(handlers, (soup >> fish >> cake).named("lunch")(start()))
    assert [call.path for call in calls][-2:] == ["rollback/#1", "rollback~2/#1"]


def test_a_workflow_that_completed_is_never_rolled_back() -> None:
    kitchen, handlers = stove()
    work = (soup >> fish)(start()).bind(lambda _: fail("later"))
    assert handlers.run(work) == Failure("later")
    assert kitchen.taken_back == []


def test_a_failure_recovered_from_outside_is_rolled_back_all_the_same() -> None:
    kitchen, handlers = stove()
    handlers = meddling(handlers, call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    work = attempt((soup >> fish)(start())).bind(lambda _: tell("after"))
    assert handlers.run(work) == Success(None)
    assert kitchen.taken_back == [1]
