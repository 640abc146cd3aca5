"""The endpoints that train: passes over batches and optimizer steps, in turn."""

from tinker import types as wire
from tinker.proto import tinker_public_pb2 as pb

from crucible.effects import Failure, Result, Success
from crucible.testing.tinker_server._passes import begin_pass
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._wire import data_of, loss_of
from crucible.testing.tinker_server._work import Ask, Finish, Json, Work, told
from crucible.train.errors import InvalidRequest, TrainError, Unsupported
from crucible.train.ports import TrainingClient
from crucible.train.types import AdamParams, OptimStepOutput


async def forward_backward(work: Work, ask: Ask) -> Json:
    """Make a pass over a batch, with gradients or without."""
    message = pb.ForwardBackwardRequest.FromString(ask.body)
    model = work.state.model(message.model_id)

    async def submit() -> Result[Finish, TrainError]:
        data, loss = data_of(message), loss_of(message)
        if isinstance(data, Failure):
            return data
        if isinstance(loss, Failure):
            return loss
        return await begin_pass(work, model, data.unwrap(), loss.unwrap(), with_gradients=not message.forward_only)

    return told(work.in_turn(ask, model, message.seq_id, submit))


async def optim_step(work: Work, ask: Ask) -> Json:
    """Make an optimizer step."""
    request = wire.OptimStepRequest.model_validate_json(ask.body)
    model, given = work.state.model(request.model_id), request.optim_params

    async def submit() -> Result[Finish, TrainError]:
        if not isinstance(given, wire.AdamParams):
            return Failure(Unsupported(feature=f"the optimizer {given.type!r}", backend="this server"))
        try:
            adam = AdamParams(**given.model_dump())
        except ValueError as error:
            return Failure(InvalidRequest(message=str(error)))
        settings, missing = model.averaging.step(adam)
        submitted = await work.call(TrainingClient.optim_step, model.training, settings)
        if isinstance(submitted, Failure):
            return submitted
        future = submitted.unwrap()

        async def finish() -> Result[Wire, TrainError]:
            done = await work.call(TrainingClient.await_, future)
            return done.map(told_of)

        def told_of(output: OptimStepOutput) -> Wire:
            silent = "grad_norm" in work.deviations.lacks or output.grad_norm is None
            norm = {} if silent else {"grad_norm": (output.grad_norm or 0.0) / missing}
            kept = {"step": float(output.step), "learning_rate": output.learning_rate, **norm}
            return {"metrics": {**output.metrics, **kept}}

        return Success(finish)

    return told(work.in_turn(ask, model, request.seq_id, submit))
