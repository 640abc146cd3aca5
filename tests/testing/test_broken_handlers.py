"""A contract suite is worth what it catches: each of these handlers breaks one promise, and is found out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import attrs
import pytest

from crucible.effects import Call, Failure, Handlers, Proceed, Result, Success
from crucible.kitchen.handlers import noop
from crucible.kitchen.ports import AnsweredRow, EvaluationRequest, FeedbackClient
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import InMemoryEventStore, InMemoryMetricsStore
from crucible.telemetry.types import MetricPoint
from crucible.testing import (
    ContractViolationError,
    check_blob_store,
    check_dataset_store,
    check_embedding_client,
    check_evaluator,
    check_event_store,
    check_feedback_client,
    check_metrics_store,
    check_model_registry,
    check_sampling_client,
    check_training_client,
    check_training_with_sampling,
    check_vector_store,
)
from crucible.train.errors import InvalidRequest, SessionClosed
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Checkpoint,
    Dataset,
    DatasetConfig,
    ForwardBackwardOutput,
    OptimStepOutput,
    Sample,
    SamplerWeights,
)

R = TypeVar("R")

Change = Callable[[object], object]


def spoiling(handlers: Handlers[R], operation: str, change: Change) -> Handlers[R]:
    """Change what one operation gives, where it gives a value."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        return result.map(change) if call.name == operation else result

    return handlers.wrap(around)


def calling(handlers: Handlers[R], operation: str, change: Callable[[Call], Call]) -> Handlers[R]:
    """Change how one operation is called."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        return await proceed(change(call) if call.name == operation else call)

    return handlers.wrap(around)


def output(change: Callable[[ForwardBackwardOutput], ForwardBackwardOutput]) -> Change:
    return lambda value: change(value) if isinstance(value, ForwardBackwardOutput) else value


def step(change: Callable[[OptimStepOutput], OptimStepOutput]) -> Change:
    return lambda value: change(value) if isinstance(value, OptimStepOutput) else value


def with_argument(call: Call, index: int, value: object) -> Call:
    return attrs.evolve(call, arguments=(*call.arguments[:index], value, *call.arguments[index + 1 :]))


def with_field(name: str, value: object) -> Change:
    return lambda changed: attrs.evolve(cast("Any", changed), **{name: value})


def climbing(call: Call) -> Call:
    adam = call.arguments[1]
    assert isinstance(adam, AdamParams)
    return with_argument(call, 1, attrs.evolve(adam, learning_rate=0.0))


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("await_", output(lambda o: attrs.evolve(o, loss=1.0))),
        ("await_", output(lambda o: attrs.evolve(o, loss=-o.loss))),
        ("await_", output(lambda o: attrs.evolve(o, logprobs=tuple(row[:-1] for row in o.logprobs)))),
        ("await_", output(lambda o: attrs.evolve(o, logprobs=tuple((-1.0, *row[1:]) for row in o.logprobs)))),
        ("await_", step(lambda o: attrs.evolve(o, step=o.step + 1))),
        ("await_", step(lambda o: attrs.evolve(o, learning_rate=0.5))),
        ("await_", step(lambda o: attrs.evolve(o, grad_norm=float("nan")))),
        ("start_session", with_field("step", 1)),
        ("restore_session", with_field("step", 0)),
        ("save_checkpoint", with_field("step", 0)),
        ("save_sampler_weights", with_field("path", "same")),
    ],
)
def test_a_training_client_that_tells_wrong_is_found_out(operation: str, change: Change) -> None:
    def make() -> Handlers[TrainingClient]:
        return spoiling(noop.training(max_length=256), f"TrainingClient.{operation}", change)

    with pytest.raises(ContractViolationError):
        check_training_client(make, model="noop")


def test_a_training_client_that_does_not_learn_is_found_out() -> None:
    with pytest.raises(ContractViolationError, match="the loss goes down"):
        check_training_client(
            lambda: calling(noop.training(max_length=256), "TrainingClient.optim_step", climbing), model="noop"
        )


def test_a_training_client_that_takes_the_gradient_of_forward_is_found_out() -> None:
    def backward(call: Call) -> Call:
        return attrs.evolve(call, operation=TrainingClient.forward_backward)

    with pytest.raises(ContractViolationError, match="forward changes nothing"):
        check_training_client(
            lambda: calling(noop.training(max_length=256), "TrainingClient.forward", backward), model="noop"
        )


def test_a_training_client_that_takes_every_batch_is_found_out() -> None:
    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        is_batch = call.operation == TrainingClient.forward_backward
        if is_batch and isinstance(result, Failure) and isinstance(result.failure(), InvalidRequest):
            return await proceed(
                attrs.evolve(
                    call, operation=TrainingClient.optim_step, arguments=(call.arguments[0], AdamParams()), keywords={}
                )
            )
        return result

    with pytest.raises(ContractViolationError, match="refused"):
        check_training_client(lambda: noop.training(max_length=256).wrap(around), model="noop")


def test_a_training_client_that_replaces_a_checkpoint_of_the_same_name_is_found_out() -> None:
    with pytest.raises(ContractViolationError, match="a name used again replaces nothing"):
        check_training_client(
            lambda: spoiling(noop.training(max_length=256), "TrainingClient.save_checkpoint", renamed), model="noop"
        )


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda call: attrs.evolve(call, keywords={}), "what was saved with the checkpoint"),
        (lambda call: attrs.evolve(call, keywords={"metadata": {"epoch_loss": "10.7458"}}), "what was saved"),
    ],
)
def test_a_training_client_that_forgets_what_was_saved_with_a_checkpoint_is_found_out(
    change: Callable[[Call], Call], broken: str
) -> None:
    handlers = calling(noop.training(max_length=256), "TrainingClient.save_checkpoint", change)
    with pytest.raises(ContractViolationError, match=broken):
        check_training_client(lambda: handlers, model="noop")


@pytest.mark.parametrize(
    ("promise", "check", "change"),
    [
        (
            "weights that were deleted are gone",
            partial(check_training_with_sampling, model="noop"),
            lambda path: f"{path}2",
        ),
        (
            "weights that were deleted are gone",
            partial(check_training_with_sampling, model="noop"),
            lambda path: path.replace("going", "staying"),
        ),
        (
            "deleting weights deletes nothing else",
            partial(check_training_client, model="noop"),
            lambda path: path.replace("/checkpoint/", "/weights/"),
        ),
    ],
)
def test_a_training_client_that_deletes_something_else_is_found_out(
    promise: str, check: Callable[[Callable[[], Handlers[Any]]], None], change: Callable[[str], str]
) -> None:
    def changed(call: Call) -> Call:
        [weights] = cast("tuple[SamplerWeights]", call.arguments)
        return with_argument(call, 0, attrs.evolve(weights, path=change(weights.path)))

    def make() -> Handlers[TrainingClient | SamplingClient]:
        shelf = noop.Shelf()
        both = noop.training(max_length=256, shelf=shelf) | noop.sampling(max_length=256, shelf=shelf)
        return calling(both, "TrainingClient.delete_sampler_weights", changed)

    with pytest.raises(ContractViolationError, match=promise):
        check(make)


def test_a_training_client_whose_deletion_ends_samplers_is_found_out() -> None:
    deleted = False

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        nonlocal deleted
        deleted = deleted or call.name == "TrainingClient.delete_sampler_weights"
        if deleted and call.name == "SamplingClient.compute_logprobs":
            return Failure(SessionClosed(session_id="any"))
        return await proceed(call)

    with pytest.raises(ContractViolationError, match="weights that were deleted are gone"):
        check_training_with_sampling(lambda: noop.all().wrap(around), model="noop")


def renamed(saved: object) -> object:
    return attrs.evolve(saved, path=saved.path.partition("~")[0]) if isinstance(saved, Checkpoint) else saved


def samples(change: Callable[[Sample], Sample]) -> Change:
    return lambda groups: tuple(tuple(map(change, group)) for group in cast("Sequence[Sequence[Sample]]", groups))


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("sample", samples(lambda s: attrs.evolve(s, logprobs=s.logprobs[1:]))),
        ("sample", samples(lambda s: attrs.evolve(s, logprobs=tuple(p - 0.1 for p in s.logprobs)))),
        ("sample", samples(lambda s: attrs.evolve(s, tokens=(999, *s.tokens[1:])))),
        ("sample", samples(lambda s: attrs.evolve(s, stop_reason="length"))),
        ("sample", lambda groups: cast("tuple[object, ...]", groups)[:1]),
        ("compute_logprobs", lambda rows: tuple((-1.0, *row[1:]) for row in cast("Sequence[Sequence[float]]", rows))),
        ("compute_logprobs", lambda rows: tuple(row[:1] for row in cast("Sequence[Sequence[float]]", rows))),
    ],
)
def test_a_sampling_client_that_tells_wrong_is_found_out(operation: str, change: Change) -> None:
    def make() -> Handlers[SamplingClient]:
        return spoiling(noop.sampling(max_length=256), f"SamplingClient.{operation}", change)

    with pytest.raises(ContractViolationError):
        check_sampling_client(make, model="noop")


def test_a_sampling_client_that_answers_equal_prompts_alike_is_found_out() -> None:
    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.name != "SamplingClient.sample":
            return await proceed(call)
        groups: list[object] = []
        for prompt in cast("Sequence[object]", call.arguments[1]):
            result = await proceed(with_argument(call, 1, (prompt,)))
            if isinstance(result, Failure):
                return result
            groups += cast("Sequence[object]", result.unwrap())
        return Success(tuple(groups))

    with pytest.raises(ContractViolationError, match="four equal prompts"):
        check_sampling_client(lambda: noop.sampling(max_length=4096).wrap(around), model="noop")


def test_a_sampling_client_with_one_sample_for_a_whole_group_is_found_out() -> None:
    def alike(groups: object) -> object:
        return tuple((group[0],) * len(group) for group in cast("Sequence[Sequence[Sample]]", groups))

    with pytest.raises(ContractViolationError, match="four samples of one prompt"):
        check_sampling_client(
            lambda: spoiling(noop.sampling(max_length=256), "SamplingClient.sample", alike), model="noop"
        )


def test_an_evaluator_that_takes_no_answer_for_a_right_one_is_found_out() -> None:
    def blessed(call: Call) -> Call:
        [request] = cast("tuple[EvaluationRequest]", call.arguments)
        examples = tuple(attrs.evolve(it, expected=it.expected or it.answer) for it in request.examples)
        return with_argument(call, 0, attrs.evolve(request, examples=examples))

    right, wrong = (AnsweredRow(row={}, answer=answer, expected="4") for answer in ("4", "5"))
    with pytest.raises(ContractViolationError, match="a row that expects no answer"):
        check_evaluator(lambda: calling(noop.evaluator(), "Evaluator.evaluate", blessed), right=[right], wrong=[wrong])


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("export", lambda call: with_argument(call, 1, tuple(cast("Sequence[object]", call.arguments[1]))[::-1])),
        ("export", lambda call: with_argument(call, 1, tuple(cast("Sequence[object]", call.arguments[1]))[1:])),
        (
            "export_preference_pairs",
            lambda call: with_argument(call, 1, tuple(cast("Sequence[object]", call.arguments[1]))[:2]),
        ),
        ("update_baseline", lambda call: attrs.evolve(call, keywords={})),
    ],
)
def test_a_feedback_client_that_does_something_else_is_found_out(
    operation: str, change: Callable[[Call], Call]
) -> None:
    def make() -> Handlers[FeedbackClient | DatasetStore]:
        blobs = noop.Blobs()
        return calling(noop.feedback(blobs=blobs) | noop.datasets(blobs=blobs), f"FeedbackClient.{operation}", change)

    with pytest.raises(ContractViolationError):
        check_feedback_client(make, deployment_id="live")


@pytest.mark.parametrize(
    ("operation", "change"),
    [
        ("shuffle", lambda call: attrs.evolve(call, keywords={"seed": 0})),
        ("take", lambda call: with_argument(call, 1, cast("int", call.arguments[1]) - 1)),
        ("select", lambda call: with_argument(call, 1, sorted(cast("list[int]", call.arguments[1])))),
        ("read_rows", lambda call: attrs.evolve(call, keywords={**call.keywords, "start": 0})),
        ("get_split", lambda call: with_argument(call, 1, "train")),
    ],
)
def test_a_dataset_store_that_does_something_else_is_found_out(operation: str, change: Callable[[Call], Call]) -> None:
    def make() -> Handlers[DatasetStore]:
        return calling(noop.datasets(), f"DatasetStore.{operation}", change)

    with pytest.raises(ContractViolationError):
        check_dataset_store(make, config=DatasetConfig(name="any"), other_split="test")


def test_a_dataset_store_with_a_wrong_size_is_found_out() -> None:
    def one_more(value: object) -> object:
        return attrs.evolve(value, num_rows=(value.num_rows or 0) + 1) if isinstance(value, Dataset) else value

    with pytest.raises(ContractViolationError, match="num_rows"):
        check_dataset_store(
            lambda: spoiling(noop.datasets(), "DatasetStore.load_dataset", one_more), config=DatasetConfig(name="any")
        )


class DoublingMetrics(InMemoryMetricsStore):
    async def record(self, run_id: str, points: Sequence[MetricPoint]) -> Result[int, object]:  # type: ignore[override]  # wrong on purpose
        shifted = [attrs.evolve(point, sequence=point.sequence + 10**6) for point in points]
        return await super().record(run_id, [*points, *shifted])


class RoundingMetrics(InMemoryMetricsStore):
    async def record(self, run_id: str, points: Sequence[MetricPoint]) -> Result[int, object]:  # type: ignore[override]  # wrong on purpose
        return await super().record(run_id, [attrs.evolve(p, value=p.value + 0.0) for p in points])


@pytest.mark.parametrize("store", [DoublingMetrics, RoundingMetrics])
def test_a_metrics_store_that_changes_points_is_found_out(store: type[InMemoryMetricsStore]) -> None:
    with pytest.raises(ContractViolationError):
        check_metrics_store(lambda: MetricsStore.handled_by(store()))


def test_an_event_store_without_filters_is_found_out() -> None:
    def make() -> Handlers[EventStore]:
        everything = EventStore.handled_by(InMemoryEventStore())
        return calling(everything, "EventStore.query", lambda call: attrs.evolve(call, arguments=call.arguments[:1]))

    with pytest.raises(ContractViolationError, match="by name"):
        check_event_store(make)


def test_a_blob_store_that_reads_text_is_found_out() -> None:
    def as_text(data: object) -> object:
        return cast("bytes", data).decode("utf-8", "replace").encode()

    with pytest.raises(ContractViolationError):
        check_blob_store(lambda: spoiling(noop.blobs(), "BlobStore.read", as_text))


def test_embeddings_that_are_not_normalised_are_found_out() -> None:
    def longer(vectors: object) -> object:
        return tuple(tuple(2 * x for x in v) for v in cast("Sequence[Sequence[float]]", vectors))

    with pytest.raises(ContractViolationError, match="length"):
        check_embedding_client(lambda: spoiling(noop.embeddings(), "EmbeddingClient.embed_texts", longer))


def test_a_vector_store_that_ignores_conditions_is_found_out() -> None:
    def loose(call: Call) -> Call:
        return attrs.evolve(call, keywords={k: v for k, v in call.keywords.items() if k != "where"})

    with pytest.raises(ContractViolationError, match="conditions"):
        check_vector_store(lambda: calling(noop.vectors(), "VectorStore.query", loose))


def test_a_registry_that_overwrites_is_found_out() -> None:
    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        return Success(None) if isinstance(result, Failure) else result

    with pytest.raises(ContractViolationError, match="refused"):
        check_model_registry(lambda: noop.registry().wrap(around))
