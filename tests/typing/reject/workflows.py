"""Workflows that must not run: on handlers that lack what their losses or their environments need."""

from crucible.effects import Handlers
from crucible.kitchen import Context
from crucible.kitchen.handlers import noop
from crucible.kitchen.stages.distillation import DistillationConfig, build_distillation_dataset, student_inference
from crucible.kitchen.stages.preference import PreferenceConfig, compute_reference_logprobs, dpo_forward_backward
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.rollouts import compute_advantages, take_rollout
from crucible.kitchen.stages.policy import policy_update
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stage import starting_from
from crucible.kitchen.workflows.distillation import distillation_forward_kl
from crucible.kitchen.workflows.preference import preference
from crucible.kitchen.workflows.reinforcement import reinforcement
from tests.typing.accept.workflows import Base, alone, timed

rl = Context.start(ReinforcementConfig.__new__(ReinforcementConfig))
pairs = Context.start(PreferenceConfig.__new__(PreferenceConfig))

needs_a_clock = noop.all().run(reinforcement(timed)(rl))  # E: var-annotated # E: arg-type "Clock"
needs_a_sampler = noop.training().run(reinforcement(alone)(rl))  # E: var-annotated # E: arg-type "SamplingClient"
needs_custom_losses = (noop.sampling() | noop.datasets() | noop.registry()).run(preference(pairs))  # E: var-annotated # E: arg-type "CustomLossClient"
lessons = Context.start(DistillationConfig.__new__(DistillationConfig))


def without_likeliest_tokens(handlers: Handlers[Base]) -> None:
    handlers.run(distillation_forward_kl(lessons))  # E: arg-type "TopLogprobsClient"


of_another_configuration = preference(rl)  # E: arg-type "PreferenceConfig"
no_environment = reinforcement(len)  # E: var-annotated # E: arg-type "EnvironmentOf"

# A step before what it needs

begun = starting_from(PreferenceConfig) >> load_dataset >> init_session >> init_tokenizer
reference_before_its_pairs = begun >> compute_reference_logprobs  # E: operator "PreferenceState"
loss_of_no_batch = begun >> dpo_forward_backward  # E: operator "PairBatch"
other = starting_from(DistillationConfig) >> load_dataset >> init_session >> init_tokenizer >> build_distillation_dataset
student_without_a_batch = other >> student_inference  # E: operator "PromptBatch"
update_of_no_data = take_rollout >> policy_update  # E: var-annotated # E: operator "Collected[S]"
advantages_of_no_round = other >> compute_advantages  # E: operator "RolledOut"
