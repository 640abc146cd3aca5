"""A linear layer and its low-rank adapter as one matrix product, for weights that are stored in less than float32.

A young adapter adds less to an output than half the distance between two bfloat16 numbers there. Added to an output that is
rounded already, or to a weight that is stored in bfloat16, it is rounded away, and always towards the base model. Here the two
products are summed in float32 by the matrix product itself and rounded once, which is right on average. The measurements
are in docs/precision.md.

Letters: P tokens, I inputs, O outputs, r rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def is_short(dtype: torch.dtype) -> bool:
    """Whether a type has less than float32's precision."""
    return torch.finfo(dtype).bits < torch.finfo(torch.float32).bits


def one_product(x_PI: Tensor, z_Pr: Tensor, weight_OI: Tensor, bias_O: Tensor | None, scaled_B: Tensor) -> Tensor:
    """Return `[W | S] @ [x ; z] + b`, shape (P, O), with gradients for x, z and S alone: W and b are frozen.

    Args:
        x_PI: inputs of the layer.
        z_Pr: the same, through A.
        weight_OI: W.
        bias_O: b.
        scaled_B: S, of shape (O, r): the scale times B. All are of one type.
    """
    outputs: Tensor = _OneProduct.apply(x_PI, z_Pr, weight_OI, bias_O, scaled_B)  # type: ignore[no-untyped-call]  # torch's
    return outputs


class AdaptedLinear(nn.Module):
    """A linear layer with an adapter for inference: `[W | S] @ [x ; A x] + b`, where S is the scaled B.

    Args:
        linear: the base layer, of a short type; its weight is copied.
        lora_A: shape (r, I).
        scaled_B: shape (O, r).
    """

    def __init__(self, linear: nn.Linear, lora_A: Tensor, scaled_B: Tensor) -> None:
        super().__init__()
        weight = linear.weight.detach()
        joined = torch.cat([weight, scaled_B.to(weight.dtype)], dim=1)
        self.weight = nn.Parameter(joined, requires_grad=False)
        self.lora_A = nn.Parameter(lora_A.to(weight.dtype), requires_grad=False)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output; shape (..., I) to (..., O)."""
        both = torch.cat([inputs, functional.linear(inputs, self.lora_A)], dim=-1)
        return functional.linear(both, self.weight, self.bias)


class _OneProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # Any: torch has no public type for it
        x_PI: Tensor,
        z_Pr: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        scaled_B: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(z_Pr, weight_OI, scaled_B)
        return functional.linear(torch.cat([x_PI, z_Pr], dim=1), torch.cat([weight_OI, scaled_B], dim=1), bias_O)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # Any: as above
        z_Pr, weight_OI, scaled_B = ctx.saved_tensors
        (output_PO,) = gradients
        x_PI = output_PO @ weight_OI if ctx.needs_input_grad[0] else None
        return x_PI, output_PO @ scaled_B, None, None, output_PO.t() @ z_Pr
