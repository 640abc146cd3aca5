"""A handler that breaks a promise of `CustomLossClient` is found out."""

from collections.abc import Callable

import attrs
import pytest

from crucible.effects import Call, Handlers, Proceed, Result
from crucible.kitchen.handlers import noop
from crucible.testing import ContractViolationError, check_custom_loss_client
from crucible.train.custom_loss import CustomLossOutput
from crucible.train.ports import CustomLossClient, TrainingClient
from crucible.train.types import ForwardBackwardOutput

Training = TrainingClient | CustomLossClient


def other_call(change: str) -> Handlers[Training]:
    """Handle training on nothing, but change each call of a custom loss, or what it gives."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.name == "TrainingClient.await_" and change in {"no metrics", "other loss"}:
            return (await proceed(call)).map(_spoiled(change))
        if call.name != "CustomLossClient.forward_backward_custom":
            return await proceed(call)
        session, data, loss = call.arguments
        if change == "cross-entropy":
            return await proceed(
                attrs.evolve(call, operation=TrainingClient.forward_backward, arguments=(session, data))
            )
        if change == "forward alone":
            return await proceed(attrs.evolve(call, operation=TrainingClient.forward, arguments=(session, data)))
        return await proceed(attrs.evolve(call, arguments=(session, data, Halved(loss=loss))))

    return noop.training(max_length=256).wrap(around)


def _spoiled(change: str) -> Callable[[object], object]:
    def spoil(value: object) -> object:
        if not isinstance(value, ForwardBackwardOutput) or "num_data" not in value.metrics:
            return value
        return attrs.evolve(value, metrics={}) if change == "no metrics" else attrs.evolve(value, loss=value.loss + 1)

    return spoil


@attrs.frozen(kw_only=True)
class Halved:
    """A loss whose derivatives are only half of what they should be."""

    loss: object

    def __call__(self, logprobs: object, /) -> CustomLossOutput:
        output: CustomLossOutput = self.loss(logprobs)  # type: ignore[operator]  # a custom loss
        return attrs.evolve(output, gradients=tuple(tuple(slope / 2 for slope in row) for row in output.gradients))


@pytest.mark.parametrize("change", ["cross-entropy", "forward alone", "half", "no metrics", "other loss"])
def test_a_custom_loss_that_is_not_what_is_trained_on_is_found_out(change: str) -> None:
    with pytest.raises(ContractViolationError):
        check_custom_loss_client(lambda: other_call(change), model="noop")
