"""A backend that says of itself what is not so is found out."""

from collections.abc import Sequence
from typing import cast

import attrs
import pytest

from crucible.effects import Call, Handlers, Proceed, Result
from crucible.kitchen.handlers import noop
from crucible.testing import ContractViolationError, check_capabilities
from crucible.testing.tinker_server._deviations import Averaging, Deviations
from crucible.train.ports import TrainingClient
from crucible.train.types import AdamParams, Capabilities, Datum, OptimStepOutput, TrainingSession


def deviating(deviations: Deviations, said: Capabilities = Capabilities()) -> Handlers[TrainingClient]:
    """Give noop with deviations, whose sessions say something of it."""
    averaging = Averaging(deviations)

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.operation == TrainingClient.forward_backward:
            session, data = call.arguments
            given = averaging.batch(cast("Sequence[Datum]", data), "cross_entropy")
            call = attrs.evolve(call, arguments=(session, given))
        missing = 1.0
        if call.operation == TrainingClient.optim_step:
            _, missing = averaging.step(cast("AdamParams", call.arguments[1]))
        return (await proceed(call)).map(lambda answer: told(answer, missing))

    def told(answer: object, missing: float) -> object:
        if isinstance(answer, OptimStepOutput):
            return attrs.evolve(answer, grad_norm=(answer.grad_norm or 0.0) / missing)
        return attrs.evolve(answer, capabilities=said) if isinstance(answer, TrainingSession) else answer

    return noop.training(max_length=256).wrap(around)


AVERAGES, UNSIGNED = Deviations(averages=True), Deviations(lacks=["negative_weights"])


@pytest.mark.parametrize(
    ("deviations", "said", "promise"),
    [
        (AVERAGES, Capabilities(), "losses are sums"),
        (UNSIGNED, Capabilities(), "weights below 0 are meant"),
        (Deviations(), Capabilities(trains=False), "a session says what its backend can do"),
        (Deviations(), Capabilities(backend=""), "the backend has no name"),
    ],
)
def test_a_backend_that_says_what_is_not_so_is_found_out(
    deviations: Deviations, said: Capabilities, promise: str
) -> None:
    with pytest.raises(ContractViolationError, match=promise):
        check_capabilities(lambda: deviating(deviations, said), model="noop")


@pytest.mark.parametrize(
    ("deviations", "said"),
    [
        (AVERAGES, Capabilities(loss_reduction="mean", negative_weights=False, divided_by=None)),
        (UNSIGNED, Capabilities(negative_weights=False, divided_by=None)),
        (Deviations(), Capabilities()),
    ],
)
def test_a_backend_that_says_what_is_so_keeps_the_contract(deviations: Deviations, said: Capabilities) -> None:
    check_capabilities(lambda: deviating(deviations, said), model="noop")
