"""What the SDK raises, and what it takes and gives, as ours."""

import math
from concurrent.futures import CancelledError

import attrs
import httpx
import numpy as np
import pytest
import tinker
import tinker.types as wire
from hypothesis import given
from hypothesis import strategies as st
from tinker.lib.retryable_exception import RetryableException

from crucible.kitchen.handlers.tinkex import TinkerConfig
from crucible.kitchen.handlers.tinkex.batches import batch_of, with_something_trained
from crucible.kitchen.handlers.tinkex.errors import About, error_of
from crucible.kitchen.handlers.tinkex.losses import Loss, configured
from crucible.kitchen.handlers.tinkex.wire import (
    adam_to,
    cut,
    data_to,
    input_to,
    logprobs_of,
    samples_of,
    sampling_to,
    stepped_of,
    top_of,
)
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NonFiniteLoss,
    NotFound,
    SequenceTooLong,
    SessionClosed,
    Unavailable,
    Unsupported,
)
from crucible.train.types import (
    AdamParams,
    ByteTokenizer,
    Datum,
    EncodedTextChunk,
    ImageChunk,
    LossFn,
    ModelInput,
    Sample,
    SamplingParams,
    TensorData,
    TokenLogprob,
)

MODEL = About(kind="model", name="m")
SESSION = About(kind="session", name="s-1")
REQUEST = httpx.Request("POST", "http://127.0.0.1/api/v1/x")


def status(code: int, **headers: str) -> tinker.APIStatusError:
    return tinker.APIStatusError("said no", response=httpx.Response(code, request=REQUEST, headers=headers), body=None)


def caused(by: BaseException) -> ValueError:
    error = ValueError("Error retrieving result: said no")
    error.__cause__ = by
    return error


def failed(message: str, category: str) -> tinker.RequestFailedError:
    text = f"Request failed: {message} for self.request_id='r' and expected type self.model_cls=<class 'X'>"
    return tinker.RequestFailedError(text, request_id="r", category=wire.RequestErrorCategory(category))


@pytest.mark.parametrize(
    ("error", "about", "kind"),
    [
        (status(400), MODEL, InvalidRequest),
        (status(401), MODEL, AccessDenied),
        (status(402), MODEL, AccessDenied),
        (status(403), MODEL, AccessDenied),
        (status(404), MODEL, NotFound),
        (status(404), SESSION, BackendFailed),
        (status(405), MODEL, Unsupported),
        (status(409), MODEL, InvalidRequest),
        (status(410), SESSION, SessionClosed),
        (status(413), MODEL, InvalidRequest),
        (status(422), MODEL, InvalidRequest),
        (status(429), MODEL, Unavailable),
        (status(500), MODEL, Unavailable),
        (tinker.APIConnectionError(request=REQUEST), MODEL, Unavailable),
        (tinker.APITimeoutError(request=REQUEST), MODEL, Unavailable),
        (TimeoutError(), MODEL, Unavailable),
        (tinker.APIResponseValidationError(httpx.Response(200, request=REQUEST), None), MODEL, BackendFailed),
        (tinker.TinkerError("no key"), MODEL, AccessDenied),
        (RetryableException(message="gone"), MODEL, BackendFailed),
        (CancelledError(), MODEL, BackendFailed),
        (ImportError("no tinker", name="tinker"), MODEL, MissingExtra),
        (AssertionError("asample promises always carry sample_sequence_ids"), MODEL, Unsupported),
        (AssertionError(), MODEL, BackendFailed),
        (caused(status(401)), MODEL, AccessDenied),
        (caused(status(404)), MODEL, BackendFailed),
        (ValueError("Proto deserialization failed: x"), MODEL, BackendFailed),
        (ValueError("model_path must start with 'tinker://'"), MODEL, InvalidRequest),
        (RuntimeError("this TrainingClient is poisoned and cannot accept further requests."), SESSION, BackendFailed),
        (RuntimeError("Internal client holder is closed"), SESSION, SessionClosed),
        (RuntimeError("else"), MODEL, BackendFailed),
        (KeyError("mask"), MODEL, BackendFailed),
        (failed("bad rank", "user"), MODEL, InvalidRequest),
        (failed("checkpoint x was not found", "user"), MODEL, NotFound),
        (failed("oom", "server"), MODEL, BackendFailed),
        (failed("?", "unknown"), MODEL, BackendFailed),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_every_exception_becomes_an_error_of_the_port(error: BaseException, about: About, kind: type) -> None:
    found = error_of(error, about)
    assert isinstance(found, kind)
    assert str(found)
    assert "self." not in str(found)


def test_the_pause_that_a_server_asks_for_is_told() -> None:
    found = error_of(status(429, **{"retry-after": "7"}), MODEL)
    assert found == Unavailable(message="said no", retry_after_seconds=7.0)
    assert error_of(status(503, **{"retry-after": "tomorrow"}), MODEL) == Unavailable(message="said no")


@given(st.text(min_size=1, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_text_holds_the_key(secret: str, before: str, after: str) -> None:
    config = TinkerConfig(api_key=f"tml-{secret}")
    assert f"tml-{secret}" not in config.without_key(f"{before}tml-{secret}{after}")
    assert f"tml-{secret}" not in repr(config)


def test_inputs_keep_text_and_images_in_order() -> None:
    image = ImageChunk(data=b"\x89PNG", format="png", expected_tokens=3)
    sent = input_to(ModelInput(chunks=(EncodedTextChunk(tokens=(1, 2)), image)))
    text, picture = sent.chunks
    assert isinstance(text, wire.EncodedTextChunk)
    assert isinstance(picture, wire.ImageChunk)
    assert (list(text.tokens), picture.data, picture.format, picture.expected_tokens) == ([1, 2], b"\x89PNG", "png", 3)
    assert sent.length == 5


def test_arrays_keep_type_and_shape() -> None:
    wide = TensorData(data=(1, 2, 3, 4), dtype="int64", shape=(2, 2))
    (sent,) = data_to([Datum(model_input=ModelInput.from_tokens([1, 2]), loss_fn_inputs={"target_tokens": wide})])
    found = sent.loss_fn_inputs["target_tokens"]
    assert isinstance(found, wire.TensorData)
    assert (found.dtype, found.to_numpy().tolist()) == ("int64", [[1, 2], [3, 4]])


def test_every_setting_of_adam_is_sent() -> None:
    adam = AdamParams(learning_rate=0.1, beta1=0.2, beta2=0.3, eps=0.4, weight_decay=0.5, grad_clip_norm=0.6)
    sent = adam_to(adam)
    assert {name: getattr(sent, name) for name in attrs.asdict(adam)} == attrs.asdict(adam)


def test_the_norm_of_the_gradient_is_found_or_nan() -> None:
    told = wire.OptimStepResponse(metrics={"loss": 1.0, "skyrl.ai/grad_norm": 2.0})
    assert stepped_of(told, AdamParams(), 3).grad_norm == 2.0
    assert stepped_of(wire.OptimStepResponse(), AdamParams(), 3).grad_norm is None


def test_stop_tokens_go_with_the_end_of_sequence_and_equal_prompts_get_other_seeds() -> None:
    tokenizer = ByteTokenizer()
    sent = sampling_to(SamplingParams(stop_tokens=(5,), seed=1), tokenizer, place=0, max_tokens=9)
    assert (sent.stop, sent.seed, sent.max_tokens) == ([5, 256], 1, 9)
    assert sampling_to(SamplingParams(), tokenizer, place=0, max_tokens=9).stop == [256]  # an answer may quote its text
    assert sampling_to(SamplingParams(stop=("x",)), tokenizer, place=0, max_tokens=9).stop == ["x", "<|im_end|>"]
    free = sampling_to(SamplingParams(seed=1), None, place=1, max_tokens=9)
    assert free.stop is None
    assert free.seed != sent.seed


def test_stop_texts_are_cut_here_when_the_server_was_told_of_tokens_alone() -> None:
    tokenizer = ByteTokenizer()
    sample = Sample(tokens=tokenizer.encode("one two"), logprobs=(-1.0,) * 7, stop_reason="length")
    both = SamplingParams(stop=("e ", "zzz"), stop_tokens=(5,))
    ended = cut(sample, both, tokenizer)
    assert (tokenizer.decode(ended.tokens), len(ended.logprobs), ended.stop_reason) == ("one ", 4, "stop")
    assert cut(sample, attrs.evolve(both, stop=("zzz",)), tokenizer) == sample
    assert cut(sample, attrs.evolve(both, stop_tokens=()), tokenizer) == sample


def test_answers_that_lack_something_are_failures_of_the_server() -> None:
    bare = wire.SampledSequence(stop_reason="stop", sequence_id="a", tokens_np=np.array([1], dtype=np.int32))
    for found in (
        samples_of(wire.SampleResponse(sequences=[]), 1),
        samples_of(wire.SampleResponse(sequences=[bare]), 1),
        logprobs_of([None, -1.0], 5),
        logprobs_of([None, None, -1.0], 3),
        top_of(wire.SampleResponse(sequences=[]), 2),
        top_of(wire.SampleResponse(sequences=[], _topk_prompt_logprobs_list=[None, [(3, -0.5)]]), 4),
        top_of(wire.SampleResponse(sequences=[], _topk_prompt_logprobs_list=[None, [(3, -0.5)], None]), 3),
    ):
        assert isinstance(found.failure(), BackendFailed)
    assert logprobs_of([0.0, -1.0], 2).unwrap() == (None, -1.0)


def test_the_likeliest_tokens_are_read() -> None:
    likeliest = (TokenLogprob(3, -0.5), TokenLogprob(4, -1.0))
    all_places: list[list[tuple[int, float]] | None] = [None, [(3, -0.5), (4, -1.0)]]
    for rows in (all_places, all_places[1:]):  # some servers leave out the first place
        answer = wire.SampleResponse(sequences=[], _topk_prompt_logprobs_list=rows)
        assert top_of(answer, 2).unwrap() == ((), likeliest)


def loss(name: LossFn = "cross_entropy", **config: float) -> Loss:
    return configured(name, config).unwrap()


def datum(**arrays: TensorData) -> Datum:
    size = arrays["target_tokens"].shape[0] if "target_tokens" in arrays else 2
    return Datum(model_input=ModelInput.from_tokens([1] * size), loss_fn_inputs=arrays)


def policy(advantages: tuple[float, ...], **more: TensorData) -> Datum:
    return datum(
        target_tokens=TensorData.ints([1] * len(advantages)),
        logprobs=TensorData.floats([-1.0] * len(advantages)),
        advantages=TensorData.floats(advantages),
        **more,
    )


def answered(*rows: list[float] | list[list[float]], **metrics: float) -> wire.ForwardBackwardOutput:
    outputs = [{"logprobs": wire.TensorData.from_numpy(np.array(row, dtype=np.float32))} for row in rows]
    return wire.ForwardBackwardOutput(loss_fn_output_type="x", loss_fn_outputs=outputs, metrics=metrics)


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("importance_sampling", {}, -math.e * 2),
        ("ppo", {}, -1.2 * 2),
        ("ppo", {"clip_high_threshold": 1.1}, -1.1 * 2),
        ("cispo", {"clip_high_threshold": 2.0}, 0.0),
        ("dro", {"beta": 1.0}, 0.5),
    ],
)
def test_the_loss_is_that_of_its_formula(name: LossFn, config: dict[str, float], expected: float) -> None:
    batch = batch_of([policy((2.0,))], loss(name, **config), max_length=9).unwrap()
    output = batch.output(answered([0.0], **{"loss:sum": 7.0})).unwrap()
    assert output.loss == pytest.approx(expected, rel=1e-6)
    assert output.metrics == {"loss:sum": 7.0}


def test_weights_of_a_policy_loss_go_into_the_advantages() -> None:
    weighted = policy((2.0, 2.0), weights=TensorData.floats([0.5, 0.0]))
    (sent,) = batch_of([weighted], loss("ppo"), max_length=9).unwrap().data
    assert sent.loss_fn_inputs.keys() == {"target_tokens", "logprobs", "advantages"}
    assert sent.loss_fn_inputs["advantages"].data == (1.0, 0.0)
    assert sent.loss_fn_inputs["logprobs"].data == (-1.0, 0.0)
    below = policy((2.0,), weights=TensorData.floats([-1.0]))
    assert isinstance(batch_of([below], loss("ppo"), max_length=9).failure(), InvalidRequest)
    odd = policy((2.0,), weights=TensorData.floats([0.5]))
    assert isinstance(batch_of([odd], loss("dro"), max_length=9).failure(), Unsupported)


def test_soft_targets_are_scored_by_their_weights() -> None:
    targets = TensorData(data=(1, 2, 3, 4), dtype="int64", shape=(2, 2))
    weights = TensorData(data=(0.25, 0.75, 0.0, 0.0), dtype="float32", shape=(2, 2))
    batch = batch_of([datum(target_tokens=targets, weights=weights)], loss(), max_length=9).unwrap()
    output = batch.output(answered([[-1.0, -2.0], [-3.0, -4.0]])).unwrap()
    assert (output.loss, output.logprobs) == (1.75, ((-1.75, 0.0),))
    soft = policy((1.0, 1.0))
    soft = attrs.evolve(soft, loss_fn_inputs={**soft.loss_fn_inputs, "target_tokens": targets})
    assert isinstance(batch_of([soft], loss("ppo"), max_length=9).failure(), Unsupported)


def test_bad_data_are_named_by_their_index() -> None:
    good = datum(target_tokens=TensorData.ints([1, 2]))
    bad = {
        InvalidRequest(message="there are no tokens", fix="leave the datum out", index=1): datum(
            target_tokens=TensorData.ints([])
        ),
        SequenceTooLong(index=1, length=3, limit=2): datum(target_tokens=TensorData.ints([1, 2, 3])),
        NonFiniteLoss(loss=math.nan, indices=(1,), reason="weights of item 1 is inf at position 1"): datum(
            target_tokens=TensorData.ints([1, 2]), weights=TensorData.floats([1.0, math.inf])
        ),
    }
    for expected, each in bad.items():
        assert repr(batch_of([good, each], loss(), max_length=2).failure()) == repr(expected)
    for each in (
        datum(weights=TensorData.floats([1.0, 1.0])),
        datum(target_tokens=TensorData.ints([1, 2]), mask=TensorData.ints([1, 1])),
        datum(target_tokens=TensorData.ints([1, 2]), weights=TensorData(data=(1,) * 4, dtype="float32", shape=(2, 2))),
    ):
        error = batch_of([good, each], loss(), max_length=2).failure()
        assert isinstance(error, InvalidRequest)
        assert error.index == 1
    idle = batch_of([datum(target_tokens=TensorData.ints([1]), weights=TensorData.floats([0.0]))], loss(), max_length=2)
    assert isinstance(idle.bind(with_something_trained).failure(), InvalidRequest)
    assert "did you mean" in str(configured("pppo", {}).failure())  # type: ignore[arg-type]  # on purpose


def test_answers_that_do_not_fit_the_batch_are_failures_of_the_server() -> None:
    batch = batch_of([datum(target_tokens=TensorData.ints([1, 2]))], loss(), max_length=9).unwrap()
    assert isinstance(batch.output(answered()).failure(), BackendFailed)
    assert isinstance(batch.output(answered([-1.0])).failure(), BackendFailed)
    empty = wire.ForwardBackwardOutput(loss_fn_output_type="x", loss_fn_outputs=[{}])
    assert isinstance(batch.output(empty).failure(), BackendFailed)
    assert batch.output(answered([-1.0, math.nan])).failure().__class__ is NonFiniteLoss
