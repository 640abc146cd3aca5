"""Environments: what a policy acts in, as values, and the rollouts that make trajectories of it."""

from crucible.train.environments.continuation import Turn, joined, next_prompt
from crucible.train.environments.conversations import Conversation, MessageEnv, Reply
from crucible.train.environments.episodes import Episode, RolloutLimits
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
    "FailedRollout",
    "Grade",
    "GroupReward",
    "GroupRollout",
    "MathProblem",
    "MessageEnv",
    "Observation",
    "ProblemEnv",
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
    "environment_failure",
    "final_answer",
    "final_text",
    "is_well_formed",
    "joined",
    "last_boxed",
    "math_env",
    "math_problem_of",
    "next_prompt",
    "observe",
    "pure_tool",
    "read_arguments",
    "rollout",
    "rollout_group",
    "rollout_together",
    "tool_env",
]
