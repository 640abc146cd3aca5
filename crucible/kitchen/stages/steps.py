"""Both requests of an optimizer step, awaited in one place: a step counts when its loss and its gradient are finite."""

from crucible.effects import Do, do, from_result, perform
from crucible.train.errors import TrainError
from crucible.train.finite import finite_pass, finite_update
from crucible.train.ports import TrainingClient
from crucible.train.types import ForwardBackwardOutput, Future, OptimStepOutput


@do
def finished_step(
    gradients: Future[ForwardBackwardOutput], update: Future[OptimStepOutput], *, step: int
) -> Do[TrainError, TrainingClient, tuple[ForwardBackwardOutput, OptimStepOutput]]:
    """Await the gradients and the update of optimizer step number `step`, the first being 1.

    Fails: NonFiniteLoss, BackendFailed with the step when what any backend answers is not finite; as the requests do.
    """
    output = yield from perform(TrainingClient.await_, gradients)
    yield from from_result(finite_pass(output, step=step))
    stepped = yield from perform(TrainingClient.await_, update)
    yield from from_result(finite_update(stepped, step=step))
    return output, stepped
