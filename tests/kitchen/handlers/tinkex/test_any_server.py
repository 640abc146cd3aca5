"""The handlers on any Tinker-compatible server: `CRUCIBLE_TINKER_URL` says where, `CRUCIBLE_TINKER_MODEL` what is trained there.

What such servers differ in (names of metrics) is not asserted, and what they lack is refused. docs/tinker.md says how to start one.
"""

import math
import os
import time
from collections.abc import Sequence

import anyio
import attrs
import pytest

from crucible.effects import Do, Failure, do, perform
from crucible.kitchen.handlers import tinkex
from crucible.testing import check_capabilities
from crucible.train.algorithms.preference import Dpo, Pairs
from crucible.train.custom_loss import weights_of
from crucible.train.errors import TrainError
from crucible.train.needs import unmet
from crucible.train.ports import CustomLossClient, SamplingClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    ForwardBackwardOutput,
    LoraConfig,
    LossFn,
    ModelInput,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    TensorData,
    TrainingSession,
)

URL = os.environ.get("CRUCIBLE_TINKER_URL")
if URL is None:
    pytest.skip("CRUCIBLE_TINKER_URL names no Tinker server", allow_module_level=True)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the SDK leaves connections open
]

MODEL = os.environ.get("CRUCIBLE_TINKER_MODEL", "Qwen/Qwen3-8B")
CONFIG = tinkex.TinkerConfig(
    base_url=URL, api_key=os.environ.get("TINKER_API_KEY", "tml-dummy"), request_seconds=240, connect_seconds=60
)
HANDLERS = tinkex.remote(CONFIG)
SESSION = SessionConfig(model=MODEL, lora=LoraConfig(rank=4))
TOKENS = tuple(range(5, 21))
Training = Do[TrainError, TrainingClient, ForwardBackwardOutput]


def example() -> Datum:
    inputs = {"target_tokens": TensorData.ints(TOKENS[1:]), "weights": TensorData.floats([1.0] * 15)}
    return Datum(model_input=ModelInput.from_tokens(TOKENS[:-1]), loss_fn_inputs=inputs)


@do
def stepped(session: TrainingSession, data: Sequence[Datum], loss_fn: LossFn = "cross_entropy") -> Training:
    gradients = yield from perform(TrainingClient.forward_backward, session, data, loss_fn=loss_fn)
    step = yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=3e-3))
    output = yield from perform(TrainingClient.await_, gradients)
    yield from perform(TrainingClient.await_, step)
    return output


@do
def seen(session: TrainingSession) -> Do[TrainError, TrainingClient, float]:
    future = yield from perform(TrainingClient.forward, session, [example()])
    return (yield from perform(TrainingClient.await_, future)).loss


def test_supervised_training_sampling_saving_resuming_and_listing() -> None:
    @do
    def whole_life() -> Do[TrainError, TrainingClient | SamplingClient, tuple[str, str]]:
        session = yield from perform(TrainingClient.start_session, SESSION)
        before = yield from seen(session)
        for _ in range(4):
            yield from stepped(session, [example()])
        after = yield from seen(session)
        assert after < before
        saved = yield from perform(TrainingClient.save_checkpoint, session, "four")
        weights = yield from perform(TrainingClient.save_sampler_weights, session, "four_sampled")
        assert (saved.step, weights.step) == (4, 4)
        yield from stepped(session, [example()])
        expected = yield from seen(session)
        restored = yield from perform(TrainingClient.restore_session, SESSION, saved.path)
        assert (yield from seen(restored)) == pytest.approx(after, rel=1e-3)
        yield from stepped(restored, [example()])
        assert (yield from seen(restored)) == pytest.approx(expected, rel=1e-3)  # so the optimizer came back too
        sampler = yield from perform(
            SamplingClient.start_session, SamplingConfig(model=MODEL, weights_path=weights.path)
        )
        prompt = ModelInput.from_tokens(TOKENS[:8])
        greedy = SamplingParams(max_tokens=8, temperature=0.0)
        ((one,),) = yield from perform(SamplingClient.sample, sampler, [prompt], greedy)
        ((same,),) = yield from perform(SamplingClient.sample, sampler, [prompt], greedy)
        assert one.tokens == same.tokens
        assert len(one.logprobs) == len(one.tokens)
        (scored,) = yield from perform(SamplingClient.compute_logprobs, sampler, [ModelInput.from_tokens(TOKENS)])
        assert scored[0] is None
        assert -sum(logprob or 0.0 for logprob in scored) == pytest.approx(after, rel=0.05)
        return saved.path, weights.path

    paths = HANDLERS.run(whole_life()).unwrap()
    run = paths[0].removeprefix("tinker://").partition("/")[0]
    listed = anyio.run(tinkex.checkpoints(CONFIG).list, run).unwrap()
    assert paths[0] in {one.path for one in listed}


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_importance_sampling_moves_the_policy_the_way_of_the_advantage(advantage: float) -> None:
    @do
    def moved() -> Do[TrainError, TrainingClient | SamplingClient, tuple[float, float]]:
        session = yield from perform(TrainingClient.start_session, SESSION)
        future = yield from perform(TrainingClient.forward, session, [example()])
        old = yield from perform(TrainingClient.await_, future)
        inputs = {
            "target_tokens": TensorData.ints(TOKENS[1:]),
            "logprobs": TensorData.floats(old.logprobs[0]),
            "advantages": TensorData.floats([advantage] * 15),
        }
        datum = Datum(model_input=ModelInput.from_tokens(TOKENS[:-1]), loss_fn_inputs=inputs)
        yield from stepped(session, [datum], "importance_sampling")
        return old.loss, (yield from seen(session))

    before, after = HANDLERS.run(moved()).unwrap()
    assert (before - after) * advantage > 0


def test_it_does_what_its_sessions_say() -> None:
    check_capabilities(lambda: HANDLERS, model=MODEL, tolerance=0.02)


def test_preferences_are_learned_or_refused() -> None:
    def answer(tokens: Sequence[int]) -> Datum:
        whole = (*TOKENS[:6], *tokens)
        weights = TensorData.floats([0.0] * 5 + [1.0] * len(tokens))
        inputs = {"target_tokens": TensorData.ints(whole[1:]), "weights": weights}
        return Datum(model_input=ModelInput.from_tokens(whole[:-1]), loss_fn_inputs=inputs)

    pair = (answer(range(30, 33)), answer(range(40, 49)))

    @do
    def learned() -> Do[TrainError, TrainingClient | CustomLossClient, list[tuple[float, float, float]]]:
        session = yield from perform(TrainingClient.start_session, attrs.evolve(SESSION, needs=("custom_losses",)))
        if unmet(("custom_losses",), session.capabilities) is not None:
            return []
        first = yield from perform(TrainingClient.forward, session, pair)
        reference = tuple(map(sum, (yield from perform(TrainingClient.await_, first)).logprobs))
        loss = Dpo(pairs=Pairs(weights_NT=weights_of(pair), reference_N=reference), beta=0.1, label_smoothing=0.0)
        told = []
        for _ in range(4):
            gradients = yield from perform(CustomLossClient.forward_backward_custom, session, pair, loss)
            step = yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=1e-3))
            output = yield from perform(TrainingClient.await_, gradients)
            norm = (yield from perform(TrainingClient.await_, step)).grad_norm or 0.0
            told.append((output.loss, output.metrics["margin"], norm))
        return told

    steps = HANDLERS.run(learned()).unwrap()
    if steps:
        losses, margins, norms = zip(*steps, strict=True)
        assert losses[0] == pytest.approx(math.log(2), abs=1e-3)
        assert list(losses) == sorted(losses, reverse=True)
        assert list(margins) == sorted(margins)
        assert max(norms) < 1e4  # a server that divides by a sum of weights near 0 is at 1e9 and above


def test_what_a_server_lacks_is_a_failure_in_time() -> None:
    began = time.monotonic()
    missing = HANDLERS.run(
        perform(TrainingClient.restore_session, SESSION, "tinker://no-such-run/weights/no-such-checkpoint")
    )
    assert isinstance(missing, Failure)
    unknown = HANDLERS.run(perform(TrainingClient.start_session, SessionConfig(model="no/such-model")))
    assert isinstance(unknown, Failure)
    assert time.monotonic() - began < 300
