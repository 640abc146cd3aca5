"""Low-rank adapters around modules that are no plain linear layer: own forwards, Conv1D, and experts in 3-D parameters.

Letters: r rank, I inputs and O outputs, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from crucible.engine.values import LoraSpec


class _Around(nn.Module):
    """Stands in the place of another module, and has what that has."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def __getattr__(self, name: str) -> Any:  # Any: attributes of any module
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


class LoraAround(_Around):
    """A linear layer whose forward is its own, or whose matrix is stored (I, O), plus `scale * B @ A`.

    Args:
        lora_A: shape (r, I), float32.
        lora_B: shape (O, r), float32.
        generator: drives dropout.
    """

    def __init__(
        self, base: nn.Module, lora_A: Tensor, lora_B: Tensor, *, spec: LoraSpec, generator: torch.Generator | None
    ) -> None:
        super().__init__(base)
        self.lora_A, self.lora_B = nn.Parameter(lora_A), nn.Parameter(lora_B)
        self._scale, self._dropout, self._generator = spec.scale, spec.dropout, generator

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output; shape (..., I) to (..., O)."""
        output: Tensor = self.base(inputs)
        inner = nn.functional.linear(self._drop(inputs).float(), self.lora_A)
        return (output + self._scale * nn.functional.linear(inner, self.lora_B)).to(output.dtype)

    def _drop(self, inputs: Tensor) -> Tensor:
        if not (self.training and self._dropout):
            return inputs
        draw = torch.rand(inputs.shape, generator=self._generator, device=inputs.device)
        return inputs * ((draw >= self._dropout) / (1 - self._dropout)).to(inputs.dtype)


class LoraParameter(nn.Module):
    """The adapter of one parameter of shape (E, ., .), as peft's `target_parameters` has it.

    Args:
        lora_A: shape (E * r, I), the rows of each expert together.
        lora_B: shape (O, r * E), the experts of each row of A together.
        dotted: name of the parameter in the model.
    """

    def __init__(self, lora_A: Tensor, lora_B: Tensor, *, scale: float, dotted: str) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(lora_A), nn.Parameter(lora_B)
        self.scale, self.dotted = scale, dotted

    def added_to(self, weight: Tensor, *, transposed: bool) -> Tensor:
        """Return the weight with the adapter; of shape (E, O, I), or (E, I, O) where `transposed`."""
        delta = expert_delta(self.lora_A, self.lora_B, weight.shape[0], transposed=transposed)
        return (weight + self.scale * delta).to(weight.dtype)


class LoraExperts(_Around):
    """A module that holds experts in 3-D parameters, run with adapted ones."""

    def __init__(self, base: nn.Module, adapters: Mapping[str, LoraParameter]) -> None:
        super().__init__(base)
        self.adapters = nn.ModuleDict(adapters)

    def forward(self, *args: Any, **options: Any) -> Any:  # Any: whatever the module takes and gives
        """Run the module with each weight plus its adapter, computed once in a pass."""
        weights = {}
        for name, adapter in self.adapters.items():
            assert isinstance(adapter, LoraParameter)
            weights[name] = adapter.added_to(getattr(self.base, name), transposed=is_transposed(self.base))
        return torch.func.functional_call(self.base, weights, args, options)


def is_transposed(owner: nn.Module) -> bool:
    """Whether a module keeps its experts as (E, I, O), as transformers tells by this attribute."""
    return bool(getattr(owner, "is_transposed", False))


def expert_delta(lora_A: Tensor, lora_B: Tensor, num_experts: int, *, transposed: bool) -> Tensor:
    """Return `B @ A` of each expert, shape (E, O, I), or (E, I, O) where `transposed`."""
    a_ErI = lora_A.reshape(num_experts, -1, lora_A.shape[1])
    b_EOr = lora_B.reshape(lora_B.shape[0], -1, num_experts).permute(2, 0, 1)
    delta: Tensor = b_EOr @ a_ErI
    return delta.transpose(1, 2) if transposed else delta


def expert_shapes(weight: Tensor, rank: int, *, transposed: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the shapes of A and B for a parameter of shape (E, O, I), or (E, I, O) where `transposed`."""
    num_experts, rows, columns = weight.shape
    num_inputs, num_outputs = (rows, columns) if transposed else (columns, rows)
    return (num_experts * rank, num_inputs), (num_outputs, rank * num_experts)
