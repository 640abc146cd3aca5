"""Whatever goes wrong at a server, or on the way to it, is a Failure in words within a deadline; the key is in none of them."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from socket import socket

import attrs
import pytest

from crucible.effects import Do, Eff, Failure, Handlers, do, perform
from crucible.kitchen.handlers import noop, tinkex
from crucible.kitchen.handlers.tinkex import TinkerConfig
from crucible.testing.tinker_server import Drop, Expire, Fail, Fault, Hold, Misfortune, Refuse, Server, serve
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    NotFound,
    SessionClosed,
    TrainError,
    Unavailable,
    Unsupported,
)
from crucible.train.ports import CustomLossClient, SamplingClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    ByteTokenizer,
    Datum,
    ForwardBackwardOutput,
    LoraConfig,
    ModelInput,
    OptimStepOutput,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    TensorData,
    TrainingSession,
)

Remote = Handlers[TrainingClient | CustomLossClient | SamplingClient]
CANARY = "tml-canary-7f3a91"
BASE = TinkerConfig(api_key=CANARY, tokenizer=ByteTokenizer(), connect_attempts=2)
PROMPT = ModelInput.from_tokens([72, 105])


def datum(size: int = 4) -> Datum:
    inputs = {"target_tokens": TensorData.ints([5] * size), "weights": TensorData.floats([1.0] * size)}
    return Datum(model_input=ModelInput.from_tokens([4] * size), loss_fn_inputs=inputs)


def started(lora: LoraConfig = LoraConfig()) -> Eff[TrainingSession, TrainError, TrainingClient]:
    return perform(TrainingClient.start_session, SessionConfig(model="any", lora=lora))


@do
def learned(session: TrainingSession) -> Do[TrainError, TrainingClient, ForwardBackwardOutput]:
    future = yield from perform(TrainingClient.forward_backward, session, [datum()])
    return (yield from perform(TrainingClient.await_, future))


@do
def trained() -> Do[TrainError, TrainingClient, tuple[ForwardBackwardOutput, OptimStepOutput]]:
    session = yield from started()
    gradients = yield from perform(TrainingClient.forward_backward, session, [datum()])
    step = yield from perform(TrainingClient.optim_step, session, AdamParams())
    return (yield from perform(TrainingClient.await_, gradients)), (yield from perform(TrainingClient.await_, step))


@do
def sampled() -> Do[TrainError, SamplingClient, object]:
    session = yield from perform(SamplingClient.start_session, SamplingConfig(model="any"))
    return (yield from perform(SamplingClient.sample, session, [PROMPT], SamplingParams(max_tokens=2)))


def remote(server: Server, *, connect_seconds: float = 15.0, request_seconds: float = 20.0) -> Remote:
    config = attrs.evolve(BASE, base_url=server.url, connect_seconds=connect_seconds, request_seconds=request_seconds)
    return tinkex.remote(config)


def error_with(fault: Fault, eff: Eff[object, TrainError, TrainingClient | SamplingClient]) -> TrainError:
    with serve(noop.all(), models=["any"], faults=[fault], api_key=CANARY) as server:
        began = time.monotonic()
        misfortune = fault.misfortune
        silent = isinstance(misfortune, Drop | Hold) or getattr(misfortune, "status", 0) in (429, 501, 503)
        result = remote(server, request_seconds=1.0 if silent else 20.0).run(eff)
        assert time.monotonic() - began < 20
    assert isinstance(result, Failure)
    error: TrainError = result.failure()
    assert CANARY not in str(error)
    assert CANARY not in repr(error)
    return error


ERRORS: Sequence[tuple[str, Misfortune, type]] = (
    ("create_session", Refuse(401), AccessDenied),
    ("create_session", Refuse(402), AccessDenied),
    ("create_model", Refuse(404), NotFound),
    ("create_model", Refuse(422), InvalidRequest),
    ("create_model", Refuse(501), Unavailable),
    ("create_model", Fail("bad rank", "user"), InvalidRequest),
    ("create_model", Fail("out of memory", "server"), BackendFailed),
    ("forward_backward", Refuse(400), InvalidRequest),
    ("forward_backward", Refuse(429, retry_after_seconds=30), Unavailable),
    ("forward_backward", Drop(), Unavailable),
    ("forward_backward", Hold(), Unavailable),
    ("forward_backward", Expire(), SessionClosed),
    ("forward_backward", Fail("nan", "unknown"), BackendFailed),
    ("retrieve_future", Refuse(404), BackendFailed),
    ("optim_step", Fail("no gradient", "user"), InvalidRequest),
)


@pytest.mark.parametrize(("route", "misfortune", "kind"), ERRORS, ids=str)
def test_training_gives_a_typed_error_in_time(
    route: str, misfortune: Misfortune, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert isinstance(error_with(Fault(route, misfortune), trained()), kind)
    assert CANARY not in caplog.text


def test_the_key_is_in_no_log_even_with_the_telemetry_of_the_sdk(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_TELEMETRY", "1")
    caplog.set_level(logging.DEBUG)
    error_with(Fault("retrieve_future", Refuse(404)), trained())
    assert "retrieve_future" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("misfortune", "kind"),
    [
        (Refuse(429), Unavailable),
        (Refuse(404), BackendFailed),
        (Fail("no", "user"), InvalidRequest),
        (Hold(), Unavailable),
    ],
    ids=str,
)
def test_sampling_gives_a_typed_error_in_time(misfortune: Misfortune, kind: type) -> None:
    assert isinstance(error_with(Fault("asample", misfortune), sampled()), kind)


def test_an_unreachable_server_is_unavailable_at_once() -> None:
    with closing(socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    config = attrs.evolve(BASE, base_url=url)
    began = time.monotonic()
    for eff in (trained(), sampled()):
        error = tinkex.remote(config).run(eff).failure()
        assert isinstance(error, Unavailable)
        assert f"{url} cannot be reached" in str(error)
    assert time.monotonic() - began < 5


def test_a_server_that_goes_away_is_noticed_and_the_request_can_be_awaited_again() -> None:
    with serve(noop.all(), models=["any"], faults=[Fault("forward_backward", Hold())], api_key=CANARY) as server:
        handlers = remote(server, connect_seconds=2.0, request_seconds=60.0)
        session = handlers.run(started()).unwrap()
        future = handlers.run(perform(TrainingClient.forward_backward, session, [datum()])).unwrap()
    for _ in range(2):
        error = handlers.run(perform(TrainingClient.await_, future)).failure()
        assert isinstance(error, Unavailable)
        assert "cannot be reached" in str(error)


def test_a_bill_that_is_not_paid_is_an_error_at_once_and_not_after_an_hour() -> None:
    faults = [
        Fault("retrieve_future", Refuse(402), nth=(2, 3, 4)),
        Fault("get_server_capabilities", Refuse(402), nth=(3, 4, 5)),
    ]
    with serve(noop.all(), models=["any"], faults=faults, api_key=CANARY) as server:
        result = remote(server, connect_seconds=2.0, request_seconds=30.0).run(trained())
    assert isinstance(result.failure(), AccessDenied)
    assert "billing" in str(result.failure())


def test_what_passes_is_tried_again() -> None:
    faults = [Fault("forward_backward", Refuse(503), nth=(1,)), Fault("optim_step", Drop("after"), nth=(1,))]
    with serve(noop.all(), models=["any"], faults=faults, api_key=CANARY) as server:
        output, step = remote(server, connect_seconds=5.0, request_seconds=20.0).run(trained()).unwrap()
    assert (step.step, len(output.logprobs)) == (1, 1)


def test_requests_of_a_step_are_in_flight_together() -> None:
    with serve(
        noop.all(), models=["any"], faults=[Fault("forward_backward", Hold("optim_step"))], api_key=CANARY
    ) as server:
        _, step = remote(server, request_seconds=10.0).run(trained()).unwrap()
        assert [one.route for one in server.asked("forward_backward", "optim_step")] == [
            "forward_backward",
            "optim_step",
        ]
    assert step.step == 1


def test_a_step_that_failed_is_not_counted() -> None:
    @do
    def steps() -> Do[TrainError, TrainingClient, tuple[int, int]]:
        session = yield from started()
        futures = []
        for _ in range(3):
            yield from perform(TrainingClient.forward_backward, session, [datum()])
            futures.append((yield from perform(TrainingClient.optim_step, session, AdamParams())))
        last = yield from perform(TrainingClient.await_, futures[2])
        saved = yield from perform(TrainingClient.save_checkpoint, session, "two")
        restored = yield from perform(TrainingClient.restore_session, SessionConfig(model="any"), saved.path)
        assert (saved.step, restored.step) == (2, 2)
        return last.step, saved.step

    with serve(
        noop.all(), models=["any"], faults=[Fault("optim_step", Fail("lost"), nth=(2,))], api_key=CANARY
    ) as server:
        assert remote(server, request_seconds=10.0).run(steps()).unwrap() == (2, 2)


@pytest.mark.parametrize("key", ["tml-wrong-key", "no-prefix-key"])
def test_a_wrong_key_is_refused_and_not_told(key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(noop.all(), models=["any"], api_key=CANARY) as server:
        config = attrs.evolve(BASE, base_url=server.url, api_key=key)
        error = tinkex.remote(config).run(trained()).failure()
    assert isinstance(error, AccessDenied)
    assert "TINKER_API_KEY" in str(error)
    assert key not in f"{error} {error!r} {config!r} {config} {caplog.text}"


def test_without_a_key_the_error_says_where_to_put_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TINKER_API_KEY", "TINKER_CREDENTIAL_CMD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    with serve(noop.all(), models=["any"], api_key=CANARY) as server:
        error = tinkex.remote(attrs.evolve(BASE, base_url=server.url, api_key=None)).run(trained()).failure()
    assert isinstance(error, AccessDenied)
    assert "set TINKER_API_KEY" in str(error)


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(noop.all(), models=["any"], api_key=CANARY) as server:
        monkeypatch.setenv("TINKER_API_KEY", CANARY)
        monkeypatch.setenv("TINKER_BASE_URL", server.url)
        config = TinkerConfig(tokenizer=ByteTokenizer())
        assert tinkex.remote(config).run(trained()).unwrap()[1].step == 1
    assert CANARY not in repr(config)


def test_an_unknown_model_names_the_nearest() -> None:
    with serve(noop.all(), models=["Qwen/Qwen3-8B"], api_key=CANARY) as server:
        error = remote(server).run(perform(TrainingClient.start_session, SessionConfig(model="Qwen/Qwen-8B"))).failure()
    assert isinstance(error, NotFound)
    assert "did you mean 'Qwen/Qwen3-8B'" in str(error)


def test_adapters_that_the_service_does_not_have_are_refused() -> None:
    with serve(noop.all(), models=["any"], api_key=CANARY) as server:
        handlers = remote(server)
        assert isinstance(handlers.run(started(LoraConfig(alpha=16.0))).failure(), Unsupported)
        bare = LoraConfig(train_mlp=False, train_attn=False)
        assert isinstance(handlers.run(started(bare)).failure(), InvalidRequest)


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_a_server_that_makes_no_model_from_a_checkpoint_loads_it_into_a_fresh_one(with_optimizer: bool) -> None:
    @do
    def resumed() -> Do[TrainError, TrainingClient, tuple[float, float]]:
        session = yield from started()
        yield from learned(session)
        yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=0.01))
        saved = yield from perform(TrainingClient.save_checkpoint, session, "kept")
        config = SessionConfig(model="any")
        again = yield from perform(TrainingClient.restore_session, config, saved.path, with_optimizer=with_optimizer)
        return (yield from learned(session)).loss, (yield from learned(again)).loss

    with serve(
        noop.all(), models=["any"], faults=[Fault("load_weights", Refuse(405), nth=(1,))], api_key=CANARY
    ) as server:
        expected, found = remote(server).run(resumed()).unwrap()
        assert found == pytest.approx(expected)
        assert len(server.asked("load_weights")) == 2
