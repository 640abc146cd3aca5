"""Adapters of peft: each option that is read gives peft's own logits, every other is refused in words with the fix."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from crucible.engine import CheckpointError, Sampler, read_adapter
from crucible.engine.peft_config import spec_of
from tests.engine.tiny import tiny_model

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
TOKENS = (5, 9, 2, 7, 30, 11)


def peft_adapter(folder: Path, **options: Any) -> Any:
    """Make an adapter with peft, its B no longer zero, save it, and give peft's own model of it."""
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of what its own options do
        model = get_peft_model(
            tiny_model().model,
            LoraConfig(**{key: value for key, value in PLAIN.items() if key != "peft_type"}, **options),
        )
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        model.save_pretrained(str(folder))
    return model


def logprobs_of(model: Any) -> list[float]:
    with torch.no_grad():
        logits = model(torch.tensor([TOKENS])).logits[0].log_softmax(-1)
    return [logits[i, TOKENS[i + 1]].item() for i in range(len(TOKENS) - 1)]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal"},
        {"layers_to_transform": [1]},
    ],
    ids=lambda options: next(iter(options), "plain"),
)
def test_what_is_read_has_the_logprobs_of_peft(tmp_path: Path, options: dict[str, Any]) -> None:
    model = peft_adapter(tmp_path, **options)
    weights = read_adapter(tmp_path)
    (found,) = Sampler(tiny_model(), weights).logprobs([TOKENS])
    assert found[1:] == pytest.approx(logprobs_of(model), abs=1e-4)
    (bare,) = Sampler(tiny_model()).logprobs([TOKENS])
    assert found[1:] != pytest.approx(bare[1:], abs=1e-2)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_taken_off_its_base_is_refused_with_the_way_to_convert_it(tmp_path: Path, start: str) -> None:
    peft_adapter(tmp_path, init_lora_weights=start)
    with pytest.raises(
        CheckpointError, match=f"init_lora_weights is '{start}'.*path_initial_model_for_weight_conversion"
    ):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
        ("init_lora_weights", "lora_ga"),
        ("use_dora", True),
        ("use_qalora", True),
        ("rank_pattern", {"q_proj": 2}),
        ("alpha_pattern", {"q_proj": 2}),
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("trainable_token_indices", [1]),
        ("layer_replication", [[0, 1]]),
        ("megatron_config", {"a": 1}),
        ("alora_invocation_tokens", [1]),
        ("of_a_later_version", 0.5),
    ],
)
def test_what_is_not_plain_lora_is_refused_and_named(tmp_path: Path, field: str, value: object) -> None:
    config = {**PLAIN, field: value}
    with pytest.raises(CheckpointError, match=str(value) if field == "peft_type" else field) as caught:
        spec_of(config)
    assert "merge_and_unload" in str(caught.value)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=field if field != "peft_type" else "IA3"):
        read_adapter(tmp_path)


def test_every_default_of_peft_is_read() -> None:
    from peft import LoraConfig

    defaults = json.loads(json.dumps(LoraConfig(target_modules=["q_proj"], r=4, lora_alpha=8).to_dict(), default=list))
    assert spec_of(defaults).scale == 2.0
    assert spec_of({**defaults, "use_rslora": True}).scale == 4.0
