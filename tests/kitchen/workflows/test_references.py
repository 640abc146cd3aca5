"""A run is held against the policy with which its training began, however often it is resumed, and leaves no copy of it."""

import math
from typing import Any

import attrs
import pytest

from crucible.effects import Call, Handlers, Proceed, Result, Success
from crucible.kitchen import Context, Recipe, dry_run
from crucible.kitchen.handlers import noop, tinkex
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.stage import pure_stage
from crucible.kitchen.stages.preference import PreferenceConfig, PreferenceLossName
from crucible.kitchen.stages.supervised import SupervisedState
from crucible.kitchen.workflows import preference, reinforcement, reinforcement_async, supervised
from crucible.telemetry.events import (
    PreferenceStep,
    ReferenceChosen,
    ReinforcementStep,
    RunResumed,
)
from crucible.testing.tinker_server import Deviations, serve
from crucible.train.errors import InvalidRequest, NonFiniteLoss, NotFound
from crucible.train.types import ByteTokenizer, TrainingSession
from tests.kitchen.fakes import call_number, fails_with, meddling
from tests.kitchen.workflows import arenas, small, test_preference
from tests.kitchen.workflows.runs import (
    Ran,
    checkpoints_in,
    on_nothing,
    ran,
    sessions_left_open,
    taught_before,
)

DUEL = attrs.evolve(test_preference.BASE, save_every=1)
ROUNDS = attrs.evolve(arenas.BASE, kl_coef=0.1, epochs=2, save_every=3)
RL = {"in turn": reinforcement(arenas.letters), "side by side": reinforcement_async(arenas.letters)}


def fought(config: PreferenceConfig, shelf: Shelf) -> Ran[Any, Any]:
    return ran(test_preference.handlers_of(shelf=shelf), preference(Context.start(config)))


def losses(run: Ran[Any, Any]) -> list[float]:
    return [step.metrics["loss"] for step in run.events(PreferenceStep)]


def kls(run: Ran[Any, Any]) -> list[float]:
    return [step.metrics["kl_reference"] for step in run.events(ReinforcementStep)]


def copies_in(shelf: Shelf) -> list[str]:
    return [path for path in shelf.paths("weights") if "/weights/reference" in path]


@pytest.mark.parametrize("loss", ["dpo", "ipo", "kto"])
def test_preferences_begin_with_a_policy_that_is_the_reference(loss: PreferenceLossName) -> None:
    shelf = Shelf()
    run = fought(attrs.evolve(DUEL, loss=loss, start_from=taught_before(shelf).path), shelf)
    first, *_, last = run.events(PreferenceStep)
    assert first.metrics["chosen_reward"] == pytest.approx(0, abs=1e-12)
    assert first.metrics["rejected_reward"] == pytest.approx(0, abs=1e-12)
    assert first.metrics["loss"] == pytest.approx({"dpo": math.log(2), "ipo": 25.0, "kto": 0.5}[loss], abs=1e-12)
    assert last.metrics["loss"] < first.metrics["loss"]
    assert copies_in(shelf) == sessions_left_open(run.log) == []


@pytest.mark.parametrize("name", RL)
def test_the_kl_to_the_reference_begins_at_nothing(name: str) -> None:
    shelf = Shelf()
    start = taught_before(shelf).path
    run = arenas.played(RL[name], attrs.evolve(ROUNDS, start_from=start), arenas.handlers_of(shelf=shelf))
    assert kls(run)[0] == pytest.approx(0, abs=1e-12)
    assert kls(run)[-1] != pytest.approx(0, abs=1e-6)
    assert copies_in(shelf) == sessions_left_open(run.log) == []
    bare = arenas.played(RL[name], attrs.evolve(ROUNDS, reference_path=None), arenas.handlers_of())
    assert kls(bare)[0] == pytest.approx(0, abs=1e-12)
    assert bare.events(ReferenceChosen)[0].reference == "the model without adapters, with which training begins"


def test_other_weights_can_be_named() -> None:
    shelf = Shelf()
    start = taught_before(shelf).path
    other = fought(DUEL, shelf).outcome.unwrap().state.final_weights.path
    run = fought(attrs.evolve(DUEL, start_from=start, reference_path=other), shelf)
    assert losses(run)[0] != pytest.approx(math.log(2), abs=1e-3)
    assert run.events(ReferenceChosen)[0].reference == f"the sampler weights {other} (reference_path)"
    assert other in shelf.paths("weights")
    for resume in checkpoints_in(run):  # whether the path is said again or not
        resumed = fought(attrs.evolve(DUEL, resume_from=resume.path), shelf)
        assert losses(resumed) == losses(run)[resume.step :]
        assert resumed.events(ReferenceChosen) == run.events(ReferenceChosen)
    shelf.drop(other)
    error = fought(attrs.evolve(DUEL, resume_from=checkpoints_in(run)[0].path), shelf).outcome.failure()
    assert isinstance(error, NotFound)
    assert error.name == other


@pytest.mark.parametrize("step", [1, 2])
def test_a_run_that_fails_leaves_no_copy_and_is_resumed_with_the_same_reference(step: int) -> None:
    shelf = Shelf()
    config = attrs.evolve(ROUNDS, start_from=taught_before(shelf).path, save_every=1)
    whole = arenas.played(RL["in turn"], config, arenas.handlers_of(shelf=shelf))
    broken = meddling(
        arenas.handlers_of(shelf=shelf),
        call_number("TrainingClient.forward_backward", step + 1),
        fails_with(NonFiniteLoss(loss=math.inf)),
    )
    run = arenas.played(RL["in turn"], config, broken)
    assert isinstance(run.outcome.failure(), NonFiniteLoss)
    assert copies_in(shelf) == sessions_left_open(run.log) == []
    resuming = attrs.evolve(config, start_from=None, resume_from=checkpoints_in(run)[-1].path)
    resumed = arenas.played(RL["in turn"], resuming, arenas.handlers_of(shelf=shelf))
    assert kls(resumed) == kls(whole)[step:]
    assert copies_in(shelf) == sessions_left_open(resumed.log) == []
    again = attrs.evolve(resuming, resume_from=checkpoints_in(resumed)[0].path)
    assert kls(arenas.played(RL["in turn"], again, arenas.handlers_of(shelf=shelf))) == kls(whole)[step + 1 :]


@pytest.mark.parametrize("loss", ["dpo", "simpo"])
def test_a_reference_that_is_gone_is_named_where_one_is_needed(loss: PreferenceLossName) -> None:
    shelf = Shelf()
    config = attrs.evolve(DUEL, loss=loss, start_from=taught_before(shelf).path)
    first = checkpoints_in(fought(config, shelf))[0]
    shelf.drop(str(config.start_from))
    run = fought(attrs.evolve(config, start_from=None, resume_from=first.path), shelf)
    if loss == "simpo":
        assert isinstance(run.outcome, Success)
        return
    error = run.outcome.failure()
    assert isinstance(error, NotFound)
    assert error.name == config.start_from
    assert "put it back, or give reference_path" in error.fix
    assert sessions_left_open(run.log) == []


async def forgetting(call: Call, proceed: Proceed) -> Result[object, object]:
    """Keep no metadata, as some servers do."""
    found = await proceed(call)
    return found.map(lambda value: attrs.evolve(value, metadata={}) if isinstance(value, TrainingSession) else value)


def test_where_no_metadata_are_kept_an_unknown_reference_is_refused_and_a_known_one_used() -> None:
    shelf = Shelf()
    handlers: Handlers[EveryPort] = test_preference.handlers_of(shelf=shelf).wrap(forgetting)

    def resumed(config: PreferenceConfig) -> Ran[Any, Any]:
        run = fought(config, shelf)
        path = checkpoints_in(run)[0].path
        return ran(handlers, preference(Context.start(attrs.evolve(config, start_from=None, resume_from=path))))

    assert losses(resumed(DUEL)) == losses(fought(DUEL, shelf))[1:]
    started = attrs.evolve(DUEL, start_from=taught_before(shelf).path)
    error = resumed(started).outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert "did not keep the path" in error.message
    assert "reference_path" in error.fix
    named = attrs.evolve(started, reference_path=fought(DUEL, shelf).outcome.unwrap().state.final_weights.path)
    assert isinstance(resumed(named).outcome, Success)


@pure_stage
def then_preferences(context: Context[SupervisedState]) -> Context[PreferenceConfig]:
    """Go on from the supervised run's last checkpoint."""
    saved = context.state.checkpoint
    assert saved is not None
    return context.to(attrs.evolve(DUEL, start_from=saved.path))


def test_one_workflow_of_two_trainings_is_held_against_the_first() -> None:
    shelf, both = Shelf(), supervised >> then_preferences >> preference
    config = attrs.evolve(small.BASE, learning_rate=0.1, epochs=4, batch_size=8, save_every=4)
    rows = [{**row, **duel} for row, duel in zip(small.ROWS, test_preference.DUELS, strict=False)]
    run = ran(on_nothing(rows, shelf=shelf), both(Context.start(attrs.evolve(config, batch_size=5))))
    run.outcome.unwrap()
    assert losses(run)[0] == pytest.approx(math.log(2), abs=1e-12)
    assert copies_in(shelf) == sessions_left_open(run.log) == []


@pytest.mark.parametrize("loss", ["dpo", "simpo"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "the model without adapters, with which training begins"),
        ({"start_from": "runs/sft"}, "the weights of the checkpoint runs/sft, with which training begins"),
        ({"start_from": "runs/sft", "reference_path": "w"}, "the sampler weights w (reference_path)"),
        ({"resume_from": "runs/dpo"}, "that of the run that saved runs/dpo, in which it is kept"),
        ({"resume_from": "runs/dpo", "reference_path": "w"}, "the sampler weights w (reference_path)"),
    ],
)
def test_a_plan_shows_the_reference(changes: dict[str, str], said: str, loss: PreferenceLossName) -> None:
    config = attrs.evolve(DUEL, loss=loss, **changes)  # type: ignore[arg-type]  # of the fields' types
    recipe = Recipe(name="duels", description="", workflow=preference, default_config=config)
    shown = str(dry_run(recipe, noop.all()).unwrap())
    assert (f"reference\n  {said}\n" in shown) == (loss == "dpo")


def test_on_a_server_too_the_reference_is_where_training_began() -> None:
    shelf = Shelf()
    with serve(noop.all(shelf=shelf), models=["noop"]) as server:
        remote = tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer())
        data = {"train": test_preference.DUELS, "test": test_preference.HELD_OUT}
        handlers: Handlers[EveryPort] = noop.all() | noop.datasets(rows=data) | tinkex.remote(remote)
        first = ran(handlers, preference(Context.start(attrs.evolve(DUEL, learning_rate=0.1))))
        config = attrs.evolve(DUEL, start_from=checkpoints_in(first)[-1].path)
        whole = ran(handlers, preference(Context.start(config)))
        assert losses(whole)[0] == pytest.approx(math.log(2), abs=1e-9)
        resuming = attrs.evolve(config, start_from=None, resume_from=checkpoints_in(whole)[0].path)
        resumed = ran(handlers, preference(Context.start(resuming)))
        assert losses(resumed) == losses(whole)[1:]
        assert sessions_left_open(resumed.log) == []
    assert len(shelf.paths("weights")) == 3  # the final ones


def test_on_a_server_that_keeps_no_metadata_a_run_goes_on_at_its_place_and_says_what_is_missing() -> None:
    shelf = Shelf()
    with serve(noop.all(shelf=shelf), models=["noop"], faults=[Deviations(lacks=["metadata"])]) as server:
        remote = tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer())
        handlers = arenas.handlers_of() | tinkex.remote(remote)
        config = attrs.evolve(ROUNDS, save_every=1, epochs=1)
        whole = arenas.played(RL["in turn"], config, handlers)
        first = checkpoints_in(whole)[0]
        resumed = arenas.played(RL["in turn"], attrs.evolve(config, resume_from=first.path), handlers)
    assert kls(resumed) == pytest.approx(kls(whole)[1:])
    assert "failing_rounds" in resumed.events(RunResumed)[0].missing
    assert [event.step for event in checkpoints_in(resumed)] == [event.step for event in checkpoints_in(whole)][1:]
    steps = [event.step for event in resumed.events(ReinforcementStep)]
    assert steps == [event.step for event in whole.events(ReinforcementStep)][1:]
