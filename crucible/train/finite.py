"""Numbers that are not finite are errors where they come in: in data, in a backend's answers, in what judges and rewards say."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat

from crucible.effects import Failure, Result, Success
from crucible.train.errors import BackendFailed, NonFiniteLoss, TrainError
from crucible.train.types import Datum, ForwardBackwardOutput, OptimStepOutput

LARGEST = 3.4028235e38
"""The largest number that a backend can be sent. Sums and means of as many as there are stay far from overflow."""


def not_finite(numbers: Mapping[str, object]) -> str | None:
    """Say which of some named numbers is first none, NaN, infinite, or more than a float32 holds; None where all are fine.

    >>> not_finite({"accuracy": 1.0, "reward": math.nan}), not_finite({"accuracy": 1.0})
    ('reward is nan', None)
    """
    for name, value in numbers.items():
        if not isinstance(value, SupportsFloat):  # of code without types
            return f"{name} is {value!r}, which is no number"
        number = value if isinstance(value, int | float) else float(value)
        if not abs(number) <= LARGEST:
            return f"{name} is {value}" + (", more than a float32 holds" if math.isfinite(number) else "")
    return None


def finite_data(data: Sequence[Datum]) -> Result[None, NonFiniteLoss]:
    """Check the numbers that a loss is to read.

    Fails: NonFiniteLoss with the index of the first datum that holds NaN or infinity, the array and the position.
    """
    for index, datum in enumerate(data):
        for name, tensor in datum.loss_fn_inputs.items():
            if not all(map(math.isfinite, tensor.data)):
                place = next(place for place, number in enumerate(tensor.data) if not math.isfinite(number))
                reason = f"{name} of item {index} is {tensor.data[place]} at position {place}"
                return Failure(NonFiniteLoss(loss=math.nan, indices=(index,), reason=reason))
    return Success(None)


def without_value(logprobs_NT: Iterable[Sequence[float]]) -> tuple[int, ...]:
    """Give the indices of the rows with a log-probability that is none: NaN or above every number.

    Minus infinity is one: that of a token that cannot be.

    >>> without_value([(-1.0, -math.inf), (math.nan,), (math.inf,)])
    (1, 2)
    """
    return tuple(index for index, row in enumerate(logprobs_NT) if not all(value < math.inf for value in row))


def finite_pass(output: ForwardBackwardOutput, *, step: int) -> Result[ForwardBackwardOutput, TrainError]:
    """Check what a backend answered to the pass of an optimizer step.

    Fails: NonFiniteLoss for a loss or a log-probability that is no number, with the step.
    """
    bad = without_value(output.logprobs)
    if math.isfinite(output.loss) and not bad:
        return Success(output)
    reason = "their log-probabilities are not numbers" if bad else ""
    loss = math.nan if math.isfinite(output.loss) else output.loss
    return Failure(NonFiniteLoss(loss=loss, indices=bad, reason=reason, step=step))


def finite_update(update: OptimStepOutput, *, step: int) -> Result[OptimStepOutput, TrainError]:
    """Check what a backend answered to an optimizer step; a norm that it does not tell is no error.

    Fails: BackendFailed, with the step, when the gradient's norm is NaN or infinite: the weights are not to be trusted.
    """
    if update.grad_norm is None or math.isfinite(update.grad_norm):
        return Success(update)
    fix = "go on from an earlier checkpoint, with a lower learning rate or with grad_clip_norm"
    return Failure(BackendFailed(message=f"the gradient norm of optimizer step {step} is {update.grad_norm}: {fix}"))
