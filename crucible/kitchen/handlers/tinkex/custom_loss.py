"""Custom losses over the Tinker API: their log-probabilities, then the cross-entropy that has their gradient.

The SDK has a way of its own, which needs torch, and after a bad loss takes no more requests. Here a bad loss does no harm.
"""

from collections.abc import Sequence
from concurrent.futures import Future as ThreadFuture
from typing import TYPE_CHECKING

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.batches import Batch
from crucible.kitchen.handlers.tinkex.errors import About
from crucible.kitchen.handlers.tinkex.passes import gradients_asked
from crucible.kitchen.handlers.tinkex.session import OpenSession, Waiting
from crucible.kitchen.handlers.tinkex.summing import summed
from crucible.kitchen.handlers.tinkex.wire import data_to
from crucible.train.custom_loss import CustomLoss, evaluated, linearised
from crucible.train.errors import TrainError
from crucible.train.types import Datum, ForwardBackwardOutput

if TYPE_CHECKING:
    import tinker.types as wire


def send_custom_loss(
    backend: TinkerBackend, opened: OpenSession, batch: Batch, loss: CustomLoss
) -> Result[Waiting[ForwardBackwardOutput], TrainError]:
    """Ask for log-probabilities, evaluate the loss at them, and send the request for its gradient; blocks.

    What is sent next comes after the gradient, as on any backend.
    """
    about, client = About(kind="session", name=opened.id), opened.client
    seconds = backend.config.request_seconds
    seen = backend.blocking(
        lambda: client.forward(data_to(batch.data), "cross_entropy").future().result(timeout=seconds), about
    ).bind(batch.output)
    if isinstance(seen, Failure):
        return Failure(seen.failure())
    logprobs = seen.unwrap().logprobs
    checked = evaluated(loss, batch.data, logprobs)
    if isinstance(checked, Failure):
        return Failure(checked.failure())
    found = checked.unwrap()
    output = ForwardBackwardOutput(loss=found.loss, logprobs=logprobs, metrics=dict(found.metrics))
    sloping = _sloping(linearised(batch.data, found))
    if not sloping:
        return Success(_at_once(output))
    shaped = summed(Batch(data=sloping, loss=batch.loss), opened.capabilities, opened.window)
    sent = shaped.bind(lambda one: gradients_asked(backend, opened, one))
    return sent.map(lambda request: _after(backend, request, output, about))


def _sloping(data: Sequence[Datum]) -> tuple[Datum, ...]:
    """Leave out the data that have no gradient."""
    return tuple(datum for datum in data if any(datum.loss_fn_inputs["weights"].data))


def _at_once(output: ForwardBackwardOutput) -> Waiting[ForwardBackwardOutput]:
    async def wait() -> Result[ForwardBackwardOutput, TrainError]:
        return Success(output)

    return wait


def _after(
    backend: TinkerBackend,
    request: "ThreadFuture[wire.ForwardBackwardOutput]",
    output: ForwardBackwardOutput,
    about: About,
) -> Waiting[ForwardBackwardOutput]:
    async def wait() -> Result[ForwardBackwardOutput, TrainError]:
        return (await backend.wait(request, about)).map(lambda _: output)

    return wait
