"""Passes over a batch. The API gives log-probabilities at every position; the ports only where a loss is taken."""

import math
from collections.abc import Mapping, Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._state import Model
from crucible.testing.tinker_server._wire import batch_message
from crucible.testing.tinker_server._work import Finish, Work
from crucible.train.errors import TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import Datum, ForwardBackwardOutput, Future, LossFn, TensorData


async def begin_pass(
    work: Work,
    model: Model,
    data: tuple[Datum, ...],
    loss: tuple[LossFn, Mapping[str, float]],
    *,
    with_gradients: bool,
) -> Result[Finish, TrainError]:
    """Submit a pass, and a second one without gradients where the first would leave log-probabilities out.

    A forward pass of cross-entropy is one pass whatever the weights are, even if all are 0: its loss is a sum over it.
    """
    if not with_gradients and loss[0] == "cross_entropy" and not any(_is_wide(datum) for datum in data):
        scored = await _forward(work, model, data)
        return scored.map(lambda future: _Scored(work, data, future).finish)
    operation = TrainingClient.forward_backward if with_gradients else TrainingClient.forward
    given = tuple(map(_weighted, data)) if loss[0] == "cross_entropy" else data
    given = model.averaging.batch(given, loss[0]) if with_gradients else given
    begun = await work.call(operation, model.training, given, loss_fn=loss[0], loss_fn_config=loss[1] or None)
    if isinstance(begun, Failure):
        return begun
    future = begun.unwrap()
    if not any(_is_partial(datum, loss[0]) for datum in data):
        return Success(_Whole(work, future, None).finish)
    return (await _forward(work, model, data)).map(lambda every: _Whole(work, future, every).finish)


async def _forward(
    work: Work, model: Model, data: Sequence[Datum]
) -> Result[Future[ForwardBackwardOutput], TrainError]:
    """Submit a pass that scores every position."""
    return await work.call(TrainingClient.forward, model.training, tuple(map(_everywhere, data)))


@attrs.frozen
class _Whole:
    """A pass, with the log-probabilities of another in the place of its own."""

    work: Work
    future: Future[ForwardBackwardOutput]
    every: Future[ForwardBackwardOutput] | None

    async def finish(self) -> Result[Wire, TrainError]:
        done = await self.work.call(TrainingClient.await_, self.future)
        if self.every is None or isinstance(done, Failure):
            return done.map(batch_message)
        scored = await self.work.call(TrainingClient.await_, self.every)
        return scored.map(lambda output: batch_message(attrs.evolve(done.unwrap(), logprobs=output.logprobs)))


@attrs.frozen
class _Scored:
    """A forward pass that scored every position, whose loss is that of the weights that were given."""

    work: Work
    data: tuple[Datum, ...]
    future: Future[ForwardBackwardOutput]

    async def finish(self) -> Result[Wire, TrainError]:
        done = await self.work.call(TrainingClient.await_, self.future)
        return done.map(lambda output: batch_message(self._weighted(output)))

    def _weighted(self, output: ForwardBackwardOutput) -> ForwardBackwardOutput:
        loss = -math.fsum(
            weight * logprob
            for datum, logprobs in zip(self.data, output.logprobs, strict=True)
            for weight, logprob in zip(_weights(datum), logprobs, strict=True)
        )
        return ForwardBackwardOutput(loss=loss, logprobs=output.logprobs)


def _weights(datum: Datum) -> tuple[float, ...]:
    given = datum.loss_fn_inputs.get("weights")
    return (1.0,) * len(datum.model_input) if given is None else given.data


def _everywhere(datum: Datum) -> Datum:
    """Give the datum with nothing but its targets: all of them count."""
    targets = {name: tensor for name, tensor in datum.loss_fn_inputs.items() if name == "target_tokens"}
    return _weighted(attrs.evolve(datum, loss_fn_inputs=targets))


def _weighted(datum: Datum) -> Datum:
    """Give the datum with weights: the API lets them be left out, where all are 1."""
    if "weights" in datum.loss_fn_inputs or _is_wide(datum):
        return datum
    ones = TensorData.floats((1.0,) * len(datum.model_input))
    return attrs.evolve(datum, loss_fn_inputs={**datum.loss_fn_inputs, "weights": ones})


def _is_wide(datum: Datum) -> bool:
    """Tell whether positions have several targets each."""
    targets = datum.loss_fn_inputs.get("target_tokens")
    return targets is not None and len(targets.shape) > 1


def _is_partial(datum: Datum, loss_fn: LossFn) -> bool:
    """Tell whether a loss leaves positions of a datum out: those of weight 0, or with nothing to compare."""
    if _is_wide(datum) or 0 in _weights(datum):
        return not _is_wide(datum)
    inputs = datum.loss_fn_inputs
    if loss_fn == "cross_entropy" or not {"logprobs", "advantages"} <= set(inputs):
        return False
    return any(
        old == 0 and advantage == 0
        for old, advantage in zip(inputs["logprobs"].data, inputs["advantages"].data, strict=True)
    )
