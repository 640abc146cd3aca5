"""One pass over a batch: micro-batches through the model, a loss for each token, and the backward pass if wanted.

Letters: N positions of an example, T scored positions of a micro-batch, M members of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
import torch
from torch import Tensor, nn

from crucible.engine.batch import CheckedExample, Limits, MicroBatch, split
from crucible.engine.errors import NonFiniteLossError
from crucible.engine.scoring import row_logprobs
from crucible.engine.values import LossOutput

TokenTerms: TypeAlias = Callable[[MicroBatch, Tensor], Tensor]
"""(micro-batch, logprobs_T) -> loss_T."""


@attrs.frozen(kw_only=True, eq=False)
class Setting:
    """What every pass of one trainer has in common.

    Args:
        model: the tree to run.
        limits: how to split batches.
        device: where the model is.
        autocast: compute in bfloat16.
    """

    model: nn.Module
    limits: Limits
    device: torch.device
    autocast: bool


def run_pass(setting: Setting, checked: Sequence[CheckedExample], terms: TokenTerms, *, backward: bool) -> LossOutput:
    """Run all micro-batches.

    Args:
        terms: gives the loss of each scored token; the loss of the batch is their sum.
        backward: add gradients to the parameters that require them.

    Raises:
        NonFiniteLossError: names the examples; micro-batches before it may have left gradients.
    """
    logprobs: list[tuple[float, ...]] = [(0.0,) * len(example.tokens) for example in checked]
    total, num_scored = 0.0, 0
    for batch in split(checked, setting.limits, setting.device):
        with torch.autocast(setting.device.type, dtype=torch.bfloat16, enabled=setting.autocast):
            logprobs_T = row_logprobs(setting.model, batch.row, batch.places_T, batch.targets_T)
        loss_T = terms(batch, logprobs_T)
        total += _finite_sum(batch, loss_T.detach())
        if backward:
            loss_T.sum().backward()
        num_scored += sum(batch.counts)
        for index, values in zip(batch.members, spread(batch, logprobs_T, checked), strict=True):
            logprobs[index] = values
    return LossOutput(
        loss=total, logprobs=tuple(logprobs), metrics={"loss:sum": total, "scored_tokens:sum": float(num_scored)}
    )


def no_loss(batch: MicroBatch, logprobs_T: Tensor) -> Tensor:
    """Take no loss, of logprobs that are only asked for: one of minus infinity is no error then."""
    return torch.zeros_like(logprobs_T)


def _finite_sum(batch: MicroBatch, loss_T: Tensor) -> float:
    sums_M = torch.zeros(len(batch.members), dtype=torch.float64, device=loss_T.device)
    sums_M.index_add_(0, batch.owner_T, loss_T.double())
    bad = (~sums_M.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteLossError(tuple(sorted(batch.members[index] for index in bad)))
    return float(sums_M.sum())


def spread(batch: MicroBatch, logprobs_T: Tensor, checked: Sequence[CheckedExample]) -> list[tuple[float, ...]]:
    """Return the logprobs of each member at all its N positions, 0.0 where none was asked for."""
    spread_out = []
    for index, values in zip(batch.members, torch.split(logprobs_T.detach().cpu(), list(batch.counts)), strict=True):
        all_N = torch.zeros(len(checked[index].tokens))
        all_N[torch.from_numpy(checked[index].scored_T)] = values
        spread_out.append(tuple(all_N.tolist()))
    return spread_out
