"""What is sent to a server that averages, so that the gradient is that of the sum over tokens all the same.

A server may divide each sequence's loss by the sum of its weights, which is near 0 where weights of both signs meet. Weighted
cross-entropy is also a policy loss: CISPO with both clips at 1 is -advantage * logprob, for advantages of either sign and any
old log-probability. What a server divides a policy loss by depends on shapes alone (positions, sequences), so it is multiplied
by that before.
"""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.batches import Batch
from crucible.train.errors import TrainError, Unsupported
from crucible.train.types import AdamParams, Capabilities, Datum, LossFn, OptimStepOutput, TensorData

UNCLIPPED: Mapping[str, float] = MappingProxyType({"clip_low_threshold": 1.0, "clip_high_threshold": 1.0})
"""With these settings CISPO is -advantage * logprob."""


@attrs.frozen(kw_only=True)
class Sent:
    """What goes to the server in the place of a batch."""

    data: tuple[Datum, ...]
    loss_fn: LossFn
    config: Mapping[str, float]


class Window:
    """The sequences that were sent since the last optimizer step, in thread of a session's line.

    A server that divides by the sequences of a step divides by those of all its batches. The first is multiplied by its own
    number, and so are the others; what is then missing is known at the step.

    >>> window = Window()
    >>> window.take(2), window.take(6), window.close()
    (2, 2, 0.25)
    >>> window.take(6), window.close(), window.close()
    (6, 1.0, 1.0)
    """

    def __init__(self) -> None:
        self._first = 0
        self._all = 0

    def take(self, sequences: int) -> int:
        """Count the sequences of a batch; give the number to multiply them by."""
        self._first = self._first or sequences
        self._all += sequences
        return self._first

    def close(self) -> float:
        """Begin anew; give the share of the gradient's sum that the server has."""
        share = self._first / self._all if self._all else 1.0
        self._first = self._all = 0
        return share


def summed(batch: Batch, capabilities: Capabilities | None, window: Window) -> Result[Sent, TrainError]:
    """Give what to send for a batch: itself where the server sums, or where what it does is not known.

    Fails: Unsupported for what cannot be sent as a sum to a server that averages.
    """
    plain = Sent(data=batch.data, loss_fn=batch.loss.name, config=batch.loss.config)
    if capabilities is None or capabilities.divided_by is None or not _is_changed(batch, capabilities):
        return Success(plain)
    wide = any(len(datum.loss_fn_inputs["target_tokens"].shape) > 1 for datum in batch.data)
    if wide or batch.loss.name == "dro":
        feature = "several targets for one position" if wide else "dro"
        fix = "take a backend that sums losses: this one averages over sequences"
        return Failure(Unsupported(feature=feature, backend=capabilities.backend, fix=fix))
    sequences = window.take(len(batch.data)) if "sequences" in capabilities.divided_by else 1
    positions = "positions" in capabilities.divided_by
    data = tuple(
        _scaled(datum, batch.loss.name, sequences * (len(datum.model_input) if positions else 1))
        for datum in batch.data
    )
    is_linear = batch.loss.name == "cross_entropy"
    return Success(
        attrs.evolve(plain, data=data, loss_fn="cispo", config=UNCLIPPED)
        if is_linear
        else attrs.evolve(plain, data=data)
    )


def step_for(adam: AdamParams, share: float) -> AdamParams:
    """Give the settings of a step whose gradient is a share of the sum: what they are compared with is as much smaller."""
    return adam if share == 1 else attrs.evolve(adam, eps=adam.eps * share, grad_clip_norm=adam.grad_clip_norm * share)


def step_of(output: OptimStepOutput, share: float) -> OptimStepOutput:
    """Give what a step did in terms of the sum."""
    if share == 1 or output.grad_norm is None:
        return output
    return attrs.evolve(output, grad_norm=output.grad_norm / share)


def _is_changed(batch: Batch, capabilities: Capabilities) -> bool:
    """Tell whether the server would take another gradient of the batch than that of the sum."""
    if capabilities.loss_reduction == "sum":
        is_negative = batch.loss.name == "cross_entropy" and any(
            weight < 0 for datum in batch.data for weight in datum.loss_fn_inputs["weights"].data
        )
        return is_negative and capabilities.negative_weights is False
    return capabilities.loss_reduction == "mean"


def _scaled(datum: Datum, loss_fn: LossFn, factor: int) -> Datum:
    inputs = dict(datum.loss_fn_inputs)
    if loss_fn == "cross_entropy":
        weights = inputs.pop("weights").data
        inputs["logprobs"] = TensorData.floats([0.0] * len(weights))
    else:
        weights = inputs["advantages"].data
    inputs["advantages"] = TensorData.floats([weight * factor for weight in weights])
    return attrs.evolve(datum, loss_fn_inputs=inputs)
