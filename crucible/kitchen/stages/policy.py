"""Training on what the policy itself did: sampling from the weights as they are, and updates on the data of that."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Generic, Never, TypeVar

import attrs

from crucible.effects import Do, do, perform, tell
from crucible.fields import ABOVE_0, AT_LEAST_1, checked
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.stages.steps import finished_step
from crucible.kitchen.states import TrainingState
from crucible.telemetry.events import SamplerDiverged
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.algorithms.minibatches import minibatches
from crucible.train.algorithms.policy_gradient import BuiltInLoss
from crucible.train.algorithms.policy_metrics import divergence, policy_metrics
from crucible.train.algorithms.schedules import learning_rate
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import (
    Datum,
    EncodedTextChunk,
    ForwardBackwardOutput,
    ImageChunk,
    ModelInput,
    OptimStepOutput,
    SamplerWeights,
    SamplingSession,
)
from crucible.train.types.trajectories import PolicyDatum

C_co = TypeVar("C_co", bound="OnPolicyConfig", covariant=True)
S = TypeVar("S", bound="OnPolicyState[OnPolicyConfig]")
S_co = TypeVar("S_co", bound="OnPolicyState[OnPolicyConfig]", covariant=True)


@attrs.frozen(kw_only=True, field_transformer=checked)
class OnPolicyConfig(TrainingConfig):
    """A run that trains on its own samples. `batch_size` counts prompts in one round of sampling.

    Args:
        max_tokens: of one sample.
        temperature: of sampling; 1.0 is the policy itself.
        policy_epochs: passes over the data of a round.
        num_minibatches: optimizer steps in one such pass.
    """

    max_tokens: int = attrs.field(default=128, metadata=AT_LEAST_1)
    temperature: float = attrs.field(default=1.0, metadata=ABOVE_0)
    policy_epochs: int = attrs.field(default=1, metadata=AT_LEAST_1)
    num_minibatches: int = attrs.field(default=1, metadata=AT_LEAST_1)

    def impossible(self) -> Sequence[str]:
        """Name what no run can do, and what would do nothing."""
        if self.max_length is None or self.max_length > self.max_tokens:
            return super().impossible()
        message = (
            f"max_length is {self.max_length} and max_tokens {self.max_tokens}, so no prompt fits before its answer"
        )
        return (*super().impossible(), f"{message}: raise max_length, or lower max_tokens")

    @property
    def updates_per_batch(self) -> int:
        """Optimizer steps on the data of one round, at the most."""
        return self.policy_epochs * self.num_minibatches


@attrs.frozen(kw_only=True)
class OnPolicyState(TrainingState[C_co], Generic[C_co]):
    """A run that samples from itself. `policy` is the version that the newest samples come from, which is deleted by then.

    `divergence_told` says whether this process has told that the sampler does not play what is trained.
    """

    policy: SamplerWeights | None = None
    divergence_told: bool = False


@attrs.frozen(kw_only=True)
class Collected(Generic[S_co]):
    """The data of a round: what the policy version `policy` did, ready to train on; where it is none, or teaches nothing, `why_none` says why."""

    base: S_co
    data: tuple[PolicyDatum, ...]
    loss: BuiltInLoss
    metrics: Mapping[str, float]
    why_none: str = ""


@attrs.frozen(kw_only=True)
class Updated(Generic[S_co]):
    """The round was trained on; `metrics` joins those of sampling and of the update."""

    base: S_co
    metrics: Mapping[str, float]
    num_tokens: int


@do
def target_logprobs(
    session: SamplingSession, data: Sequence[PolicyDatum], batch_size: int
) -> Do[TrainError, SamplingClient, tuple[tuple[float, ...], ...]]:
    """Give what another policy thinks of each target of each datum."""
    found: list[tuple[float, ...]] = []
    for start in range(0, len(data), batch_size):
        inputs = [whole_sequence(one.datum) for one in data[start : start + batch_size]]
        logprobs = yield from perform(SamplingClient.compute_logprobs, session, inputs)
        found += [tuple(logprob or 0.0 for logprob in one[1:]) for one in logprobs]
    return tuple(found)


def whole_sequence(datum: Datum) -> ModelInput:
    """Give the whole sequence of a datum: its input, images and all, and its last target."""
    last = int(datum.loss_fn_inputs["target_tokens"].data[-1])
    *before, end = datum.model_input.chunks
    if isinstance(end, ImageChunk):
        return ModelInput(chunks=(*before, end, EncodedTextChunk(tokens=(last,))))
    return ModelInput(chunks=(*before, EncodedTextChunk(tokens=(*end.tokens, last))))


@generic_stage
def policy_update(context: Context[Collected[S]]) -> Do[TrainError, TrainingClient, Context[Updated[S]]]:
    """Train on the round: some passes, each in minibatches, each of them one optimizer step.

    Both requests of a step are in flight together. A round without data takes no step and is done all the same.
    """
    collected, base = context.state, context.state.base
    config, data = base.config, context.state.data
    splits = minibatches(
        len(data), num_minibatches=config.num_minibatches, num_epochs=config.policy_epochs, seed=base.batches_done
    )
    done: list[tuple[ForwardBackwardOutput, OptimStepOutput]] = []
    first: dict[str, float] = {}
    for indices in (indices for epoch in splits for indices in epoch if indices):
        chosen = [data[index] for index in indices]
        data_of_step = [one.datum for one in chosen]
        outputs = yield from take_step(base, data_of_step, collected.loss, number=base.step + len(done))
        first = first if done else policy_metrics(chosen, outputs[0].logprobs)
        done.append(outputs)
    diverged = yield from _told_divergence(collected, first)
    batches_done, had_gradient = base.batches_done + 1, any(update.had_gradient for _, update in done)
    after = attrs.evolve(
        base,
        step=base.step + len(done),
        step_before=base.step,
        batches_done=batches_done,
        divergence_told=diverged,
        had_gradient=base.had_gradient or had_gradient,
        why_no_step="" if had_gradient else collected.why_none,
        epoch=batches_done // steps_per_epoch(base.num_examples, batch_size=config.batch_size),
    )
    num_tokens = sum(int(sum(one.mask_N)) for one in data)
    metrics = {**collected.metrics, **first, **_update_metrics(done)}
    return context.to(Updated(base=after, metrics=metrics, num_tokens=num_tokens))


@do
def _told_divergence(
    collected: Collected[OnPolicyState[OnPolicyConfig]], metrics: Mapping[str, float]
) -> Do[Never, Never, bool]:
    """Tell once that the sampler does not play what is trained; not of a round whose policy was trained since."""
    base = collected.base
    problem = None if base.divergence_told or collected.metrics.get("staleness") else divergence(metrics)
    if problem is None:
        return base.divergence_told
    numbers = {name: metrics[name] for name in ("logprob_gap_sample_train", "kl_sample_train_v3")}
    yield from tell(SamplerDiverged(step=base.step, problem=problem, **numbers))
    return True


@do
def take_step(
    base: OnPolicyState[OnPolicyConfig], data: Sequence[Datum], loss: BuiltInLoss, *, number: int
) -> Do[TrainError, TrainingClient, tuple[ForwardBackwardOutput, OptimStepOutput]]:
    """Take one optimizer step, `number` steps after the first: both requests are in flight together."""
    rate = learning_rate(base.optimization.schedule, number)
    gradients = yield from perform(
        TrainingClient.forward_backward,
        base.session,
        data,
        loss_fn=loss.loss_fn,
        loss_fn_config=loss.loss_fn_config,
    )
    adam = attrs.evolve(base.optimization.adam, learning_rate=rate)
    update = yield from perform(TrainingClient.optim_step, base.session, adam)
    return (yield from finished_step(gradients, update, step=number + 1))


def _update_metrics(done: Sequence[tuple[ForwardBackwardOutput, OptimStepOutput]]) -> dict[str, float]:
    if not done:
        return {"num_updates": 0.0}
    norms = [update.grad_norm for _, update in done if update.grad_norm is not None]
    return {
        "num_updates": float(len(done)),
        "policy_loss": sum(output.loss for output, _ in done) / len(done),
        **({"grad_norm": fmean(norms)} if norms else {}),
        "learning_rate": done[-1][1].learning_rate,
    }
