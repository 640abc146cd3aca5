"""The files of a checkpoint: an adapter in peft's format and, for training, the state beside it. No pickle.

adapter_model.safetensors   A and B of each layer under peft's names
adapter_config.json         peft's configuration
training_state.safetensors  moments, pending gradients, state of the dropout stream   (training only)
metadata.json               what the caller keeps with it                              (training only, where there is any)
checkpoint.json             format, base fingerprint, spec, step, sha256 of the others (training only)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from crucible.engine.durable import recover
from crucible.engine.errors import CheckpointError, CheckpointNotFoundError
from crucible.engine.lora import AdapterWeights
from crucible.engine.peft_config import spec_of
from crucible.engine.values import LoraSpec

FORMAT = 1
ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"
STATE, METADATA, MANIFEST = "training_state.safetensors", "metadata.json", "checkpoint.json"
_PREFIX = "base_model.model."


@attrs.frozen(kw_only=True, eq=False)
class Checkpoint:
    """A training checkpoint read back.

    Args:
        weights: the adapter.
        num_updates: optimizer updates behind the moments.
        state: the tensors of training_state.safetensors by name.
        metadata: what the caller gave to keep with it.
    """

    weights: AdapterWeights
    num_updates: int
    state: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def adapter_files(weights: AdapterWeights, base_name: str) -> dict[str, bytes]:
    """Return the two files of a peft adapter directory."""
    from safetensors.torch import save

    tensors = {}
    for name, (a, b) in weights.tensors.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.cpu().contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.cpu().contiguous()
    metadata = {"format": "pt", "crucible_base": weights.base, "crucible_step": str(weights.step)}
    return {ADAPTER: save(tensors, metadata), CONFIG: _json(_peft_config(weights, base_name))}


def training_files(
    weights: AdapterWeights,
    base_name: str,
    *,
    num_updates: int,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> dict[str, bytes]:
    """Return all files of a training checkpoint."""
    from safetensors.torch import save

    files = adapter_files(weights, base_name)
    files[STATE] = save({name: tensor.cpu().contiguous() for name, tensor in state.items()})
    if metadata:
        files[METADATA] = _json(dict(metadata))
    manifest = {
        "format": FORMAT,
        "base": weights.base,
        "base_name": base_name,
        "spec": attrs.asdict(weights.spec),
        "step": weights.step,
        "num_updates": num_updates,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    return {**files, MANIFEST: _json(manifest)}


def read_training(directory: Path) -> Checkpoint:
    """Read a training checkpoint and check every byte of it.

    Raises:
        CheckpointNotFoundError: none there. CheckpointError: damaged, or of a newer format.
    """
    from safetensors.torch import load

    recover(directory)
    try:
        manifest = _manifest(directory)
        files = {name: _verified(directory / name, manifest["sha256"][name]) for name in (ADAPTER, STATE)}
        weights = AdapterWeights(
            spec=LoraSpec(**manifest["spec"]),
            tensors=_paired(load(files[ADAPTER])),
            base=str(manifest["base"]),
            step=int(manifest["step"]),
        )
        return Checkpoint(
            weights=weights,
            num_updates=int(manifest["num_updates"]),
            state=load(files[STATE]),
            metadata=_metadata(directory, manifest["sha256"].get(METADATA)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # JSON that is none, or another's
        raise CheckpointError(f"{directory / MANIFEST} is damaged ({error}); use an earlier checkpoint") from error


def read_adapter(directory: Path) -> AdapterWeights:
    """Read the adapter of a checkpoint, of `Trainer.export_adapter`, or of peft.

    Raises:
        CheckpointNotFoundError: none there. CheckpointError: damaged, or not plain LoRA (see `peft_config`).
    """
    from safetensors import SafetensorError, safe_open

    recover(directory)
    if not (directory / CONFIG).is_file() or not (directory / ADAPTER).is_file():
        raise CheckpointNotFoundError(f"no adapter at {directory}: it needs {CONFIG} and {ADAPTER}")
    try:
        config = json.loads((directory / CONFIG).read_text())
        spec = spec_of(config)
        with safe_open(directory / ADAPTER, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = _paired({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # not a mapping
        base, step = metadata.get("crucible_base", ""), int(metadata.get("crucible_step", "0"))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:  # JSON that is another's too
        raise CheckpointError(f"the adapter at {directory} is damaged or no plain LoRA adapter: {error}") from error
    parameters = tuple(config.get("target_parameters") or ())
    return AdapterWeights(spec=spec, tensors=tensors, base=base, step=step, parameters=parameters)


def _manifest(directory: Path) -> dict[str, Any]:  # Any: JSON
    path = directory / MANIFEST
    if not path.is_file():
        if (directory / ADAPTER).is_file():
            raise CheckpointNotFoundError(
                f"{directory} holds weights to sample from, and training goes on from a checkpoint: set save_every, and give a "
                f"folder of checkpoints/"
            )
        raise CheckpointNotFoundError(f"no checkpoint at {directory}: {MANIFEST} is not there")
    manifest: dict[str, Any] = json.loads(path.read_bytes())
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {manifest.get('format')}; this version reads {FORMAT}")
    return manifest


def _metadata(directory: Path, digest: str | None) -> dict[str, str]:
    if digest is None:  # nothing was to be kept
        return {}
    found: dict[str, str] = json.loads(_verified(directory / METADATA, digest))
    return found


def _verified(path: Path, digest: str) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f"{path} is missing or damaged (its digest differs); use an earlier checkpoint")
    return content


def _paired(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    if 2 * len(names) != len(tensors):
        raise ValueError("it holds tensors other than LoRA's A and B")
    return {
        name.removeprefix(_PREFIX): (tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"])
        for name in names
    }


def _is_nested(name: str, weights: AdapterWeights) -> bool:
    owners = {parameter.rpartition(".")[0] for parameter in weights.parameters}
    return name.replace(".base_layer", "") in owners


def _peft_config(weights: AdapterWeights, base_name: str) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": weights.spec.rank,
        "lora_alpha": weights.spec.alpha,
        "lora_dropout": weights.spec.dropout,
        "target_modules": sorted(
            set(weights.tensors) - {name for name in weights.tensors if _is_nested(name, weights)}
        ),
        **({"target_parameters": list(weights.parameters)} if weights.parameters else {}),
        "bias": "none",
        "fan_in_fan_out": weights.fan_in_fan_out,
        "inference_mode": True,
    }


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()
