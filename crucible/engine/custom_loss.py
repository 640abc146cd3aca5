"""Any function of the logprobs as a loss, by linearising it: its gradient becomes the weight of each token.

Only the logprobs of the whole batch are held at once, so a custom loss may mix examples that are in different
micro-batches (preference pairs, group statistics).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs
import torch
from torch import Tensor

from crucible.engine.batch import CheckedExample, MicroBatch, split
from crucible.engine.errors import LossError, NonFiniteLossError
from crucible.engine.passes import Setting, TokenTerms, no_loss, run_pass, spread
from crucible.engine.values import Example, LossOutput

CustomLoss: TypeAlias = Callable[[list[Tensor]], tuple[Tensor, Mapping[str, float]]]
"""From one tensor of logprobs (N,) for each example to (scalar loss, metrics)."""


@attrs.frozen(kw_only=True)
class Linearised:
    """A custom loss at one point. `terms` has the same gradient with respect to the logprobs."""

    loss: float
    metrics: Mapping[str, float]
    terms: TokenTerms


def linearise(logprobs: Sequence[Sequence[float]], fn: CustomLoss) -> Linearised:
    """Evaluate `fn` at these logprobs.

    Raises:
        LossError: `fn` gave no scalar that depends on the logprobs.
        NonFiniteLossError: its value or its gradient is not finite.
    """
    leaves = [torch.tensor(values, dtype=torch.float32, requires_grad=True) for values in logprobs]
    with torch.enable_grad():
        loss, metrics = fn(leaves)
        if loss.numel() != 1 or loss.grad_fn is None:
            raise LossError("a custom loss must return a scalar tensor computed from the logprobs it is given")
        weights = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    bad = tuple(index for index, weight in enumerate(weights) if not bool(weight.isfinite().all()))
    if bad or not bool(loss.isfinite()):
        raise NonFiniteLossError(bad)
    return Linearised(loss=loss.item(), metrics=dict(metrics), terms=_weighted_by(weights))


def run_custom(
    setting: Setting, checked: Sequence[CheckedExample], fn: CustomLoss, generator: torch.Generator
) -> LossOutput:
    """Evaluate `fn` and accumulate its gradient: in one pass if the batch is one micro-batch, else in two.

    Args:
        generator: the dropout stream; both passes draw the same from it.
    """
    found: list[Linearised] = []

    def at_once(batch: MicroBatch, logprobs_T: Tensor) -> Tensor:
        logprobs = [(0.0,) * len(example.tokens) for example in checked]
        for index, values in zip(batch.members, spread(batch, logprobs_T, checked), strict=True):
            logprobs[index] = values
        found.append(linearise(logprobs, fn))
        return found[0].terms(batch, logprobs_T)

    if len(split(checked, setting.limits, setting.device)) == 1:
        scored = run_pass(setting, checked, at_once, backward=True)
    else:
        before = generator.get_state()
        with torch.no_grad():
            scored = run_pass(setting, checked, no_loss, backward=False)
        found.append(linearise(scored.logprobs, fn))
        generator.set_state(before)
        run_pass(setting, checked, found[0].terms, backward=True)
    return LossOutput(loss=found[0].loss, logprobs=scored.logprobs, metrics=found[0].metrics)


def with_weights(examples: Sequence[Example]) -> list[Example]:
    """Give every example without a `weights` array one of ones."""
    return [
        one
        if "weights" in one.loss_inputs
        else attrs.evolve(one, loss_inputs={**one.loss_inputs, "weights": [1.0] * len(one.tokens)})
        for one in examples
    ]


def _weighted_by(weights: Sequence[Tensor]) -> TokenTerms:
    def terms(batch: MicroBatch, logprobs_T: Tensor) -> Tensor:
        chosen = [weights[index][positions] for index, positions in zip(batch.members, batch.scored, strict=True)]
        slopes_T = torch.cat(chosen).to(logprobs_T.device)
        # A token of probability 0 whose slope is 0 adds nothing: 0 * -inf would be NaN.
        return torch.where(slopes_T == 0, 0.0, slopes_T * logprobs_T)

    return terms
