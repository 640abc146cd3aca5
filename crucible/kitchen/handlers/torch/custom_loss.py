"""Custom losses on the local engine: their derivatives are told to torch, which never sees how they came about."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crucible.effects import Failure
from crucible.train.custom_loss import CustomLoss, CustomLossOutput, evaluated
from crucible.train.errors import NonFiniteLoss, TrainError
from crucible.train.types import Datum, ForwardBackwardOutput

if TYPE_CHECKING:
    from torch import Tensor

    from crucible.engine import EngineError, Example, Trainer


def train_on_custom_loss(
    trainer: "Trainer", examples: "Sequence[Example]", data: Sequence[Datum], loss: CustomLoss
) -> ForwardBackwardOutput:
    """Add the gradient of a custom loss to what the trainer has accumulated.

    Raises: what the trainer raises; LossError and NonFiniteLossError for what `evaluated` refuses.
    """
    import torch

    found: list[CustomLossOutput] = []

    def linear(logprobs: "list[Tensor]") -> "tuple[Tensor, Mapping[str, float]]":
        checked = evaluated(loss, data, tuple(tuple(row.tolist()) for row in logprobs))
        if isinstance(checked, Failure):
            raise _raised(checked.failure())
        output = checked.unwrap()
        found.append(output)
        slopes = [row.new_tensor(own) for row, own in zip(logprobs, output.gradients, strict=True)]
        # A token of probability 0 whose slope is 0 adds nothing: 0 * -inf would be NaN.
        terms = [torch.where(own == 0, 0.0, row * own).sum() for row, own in zip(logprobs, slopes, strict=True)]
        return torch.stack(terms).sum(), output.metrics

    done = trainer.forward_backward_custom(examples, linear)
    return ForwardBackwardOutput(loss=found[0].loss, logprobs=done.logprobs, metrics=dict(found[0].metrics))


def _raised(error: TrainError) -> "EngineError":
    from crucible.engine import LossError, NonFiniteLossError

    return NonFiniteLossError(error.indices) if isinstance(error, NonFiniteLoss) else LossError(str(error))
