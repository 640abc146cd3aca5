"""The state of a trainer as named tensors, and back. Reading checks everything before it changes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from crucible.engine.adam import AdamState
from crucible.engine.checkpoint import Checkpoint
from crucible.engine.errors import CheckpointMismatchError
from crucible.engine.lora import Adapter
from crucible.engine.values import LoraSpec


@attrs.frozen(kw_only=True, eq=False)
class Mutable:
    """The parts of a trainer that training changes.

    Args:
        layers: adapted layers by name.
        adam: moments, in the order of `parameters`.
        generator: the dropout stream.
    """

    layers: Mapping[str, Adapter]
    adam: AdamState
    generator: torch.Generator

    @property
    def parameters(self) -> Sequence[Tensor]:
        """A and B of each layer, in order."""
        return parameters_of(self.layers)

    @property
    def names(self) -> list[str]:
        """A name for each of `parameters`."""
        return [f"{name}.lora_{part}" for name in self.layers for part in "AB"]


def parameters_of(layers: Mapping[str, Adapter]) -> list[Tensor]:
    """Return A and B of each layer, in order."""
    return [tensor for layer in layers.values() for tensor in (layer.lora_A, layer.lora_B)]


def state_tensors(mutable: Mutable) -> dict[str, Tensor]:
    """Return moments, pending gradients and the dropout stream by name."""
    tensors = {"rng": mutable.generator.get_state()}
    moments = zip(mutable.names, mutable.adam.first, mutable.adam.second, mutable.parameters, strict=True)
    for name, first, second, parameter in moments:
        tensors[f"first.{name}"], tensors[f"second.{name}"] = first, second
        if parameter.grad is not None:
            tensors[f"grad.{name}"] = parameter.grad
    return tensors


def restore(mutable: Mutable, checkpoint: Checkpoint, *, base: str, spec: LoraSpec, with_optimizer: bool) -> None:
    """Take over a checkpoint.

    Raises:
        CheckpointMismatchError: another base model, rank, scale or set of layers; nothing was changed.
    """
    _check(mutable, checkpoint, base, spec)
    with torch.no_grad():
        for name, layer in mutable.layers.items():
            a, b = checkpoint.weights.tensors[name]
            layer.lora_A.copy_(a)
            layer.lora_B.copy_(b)
    mutable.generator.set_state(checkpoint.state["rng"])
    for parameter in mutable.parameters:
        parameter.grad = None
    mutable.adam.reset()
    if with_optimizer:
        _restore_optimizer(mutable, checkpoint)


def _restore_optimizer(mutable: Mutable, checkpoint: Checkpoint) -> None:
    state, adam = checkpoint.state, mutable.adam
    for name, first, second, parameter in zip(mutable.names, adam.first, adam.second, mutable.parameters, strict=True):
        first.copy_(state[f"first.{name}"])
        second.copy_(state[f"second.{name}"])
        if (gradient := state.get(f"grad.{name}")) is not None:
            parameter.grad = gradient.to(parameter.device, copy=True)
    adam.count = checkpoint.num_updates


def _check(mutable: Mutable, checkpoint: Checkpoint, base: str, spec: LoraSpec) -> None:
    weights = checkpoint.weights
    if weights.base != base:
        raise CheckpointMismatchError("the checkpoint was trained on another base model; load that model")
    if (weights.spec.rank, weights.spec.alpha) != (spec.rank, spec.alpha):
        raise CheckpointMismatchError(
            f"the checkpoint has rank {weights.spec.rank} and alpha {weights.spec.alpha}, this trainer has rank "
            f"{spec.rank} and alpha {spec.alpha}; make the trainer with the checkpoint's"
        )
    if different := sorted(set(weights.tensors) ^ set(mutable.layers)):
        raise CheckpointMismatchError(
            f"the checkpoint and this trainer adapt different layers, among them {different[0]}; "
            f"make the trainer with target={weights.spec.target}"
        )
