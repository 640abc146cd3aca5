"""Whole supervised runs on torch: the loss falls, checkpoints are saved, and resuming is exact."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from crucible.cookbook.models import smollm2
from crucible.effects import Handlers
from crucible.kitchen import RunResult, run
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.handlers.torch import TorchBackend, TorchSampling, TorchTraining
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.train.errors import InvalidRequest
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig
from tests.kitchen.handlers.torch.tiny import config_for, on_this_machine, recipe, save_tiny


def completed(
    root: Path, config: SupervisedConfig, training: Handlers[TrainingClient | SamplingClient] | None = None
) -> RunResult[SupervisedState]:
    return run(recipe(config), on_this_machine(root, training), run_id="run").unwrap()


def series(result: RunResult[SupervisedState], name: str) -> Sequence[float]:
    values = [point.value for point in result.metrics if point.name == name]
    assert values or result.context.state.step == 12, f"no {name} among {sorted({p.name for p in result.metrics})}"
    return values


def final_tensors(root: Path) -> dict[str, list[float]]:
    """Read the trained adapter (as numbers: the order of a file's metadata differs each time)."""
    from safetensors.torch import load_file

    tensors = load_file(root / "weights/final_weights/adapter_model.safetensors")
    return {name: tensor.flatten().tolist() for name, tensor in tensors.items()}


def test_the_loss_falls_and_everything_is_saved(root: Path, tiny_folder: str) -> None:
    evaluation = EvaluationConfig(dataset=DatasetConfig(name="sums", split="test"), num_examples=4, max_tokens=3)
    result = completed(root, config_for(tiny_folder, evaluation=evaluation))
    losses = series(result, "loss")
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]
    assert result.telemetry_problems == ()
    assert sorted(one.name[:11] for one in (root / "checkpoints").iterdir()) == [
        "step_000004",
        "step_000008",
        "step_000012",
    ]
    assert [one.name for one in (root / "weights").iterdir()] == ["final_weights"]
    assert result.context.state.step == 12


def test_a_model_that_names_no_end_of_sequence_is_refused_before_training(root: Path, tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json"):
        file = tmp_path / "model" / name
        if file.exists():
            kept = {
                key: value for key, value in json.loads(file.read_text()).items() if not key.startswith("eos_token")
            }
            file.write_text(json.dumps(kept))
    failed = run(recipe(config_for(model)), on_this_machine(root), run_id="run").failure()
    assert isinstance(failed.error, InvalidRequest)
    assert "no end-of-sequence token: set eos_token in its tokenizer_config.json" in str(failed)
    assert not (root / "weights").exists()


def test_weights_to_sample_from_are_no_checkpoint_and_the_error_says_what_is(root: Path, tiny_folder: str) -> None:
    completed(root / "whole", config_for(tiny_folder))
    config = config_for(tiny_folder, start_from=str(root / "whole" / "weights" / "final_weights"))
    error = run(recipe(config), on_this_machine(root / "again"), run_id="run").failure().error
    assert "holds weights to sample from" in str(error)
    assert "set save_every, and give a folder of checkpoints/" in str(error)


@pytest.mark.parametrize("step", [4, 8, 12])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(root: Path, tiny_folder: str, step: int) -> None:
    """The checkpoints lie within the first epoch, within the second, and at the end."""
    whole = completed(root / "whole", config_for(tiny_folder))
    checkpoint = str(next((root / "whole" / "checkpoints").glob(f"step_{step:06d}_*")))
    resumed = completed(root / "resumed", config_for(tiny_folder, resume_from=checkpoint))
    for name in ("loss", "grad_norm", "learning_rate"):
        assert series(resumed, name) == series(whole, name)[step:]
    assert final_tensors(root / "resumed") == final_tensors(root / "whole")


def test_two_runs_of_one_configuration_are_equal_bit_for_bit(root: Path, tiny_folder: str) -> None:
    one, two = (completed(root / name, config_for(tiny_folder)) for name in ("one", "two"))
    assert series(one, "loss") == series(two, "loss")
    other = completed(root / "other", config_for(tiny_folder, seed=4))
    assert series(other, "loss") != series(one, "loss")


@pytest.mark.slow
def test_the_real_model_learns_and_resumes_bit_for_bit(root: Path, shared_backend: TorchBackend) -> None:
    training = TrainingClient.handled_by(TorchTraining(shared_backend)) | SamplingClient.handled_by(
        TorchSampling(shared_backend)
    )
    config = config_for(smollm2(), epochs=1, save_every=3, learning_rate=1e-3)
    whole = completed(root / "whole", config, training)
    losses = series(whole, "loss")
    assert len(losses) == 6
    assert losses[-1] < 0.7 * losses[0]
    checkpoint = whole.context.state.checkpoint
    assert checkpoint is not None
    middle = str(next(Path(checkpoint.path).parent.glob("step_000003_*")))
    resumed = completed(
        root / "resumed",
        config_for(smollm2(), epochs=1, save_every=3, learning_rate=1e-3, resume_from=middle),
        training,
    )
    assert series(resumed, "loss") == losses[3:]
