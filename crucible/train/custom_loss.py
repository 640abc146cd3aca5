"""Custom losses: any function of a batch's log-probabilities, as a value that says its own derivatives.

A backend that knows only weighted cross-entropy can train on one: near the present log-probabilities the loss is
linear, and the cross-entropy whose weights are minus its derivatives has the same gradient (`linearised`), as in the Tinker
API. Letters: N data of a batch, T positions of a datum.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import InvalidRequest, NonFiniteLoss, TrainError
from crucible.train.finite import without_value
from crucible.train.types import Datum, TensorData


@attrs.frozen(kw_only=True)
class CustomLossOutput:
    """A loss at one point: its value, its derivative by each log-probability, and what else is worth knowing."""

    loss: float
    gradients: tuple[tuple[float, ...], ...]
    metrics: Mapping[str, float] = attrs.field(factory=dict)


class CustomLoss(Protocol):
    """A loss of a whole batch. Implementations are frozen attrs values: comparable, and storable in a recording.

    They hold whatever they need of the batch (weights, references, advantages), so a loss belongs to its batch.
    """

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss at these log-probabilities, one for each position of each datum, in their order."""


def weights_of(data: Sequence[Datum]) -> tuple[tuple[float, ...], ...]:
    """Give the weight of each position, weights_NT: 1 everywhere in a datum without weights.

    >>> from crucible.train.types import ModelInput
    >>> weights_of([Datum(model_input=ModelInput.from_tokens([5, 6]), loss_fn_inputs={})])
    ((1.0, 1.0),)
    """
    return tuple(
        datum.loss_fn_inputs["weights"].data if "weights" in datum.loss_fn_inputs else (1.0,) * len(datum.model_input)
        for datum in data
    )


def selected(data: Sequence[Datum]) -> Result[tuple[Datum, ...], TrainError]:
    """Give the cross-entropy data whose log-probabilities a custom loss reads: weight 1 where the weight is not 0.

    Fails: InvalidRequest, with the index of the datum, for several targets at one position.
    """
    for index, datum in enumerate(data):
        if any(len(tensor.shape) > 1 for tensor in datum.loss_fn_inputs.values()):
            fix = "a custom loss takes one target for each position: split the datum with distillation.one_target_each"
            return Failure(InvalidRequest(message="there are several targets for a position", fix=fix, index=index))
    return Success(
        tuple(
            _with_weights(datum, [float(weight != 0) for weight in weights])
            for datum, weights in zip(data, weights_of(data), strict=True)
        )
    )


def linearised(data: Sequence[Datum], output: CustomLossOutput) -> tuple[Datum, ...]:
    """Give the cross-entropy data whose gradient is that of the custom loss: weights = -d loss / d logprob.

    Positions whose own weight is 0 keep it: they are not scored, and a custom loss cannot train them.

    >>> from crucible.train.types import ModelInput
    >>> inputs = {"target_tokens": TensorData.ints([6, 7]), "weights": TensorData.floats([0, 1])}
    >>> datum = Datum(model_input=ModelInput.from_tokens([5, 6]), loss_fn_inputs=inputs)
    >>> output = CustomLossOutput(loss=3.0, gradients=((0.5, -2.0),))
    >>> linearised([datum], output)[0].loss_fn_inputs["weights"].data
    (0.0, 2.0)
    """
    return tuple(
        _with_weights(datum, [0.0 - slope if weight else 0.0 for slope, weight in zip(slopes, weights, strict=True)])
        for datum, slopes, weights in zip(data, output.gradients, weights_of(data), strict=True)
    )


def evaluated(
    loss: CustomLoss, data: Sequence[Datum], logprobs: Sequence[Sequence[float]]
) -> Result[CustomLossOutput, TrainError]:
    """Evaluate a loss at the log-probabilities that a backend gave for a batch, and check what comes of it.

    Fails: as `check_output`; NonFiniteLoss with the data whose log-probabilities are NaN, or minus infinity where the
    loss has no finite value there.
    """
    bad = without_value(logprobs)
    if bad:
        reason = "their log-probabilities are not numbers"
        return Failure(NonFiniteLoss(loss=math.nan, indices=bad, reason=reason))
    return check_output(data, loss(logprobs)).alt(lambda error: _impossible(error, logprobs))


def _impossible(error: TrainError, logprobs: Sequence[Sequence[float]]) -> TrainError:
    """Name the data that hold tokens of probability 0, where a loss that is not finite names none."""
    found = tuple(index for index, row in enumerate(logprobs) if -math.inf in row)
    if not isinstance(error, NonFiniteLoss) or not found:
        return error
    reason = "they hold tokens of probability 0"
    return attrs.evolve(error, indices=tuple(sorted({*error.indices, *found})), reason=reason)


def check_output(data: Sequence[Datum], output: CustomLossOutput) -> Result[CustomLossOutput, TrainError]:
    """Check what a custom loss gave for a batch.

    Fails: InvalidRequest when there is not one derivative for each position; NonFiniteLoss, which names the data.
    """
    found = tuple(map(len, output.gradients))
    expected = tuple(len(datum.model_input) for datum in data)
    if found != expected:
        message = f"the custom loss gave derivatives of lengths {found} for data of lengths {expected}"
        return Failure(InvalidRequest(message=message, fix="give one derivative for each position of each datum"))
    bad = tuple(i for i, slopes in enumerate(output.gradients) if not all(map(math.isfinite, slopes)))
    if bad or not math.isfinite(output.loss):
        return Failure(NonFiniteLoss(loss=output.loss, indices=bad))
    return Success(output)


def _with_weights(datum: Datum, weights: Sequence[float]) -> Datum:
    """Give the cross-entropy datum with these weights: what other losses need is left out."""
    targets = {name: tensor for name, tensor in datum.loss_fn_inputs.items() if name == "target_tokens"}
    return attrs.evolve(datum, loss_fn_inputs={**targets, "weights": TensorData.floats(weights)})
