"""Low-rank adapters: attached to a private copy of the module tree that shares the frozen base weights.

Letters: r rank, I inputs and O outputs of a linear layer.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import attrs
import torch
from torch import Tensor, nn

from crucible.engine.errors import CheckpointMismatchError, LoraTargetError
from crucible.engine.one_product import AdaptedLinear, is_short, one_product
from crucible.engine.values import ALL_LINEAR, LoraSpec

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@attrs.frozen(kw_only=True, eq=False)
class AdapterWeights:
    """An immutable copy of the adapter: a version of the policy. Never write into its tensors.

    Args:
        spec: the adapter's shape.
        tensors: module name -> (A of shape (r, I), B of shape (O, r)), float32, on the CPU or the trainer's device.
        base: fingerprint of the base model it belongs to; empty when unknown (an adapter of other tools).
        step: number of optimizer steps behind it.
    """

    spec: LoraSpec
    tensors: Mapping[str, tuple[Tensor, Tensor]]
    base: str
    step: int


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


def share_tree(model: ModuleT) -> ModuleT:
    """Return a copy of the module tree whose parameters and buffers are the same tensors as `model`'s."""
    tensors: Iterable[Tensor] = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def target_names(model: nn.Module, target: tuple[str, ...]) -> list[str]:
    """Return the dotted names of the linear layers that `target` means, in module order.

    Raises:
        LoraTargetError: a name of `target` matches no linear layer.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]  # a method of transformers models
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if target == ALL_LINEAR:
        found = [name for name, module in linears.items() if module is not head]
    else:
        found = [name for name in linears if name in target or name.rpartition(".")[2] in target]
    leaves = {name.rpartition(".")[2] for name in linears}
    missing = [] if target == ALL_LINEAR else sorted(set(target) - set(linears) - leaves)
    if missing or not found:
        raise LoraTargetError(
            f"no linear layer is called {', '.join(missing) or target}; this model has: {', '.join(sorted(leaves))}"
        )
    return found


def attach(
    model: nn.Module, spec: LoraSpec, generator: torch.Generator, *, weight_dtype: torch.dtype | None
) -> dict[str, LoraLinear]:
    """Replace the targeted layers of `model` in place and return them by name; A is random from the seed, B zero.

    Args:
        generator: drives dropout.
        weight_dtype: keep a copy of the targeted base weights in this type (saves a cast in each pass under autocast).
    """
    seeded = torch.Generator().manual_seed(spec.seed)
    attached: dict[str, LoraLinear] = {}
    for name in target_names(model, spec.target):
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        layer = LoraLinear(linear, spec, generator, weight_dtype or linear.weight.dtype)
        bound = 1 / math.sqrt(linear.in_features)  # kaiming uniform with a = sqrt(5), as peft starts A
        draw = torch.rand(layer.lora_A.shape, generator=seeded)
        layer.lora_A.data.copy_((2 * draw - 1) * bound)
        model.set_submodule(name, layer)
        attached[name] = layer
    return attached


def copy_weights(layers: Mapping[str, LoraLinear], spec: LoraSpec, *, base: str, step: int) -> AdapterWeights:
    """Return an immutable copy of the weights of `layers`."""
    tensors = {name: (_copied(layer.lora_A), _copied(layer.lora_B)) for name, layer in layers.items()}
    return AdapterWeights(spec=spec, tensors=MappingProxyType(tensors), base=base, step=step)


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
        linear = _linear_of_shape(tree, name, b.shape[0], a.shape[1])
        a, b = a.float().to(linear.weight.device), b.float().to(linear.weight.device) * weights.spec.scale
        if is_short(linear.weight.dtype):
            tree.set_submodule(name, AdaptedLinear(linear, a, b))
        else:
            linear.weight = nn.Parameter(linear.weight + b @ a, requires_grad=False)
    return tree


def _linear_of_shape(tree: nn.Module, name: str, num_outputs: int, num_inputs: int) -> nn.Linear:
    module = dict(tree.named_modules()).get(name)
    if not isinstance(module, nn.Linear) or module.weight.shape != (num_outputs, num_inputs):
        raise CheckpointMismatchError(
            f"the adapter has {name} of shape ({num_outputs}, {num_inputs}) and the model has no such linear layer"
        )
    return module


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()
