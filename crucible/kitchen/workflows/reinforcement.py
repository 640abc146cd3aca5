"""Reinforcement learning on environments, in turns or with sampling and training side by side."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from crucible.effects import Do, Result, do
from crucible.kitchen.config import possible
from crucible.kitchen.context import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.flow import checked, conditional, loop, stream_loop
from crucible.kitchen.outline import ports_within
from crucible.kitchen.ports import Evaluator, ModelRegistry
from crucible.kitchen.stage import Stage, stage, starting_from
from crucible.kitchen.stages.checkpoints import cleanup, is_due, save_checkpoint, save_final_weights
from crucible.kitchen.stages.conditions import Conditions
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.failing import check_episodes
from crucible.kitchen.stages.passes import Passes
from crucible.kitchen.stages.policy import policy_update
from crucible.kitchen.stages.references import hold_reference, let_go_of_reference
from crucible.kitchen.stages.registration import register_model
from crucible.kitchen.stages.reinforcement import (
    EnvironmentBatch,
    EnvironmentOf,
    ReinforcementConfig,
    ReinforcementState,
    build_env_group,
    build_problems,
    environment_groups,
    possible_in_turns,
)
from crucible.kitchen.stages.rollouts import (
    RolledOut,
    compute_advantages,
    log_rl_metrics,
    roll_out,
    take_rollout,
)
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.trained import steps_were_taken
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient

R = TypeVar("R")
Ports: TypeAlias = TrainingClient | SamplingClient | DatasetStore | Evaluator | ModelRegistry
Workflow: TypeAlias = Stage[
    Context[ReinforcementConfig], Context[ReinforcementState], TrainError | KitchenError, Ports | R
]

Training: TypeAlias = Stage[
    Context[ReinforcementState], Context[ReinforcementState], TrainError | KitchenError, Ports | R
]

passes = Passes[ReinforcementState]()
when = Conditions[ReinforcementState]()
measure = conditional(when.should_measure, evaluate)

learn = (
    check_episodes
    >> compute_advantages
    >> policy_update
    >> log_rl_metrics
    >> conditional(when.should_checkpoint, save_checkpoint)
    >> conditional(when.should_evaluate, evaluate)
)


def _begun(
    validate: Callable[[ReinforcementConfig], Result[None, InvalidRequest]],
) -> Stage[Context[ReinforcementConfig], Context[ReinforcementState], TrainError | KitchenError, Ports]:
    """Make the part before training, for a configuration that can be run."""
    begun = starting_from(ReinforcementConfig, validate=validate) >> load_dataset >> init_session >> init_tokenizer
    return begun >> build_problems >> measure


begin = _begun(possible)


def reinforcement(environment_of: EnvironmentOf[R]) -> Workflow[R]:
    """Make the workflow that rolls out a batch, learns from it, and rolls out the next with the new policy."""
    return _ended(_begun(possible_in_turns) >> rounds_in_turn(environment_of), "reinforcement")


def reinforcement_async(environment_of: EnvironmentOf[R]) -> Workflow[R]:
    """Make the workflow that rolls out the next batches while it learns from the last, at most `max_staleness` ahead.

    Each round is of the newest policy when it was begun, and waits to be begun where it would become too stale: every round
    is learned from, none in vain. None is under way when a checkpoint is saved, so a small `save_every` costs time.
    """
    return _ended(begin >> rounds_ahead(environment_of), "reinforcement_async")


def rounds_in_turn(environment_of: EnvironmentOf[R]) -> Training[R]:
    """Make the part of `reinforcement` that trains."""

    @stage
    def do_rollout(
        context: Context[EnvironmentBatch[R]],
    ) -> Do[TrainError, R | TrainingClient | SamplingClient, Context[RolledOut]]:
        """Let the policy act in all environments, turn by turn."""
        base = context.state.base
        return context.to((yield from roll_out(base, context.state.groups, base.batches_done)))

    rounds = passes.set_epoch >> loop(
        "rollouts", passes.batches, build_env_group(environment_of) >> do_rollout >> learn
    )
    return checked(
        starting_from(ReinforcementState)
        >> hold_reference
        >> loop("epochs", passes.epochs, rounds)
        >> let_go_of_reference,
        steps_were_taken,
    )


def rounds_ahead(environment_of: EnvironmentOf[R]) -> Training[R]:
    """Make the part of `reinforcement_async` that trains."""

    @do
    def roll_out_next(
        state: ReinforcementState, index: int
    ) -> Do[TrainError, R | TrainingClient | SamplingClient, RolledOut | None]:
        number = state.first_batch + index
        indices = state.problems_of_batch(number)
        if indices is None:
            return None
        groups = yield from environment_groups(state, indices, environment_of)
        return (yield from roll_out(state, groups, number))

    rounds = stream_loop(
        "rollouts", roll_out_next, take_rollout >> learn, buffer=max_rounds_ahead, ready=no_checkpoint_between
    )
    trained = (
        starting_from(ReinforcementState)
        >> hold_reference
        >> rounds.needing(ports_within(environment_of))
        >> let_go_of_reference
    )
    return checked(trained, steps_were_taken)


def max_rounds_ahead(state: ReinforcementState) -> int:
    """Give how many rounds are rolled out ahead: a round that is begun then can become no staler than that."""
    return state.config.max_staleness


def no_checkpoint_between(state: ReinforcementState, index: int) -> bool:
    """Tell whether a round may be begun: not while a checkpoint can fall due among the rounds that come before it.

    So no round is under way when one is saved, and a run that is resumed from it goes on as this one does.
    """
    rounds_before = state.first_batch + index - state.batches_done
    most = state.step + rounds_before * state.config.updates_per_batch
    return not is_due(most, before=state.step, every=state.config.save_every)


def _ended(
    trained: Stage[Context[ReinforcementConfig], Context[ReinforcementState], TrainError | KitchenError, Ports | R],
    name: str,
) -> Workflow[R]:
    return (
        trained >> save_final_weights >> measure >> conditional(when.is_registered, register_model) >> cleanup
    ).named(name)
