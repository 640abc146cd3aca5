"""The feedback loop on handlers that need nothing: it trains again when there is a reason, on what was exported."""

import json
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
from crucible.train.types import ByteTokenizer, DatasetConfig, SessionConfig
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
    assert curated.num_examples == sum(curated.sources.values()) == 8
    assert set(curated.sources) == {"user_edit", "high_quality"}


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


def test_nothing_worth_training_on_is_an_error_and_the_baseline_stays() -> None:
    dull = tuple(attrs.evolve(one, edited_response=None, score=0.5) for one in DEFAULT_EXCHANGES)
    held = Blobs()
    handlers = noop.all(held=held) | noop.feedback(exchanges={"bot": dull}, blobs=held)
    run = looped(BASE, handlers)
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.message == "0 examples are worth training on, 1 are wanted"
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


EVERY_SOURCE = CurationOptions(limit=5, sources=("hard_example", "diverse", "user_edit"))


@pytest.mark.parametrize("curation", [BASE.curation, EVERY_SOURCE, CurationOptions(limit=3, min_score=0.5)])
def test_exactly_the_curated_examples_are_exported_in_their_order_and_trained_on(curation: CurationOptions) -> None:
    held = Blobs()
    retraining = attrs.evolve(RETRAINING, batch_size=99, epochs=1, num_rows=1)
    run = looped(attrs.evolve(BASE, curation=curation, retraining=retraining), noop.all(held=held))
    state = run.outcome.unwrap().state
    exported = [json.loads(line) for line in held.held["feedback/today.jsonl"].splitlines()]
    said = [[message["content"] for message in row["messages"]] for row in exported]
    assert said == [[example.prompt, example.response] for example in state.curated] != []
    [trained] = run.log.of("TrainingClient.forward_backward")
    assert isinstance(trained.arguments[1], tuple | list)
    texts = [ByteTokenizer().decode(datum.model_input.tokens) for datum in trained.arguments[1]]
    assert len(texts) == len(said)
    assert all(any(prompt in text and answer[:-1] in text for text in texts) for prompt, answer in said)


def test_an_export_under_the_path_of_an_older_one_goes_beside_it() -> None:
    held = Blobs()
    looped(BASE, noop.all(held=held)).outcome.unwrap()
    before = held.held["feedback/today.jsonl"]
    later = attrs.evolve(BASE, curation=attrs.evolve(BASE.curation, limit=3))
    state = looped(later, noop.all(held=held)).outcome.unwrap().state
    assert state.exported is not None
    assert state.trained is not None
    assert state.exported.path == state.trained.config.dataset.name == "feedback/today~2.jsonl"
    assert state.trained.num_examples == 3
    assert held.held["feedback/today.jsonl"] == before


def test_what_a_failed_training_was_to_learn_is_curated_again() -> None:
    ill, handlers = BackendFailed(message="out of memory"), noop.all()
    broken = looped(BASE, meddling(handlers, call_number("TrainingClient.optim_step", 1), fails_with(ill)))
    assert broken.outcome == Failure(ill)
    again = looped(BASE, handlers).outcome.unwrap().state
    assert again.trained is not None
    assert len(again.curated) == 8


def test_what_was_trained_on_is_trained_on_again_only_when_asked() -> None:
    handlers, eager = noop.all(), attrs.evolve(BASE, thresholds=attrs.evolve(NEVER, num_examples=1))
    looped(eager, handlers).outcome.unwrap()
    curated = handlers.run(perform(FeedbackClient.curate, "bot", BASE.curation)).unwrap()
    assert curated == ()
    everything = attrs.evolve(BASE.curation, include_trained=True)
    assert len(handlers.run(perform(FeedbackClient.curate, "bot", everything)).unwrap()) == 8


def test_a_configuration_that_can_never_train_is_named() -> None:
    retraining = attrs.evolve(RETRAINING, eval_every=2)
    config = attrs.evolve(BASE, retraining=retraining, min_examples=9, curation=CurationOptions(limit=3))
    assert BASE.problems() == ()
    assert config.problems() == (
        "retraining: eval_every is 2 but there is no evaluation: give one, or set eval_every to 0",
        "min_examples is 9, but curation.limit is 3",
    )
