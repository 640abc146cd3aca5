"""What training saves for sampling is an adapter that `peft` reads, with the same meaning."""

import json
from pathlib import Path
from typing import Any

import pytest

from crucible.effects import Do, Handlers, do, perform
from crucible.kitchen.handlers.torch import TorchBackend, TorchSampling, TorchTraining
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    LoraConfig,
    ModelInput,
    SamplerWeights,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    TensorData,
)

TOKENS = [40, 41, 42, 60, 61, 62, 40, 41, 7, 8, 9]
LORAS = [
    LoraConfig(rank=4, alpha=16.0),
    LoraConfig(rank=3, train_mlp=False),
    LoraConfig(rank=2, train_attn=False, train_unembed=True),
]


@do
def learned(
    model: str, lora: LoraConfig, name: str
) -> Do[TrainError, TrainingClient, tuple[SamplerWeights, tuple[float, ...]]]:
    """Train and save; give the trainer's own log-probabilities too."""
    session = yield from perform(TrainingClient.start_session, SessionConfig(model=model, lora=lora))
    size = len(TOKENS) - 1
    inputs = {"target_tokens": TensorData.ints(TOKENS[1:]), "weights": TensorData.floats([1.0] * size)}
    datum = Datum(model_input=ModelInput.from_tokens(TOKENS[:-1]), loss_fn_inputs=inputs)
    for _ in range(3):
        future = yield from perform(TrainingClient.forward_backward, session, [datum])
        yield from perform(TrainingClient.await_, future)
        update = yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=1e-2))
        yield from perform(TrainingClient.await_, update)
    looking = yield from perform(TrainingClient.forward, session, [datum])
    output = yield from perform(TrainingClient.await_, looking)
    return (yield from perform(TrainingClient.save_sampler_weights, session, name)), output.logprobs[0]


@do
def scored(config: SamplingConfig) -> Do[TrainError, SamplingClient, tuple[float | None, ...]]:
    session = yield from perform(SamplingClient.start_session, config)
    rows = yield from perform(SamplingClient.compute_logprobs, session, [ModelInput.from_tokens(TOKENS)])
    yield from perform(SamplingClient.close_session, session)
    return rows[0]


def peft_logprobs(base: Any, folder: str | None) -> list[float]:
    import torch
    from peft import PeftModel

    model = base if folder is None else PeftModel.from_pretrained(base, folder)
    with torch.no_grad():
        logits = model(torch.tensor([TOKENS])).logits[0]
    found = torch.log_softmax(logits.float(), dim=-1)[:-1].gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
    return [float(one) for one in found]


@pytest.mark.parametrize("lora", LORAS, ids=["all layers", "attention alone", "feed-forward and head"])
def test_peft_gives_the_same_log_probabilities(
    shared_backend: TorchBackend, tiny_folder: str, lora: LoraConfig
) -> None:
    from transformers import AutoModelForCausalLM

    handlers = TrainingClient.handled_by(TorchTraining(shared_backend)) | SamplingClient.handled_by(
        TorchSampling(shared_backend)
    )
    saved, seen = handlers.run(learned(tiny_folder, lora, f"peft_{lora.rank}")).unwrap()
    ours = handlers.run(scored(SamplingConfig(model=tiny_folder, weights_path=saved.path))).unwrap()
    plain = handlers.run(scored(SamplingConfig(model=tiny_folder))).unwrap()
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    assert list(plain[1:]) == pytest.approx(peft_logprobs(base, None), abs=1e-4)
    theirs = peft_logprobs(base, saved.path)
    assert list(ours[1:]) == pytest.approx(theirs, abs=1e-4)
    assert list(seen) == pytest.approx(theirs, abs=0.05)  # bfloat16, where the machine has instructions for it
    assert sum(one or 0.0 for one in ours) > sum(one or 0.0 for one in plain) + 1


def test_adapters_that_would_be_misread_or_hold_nan_are_failures_of_the_port(
    shared_backend: TorchBackend, tiny_folder: str
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    handlers = TrainingClient.handled_by(TorchTraining(shared_backend)) | SamplingClient.handled_by(
        TorchSampling(shared_backend)
    )
    saved, _ = handlers.run(learned(tiny_folder, LORAS[0], "damaged")).unwrap()
    config = Path(saved.path) / "adapter_config.json"
    plain = config.read_text()
    config.write_text(json.dumps({**json.loads(plain), "init_lora_weights": "pissa"}))
    misread = handlers.run(scored(SamplingConfig(model=tiny_folder, weights_path=saved.path))).failure()
    assert "init_lora_weights is 'pissa'" in str(misread)
    assert "convert it" in str(misread)
    config.write_text(plain)
    tensors = load_file(Path(saved.path) / "adapter_model.safetensors")
    save_file(
        {name: torch.full_like(one, torch.nan) for name, one in tensors.items()},
        Path(saved.path) / "adapter_model.safetensors",
    )
    broken = SamplingConfig(model=tiny_folder, weights_path=saved.path)
    assert "logits are NaN or infinite) for sequence 0" in str(handlers.run(scored(broken)).failure())
    sampling = perform(SamplingClient.start_session, broken).bind(
        lambda session: perform(
            SamplingClient.sample, session, [ModelInput.from_tokens(TOKENS)], SamplingParams(max_tokens=3)
        )
    )
    assert "for prompt 0 after 0 generated tokens" in str(handlers.run(sampling).failure())


@pytest.mark.slow
def test_peft_reads_an_adapter_of_the_real_model(shared_backend: TorchBackend) -> None:
    import anyio

    from crucible.cookbook.models import smollm2

    handlers: Handlers[TrainingClient | SamplingClient] = TrainingClient.handled_by(
        TorchTraining(shared_backend)
    ) | SamplingClient.handled_by(TorchSampling(shared_backend))
    saved, _ = handlers.run(learned(smollm2(), LoraConfig(rank=8), "peft_real")).unwrap()
    ours = handlers.run(scored(SamplingConfig(model=smollm2(), weights_path=saved.path))).unwrap()
    loaded = anyio.run(shared_backend.load, smollm2()).unwrap()
    assert list(ours[1:]) == pytest.approx(peft_logprobs(copied(loaded.model), saved.path), abs=1e-3)


def copied(model: Any) -> Any:  # Any: transformers models have no useful static type
    """Copy a model: peft changes the one it is given."""
    import copy

    return copy.deepcopy(model)


def test_a_version_once_opened_stays_as_it_was(shared_backend: TorchBackend, tiny_folder: str) -> None:
    """Saving anew under the same name replaces the folder, not what a sampler has read from it."""
    handlers = TrainingClient.handled_by(TorchTraining(shared_backend)) | SamplingClient.handled_by(
        TorchSampling(shared_backend)
    )

    @do
    def twice() -> Do[TrainError, TrainingClient | SamplingClient, None]:
        saved, _ = yield from learned(tiny_folder, LORAS[0], "again")
        session = yield from perform(
            SamplingClient.start_session, SamplingConfig(model=tiny_folder, weights_path=saved.path)
        )
        inputs = [ModelInput.from_tokens(TOKENS)]
        before = yield from perform(SamplingClient.compute_logprobs, session, inputs)
        yield from learned(tiny_folder, LORAS[1], "again")
        assert (yield from perform(SamplingClient.compute_logprobs, session, inputs)) == before

    handlers.run(twice()).unwrap()


def test_the_folder_holds_what_peft_expects(shared_backend: TorchBackend, tiny_folder: str) -> None:
    handlers = TrainingClient.handled_by(TorchTraining(shared_backend))
    saved, _ = handlers.run(learned(tiny_folder, LORAS[0], "files")).unwrap()
    assert sorted(file.name for file in Path(saved.path).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert (saved.model, saved.step) == (tiny_folder, 3)
