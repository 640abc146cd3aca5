"""The feedback loop on handlers that need nothing: it trains again when there is a reason, on what was exported."""

from typing import TypeAlias

import attrs
import pytest

from crucible.effects import Failure, Handlers, Journal, perform, record, replay
from crucible.kitchen import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop import DEFAULT_EXCHANGES, Blobs, EveryPort, Shelf
from crucible.kitchen.ports import CurationOptions, ExportOptions, FeedbackClient, TriggerThresholds
from crucible.kitchen.stages.feedback import FeedbackConfig, FeedbackState, retraining_config
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows.feedback_loop import feedback_loop
from crucible.telemetry.events import (
    BaselineUpdated,
    DatasetLoaded,
    FeedbackCurated,
    FeedbackExported,
    TrainingStep,
    TriggersChecked,
)
from crucible.train.errors import BackendFailed, InvalidRequest, NotFound, TrainError
from crucible.train.types import DatasetConfig, SessionConfig
from tests.kitchen.fakes import call_number, fails_with, meddling
from tests.kitchen.workflows.runs import Ran, changes_of, ran, sessions_left_open

Looped: TypeAlias = Ran[Context[FeedbackState], TrainError | KitchenError]

NEVER = TriggerThresholds(drift=1.0, quality=0.0, num_examples=1000)
ENOUGH = TriggerThresholds(drift=1.0, quality=0.0, num_examples=8)
RETRAINING = SupervisedConfig(
    session=SessionConfig(model="noop"),
    dataset=DatasetConfig(name="what it was trained on before", split="dev"),
    learning_rate=1e-3,
    batch_size=4,
    epochs=3,
    schedule="constant",
)
BASE = FeedbackConfig(
    deployment_id="bot", export=ExportOptions(path="feedback/today.jsonl"), retraining=RETRAINING, thresholds=ENOUGH
)


def looped(config: FeedbackConfig = BASE, handlers: Handlers[EveryPort] | None = None) -> Looped:
    return ran(handlers or noop.all(), feedback_loop(Context.start(config, run_id="evening")))


def test_with_a_reason_it_trains_again_on_the_exported_file_and_learns() -> None:
    held, shelf = Blobs(), Shelf()
    run = looped(BASE, noop.all(held=held, shelf=shelf))
    state = run.outcome.unwrap().state
    assert [trigger.kind for trigger in state.triggers] == ["data_count"]
    assert state.exported is not None
    rows = held.held["feedback/today.jsonl"].splitlines()
    assert len(rows) == state.exported.num_rows > 0
    assert run.events(DatasetLoaded) == [
        DatasetLoaded(dataset="feedback/today.jsonl", split="train", num_rows=len(rows))
    ]
    losses = [step.loss for step in run.events(TrainingStep)]
    assert losses[-1] < losses[0]
    assert state.trained is not None
    assert state.trained.config.dataset.name == "feedback/today.jsonl"
    assert changes_of(state.trained, shelf)
    assert sessions_left_open(run.log) == []


def test_what_it_does_is_told_in_order() -> None:
    run = looped()
    kinds = (TriggersChecked, FeedbackCurated, FeedbackExported, BaselineUpdated)
    told = [type(event) for _, event in run.told.events if isinstance(event, kinds)]
    assert told == list(kinds)
    [checked], [curated] = run.events(TriggersChecked), run.events(FeedbackCurated)
    assert (checked.num_triggers, checked.kinds) == (1, "data_count")
    assert curated.num_examples == sum(curated.sources.values()) == 16


def test_the_baseline_is_updated_after_the_training_so_that_the_reason_is_gone() -> None:
    handlers = noop.all()
    run = looped(BASE, handlers)
    assert run.index_of("FeedbackClient.update_baseline") > run.index_of("TrainingClient.close_session")
    assert handlers.run(perform(FeedbackClient.check_triggers, "bot", ENOUGH)).unwrap() == ()
    again = looped(BASE, handlers)
    assert again.outcome.unwrap().state.trained is None
    assert again.log.names == ["FeedbackClient.check_triggers"]


def test_without_a_reason_it_does_nothing() -> None:
    run = looped(attrs.evolve(BASE, thresholds=NEVER))
    state = run.outcome.unwrap().state
    assert (state.triggers, state.curated, state.exported, state.trained) == ((), (), None, None)
    assert run.log.names == ["FeedbackClient.check_triggers"]


@pytest.mark.parametrize(
    ("thresholds", "kind"),
    [
        (attrs.evolve(NEVER, drift=0.01), "drift_threshold"),
        (attrs.evolve(NEVER, quality=0.99), "quality_drop"),
        (attrs.evolve(NEVER, num_examples=1), "data_count"),
    ],
)
def test_each_kind_of_reason_is_enough(thresholds: TriggerThresholds, kind: str) -> None:
    run = looped(attrs.evolve(BASE, thresholds=thresholds))
    assert run.events(TriggersChecked)[0].kinds == kind
    assert run.outcome.unwrap().state.trained is not None


def test_too_few_curated_examples_are_an_error_and_nothing_is_exported_or_trained() -> None:
    config = attrs.evolve(BASE, min_examples=4, curation=CurationOptions(limit=3))
    run = looped(config)
    assert run.outcome == Failure(
        InvalidRequest(
            message="3 examples are worth training on, 4 are wanted",
            fix="wait for more feedback, or lower min_examples",
        )
    )
    assert run.log.names == ["FeedbackClient.check_triggers", "FeedbackClient.curate"]
    assert not run.events(BaselineUpdated)


def test_nothing_worth_exporting_is_an_error_and_the_baseline_stays() -> None:
    dull = tuple(attrs.evolve(one, edited_response=None, score=0.5) for one in DEFAULT_EXCHANGES)
    held = Blobs()
    handlers = noop.all(held=held) | noop.feedback(exchanges={"bot": dull}, blobs=held)
    run = looped(BASE, handlers)
    assert isinstance(run.outcome.failure(), NotFound)
    assert not run.log.of("FeedbackClient.update_baseline")


def test_a_training_that_fails_leaves_the_baseline_and_closes_its_session() -> None:
    ill = BackendFailed(message="out of memory")
    run = looped(BASE, meddling(noop.all(), call_number("TrainingClient.optim_step", 2), fails_with(ill)))
    assert run.outcome == Failure(ill)
    assert not run.log.of("FeedbackClient.update_baseline")
    assert sessions_left_open(run.log) == []


def test_a_deployment_that_is_not_known_is_named() -> None:
    handlers = noop.all() | noop.feedback(exchanges={})
    error = looped(BASE, handlers).outcome.failure()
    assert isinstance(error, NotFound)
    assert error.name == "bot"


def test_the_same_run_does_the_same() -> None:
    first, again = looped(), looped()
    assert (first.outcome, first.told) == (again.outcome, again.told)
    assert first.effects == again.effects


@pytest.mark.parametrize("thresholds", [NEVER, ENOUGH])
def test_a_replay_without_handlers_gives_what_was_recorded_and_tells_the_same(thresholds: TriggerThresholds) -> None:
    journal, config = Journal(), attrs.evolve(BASE, thresholds=thresholds)
    first = looped(config, record(noop.all(), journal))
    again = ran(replay(journal), feedback_loop(Context.start(config, run_id="evening")))
    assert (again.outcome, again.told) == (first.outcome, first.told)


def test_a_retraining_before_an_export_is_a_defect_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="put export_feedback_data before"):
        retraining_config(FeedbackState(config=BASE, triggers=()))
