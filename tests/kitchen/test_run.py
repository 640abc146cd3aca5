"""Runs and dry runs: what a run gives, what a failed one leaves behind, and what is known before."""

import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from crucible.effects import (
    Diverged,
    Do,
    Handlers,
    Journal,
    Result,
    Success,
    TracedCall,
    both,
    gather,
    perform,
    record,
    replay,
    resume,
    tell,
    trace,
)
from crucible.kitchen import (
    InvalidConfig,
    MissingHandlers,
    Recipe,
    RunFailed,
    RunResult,
    dry_run,
    execute,
    new_run_id,
    run,
    stage,
)
from crucible.kitchen.flow import conditional
from crucible.kitchen.provenance import fingerprint
from crucible.telemetry.errors import StoreUnavailable
from crucible.telemetry.events import ArtifactSaved, EffectPerformed, RunOpened, TelemetryRefused
from crucible.telemetry.numbering import NUMBERS_OF_A_WRITER
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventFilter
from tests.kitchen.fakes import (
    Answer,
    Burnt,
    Cook,
    Meal,
    Plate,
    Stores,
    Stove,
    Waiter,
    call_number,
    cooking,
    fails_with,
    meddling,
    raises,
    ticking,
)

DOWN = StoreUnavailable(message="the store is down")


@stage
def serve(plate: Plate) -> Do[Burnt, Cook | Waiter, Plate]:
    """Say that it is ready."""
    yield from tell(ArtifactSaved(kind="meal", path="table", step=len(plate.state.dishes)))
    return plate


def hungry(meal: Meal) -> Sequence[str]:
    return ("dishes: there is one already, take it off", "dishes: nobody is hungry, wait") if meal.dishes else ()


soup, fish = cooking("soup"), cooking("fish")
recipe: Recipe[Meal, Meal, Burnt, Cook | Waiter] = Recipe(
    name="dinner",
    description="A dinner.",
    workflow=(soup >> fish >> serve).named("dinner"),
    default_config=Meal(),
    validate_config=hungry,
)


class Carrier(Waiter):
    """Carries anything."""

    async def carry(self, number: int) -> Result[None, Burnt]:
        """Carry it."""
        return Success(None)


def kitchen() -> Handlers[Cook | Waiter]:
    return Cook.handled_by(Stove()) | Waiter.handled_by(Carrier())


def wired(stores: Stores) -> Handlers[Cook | Waiter | MetricsStore | EventStore]:
    """Handle everything that a whole run needs."""
    return kitchen() | stores.handlers()


# A run that goes well


def test_a_run_gives_its_context_metrics_artifacts_and_duration() -> None:
    stores = Stores()
    work = execute(recipe, run_id="evening", clock=ticking())
    result = (kitchen() | stores.handlers()).run(work).unwrap()
    assert isinstance(result, RunResult)
    assert result.run_id == result.context.run_id == "evening"
    assert result.context.state.names() == ("soup", "fish")
    assert [(point.name, point.value, point.step) for point in result.metrics] == [
        ("kitchen/weight", 0.5, 1),
        ("kitchen/weight", 1.0, 2),
    ]
    assert result.artifacts == (ArtifactSaved(kind="meal", path="table", step=2),)
    assert result.duration_seconds == len(stores.names("evening")) + 1
    assert result.telemetry_problems == ()


def test_what_a_run_gives_is_what_is_in_the_stores() -> None:
    stores, heard = Stores(), list[object]()
    result = run(recipe, kitchen() | stores.handlers(), run_id="evening", on_event=heard.append).unwrap()
    assert stores.handlers().run(perform(MetricsStore.read, "evening")) == Success(result.metrics)
    assert stores.names("evening") == [getattr(event, "NAME", "") for event in heard]
    assert stores.texts("evening", "stage") == ["soup", "soup", "fish", "fish", "serve", "serve"]
    [info] = stores.handlers().run(perform(EventStore.list_runs)).unwrap()
    assert info.run_id == "evening"
    assert info.metadata["recipe"] == "dinner"
    assert info.metadata["config"] == {"dishes": []}
    assert info.metadata["fingerprint"] == fingerprint({"dishes": []})
    assert info.metadata["python"] == platform.python_version()
    assert datetime.fromisoformat(str(info.metadata["started_at"])) <= datetime.now(UTC)


def test_a_run_takes_another_configuration_and_makes_up_a_name() -> None:
    def accept(meal: Meal) -> Sequence[str]:
        return ()

    stores = Stores()
    free = Recipe(name="free", description="", workflow=soup, default_config=Meal(), validate_config=accept)
    first = run(free, kitchen() | stores.handlers()).unwrap()
    again = run(free, kitchen() | stores.handlers(), first.context.state).unwrap()
    assert again.context.state.names() == ("soup", "soup")
    assert first.run_id != again.run_id
    assert re.fullmatch(r"run_\d{8}_\d{6}_[0-9a-f]{8}", first.run_id)
    assert len({new_run_id() for _ in range(100)}) == 100


def test_runs_compose_like_everything_else() -> None:
    stores = Stores()
    clock = ticking()
    two = both(execute(recipe, run_id="first", clock=clock), execute(recipe, run_id="second", clock=clock))
    first, second = (kitchen() | stores.handlers()).run(two).unwrap()
    assert (first.run_id, second.run_id) == ("first", "second")
    assert stores.names("first") == stores.names("second") != []


# A run that fails


def test_a_failed_run_says_where_and_why_and_leaves_its_telemetry() -> None:
    stores, heard = Stores(), list[object]()
    handlers = meddling(kitchen(), call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    failed = run(recipe, handlers | stores.handlers(), run_id="evening", on_event=heard.append).failure()
    assert failed == RunFailed(run_id="evening", path="dinner/fish", error=Burnt(dish="fish"))
    assert str(failed) == "evening failed in dinner/fish: fish is burnt"
    assert stores.names("evening") == [getattr(event, "NAME", "") for event in heard]
    assert [name for name in stores.names("evening") if name != EffectPerformed.NAME][-2:] == [
        "crucible_kitchen.stage.run.exception",
        "crucible_kitchen.workflow.run.exception",
    ]
    assert len(stores.handlers().run(perform(MetricsStore.read, "evening")).unwrap()) == 1


def test_a_defect_leaves_its_telemetry_too() -> None:
    stores = Stores()
    handlers = meddling(kitchen(), call_number("Cook.make", 2), raises(OSError("gas")))
    with pytest.raises(OSError, match="gas") as raised:
        run(recipe, handlers | stores.handlers(), run_id="evening")
    assert raised.value.__notes__ == ["in crucible path dinner/fish"]
    errors = stores.texts("evening", "error")
    assert [error for error in errors if error is not None] == ["ended by an exception or a cancellation", "gas", "gas"]


def test_a_configuration_with_problems_is_refused_before_anything_is_performed() -> None:
    taken = run(recipe, kitchen() | Stores().handlers()).unwrap().context.state
    failed = run(recipe, unusable(), taken, run_id="evening").failure()
    assert failed.path == "configuration"
    assert failed.error == InvalidConfig(problems=tuple(hungry(taken)))


def unusable() -> Handlers[Cook | Waiter | MetricsStore | EventStore]:
    """Give handlers that raise at every call."""
    return meddling(wired(Stores()), lambda call: True, raises(AssertionError("performed")))


# Stores that fail


OPERATIONS = (
    "EventStore.open_run",
    "EventStore.insert",
    "EventStore.query",
    "MetricsStore.record",
)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_store_that_fails_never_stops_a_run_and_its_problem_is_reported(operation: str) -> None:
    handlers = kitchen() | meddling(Stores().handlers(), call_number(operation), fails_with(DOWN))
    result = run(recipe, handlers).unwrap()
    assert result.context.state.names() == ("soup", "fish")
    assert len(result.metrics) == 2
    assert result.telemetry_problems == ("the store is down",)


@pytest.mark.parametrize("answer", [fails_with(DOWN), raises(OSError("unplugged"))], ids=["fails", "raises"])
@pytest.mark.parametrize(("operation", "before"), [("EventStore.insert", 1), ("MetricsStore.record", 0)])
@pytest.mark.parametrize("outage", [(1,), (2, 3), (1, 2, 3)])
def test_everything_arrives_when_a_store_recovers(
    operation: str, before: int, outage: tuple[int, ...], answer: Answer
) -> None:
    stores, heard = Stores(), list[object]()
    out_of_order = call_number(operation, *(before + number for number in outage))
    handlers = kitchen() | meddling(stores.handlers(), out_of_order, answer)
    result = run(recipe, handlers, run_id="evening", on_event=heard.append).unwrap()
    assert len(result.telemetry_problems) == 1
    assert stores.handlers().run(perform(MetricsStore.read, "evening")) == Success(result.metrics)
    assert stores.names("evening") == [*(getattr(event, "NAME", "") for event in heard), TelemetryRefused.NAME]
    assert stores.texts("evening", "problem") == list(result.telemetry_problems)


def test_everything_arrives_when_the_store_was_down_at_the_start() -> None:
    stores, heard = Stores(), list[object]()
    handlers = meddling(stores.handlers(), call_number("EventStore.open_run", 1), fails_with(DOWN))
    run(recipe, kitchen() | handlers, run_id="evening", on_event=heard.append).unwrap()
    assert stores.names("evening") == [*(getattr(event, "NAME", "") for event in heard), TelemetryRefused.NAME]


def test_the_problems_of_the_telemetry_of_a_failed_run_are_reported() -> None:
    stores = meddling(Stores().handlers(), call_number("EventStore.insert"), fails_with(DOWN))
    handlers = meddling(kitchen(), call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    assert run(recipe, handlers | stores).failure().telemetry_problems == ("the store is down",)


def test_a_listener_that_raises_never_stops_a_run() -> None:
    def listener(event: object) -> None:
        raise BrokenPipeError

    result = run(recipe, kitchen() | Stores().handlers(), on_event=listener).unwrap()
    assert result.telemetry_problems == ("the listener raised BrokenPipeError()",)


# A run that goes on under its name


def sequences(stores: Stores) -> list[int]:
    events = stores.handlers().run(perform(EventStore.query, "evening")).unwrap()
    points = stores.handlers().run(perform(MetricsStore.read, "evening")).unwrap()
    return sorted([event.sequence for event in events] + [point.sequence for point in points])


def test_a_resumed_run_has_numbers_of_its_own() -> None:
    stores = Stores()
    failing = meddling(kitchen(), call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    run(recipe, failing | stores.handlers(), run_id="evening").failure()
    before = sequences(stores)
    run(recipe, kitchen() | stores.handlers(), run_id="evening").unwrap()
    assert before == list(range(len(before)))
    later = sequences(stores)[len(before) :]
    assert later == [NUMBERS_OF_A_WRITER + number for number in range(len(later))]


def test_two_processes_that_write_one_run_lose_nothing() -> None:
    stores = Stores()
    both = gather([execute(recipe, run_id="evening") for _ in range(3)])
    results = (kitchen() | stores.handlers()).run(both).unwrap()
    stored = stores.handlers().run(perform(MetricsStore.read, "evening")).unwrap()
    assert sorted(map(repr, stored)) == sorted(repr(point) for result in results for point in result.metrics)
    assert len(set(sequences(stores))) == len(sequences(stores))
    opened = stores.handlers().run(perform(EventStore.query, "evening", EventFilter(name=RunOpened.NAME))).unwrap()
    assert [event.attributes for event in opened] == [{"writer": 0}, {"writer": 1}, {"writer": 2}]


@pytest.mark.parametrize("operation", ["EventStore.query", "EventStore.insert"])
def test_a_resumed_run_that_cannot_claim_numbers_loses_no_record(operation: str) -> None:
    stores = Stores()
    first = run(recipe, kitchen() | stores.handlers(), run_id="evening").unwrap()
    before = sequences(stores)
    handlers = meddling(stores.handlers(), call_number(operation, 1), fails_with(DOWN))
    second = run(recipe, kitchen() | handlers, run_id="evening").unwrap()
    assert second.telemetry_problems == ("the store is down",)
    assert len(sequences(stores)) == 2 * len(before)  # no opening, but a problem
    stored = stores.handlers().run(perform(MetricsStore.read, "evening")).unwrap()
    assert stored == (*first.metrics, *second.metrics)


# Calls


def test_every_call_of_a_port_is_told_with_its_time_and_its_error_but_not_those_of_the_telemetry() -> None:
    stores = Stores()
    handlers = meddling(kitchen(), call_number("Cook.make", 2), fails_with(Burnt(dish="fish")))
    run(recipe, handlers | stores.handlers(), run_id="evening").failure()
    found = stores.handlers().run(perform(EventStore.query, "evening", EventFilter(name=EffectPerformed.NAME))).unwrap()
    assert [(event.attributes["effect"], event.attributes["path"], event.attributes["error"]) for event in found] == [
        ("Cook.make", "dinner/soup/#1", None),
        ("Cook.make", "dinner/fish/#1", "fish is burnt"),
        ("Cook.take_back", "rollback/#1", None),
    ]
    assert all(isinstance(event.attributes["seconds"], float) for event in found)


def test_what_is_known_about_a_run_is_kept_with_it() -> None:
    stores = Stores()
    run(recipe, kitchen() | stores.handlers(), run_id="evening", about={"tags": ["try"], "table": 4}).unwrap()
    [info] = stores.handlers().run(perform(EventStore.list_runs)).unwrap()
    assert (info.metadata["tags"], info.metadata["table"], info.metadata["recipe"]) == (["try"], 4, "dinner")
    assert "python" in info.metadata


# Record and replay


def test_a_whole_run_is_replayed_with_no_handler_behind_it() -> None:
    journal = Journal()
    recorded = record(wired(Stores()), journal).run(execute(recipe, run_id="evening", clock=ticking()))
    assert replay(journal).run(execute(recipe, run_id="evening", clock=ticking())) == recorded


def test_a_replay_needs_no_clock_and_no_store() -> None:
    journal = Journal()
    recorded = record(kitchen(), journal)
    first = run(recipe, recorded | Stores().handlers(), run_id="evening").unwrap()
    again = run(recipe, replay(journal), run_id="evening").unwrap()
    assert again.context == first.context
    assert [(point.name, point.value) for point in again.metrics] == [(p.name, p.value) for p in first.metrics]
    assert again.telemetry_problems == ()


def test_telemetry_is_no_part_of_a_recording() -> None:
    journal = Journal()
    run(recipe, record(wired(Stores()), journal), run_id="evening").unwrap()
    assert {entry.call.partition(".")[0] for entry in journal} == {"Cook"}


def test_a_divergence_is_that_of_a_stage() -> None:
    journal = Journal()
    record(wired(Stores()), journal).run(execute(recipe, run_id="evening")).unwrap()
    changed = Recipe(
        name="dinner", description="", workflow=(soup >> cooking("meat")).named("dinner"), default_config=Meal()
    )
    with pytest.raises(Diverged, match=r"now: +Cook\.make"):
        replay(journal).run(execute(changed, run_id="evening"))


@pytest.mark.parametrize("at", [1, 2])
def test_a_run_that_crashed_is_resumed_and_its_telemetry_goes_on_without_doubles(at: int) -> None:
    stores, journal = Stores(), Journal()
    crashing_kitchen = meddling(kitchen(), call_number("Cook.make", at), raises(OSError("gas")))
    with pytest.raises(OSError, match="gas"):
        run(recipe, resume(crashing_kitchen, journal) | stores.handlers(), run_id="evening")
    result = run(recipe, resume(kitchen(), journal) | stores.handlers(), run_id="evening").unwrap()
    assert result.context.state.names() == ("soup", "fish")
    series = [(point.step, point.value) for point in result.metrics]
    stored = stores.handlers().run(perform(MetricsStore.read, "evening")).unwrap()
    assert [(point.step, point.value) for point in stored] == series
    made = stores.handlers().run(perform(EventStore.query, "evening", EventFilter(name=EffectPerformed.NAME))).unwrap()
    good = [event.attributes["path"] for event in made if event.attributes["error"] is None]
    assert good.count("dinner/fish/#1") == 1
    assert good.count("dinner/soup/#1") == 1
    again = run(recipe, resume(unusable(), journal) | stores.handlers(), run_id="evening").unwrap()
    assert again.context == result.context


# A dry run


def test_a_dry_run_performs_nothing_and_gives_the_plan() -> None:
    plan = dry_run(recipe, unusable()).unwrap()
    assert (plan.recipe, plan.config, plan.ports) == ("dinner", Meal(), ("Cook", "Waiter"))
    assert plan.outline == recipe.workflow.outline
    assert str(plan) == (
        "workflow dinner\n"
        "  soup  [Cook]\n"
        "  fish  [Cook]\n"
        "  serve  [Cook, Waiter]  Say that it is ready.\n"
        "\n"
        "ports\n"
        "  Cook\n"
        "  Waiter\n"
        "\n"
        "configuration\n"
        "  Meal(dishes=())"
    )


def test_a_dry_run_of_a_workflow_that_needs_nothing_says_so() -> None:
    def idle(plate: Plate) -> Plate:
        return plate

    from crucible.kitchen import pure_stage

    nothing = Recipe(name="idle", description="", workflow=pure_stage(idle), default_config=Meal())
    assert "ports\n  none\n" in str(dry_run(nothing, Handlers.none()).unwrap())


def test_a_dry_run_reports_every_problem_of_a_configuration() -> None:
    taken = run(recipe, kitchen() | Stores().handlers()).unwrap().context.state
    error = dry_run(recipe, unusable(), taken).failure()
    assert error == InvalidConfig(problems=tuple(hungry(taken)))
    assert str(error).count("\n  - ") == 2


def test_a_dry_run_names_all_missing_handlers_and_how_to_add_them() -> None:
    error = dry_run(recipe, Handlers.none()).failure()  # type: ignore[misc]  # the checker knows, too
    assert error == MissingHandlers(ports=("Cook", "Waiter"))
    assert str(error) == (
        "no handler for Cook, Waiter: add Cook.handled_by(...) | Waiter.handled_by(...) to the handlers"
    )


def test_handlers_of_every_port_miss_none() -> None:
    assert isinstance(dry_run(recipe, replay(Journal())), Success)


# Ports that nothing handles


@pytest.mark.parametrize("through", ["run", "execute"])
def test_a_run_without_a_handler_of_a_port_fails_before_the_first_effect(through: str) -> None:
    called: list[TracedCall] = []
    handlers: Any = trace(
        Cook.handled_by(Stove()) | Stores().handlers(), into=called.append
    )  # as untyped code gives them
    failed = (
        run(recipe, handlers, run_id="evening")
        if through == "run"
        else handlers.run(execute(recipe, run_id="evening", clock=ticking()))
    ).failure()
    assert failed == RunFailed(run_id="evening", path="handlers", error=MissingHandlers(ports=("Waiter",)))
    assert str(failed).startswith("evening failed in handlers: no handler for Waiter: add Waiter.handled_by(...)")
    assert called == []


def test_the_stores_of_a_run_are_ports_like_any_other() -> None:
    handlers: Any = kitchen()
    assert run(recipe, handlers).failure().error == MissingHandlers(ports=("EventStore", "MetricsStore"))


def test_a_port_of_a_stage_that_runs_on_a_condition_counts() -> None:
    maybe = Recipe(name="maybe", description="", workflow=fish >> conditional(is_full, serve), default_config=Meal())
    handlers: Any = Cook.handled_by(Stove()) | Stores().handlers()
    assert run(maybe, handlers).failure().error == MissingHandlers(ports=("Waiter",))


def is_full(meal: Meal) -> bool:
    return False
