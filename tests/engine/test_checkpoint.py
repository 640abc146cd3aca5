"""Checkpoints: resuming is exact, adapters are peft's, and what does not fit is refused before anything changes."""

import json
from pathlib import Path

import pytest
import torch

from crucible.engine import (
    Adam,
    AdapterWeights,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    LoadedModel,
    LoraSpec,
    NoGradientError,
    Sampler,
    Trainer,
    read_adapter,
)
from tests.engine.tiny import LORA, example, tiny_model

BATCHES = [[example(9 + n, seed=10 * n + i) for i in range(3)] for n in range(6)]
DROPPING = LoraSpec(rank=4, dropout=0.2, seed=5)


def train(trainer: Trainer, start: int, stop: int) -> list[float]:
    losses = []
    for batch in BATCHES[start:stop]:
        losses.append(trainer.forward_backward(batch, "cross_entropy").loss)
        losses.append(trainer.optim_step(Adam(learning_rate=1e-2)).grad_norm)
    return losses


def same(left: AdapterWeights, right: AdapterWeights) -> bool:
    pairs = [(left.tensors[name], right.tensors[name]) for name in left.tensors]
    return left.step == right.step and all(
        torch.equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True)
    )


@pytest.fixture
def saved(tiny: LoadedModel, tmp_path: Path) -> Path:
    trainer = Trainer(tiny, LORA)
    train(trainer, 0, 1)
    trainer.save(tmp_path / "checkpoint", {"epoch_loss": "0.1"})
    return tmp_path / "checkpoint"


def test_resuming_equals_never_stopping_bit_for_bit(tiny: LoadedModel, tmp_path: Path) -> None:
    straight, first = Trainer(tiny, DROPPING), Trainer(tiny, DROPPING)
    want = train(straight, 0, 6)
    got = train(first, 0, 3)
    first.save(tmp_path / "run" / "checkpoint")
    second = Trainer(tiny_model(), LoraSpec(rank=4, dropout=0.2, seed=99))
    second.load(tmp_path / "run" / "checkpoint")
    got += train(second, 3, 6)
    assert got == want
    assert same(straight.snapshot(), second.snapshot())
    assert second.step == 6


def test_what_the_caller_keeps_comes_back(tiny: LoadedModel, saved: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny, LORA)
    assert trainer.load(saved) == {"epoch_loss": "0.1"}
    trainer.save(tmp_path / "bare")
    assert trainer.load(tmp_path / "bare") == {}


def test_pending_gradients_are_kept(tiny: LoadedModel, tmp_path: Path) -> None:
    straight = Trainer(tiny, LORA)
    straight.forward_backward(BATCHES[0], "cross_entropy")
    straight.save(tmp_path / "checkpoint")
    resumed = Trainer(tiny, LORA)
    resumed.load(tmp_path / "checkpoint")
    assert resumed.optim_step(Adam()) == straight.optim_step(Adam())
    assert same(straight.snapshot(), resumed.snapshot())


def test_without_the_optimizer_moments_start_anew(tiny: LoadedModel, tmp_path: Path) -> None:
    trainer = Trainer(tiny, LORA)
    train(trainer, 0, 2)
    trainer.forward_backward(BATCHES[2], "cross_entropy")
    trainer.save(tmp_path / "checkpoint")
    fresh = Trainer(tiny, LORA)
    fresh.load(tmp_path / "checkpoint", with_optimizer=False)
    assert same(trainer.snapshot(), fresh.snapshot())
    assert not any(moment.any() for moment in fresh._state.adam.first)
    with pytest.raises(NoGradientError):
        fresh.optim_step(Adam())


def test_saving_again_replaces_the_whole_directory(tiny: LoadedModel, saved: Path) -> None:
    (saved / "left over").write_text("from an earlier version")
    trainer = Trainer(tiny, LORA)
    train(trainer, 0, 2)
    trainer.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "checkpoint.json",
        "training_state.safetensors",
    ]
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]
    assert read_adapter(saved).step == 2


def test_nothing_there(tiny: LoadedModel, tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointNotFoundError, match=str(directory)):
            Trainer(tiny, LORA).load(directory)
        with pytest.raises(CheckpointNotFoundError, match=r"adapter_config\.json"):
            read_adapter(directory)


@pytest.mark.parametrize(
    ("model_seed", "spec", "message"),
    [
        (1, LORA, "another base model"),
        (0, LoraSpec(rank=8, alpha=8), "rank 4 and alpha 8.0, this trainer has rank 8"),
        (0, LoraSpec(rank=4, alpha=8, target=("q_proj",)), "adapt different layers"),
    ],
)
def test_a_checkpoint_of_another_kind_changes_nothing(
    saved: Path, model_seed: int, spec: LoraSpec, message: str
) -> None:
    trainer = Trainer(tiny_model(seed=model_seed), spec)
    before = trainer.snapshot()
    with pytest.raises(CheckpointMismatchError, match=message):
        trainer.load(saved)
    assert same(before, trainer.snapshot())


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "training_state.safetensors", "metadata.json"])
def test_a_flipped_bit_is_noticed(tiny: LoadedModel, saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-3] ^= 1
    (saved / name).write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=f"{name} is missing or damaged"):
        Trainer(tiny, LORA).load(saved)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": 99}), json.dumps({"format": 1})])
def test_a_manifest_that_makes_no_sense(tiny: LoadedModel, saved: Path, content: str) -> None:
    (saved / "checkpoint.json").write_text(content)
    with pytest.raises(CheckpointError):
        Trainer(tiny, LORA).load(saved)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_peft_reads_what_is_exported(tiny: LoadedModel, tmp_path: Path) -> None:
    from peft import PeftModel

    trainer = Trainer(tiny, LORA)
    train(trainer, 0, 2)
    trainer.export_adapter(tmp_path / "adapter")
    model = PeftModel.from_pretrained(tiny_model().model, tmp_path / "adapter").merge_and_unload()
    ids = list(BATCHES[0][0].tokens)
    theirs = model(torch.tensor([ids])).logits.log_softmax(-1)[0, :-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    (ours,) = Sampler(tiny, read_adapter(tmp_path / "adapter")).logprobs([ids])
    assert ours[1:] == pytest.approx(theirs.tolist(), abs=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_what_peft_saves_is_read(tiny: LoadedModel, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        config = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        model = get_peft_model(tiny_model().model, config)
    model.save_pretrained(str(tmp_path / "adapter"))
    ids = list(BATCHES[0][0].tokens)
    theirs = model(torch.tensor([ids])).logits.log_softmax(-1)[0, :-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    adapter = read_adapter(tmp_path / "adapter")
    assert (adapter.spec.rank, adapter.spec.scale, adapter.base) == (2, 3.0, "")
    assert Sampler(tiny, adapter).logprobs([ids])[0][1:] == pytest.approx(theirs.tolist(), abs=1e-4)


def test_an_adapter_of_another_kind_is_refused(tiny: LoadedModel, saved: Path) -> None:
    config = json.loads((saved / "adapter_config.json").read_text())
    (saved / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(CheckpointError, match="plain LoRA"):
        read_adapter(saved)


def test_an_adapter_of_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointMismatchError, match="another base model"):
        Sampler(tiny_model(seed=1), read_adapter(saved))
