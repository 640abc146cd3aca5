"""Low-rank adapters: attached to a private copy of the module tree that shares the frozen base weights.

Letters: r rank, I inputs and O outputs of a linear layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import attrs
import torch
from torch import Tensor, nn

from crucible.engine.errors import CheckpointMismatchError, LoraTargetError
from crucible.engine.one_product import AdaptedLinear, is_short, one_product
from crucible.engine.targets import (
    LinearTarget,
    ParameterTarget,
    expert_parameters,
    find_targets,
    is_conv1d,
    is_linear,
    is_plain,
    linear_shape,
    nested,
)
from crucible.engine.values import LoraSpec
from crucible.engine.wrapped import (
    LoraAround,
    LoraExperts,
    LoraParameter,
    expert_delta,
    expert_shapes,
    is_transposed,
)

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@attrs.frozen(kw_only=True, eq=False)
class AdapterWeights:
    """An immutable copy of the adapter: a version of the policy. Never write into its tensors.

    Args:
        spec: the adapter's shape.
        tensors: peft's name of a layer -> (A of shape (r, I), B of shape (O, r)), float32, on the CPU or the trainer's
            device. For experts in one parameter, r counts the ranks of all (see `wrapped`).
        base: fingerprint of the base model it belongs to; empty when unknown (an adapter of other tools).
        step: number of optimizer steps behind it.
        parameters: names of the adapted parameters that are no layers of their own, as in peft's `target_parameters`.
        fan_in_fan_out: peft's word for layers that store their matrix (I, O), as GPT-2 does.
    """

    spec: LoraSpec
    tensors: Mapping[str, tuple[Tensor, Tensor]]
    base: str
    step: int
    parameters: tuple[str, ...] = ()
    fan_in_fan_out: bool = False


class LoraLinear(nn.Module):
    """A frozen linear layer plus `scale * B @ A`."""

    def __init__(self, linear: nn.Linear, spec: LoraSpec, generator: torch.Generator, weight_dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().to(weight_dtype), requires_grad=False)
        self.bias: nn.Parameter | None = linear.bias
        device = linear.weight.device
        shape_A, shape_B = (spec.rank, linear.in_features), (linear.out_features, spec.rank)
        self.lora_A = nn.Parameter(torch.zeros(shape_A, dtype=torch.float32, device=device))
        self.lora_B = nn.Parameter(torch.zeros(shape_B, dtype=torch.float32, device=device))
        self._scale, self._dropout, self._generator = spec.scale, spec.dropout, generator

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output; shape (..., I) to (..., O)."""
        if is_short(self.weight.dtype):
            return self._rounded_once(inputs.to(self.weight.dtype))
        output = nn.functional.linear(inputs, self.weight, self.bias)
        inner = nn.functional.linear(self._drop(inputs), self.lora_A.to(inputs.dtype))
        flat = torch.addmm(
            output.flatten(0, -2), inner.flatten(0, -2), self.lora_B.t().to(inner.dtype), alpha=self._scale
        )
        return flat.view(output.shape)

    def _rounded_once(self, inputs: Tensor) -> Tensor:
        """Compute base and adapter in one product (see `one_product`); `inputs` are of the type of the weight."""
        dtype = self.weight.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        inner = nn.functional.linear(self._drop(inputs), self.lora_A.to(dtype)).flatten(0, -2)
        scaled_B = (self._scale * self.lora_B).to(dtype)
        flat = one_product(inputs.flatten(0, -2), inner, self.weight, bias, scaled_B)
        return flat.view(*inputs.shape[:-1], -1)

    def _drop(self, inputs: Tensor) -> Tensor:
        if not (self.training and self._dropout):
            return inputs
        draw = torch.rand(inputs.shape, generator=self._generator, device=inputs.device)
        return inputs * ((draw >= self._dropout) / (1 - self._dropout)).to(inputs.dtype)


Adapter: TypeAlias = LoraLinear | LoraAround | LoraParameter


def share_tree(model: ModuleT) -> ModuleT:
    """Return a copy of the module tree whose parameters and buffers are the same tensors as `model`'s."""
    tensors: Iterable[Tensor] = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def attach(
    model: nn.Module, spec: LoraSpec, generator: torch.Generator, *, weight_dtype: torch.dtype | None
) -> dict[str, Adapter]:
    """Replace the targeted layers of `model` in place and return them by name; A is random from the seed, B zero.

    Args:
        generator: drives dropout.
        weight_dtype: keep a copy of the targeted base weights in this type (saves a cast in each pass under autocast).

    Raises:
        LoraTargetError: see `targets.find_targets`; or dropout is asked for experts, which has no meaning there.
    """
    seeded = torch.Generator().manual_seed(spec.seed)
    attached: dict[str, Adapter] = {}
    experts: dict[str, dict[str, LoraParameter]] = {}
    for one in find_targets(model, spec.target):
        if isinstance(one, LinearTarget):
            linear = model.get_submodule(one.name)
            adapter: Adapter = _around(linear, spec, seeded, generator, weight_dtype)
            model.set_submodule(one.name, adapter)
        else:
            if spec.dropout:
                raise LoraTargetError(f"{one.dotted} holds experts, whose adapters have no dropout: set it to 0")
            adapter = _for_parameter(model.get_submodule(one.owner), one, spec, seeded)
            experts.setdefault(one.owner, {})[one.parameter] = adapter
        attached[one.name] = adapter
    for owner, adapters in experts.items():
        model.set_submodule(owner, LoraExperts(model.get_submodule(owner), adapters))
    return attached


def _around(
    linear: nn.Module,
    spec: LoraSpec,
    seeded: torch.Generator,
    generator: torch.Generator,
    weight_dtype: torch.dtype | None,
) -> LoraLinear | LoraAround:
    num_outputs, num_inputs = linear_shape(linear)
    weight: Tensor = linear.get_parameter("weight")
    a, b = _start((spec.rank, num_inputs), (num_outputs, spec.rank), seeded)
    if not is_plain(linear):
        return LoraAround(linear, a.to(weight.device), b.to(weight.device), spec=spec, generator=generator)
    assert isinstance(linear, nn.Linear)
    layer = LoraLinear(linear, spec, generator, weight_dtype or weight.dtype)
    layer.lora_A.data.copy_(a)
    return layer


def _for_parameter(owner: nn.Module, target: ParameterTarget, spec: LoraSpec, seeded: torch.Generator) -> LoraParameter:
    weight = owner.get_parameter(target.parameter)
    a, b = _start(*expert_shapes(weight, spec.rank, transposed=is_transposed(owner)), seeded)
    return LoraParameter(a.to(weight.device), b.to(weight.device), scale=spec.scale, dotted=target.dotted)


def _start(shape_A: tuple[int, int], shape_B: tuple[int, int], seeded: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return A, kaiming uniform with a = sqrt(5) as peft starts it, and B of zeros."""
    draw = torch.rand(shape_A, generator=seeded)
    return (2 * draw - 1) / math.sqrt(shape_A[1]), torch.zeros(shape_B)


def copy_weights(layers: Mapping[str, Adapter], spec: LoraSpec, *, base: str, step: int) -> AdapterWeights:
    """Return an immutable copy of the weights of `layers`."""
    tensors = {name: (_copied(layer.lora_A), _copied(layer.lora_B)) for name, layer in layers.items()}
    parameters = tuple(layer.dotted for layer in layers.values() if isinstance(layer, LoraParameter))
    fan_in_fan_out = any(isinstance(layer, LoraAround) and is_conv1d(layer.base) for layer in layers.values())
    return AdapterWeights(
        spec=spec,
        tensors=MappingProxyType(tensors),
        base=base,
        step=step,
        parameters=parameters,
        fan_in_fan_out=fan_in_fan_out,
    )


def adapted(model: ModuleT, weights: AdapterWeights, *, base: str) -> ModuleT:
    """Return a copy of `model` that answers with the adapter; what the adapter does not touch is shared.

    Float32 weights have the adapter added in, which costs nothing afterwards. Weights of a shorter type would round a young
    adapter away, so those layers keep it beside them (see `one_product`).

    Args:
        base: fingerprint of `model`.

    Raises:
        CheckpointMismatchError: the adapter was made for another model.
    """
    if weights.base not in ("", base):
        raise CheckpointMismatchError("the adapter was trained on another base model than this one")
    tree = share_tree(model)
    for name, (a, b) in weights.tensors.items():
        owner = _submodule(tree, name)
        if is_linear(owner):
            _adapt_linear(tree, name, (a, b), weights.spec)
        else:
            _adapt_experts(owner, name, (a, b), weights)
    return tree


def _adapt_linear(tree: nn.Module, name: str, pair: tuple[Tensor, Tensor], spec: LoraSpec) -> None:
    linear = tree.get_submodule(name)
    weight = linear.get_parameter("weight")
    a, b = (one.float().to(weight.device) for one in pair)
    if linear_shape(linear) != (b.shape[0], a.shape[1]):
        raise CheckpointMismatchError(
            f"the adapter has {name} of shape ({b.shape[0]}, {a.shape[1]}) and the model has no such linear layer"
        )
    if not b.any():
        return
    if not is_plain(linear):
        around = LoraAround(linear, a, b, spec=spec, generator=None).requires_grad_(False).eval()
        tree.set_submodule(name, around)
    elif is_short(weight.dtype):
        assert isinstance(linear, nn.Linear)
        tree.set_submodule(name, AdaptedLinear(linear, a, b * spec.scale))
    else:
        linear.weight = nn.Parameter(weight + (b * spec.scale) @ a, requires_grad=False)


def _adapt_experts(owner: nn.Module, name: str, pair: tuple[Tensor, Tensor], weights: AdapterWeights) -> None:
    """Add the adapter of one parameter in, whose name tells how deep peft nested it."""
    path = name.replace(".base_layer", "")
    mine = [
        one
        for one in expert_parameters(owner)
        if any(f".{path}.{one}".endswith(f".{wanted}") for wanted in weights.parameters)
    ]
    found = next((one.parameter for one in nested(path, mine) if one.name == name), None)
    weight = None if found is None else owner.get_parameter(found)
    transposed = is_transposed(owner)
    shapes = (pair[0].shape, pair[1].shape)
    if weight is None or found is None or shapes != expert_shapes(weight, weights.spec.rank, transposed=transposed):
        raise CheckpointMismatchError(f"the adapter has {name} of shapes {shapes} and the model has no such layer")
    a, b = (one.float().to(weight.device) for one in pair)
    delta = expert_delta(a, b, weight.shape[0], transposed=transposed)
    setattr(owner, found, nn.Parameter((weight + weights.spec.scale * delta).to(weight.dtype), requires_grad=False))


def _submodule(tree: nn.Module, name: str) -> nn.Module:
    path = name.replace(".base_layer", "")
    module: nn.Module | None = dict(tree.named_modules()).get(path)
    if module is None:
        raise CheckpointMismatchError(f"the adapter has {path} and the model has no such layer")
    return module


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
