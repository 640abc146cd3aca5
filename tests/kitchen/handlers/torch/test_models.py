"""Models of other architectures through the ports: they train and sample alike, or the port says why not."""

from pathlib import Path

import pytest

from crucible.effects import Do, Failure, Handlers, do, perform
from crucible.kitchen.handlers import torch
from crucible.train.errors import BackendFailed, InvalidRequest, TrainError, Unsupported
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    LoraConfig,
    ModelInput,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    TensorData,
)
from tests.engine.architectures import architecture

Ports = TrainingClient | SamplingClient
PROMPTS = [ModelInput.from_tokens(tokens) for tokens in ([5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16], [17])]


def saved(kind: str, folder: Path) -> str:
    """Save the tiny model of an architecture with its tokenizer."""
    loaded = architecture(kind)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return str(folder)


@do
def sampled_and_judged(model: str) -> Do[TrainError, Ports, tuple[list[float], list[float]]]:
    """Train a step, sample from it, and give the log-probabilities of sampler and trainer for all that was sampled."""
    session = yield from perform(TrainingClient.start_session, SessionConfig(model=model, lora=LoraConfig(rank=2)))
    lesson = as_datum(tuple(range(20, 40)))
    for _ in range(2):
        yield from perform(
            TrainingClient.await_, (yield from perform(TrainingClient.forward_backward, session, [lesson]))
        )
        update = yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=1e-2))
        yield from perform(TrainingClient.await_, update)
    weights = yield from perform(TrainingClient.save_sampler_weights, session, "policy")
    sampler = yield from perform(SamplingClient.start_session, SamplingConfig(model=model, weights_path=weights.path))
    params = SamplingParams(max_tokens=8, seed=1)
    groups = yield from perform(SamplingClient.sample, sampler, PROMPTS, params, num_samples=2)
    texts = [(one, prompt.tokens + one.tokens) for prompt, group in zip(PROMPTS, groups, strict=True) for one in group]
    looking = yield from perform(TrainingClient.forward, session, [as_datum(tokens) for _, tokens in texts])
    output = yield from perform(TrainingClient.await_, looking)
    judged = [
        logprob
        for (one, _), logprobs in zip(texts, output.logprobs, strict=True)
        for logprob in logprobs[-len(one.tokens) :]
    ]
    return [logprob for one, _ in texts for logprob in one.logprobs], judged


def as_datum(tokens: tuple[int, ...]) -> Datum:
    inputs = {
        "target_tokens": TensorData.ints(list(tokens[1:])),
        "weights": TensorData.floats([1.0] * (len(tokens) - 1)),
    }
    return Datum(model_input=ModelInput.from_tokens(tokens[:-1]), loss_fn_inputs=inputs)


@pytest.fixture
def handlers(tmp_path: Path) -> Handlers[Ports]:
    return torch.local(tmp_path / "runs", num_threads=1)


@pytest.mark.parametrize("kind", ["qwen3_next", "granitemoehybrid", "mamba2", "gpt_oss"])
def test_what_is_sampled_is_what_is_trained(handlers: Handlers[Ports], tmp_path: Path, kind: str) -> None:
    sampled, judged = handlers.run(sampled_and_judged(saved(kind, tmp_path / "model"))).unwrap()
    assert len(sampled) > 6
    assert sampled == pytest.approx(judged, abs=2e-4)


def test_a_model_that_cannot_be_sampled_is_told_at_the_start(handlers: Handlers[Ports], tmp_path: Path) -> None:
    model = saved("minimax", tmp_path / "model")
    handlers.run(perform(TrainingClient.start_session, SessionConfig(model=model))).unwrap()
    found = handlers.run(perform(SamplingClient.start_session, SamplingConfig(model=model)))
    assert isinstance(found, Failure)
    assert isinstance(found.failure(), Unsupported)
    assert "type 'minimax' (MiniMaxForCausalLM) trains and cannot be sampled here" in str(found.failure())


def test_a_model_that_cannot_run_is_told_at_load(handlers: Handlers[Ports], tmp_path: Path) -> None:
    model = saved("llama", tmp_path / "model")
    config = (tmp_path / "model" / "config.json").read_text()
    (tmp_path / "model" / "config.json").write_text(config.replace('"hidden_size": 32', '"hidden_size": 40'))
    for effect in (
        perform(TrainingClient.start_session, SessionConfig(model=model)),
        perform(SamplingClient.start_session, SamplingConfig(model=model)),
    ):
        found = handlers.run(effect)
        assert isinstance(found, Failure)
        assert isinstance(found.failure(), BackendFailed)
        assert "cannot be loaded" in str(found.failure())


def test_adapters_that_a_model_has_no_place_for_are_refused(handlers: Handlers[Ports], tmp_path: Path) -> None:
    lora = LoraConfig(train_attn=False)
    config = SessionConfig(model=saved("mamba2", tmp_path / "model"), lora=lora)
    found = handlers.run(perform(TrainingClient.start_session, config))
    assert isinstance(found, Failure)
    assert isinstance(found.failure(), InvalidRequest)
    assert "no linear layer is all-mlp; this model has: in_proj" in str(found.failure())
