"""What a type checker infers for the workflows: their states, their errors, and every port that they need."""

from typing import Never, TypeAlias, assert_type

from crucible.effects import Eff, Handlers, Result, from_result, perform, pure
from crucible.kitchen import Context, Stage
from crucible.kitchen.environments import RowRules, row_environment
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import Evaluator, FeedbackClient, ModelRegistry
from crucible.kitchen.stages.distillation import DistillationConfig, DistillationState
from crucible.kitchen.stages.feedback import FeedbackConfig, FeedbackState
from crucible.kitchen.stages.preference import PreferenceConfig, PreferenceState
from crucible.kitchen.stages.reinforcement import ReinforcementConfig, ReinforcementState
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows.distillation import distillation, distillation_forward_kl
from crucible.kitchen.workflows.feedback_loop import feedback_loop
from crucible.kitchen.workflows.preference import preference
from crucible.kitchen.workflows.reinforcement import reinforcement, reinforcement_async
from crucible.kitchen.workflows.supervised import supervised
from crucible.train.environments import ProblemEnv, environment_failure
from crucible.train.errors import TrainError
from crucible.train.ports import CustomLossClient, DatasetStore, SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.renderers import Renderer
from crucible.train.types import Message, Row
from tests.typing.ports import Clock

Error: TypeAlias = TrainError | KitchenError
Base: TypeAlias = TrainingClient | SamplingClient | DatasetStore | Evaluator | ModelRegistry

# Each workflow names its configuration, its state and its ports

assert_type(supervised, Stage[Context[SupervisedConfig], Context[SupervisedState], Error, Base])
assert_type(preference, Stage[Context[PreferenceConfig], Context[PreferenceState], Error, Base | CustomLossClient])
assert_type(distillation, Stage[Context[DistillationConfig], Context[DistillationState], Error, Base])
assert_type(
    distillation_forward_kl,
    Stage[Context[DistillationConfig], Context[DistillationState], Error, Base | TopLogprobsClient],
)
assert_type(feedback_loop, Stage[Context[FeedbackConfig], Context[FeedbackState], Error, Base | FeedbackClient])


# A reinforcement workflow needs what its environments need


def asked(row: Row) -> tuple[Message, ...]:
    return (Message(role="user", content=str(row["prompt"])),)


def alone(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Never], Never, Never]:
    return pure(ProblemEnv(messages=asked(row), renderer=renderer, score=lambda text: pure(1.0)))


def judged(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
    return from_result(row_environment(row, renderer, RowRules(dataset="riddles")))


def timed(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Clock], Never, Never]:
    return pure(
        ProblemEnv(
            messages=asked(row),
            renderer=renderer,
            score=lambda text: perform(Clock.now).alt(environment_failure("the clock has stopped")),
        )
    )


assert_type(reinforcement(alone), Stage[Context[ReinforcementConfig], Context[ReinforcementState], Error, Base])
assert_type(
    reinforcement(judged),
    Stage[Context[ReinforcementConfig], Context[ReinforcementState], Error, Base | Evaluator],
)
assert_type(reinforcement(timed), Stage[Context[ReinforcementConfig], Context[ReinforcementState], Error, Base | Clock])
assert_type(
    reinforcement_async(timed),
    Stage[Context[ReinforcementConfig], Context[ReinforcementState], Error, Base | Clock],
)


def run(
    config: ReinforcementConfig, handlers: Handlers[Base], clock: Handlers[Clock]
) -> Result[Context[ReinforcementState], Error]:
    """Handlers of these ports are enough where no environment needs more, and with a clock where one does."""
    handlers.run(reinforcement(alone)(Context.start(config)))
    return (handlers | clock).run(reinforcement(timed)(Context.start(config)))


def distil(
    config: DistillationConfig, handlers: Handlers[Base | TopLogprobsClient]
) -> Result[Context[DistillationState], Error]:
    """Handlers that tell likeliest tokens are enough for the forward KL, and more than enough without it."""
    handlers.run(distillation(Context.start(config)))
    return handlers.run(distillation_forward_kl(Context.start(config)))
