"""The stages of reinforcement learning: groups of episodes from the policy as it is, advantages, updates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Never, TypeAlias

import attrs

from crucible.effects import Do, Eff, attempt, do, from_result, gather, perform, pure, tell
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.passes import position_of
from crucible.kitchen.stages.policy import (
    Collected,
    OnPolicyConfig,
    OnPolicyState,
    Updated,
    sampling_from,
    save_policy,
    target_logprobs,
)
from crucible.kitchen.stages.setup import optimization_of
from crucible.kitchen.states import Tokenized
from crucible.telemetry.events import DatasetBuilt, ReinforcementStep, RolloutCompleted
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.algorithms.kl import kl_penalised
from crucible.train.algorithms.policy_gradient import PolicyGradient, policy_batch, reinforce
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import Row, SamplerWeights, SamplingConfig
