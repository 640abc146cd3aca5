"""AdamW with decoupled decay, as torch's, with a state that is plain tensors (so that it saves without pickle).

torch.optim is not used because creating one of its optimizers imports torch._dynamo, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from crucible.engine.values import Adam


class AdamState:
    """First and second moments of a list of parameters, and the number of updates behind them."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]
        self.count = 0

    def reset(self) -> None:
        """Forget all moments."""
        for moment in (*self.first, *self.second):
            moment.zero_()
        self.count = 0


def global_norm(gradients: Sequence[Tensor]) -> float:
    """Return the L2 norm of all gradients together."""
    return float(torch.stack(torch._foreach_norm(list(gradients))).norm())


@torch.no_grad()
def adam_update(parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: AdamState, adam: Adam) -> None:
    """Change `parameters` and `state` in place by one step. Gradients are not changed and must be finite."""
    params, grads = list(parameters), list(gradients)
    state.count += 1
    if adam.weight_decay:
        torch._foreach_mul_(params, 1 - adam.learning_rate * adam.weight_decay)
    torch._foreach_lerp_(state.first, grads, 1 - adam.beta1)
    torch._foreach_mul_(state.second, adam.beta2)
    torch._foreach_addcmul_(state.second, grads, grads, 1 - adam.beta2)
    roots = torch._foreach_sqrt(state.second)
    torch._foreach_div_(roots, math.sqrt(1 - adam.beta2**state.count))
    torch._foreach_add_(roots, adam.eps)
    torch._foreach_addcdiv_(params, state.first, roots, -adam.learning_rate / (1 - adam.beta1**state.count))


def clip_factor(norm: float, limit: float) -> float:
    """Return the factor that brings a gradient of this norm under `limit` (0: no limit)."""
    return min(1.0, limit / (norm + 1e-6)) if limit else 1.0
