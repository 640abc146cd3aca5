"""Environments: what a policy acts in, as values, and the rollouts that make trajectories of it.

>>> from crucible.effects import Handlers, pure
>>> from crucible.train.renderers import ChatTemplateRenderer
>>> from crucible.train.scoring import exact_match
>>> from crucible.train.types import ByteTokenizer, Message, Sample
>>> two_and_two = ProblemEnv(
...     messages=(Message(role="user", content="2+2?"),),
...     renderer=ChatTemplateRenderer(ByteTokenizer()),
...     score=lambda answer: pure(exact_match(answer, "4")),
... )
>>> says_4 = Sample(tokens=ByteTokenizer().encode("4<|im_end|>"), logprobs=(-0.5, -0.1), stop_reason="stop")
>>> Handlers.none().run(rollout(two_and_two, lambda prompt, stop: pure(says_4))).unwrap().total_reward
1.0
"""

from crucible.train.environments.continuation import Turn, joined, next_prompt
from crucible.train.environments.conversations import Conversation, MessageEnv, Reply
from crucible.train.environments.episodes import Episode, RolloutLimits
from crucible.train.environments.failures import FailedAlike, failed_alike
from crucible.train.environments.fitted import FittedEnvironment, FittedState, PromptTooLong
from crucible.train.environments.guarded import calling, guarded, raised
from crucible.train.environments.interface import (
    Environment,
    EnvironmentFailed,
    Observation,
    State,
    StepResult,
    StopCondition,
    environment_failure,
)
from crucible.train.environments.lockstep import rollout_together
from crucible.train.environments.math import (
    BOXED_EXAMPLE,
    QUESTION_SUFFIX,
    Grade,
    MathProblem,
    final_answer,
    last_boxed,
    math_env,
    math_problem_of,
)
from crucible.train.environments.problems import ProblemEnv, any_text, is_well_formed, observe
from crucible.train.environments.rollouts import (
    EnvironmentGroup,
    FailedRollout,
    GroupReward,
    GroupRollout,
    Sampler,
    rollout,
    rollout_group,
)
from crucible.train.environments.tools import (
    Tool,
    ToolFailed,
    ToolTask,
    final_text,
    pure_tool,
    read_arguments,
    tool_env,
)

__all__ = [
    "BOXED_EXAMPLE",
    "QUESTION_SUFFIX",
    "Conversation",
    "Environment",
    "EnvironmentFailed",
    "EnvironmentGroup",
    "Episode",
    "FailedAlike",
    "FailedRollout",
    "FittedEnvironment",
    "FittedState",
    "Grade",
    "GroupReward",
    "GroupRollout",
    "MathProblem",
    "MessageEnv",
    "Observation",
    "ProblemEnv",
    "PromptTooLong",
    "Reply",
    "RolloutLimits",
    "Sampler",
    "State",
    "StepResult",
    "StopCondition",
    "Tool",
    "ToolFailed",
    "ToolTask",
    "Turn",
    "any_text",
    "calling",
    "environment_failure",
    "failed_alike",
    "final_answer",
    "final_text",
    "guarded",
    "is_well_formed",
    "joined",
    "last_boxed",
    "math_env",
    "math_problem_of",
    "next_prompt",
    "observe",
    "pure_tool",
    "raised",
    "read_arguments",
    "rollout",
    "rollout_group",
    "rollout_together",
    "tool_env",
]
