"""One optimizer step: submit the gradients, submit the update, await both, tell.

Submitting and awaiting are separate stages, so that a backend has both requests in flight together.
"""

import math
from typing import Never, TypeVar

import attrs

from crucible.effects import Do, Eff, perform, tell
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.stages.steps import finished_step
from crucible.kitchen.states import Batched, Stepped, Stepping, Submitted, TrainingState
from crucible.telemetry.events import EpochCompleted, TrainingStep
from crucible.train.algorithms.schedules import learning_rate
from crucible.train.errors import TrainError
from crucible.train.ports import TrainingClient
from crucible.train.supervised import mean_over_tokens
from crucible.train.types import ForwardBackwardOutput, OptimStepOutput

S = TypeVar("S", bound=TrainingState[TrainingConfig])


@generic_stage
def forward_backward(context: Context[Batched[S]]) -> Do[TrainError, TrainingClient, Context[Submitted[S]]]:
    """Submit the batch's forward and backward pass."""
    base, batch = context.state.base, context.state.batch
    how = base.optimization
    data = mean_over_tokens(batch) if how.loss_fn == "cross_entropy" else batch
    gradients = yield from perform(
        TrainingClient.forward_backward, base.session, data, loss_fn=how.loss_fn, loss_fn_config=how.loss_fn_config
    )
    num_tokens = sum(datum.num_loss_tokens for datum in batch)
    return context.to(Submitted(base=base, num_tokens=num_tokens, gradients=gradients))


@generic_stage
def optim_step(context: Context[Submitted[S]]) -> Do[TrainError, TrainingClient, Context[Stepping[S]]]:
    """Submit the optimizer step, at the learning rate that the schedule gives for this step."""
    base = context.state.base
    rate = learning_rate(base.optimization.schedule, base.step)
    adam = attrs.evolve(base.optimization.adam, learning_rate=rate)
    update = yield from perform(TrainingClient.optim_step, base.session, adam)
    return context.to(
        Stepping(base=base, num_tokens=context.state.num_tokens, gradients=context.state.gradients, update=update)
    )


@generic_stage
def await_step(context: Context[Stepping[S]]) -> Do[TrainError, TrainingClient, Context[Stepped[S]]]:
    """Await gradients and update, and count the step."""
    state = context.state
    gradients, update = yield from finished_step(state.gradients, state.update, step=state.base.step + 1)
    base = after_step(state.base, gradients, update)
    return context.to(Stepped(base=base, num_tokens=state.num_tokens, gradients=gradients, update=update))


def after_step(base: S, gradients: ForwardBackwardOutput, update: OptimStepOutput) -> S:
    """Count a batch of one optimizer step, and add up what the epoch tells of it."""
    return attrs.evolve(
        base,
        step=base.step + 1,
        step_before=base.step,
        batches_done=base.batches_done + 1,
        had_gradient=base.had_gradient or update.had_gradient,
        epoch_loss=base.epoch_loss + gradients.loss,
        epoch_steps=base.epoch_steps + 1,
    )


def log_step_metrics(context: Context[Stepped[S]]) -> Eff[Context[S], Never, Never]:
    """Tell the step's loss, learning rate and gradient norm."""
    done = context.state
    step = TrainingStep(
        step=done.base.step,
        loss=done.gradients.loss,
        learning_rate=done.update.learning_rate,
        grad_norm=math.nan if done.update.grad_norm is None else done.update.grad_norm,
        num_tokens=done.num_tokens,
        epoch=done.base.epoch,
    )
    return tell(step).map(lambda _: context.to(done.base))


def log_epoch_metrics(context: Context[S]) -> Eff[Context[S], Never, Never]:
    """Tell the mean loss of the epoch, and begin the next."""
    state = context.state
    mean_loss = state.epoch_loss / max(state.epoch_steps, 1)
    following = attrs.evolve(state, epoch=state.epoch + 1, epoch_loss=0.0, epoch_steps=0)
    done = EpochCompleted(step=state.step, epoch=state.epoch, mean_loss=mean_loss)
    return tell(done).map(lambda _: context.to(following))
