"""What the noop handlers refuse, they say why, and what to do."""

import math

import pytest

from crucible.effects import Do, Eff, do, perform
from crucible.kitchen.handlers import noop
from crucible.kitchen.ports import AnsweredRow, EvaluationRequest, Evaluator, ExportOptions, FeedbackClient
from crucible.train.errors import (
    InvalidRequest,
    NonFiniteLoss,
    NotFound,
    StorageFailed,
    TrainError,
    Unsupported,
)
from crucible.train.ports import BlobStore, DatasetStore, SamplingClient, TrainingClient
from crucible.train.types import (
    DatasetConfig,
    Datum,
    ForwardBackwardOutput,
    LossFn,
    ModelInput,
    SamplingConfig,
    SessionConfig,
    TensorData,
)


@do
def submitted(
    inputs: dict[str, TensorData], loss_fn: LossFn = "cross_entropy", config: dict[str, float] | None = None
) -> Do[TrainError, TrainingClient, ForwardBackwardOutput]:
    session = yield from perform(TrainingClient.start_session, SessionConfig(model="m"))
    datum = Datum(model_input=ModelInput.from_tokens([1, 2]), loss_fn_inputs=inputs)
    future = yield from perform(
        TrainingClient.forward_backward, session, [datum], loss_fn=loss_fn, loss_fn_config=config
    )
    return (yield from perform(TrainingClient.await_, future))


TARGETS = {"target_tokens": TensorData.ints([2, 3])}
POLICY = {**TARGETS, "logprobs": TensorData.floats([-1, -1]), "advantages": TensorData.floats([1, 1])}


@pytest.mark.parametrize(
    ("eff", "kind", "says"),
    [
        (submitted(POLICY, "ppo", {"clip_low_treshold": 0.5}), InvalidRequest, "did you mean 'clip_low_threshold'"),
        (submitted(TARGETS, "pp"), InvalidRequest, "did you mean 'ppo'"),  # type: ignore[arg-type]  # a misspelt name
        (submitted(TARGETS, "dro"), InvalidRequest, "logprobs"),
        (submitted({"target_tokens": TensorData.ints([2, 999])}), InvalidRequest, "0 to 257"),
        (
            submitted({"target_tokens": TensorData(data=(1, 2, 3, 4), dtype="int64", shape=(2, 2))}),
            Unsupported,
            "several targets",
        ),
        (submitted({**POLICY, "advantages": TensorData.floats([1, math.nan])}, "ppo"), NonFiniteLoss, "items 0"),
        (
            submitted({**POLICY, "logprobs": TensorData.floats([-1, math.nan])}, "importance_sampling"),
            NonFiniteLoss,
            "nan|inf",
        ),
    ],
)
def test_training_says_what_is_wrong_with_a_batch(
    eff: Eff[object, TrainError, TrainingClient], kind: type, says: str
) -> None:
    error = noop.training().run(eff).failure()
    assert isinstance(error, kind)
    assert any(part in str(error) for part in says.split("|"))


def test_a_model_is_not_mistaken_for_another() -> None:
    shelf = noop.Shelf()
    handlers = noop.training(shelf=shelf) | noop.sampling(shelf=shelf)

    @do
    def saved() -> Do[TrainError, TrainingClient, tuple[str, str]]:
        session = yield from perform(TrainingClient.start_session, SessionConfig(model="one"))
        checkpoint = yield from perform(TrainingClient.save_checkpoint, session, "c")
        weights = yield from perform(TrainingClient.save_sampler_weights, session, "w")
        return checkpoint.path, weights.path

    checkpoint, weights = handlers.run(saved()).unwrap()
    restoring = perform(TrainingClient.restore_session, SessionConfig(model="two"), checkpoint)
    sampling = perform(SamplingClient.start_session, SamplingConfig(model="two", weights_path=weights))
    assert isinstance(handlers.run(restoring).failure(), InvalidRequest)
    assert isinstance(handlers.run(sampling).failure(), InvalidRequest)
    as_weights = perform(SamplingClient.start_session, SamplingConfig(model="one", weights_path=checkpoint))
    assert isinstance(handlers.run(as_weights).failure(), NotFound)


def test_a_name_used_again_does_not_overwrite() -> None:
    @do
    def program() -> Do[TrainError, TrainingClient, None]:
        session = yield from perform(TrainingClient.start_session, SessionConfig(model="m"))
        first = yield from perform(TrainingClient.save_checkpoint, session, "same")
        second = yield from perform(TrainingClient.save_checkpoint, session, "same")
        assert first.path != second.path
        assert first.name == second.name

    noop.training().run(program()).unwrap()


def test_what_was_saved_on_a_shelf_outlives_its_handlers() -> None:
    shelf = noop.Shelf()

    @do
    def saved() -> Do[TrainError, TrainingClient, str]:
        session = yield from perform(TrainingClient.start_session, SessionConfig(model="m"))
        return (yield from perform(TrainingClient.save_checkpoint, session, "c")).path

    path = noop.all(shelf=shelf).run(saved()).unwrap()
    restoring = perform(TrainingClient.restore_session, SessionConfig(model="m"), path)
    assert noop.all(shelf=shelf).run(restoring).unwrap().step == 0


def test_an_unknown_metric_names_the_nearest() -> None:
    request = EvaluationRequest(
        dataset="d", examples=(AnsweredRow(row={}, answer="a", expected="a"),), metrics=("acuracy",)
    )
    assert "did you mean 'accuracy'" in str(noop.evaluator().run(perform(Evaluator.evaluate, request)).failure())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (ExportOptions(path="../x.jsonl"), InvalidRequest),
        (ExportOptions(path="x.parquet", format="parquet"), Unsupported),
    ],
)
def test_feedback_refuses_what_it_cannot_write(options: ExportOptions, kind: type) -> None:
    assert isinstance(noop.all().run(perform(FeedbackClient.export, "live", (), options)).failure(), kind)


def test_a_blob_that_holds_no_rows_is_no_dataset() -> None:
    @do
    def program() -> Do[TrainError, BlobStore | DatasetStore, object]:
        yield from perform(BlobStore.write, "rows.jsonl", b"{}\n{")
        return (yield from perform(DatasetStore.load_dataset, DatasetConfig(name="rows.jsonl")))

    assert isinstance(noop.all().run(program()).failure(), StorageFailed)
