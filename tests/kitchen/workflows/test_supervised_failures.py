"""What a supervised run says when it cannot go on, and what it leaves behind."""

import anyio
import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crucible.effects import Call, Failure, Handlers, Proceed, Result, Success, located, perform, show_path, trace
from crucible.kitchen import Context, Recipe, RunFailed, run
from crucible.kitchen.config import EvaluationConfig, problems_of
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.telemetry.ports import MetricsStore
from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    NonFiniteLoss,
    NotFound,
    SequenceTooLong,
    StorageFailed,
    TrainError,
)
from crucible.train.types import DatasetConfig, Row, TrainingSession
from tests.kitchen.fakes import Stores, at_path, call_number, fails_with, meddling, raises, run_and_cancel
from tests.kitchen.workflows.small import BASE, HELD_OUT, Log, Ports, handlers_of, logged, row, train

FULL = attrs.evolve(
    BASE, evaluation=HELD_OUT, eval_every=2, save_every=1, register_as="talker", num_rows=3, batch_size=2, epochs=2
)
CLOSING = ("TrainingClient.close_session", "SamplingClient.close_session", "TrainingClient.delete_sampler_weights")
ACQUIRED = ("SamplingClient.start_session", "TrainingClient.save_sampler_weights")


def paths_of(log: Log) -> list[str]:
    return [show_path(traced.call.path) for traced in log.calls]


NAMES = logged(FULL, handlers_of())[1].names
PATHS = paths_of(logged(FULL, handlers_of())[1])
places = st.integers(0, len(PATHS) - 1).filter(lambda index: NAMES[index] not in CLOSING)


def sessions_in(log: Log) -> list[TrainingSession]:
    return [session for session in log.answers("TrainingClient.start_session") if isinstance(session, TrainingSession)]


def closed_by(log: Log) -> list[object]:
    return [call.arguments[0] for call in log.of("TrainingClient.close_session")]


def samplers_in(log: Log) -> tuple[int, int]:
    return len(log.answers("SamplingClient.start_session")), len(log.of("SamplingClient.close_session"))


@settings(max_examples=60)
@given(places, st.sampled_from(["failure", "exception", "cancellation"]))
def test_wherever_it_fails_nothing_runs_after_and_every_session_is_closed(index: int, how: str) -> None:
    assume(how != "cancellation" or NAMES[index] not in ACQUIRED)  # an acquisition is shielded
    log, error = Log(), BackendFailed(message="out of memory")
    handlers = trace(handlers_of(), into=log.calls.append)
    work, where = supervised(Context.start(FULL, run_id="evening")), at_path(PATHS[index])
    if how == "failure":
        failed = meddling(handlers, where, fails_with(error)).run(located(work)).failure()
        assert (show_path(failed.path), failed.error) == (PATHS[index].rpartition("/")[0], error)
    elif how == "exception":
        with pytest.raises(OSError, match="gas"):
            meddling(handlers, where, raises(OSError("gas"))).run(work)
    else:
        anyio.run(run_and_cancel, handlers, where, work)
    before = [name for name in NAMES[:index] if name not in CLOSING]
    assert [name for name in log.names if name not in CLOSING] == before
    assert closed_by(log) == sessions_in(log)
    begun, ended = samplers_in(log)
    assert begun == ended


def recipe_of(
    config: SupervisedConfig,
) -> Recipe[SupervisedConfig, SupervisedState, TrainError | KitchenError, Ports]:
    return Recipe(name="talk", description="", workflow=supervised, default_config=config, validate_config=problems_of)


@settings(max_examples=30)
@given(places)
def test_every_event_told_before_a_failure_is_in_the_stores(index: int) -> None:
    stores, heard, error = Stores(), list[object](), BackendFailed(message="out of memory")
    handlers = meddling(handlers_of(), at_path(PATHS[index]), fails_with(error)) | stores.handlers()
    failed = run(recipe_of(FULL), handlers, run_id="evening", on_event=heard.append).failure()
    assert failed == RunFailed(run_id="evening", path=PATHS[index].rpartition("/")[0], error=error)
    assert stores.names("evening") == [getattr(event, "NAME", "") for event in heard]


def not_a_number(step: int) -> Handlers[EveryPort]:
    """Let the loss of one step be NaN."""
    awaited = meddling(
        handlers_of(),
        call_number("TrainingClient.await_", 2 * step - 1),
        fails_with(NonFiniteLoss(loss=float("nan"), indices=(1,))),
    )
    return awaited


def test_a_loss_that_is_no_number_ends_the_run_with_the_items_and_keeps_what_came_before() -> None:
    stores = Stores()
    config = attrs.evolve(BASE, batch_size=2, save_every=2)
    handlers = not_a_number(4) | stores.handlers()
    failed = run(recipe_of(config), handlers, run_id="evening").failure()
    assert isinstance(failed.error, NonFiniteLoss)
    assert failed.path == "supervised/epochs[0]/batches[3]/await_step"
    assert str(failed) == (
        "evening failed in supervised/epochs[0]/batches[3]/await_step: the loss is nan from items 1: "
        "lower the learning rate, clip gradients, or look at those items"
    )
    losses = stores.handlers().run(perform(MetricsStore.read, "evening", name="loss")).unwrap()
    assert [point.step for point in losses] == [1, 2, 3]
    assert stores.names("evening").count("crucible_kitchen.training.checkpoint") == 1


@pytest.mark.parametrize("call", ["TrainingClient.save_checkpoint", "TrainingClient.save_sampler_weights"])
def test_a_full_disk_ends_the_run_with_its_own_error(call: str) -> None:
    full = StorageFailed(path="/runs", message="no space left", fix="free some")
    config = attrs.evolve(BASE, save_every=1)
    assert train(config, meddling(handlers_of(), call_number(call, 1), fails_with(full))) == Failure(full)


def test_a_close_that_fails_at_the_end_is_the_error_and_on_the_way_out_is_not() -> None:
    broken = BackendFailed(message="cannot close")
    handlers = meddling(handlers_of(), call_number("TrainingClient.close_session"), fails_with(broken))
    assert train(BASE, handlers) == Failure(broken)
    handlers = meddling(handlers, call_number("TrainingClient.optim_step"), fails_with(BackendFailed(message="first")))
    assert train(BASE, handlers) == Failure(BackendFailed(message="first"))


# Rows that cannot be trained on


def test_a_dataset_without_rows_is_an_error_before_any_session_is_opened() -> None:
    log = Log()
    error = train(BASE, trace(handlers_of([]), into=log.calls.append)).failure()
    assert error == InvalidRequest(
        message="dataset 'talk', split 'train', has no rows", fix="check the split and num_rows"
    )
    assert not sessions_in(log)


def test_a_dataset_or_split_that_is_not_there_is_named() -> None:
    error = train(attrs.evolve(BASE, dataset=DatasetConfig(name="talk", split="dev")), handlers_of()).failure()
    assert error == NotFound(kind="split", name="talk/dev", fix="it has train, test")


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "only text"},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "robot", "content": "?"}]},
        {"messages": [{"role": "user", "content": "nobody answers"}]},
        {"prompt": 1, "completion": 2},
        {},
    ],
)
@given(st.integers(0, 4))
@settings(max_examples=5)
def test_a_row_of_the_wrong_shape_is_named_by_its_index(wrong: Row, index: int) -> None:
    rows: list[Row] = list(map(row, range(5)))
    rows[index] = wrong
    log = Log()
    error = train(BASE, trace(handlers_of(rows), into=log.calls.append)).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == index
    assert f"(item {index})" in str(error)
    assert error.fix or "render" in error.message
    assert closed_by(log) == sessions_in(log) != []


def test_a_row_that_is_too_long_is_named_by_its_index_and_may_be_cut_instead() -> None:
    rows = [*map(row, range(2)), {"prompt": "?", "completion": "!" * 200}]
    config = attrs.evolve(BASE, max_length=100)
    error = train(config, handlers_of(rows)).failure()
    assert isinstance(error, SequenceTooLong)
    assert (error.index, error.limit) == (2, 100)
    assert error.length > 200
    outcome, log = logged(attrs.evolve(config, truncate=True), handlers_of(rows))
    [call] = log.of("TrainingClient.forward_backward")
    data = call.arguments[1]
    assert isinstance(data, tuple)
    assert max(len(datum.model_input) for datum in data) == 100 - 1
    assert outcome.unwrap().state.step == 1


def test_a_row_cut_before_its_answer_has_nothing_to_train_on() -> None:
    rows = [row(0), {"prompt": "?" * 200, "completion": "!"}]
    error = train(attrs.evolve(BASE, max_length=100, truncate=True), handlers_of(rows)).failure()
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.index) == ("the row has no token to train on", 1)


def test_a_limit_above_the_models_is_refused_with_the_models() -> None:
    error = train(attrs.evolve(BASE, max_length=10**6), handlers_of()).failure()
    assert error == InvalidRequest(message="max_length 1000000 is more than noop takes", fix="set it to at most 32768")


# An evaluation that cannot be made


def test_an_evaluation_dataset_without_rows_is_an_error() -> None:
    config = attrs.evolve(BASE, evaluation=EvaluationConfig(dataset=DatasetConfig(name="talk", split="none")))
    handlers = handlers_of()
    assert isinstance(train(config, handlers).failure(), NotFound)
    empty = meddling(handlers, call_number("DatasetStore.read_rows", 2), _no_rows)
    error = train(attrs.evolve(BASE, evaluation=HELD_OUT), empty).failure()
    assert error == InvalidRequest(
        message="the evaluation dataset 'talk', split 'test', has no rows", fix="check the split"
    )


async def _no_rows(call: Call, proceed: Proceed) -> Result[object, object]:
    return Success(())


def test_a_held_out_row_without_an_answer_is_named_by_its_index() -> None:
    rows = [row(1), {"messages": [{"role": "user", "content": "?"}]}]

    async def held_out(call: Call, proceed: Proceed) -> Result[object, object]:
        return Success(tuple(rows))

    handlers = meddling(handlers_of(), call_number("DatasetStore.read_rows", 2), held_out)
    error = train(attrs.evolve(BASE, evaluation=HELD_OUT), handlers).failure()
    assert error == InvalidRequest(
        message="the row has no answer to compare with",
        fix="use rows that have an answer, or an evaluator with the task's own verifier",
        index=1,
    )


def test_evaluating_on_the_training_rows_is_found_before_anything_is_performed() -> None:
    config = attrs.evolve(BASE, evaluation=EvaluationConfig(dataset=BASE.dataset), eval_every=1)
    failed = run(recipe_of(config), handlers_of()).failure()
    assert failed.path == "configuration"
    assert "hold out another split" in str(failed.error)
