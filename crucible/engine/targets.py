"""Which weights of a model a LoRA target means: linear layers, transformers' Conv1D, and experts kept as one 3-D parameter.

Names are peft's. A parameter is named by the module that holds it; where one module holds several, peft nests its wrappers
in the order of registration, and every inner one is named `.base_layer` once more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
import torch
from torch import Tensor, nn

from crucible.engine.errors import LoraTargetError
from crucible.engine.values import ALL_ATTENTION, ALL_LINEAR, ALL_MLP, OUTPUT_HEAD

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_MLP = re.compile(r"mlp|ffn|feed_?forward|moe|expert|^fc_?(1|2|in|out)$", re.IGNORECASE)
_MLP_CLASS = re.compile(r"(MLP|FeedForward|MOE|MoE|MoeBlock|Experts)$")
_READ_PAST = {
    "falcon_h1": ("out_proj",),
    "falcon_mamba": ("dt_proj", "out_proj"),
    "jamba": ("dt_proj",),
    "mamba": ("dt_proj", "out_proj"),
    "mamba2": ("out_proj",),
    "nemotron_h": ("out_proj",),
}
"""Layers whose matrix the model's code reads without calling them: an adapter around one would never act. peft, whose adapters of
`dt_proj` do not, refuses those of `out_proj`."""
_GROUPS = (*ALL_LINEAR, *ALL_ATTENTION, *ALL_MLP, *OUTPUT_HEAD)


@attrs.frozen
class LinearTarget:
    """A linear layer, of its dotted name."""

    name: str


@attrs.frozen
class ParameterTarget:
    """A parameter of shape (experts, ., .).

    Args:
        name: peft's name of its adapter.
        owner: dotted name of the module that holds it.
        parameter: its own name there.
    """

    name: str
    owner: str
    parameter: str

    @property
    def dotted(self) -> str:
        """The name that peft's `target_parameters` has."""
        return f"{self.owner}.{self.parameter}"


Target: TypeAlias = LinearTarget | ParameterTarget


def find_targets(model: nn.Module, target: tuple[str, ...]) -> list[Target]:
    """Return what `target` means, in module order.

    Raises:
        LoraTargetError: a name matches nothing that can be adapted, or experts are kept in a way that cannot.
    """
    head = _head_name(model)
    config: Any = model.config  # Any: configurations have no common typed fields
    read_past = _READ_PAST.get(config.model_type, ())
    found: list[Target] = []
    known: set[str] = set()
    for name, module in model.named_modules():
        if _leaf(name) in read_past:
            continue
        if is_linear(module):
            known |= {name, _leaf(name)}
            if _means(target, name, is_head=name == head, mlp=_is_mlp(model, name)):
                found.append(LinearTarget(name))
            continue
        experts = expert_parameters(module)
        known |= {known_name for one in experts for known_name in (f"{name}.{one}", one)}
        wanted = [one for one in experts if _means(target, f"{name}.{one}", mlp=_is_mlp(model, name))]
        found += nested(name, wanted)
        if not experts and _keeps_flat_experts(module) and set(target) & {*ALL_LINEAR, *ALL_MLP}:
            raise LoraTargetError(
                f"{name} ({type(module).__name__}) keeps its experts in matrices that LoRA cannot adapt here: "
                "train without them (train_mlp=False, or a target that names other layers)"
            )
    missing = sorted(set(target) - known - set(_GROUPS))
    if missing or not found:
        leaves = ", ".join(sorted({_leaf(name) for name in known}))
        raise LoraTargetError(f"no linear layer is {', '.join(missing or target)}; this model has: {leaves}")
    return found


def nested(owner: str, parameters: Sequence[str]) -> list[ParameterTarget]:
    """Give the adapted parameters of one module, in the order of registration, the names that peft gives them."""
    last = len(parameters) - 1
    return [
        ParameterTarget(name=owner + ".base_layer" * (last - index), owner=owner, parameter=one)
        for index, one in enumerate(parameters)
    ]


def expert_parameters(module: nn.Module) -> list[str]:
    """Return the names of the weights of shape (experts, ., .) that a module holds itself."""
    if "Expert" not in type(module).__name__:
        return []
    return [name for name, one in module.named_parameters(recurse=False) if one.dim() == 3 and "bias" not in name]


def is_linear(module: nn.Module) -> bool:
    """Whether a module maps inputs to outputs by one matrix, and gives the result alone.

    A subclass of `nn.Linear` with a forward of its own, such as a router that gives scores and choices, is asked by one row.
    """
    if is_plain(module) or is_conv1d(module):
        return True
    if not isinstance(module, nn.Linear):
        return False
    row = torch.zeros(1, module.in_features, device=module.weight.device)
    dtype = module.weight.dtype if module.weight.dtype.is_floating_point else torch.float32
    try:
        with torch.no_grad():
            output: Any = module(row.to(dtype))  # Any: code of any author
    except Exception:  # noqa: BLE001  # likewise
        return False
    return isinstance(output, Tensor) and output.shape == (1, module.out_features)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a linear layer that does nothing but `W x + b`."""
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """Return (outputs, inputs) of what `is_linear`."""
    rows, columns = module.get_parameter("weight").shape
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    return columns, rows


def is_conv1d(module: nn.Module) -> bool:
    """Whether a module is transformers' Conv1D: a linear layer that stores its matrix (inputs, outputs)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _means(target: tuple[str, ...], name: str, *, is_head: bool = False, mlp: bool) -> bool:
    if name in target or _leaf(name) in target:
        return True
    if is_head:
        return OUTPUT_HEAD[0] in target
    return ALL_LINEAR[0] in target or (ALL_MLP[0] if mlp else ALL_ATTENTION[0]) in target


def _is_mlp(model: nn.Module, name: str) -> bool:
    """Whether a layer belongs to a feed-forward block; all others mix tokens (attention, convolutions, state spaces)."""
    parts = name.split(".")
    if any(_ATTENTION.search(part) for part in parts):
        return False
    owners = [model.get_submodule(".".join(parts[:end])) for end in range(1, len(parts) + 1)]
    return any(_MLP.search(part) for part in parts) or any(_MLP_CLASS.search(type(one).__name__) for one in owners)


def _head_name(model: nn.Module) -> str | None:
    head = model.get_output_embeddings()  # type: ignore[operator]  # a method of transformers models
    return next((name for name, module in model.named_modules() if module is head), None)


def _keeps_flat_experts(module: nn.Module) -> bool:
    if "Expert" not in type(module).__name__:
        return False
    return any(one.dim() == 2 and "bias" not in name for name, one in module.named_parameters(recurse=False))


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
