"""Which adapters of peft are read: an allow-list of what its configuration may say, so that none is read as another.

What is not on the list must have the value that changes nothing. peft 0.21 was the model; a field that a later version adds is
refused as soon as it is set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from crucible.engine.errors import CheckpointError
from crucible.engine.values import LoraSpec

_READ = frozenset({"peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "target_parameters", "use_rslora"})
_READ_ELSEWHERE = frozenset({"init_lora_weights", "bias", "fan_in_fan_out"})
# What made the adapter, or chose its layers, and has no part in what it computes: its tensors say which layers there are.
_OF_NO_ACCOUNT = frozenset(
    {
        *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
        *("exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size"),
        *("eva_config", "loftq_config", "corda_config", "lora_ga_config", "ensure_weight_tying", "runtime_config"),
    }
)
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin that leave the base model as it was. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA take the adapter off the base first."""

_CONVERT = (
    "convert it: PeftModel.save_pretrained(..., path_initial_model_for_weight_conversion=<the adapter before training>), "
    "or merge it into the model with merge_and_unload"
)
_MERGE = "merge it into the model with peft's merge_and_unload, and give that model instead"


def spec_of(config: Mapping[str, Any]) -> LoraSpec:  # Any: JSON
    """Read an adapter_config.json; rank-stabilised scaling becomes the alpha that has the same scale.

    >>> spec_of({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "use_rslora": True}).scale
    4.0

    Raises:
        CheckpointError: the adapter computes something other than plain LoRA; names the field and the fix.
        KeyError, TypeError, ValueError: it is no configuration.
    """
    if config.get("peft_type") != "LORA":
        raise CheckpointError(f"this is a {config.get('peft_type')} adapter, and only peft_type LORA is read: {_MERGE}")
    start = config.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        raise CheckpointError(
            f"init_lora_weights is {start!r}: the adapter belongs to a base model that was changed when it began, and is wrong "
            f"on the model itself; {_CONVERT}"
        )
    if config.get("bias", "none") != "none":
        raise CheckpointError(f"bias is {config['bias']!r}, and trained biases are not read: {_MERGE}")
    for name in sorted(set(config) - _READ - _READ_ELSEWHERE - _OF_NO_ACCOUNT):
        if config[name]:  # off is None, False, and empty
            raise CheckpointError(f"{name} is {config[name]!r}, which is not read as plain LoRA would be: {_MERGE}")
    target = config["target_modules"] or config.get("target_parameters") or ()
    names = (target,) if isinstance(target, str) else tuple(target)
    rank, alpha = config["r"], config["lora_alpha"]
    scaled = alpha * math.sqrt(rank) if config.get("use_rslora") else alpha
    return LoraSpec(rank=rank, alpha=scaled, dropout=config.get("lora_dropout", 0.0), target=names)
