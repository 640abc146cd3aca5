"""Passes over a batch: what is sent, and what is read of the answer."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future as ThreadFuture
from typing import TYPE_CHECKING

from crucible.effects import Result
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.batches import Batch, batch_of
from crucible.kitchen.handlers.tinkex.errors import About
from crucible.kitchen.handlers.tinkex.losses import configured
from crucible.kitchen.handlers.tinkex.session import OpenSession, Waiting
from crucible.kitchen.handlers.tinkex.summing import Sent, step_for, step_of, summed
from crucible.kitchen.handlers.tinkex.wire import adam_to, data_to, stepped_of
from crucible.train.errors import TrainError
from crucible.train.types import AdamParams, Datum, ForwardBackwardOutput, Future, LossFn, OptimStepOutput

if TYPE_CHECKING:
    import tinker.types as wire


def read_batch(
    opened: OpenSession, data: Sequence[Datum], loss_fn: LossFn, config: Mapping[str, float] | None
) -> Result[Batch, TrainError]:
    """Make a batch of data and a loss, or name what is at fault."""
    return configured(loss_fn, config).bind(lambda loss: batch_of(data, loss, max_length=opened.max_length))


def send_pass(
    backend: TinkerBackend, opened: OpenSession, batch: Batch, *, with_gradients: bool
) -> Future[ForwardBackwardOutput]:
    """Queue a pass, whose gradient is that of the sum over tokens where it is known how to have it."""
    about = About(kind="session", name=opened.id)

    def send() -> Result[Waiting[ForwardBackwardOutput], TrainError]:
        if with_gradients:
            shaped = summed(batch, opened.capabilities, opened.window)
            return shaped.bind(lambda sent: called(sent).map(lambda request: lambda: answered(request)))
        asked = backend.called(
            lambda: opened.client.forward(
                data_to(batch.data), batch.loss.name, dict(batch.loss.config) or None
            ).future(),
            about,
        )
        return asked.map(lambda request: lambda: answered(request))

    def called(sent: Sent) -> "Result[ThreadFuture[wire.ForwardBackwardOutput], TrainError]":
        return gradients_asked(backend, opened, sent)

    async def answered(
        request: "ThreadFuture[wire.ForwardBackwardOutput]",
    ) -> Result[ForwardBackwardOutput, TrainError]:
        return (await backend.wait(request, about)).bind(batch.output)

    return opened.promise("forward_backward" if with_gradients else "forward", send)


def gradients_asked(
    backend: TinkerBackend, opened: OpenSession, sent: Sent
) -> "Result[ThreadFuture[wire.ForwardBackwardOutput], TrainError]":
    """Send a request for gradients."""
    about = About(kind="session", name=opened.id)
    return backend.called(
        lambda: opened.client.forward_backward(data_to(sent.data), sent.loss_fn, dict(sent.config) or None).future(),
        about,
    )


def send_step(backend: TinkerBackend, opened: OpenSession, adam: AdamParams) -> Future[OptimStepOutput]:
    """Queue an optimizer step."""
    about = About(kind="session", name=opened.id)

    def send() -> Result[Waiting[OptimStepOutput], TrainError]:
        share = opened.window.close()
        settings = adam_to(step_for(adam, share))
        called = backend.called(lambda: opened.client.optim_step(settings).future(), about)
        return called.map(lambda request: waiting(request, opened.stepping(request), share))

    def waiting(
        request: "ThreadFuture[wire.OptimStepResponse]", count: "ThreadFuture[int]", share: float
    ) -> Waiting[OptimStepOutput]:
        async def wait() -> Result[OptimStepOutput, TrainError]:
            answer = await backend.wait(request, about)
            step = await backend.wait(count, about)
            return answer.bind(lambda answer: step.map(lambda step: step_of(stepped_of(answer, adam, step), share)))

        return wait

    return opened.promise("optim_step", send)
