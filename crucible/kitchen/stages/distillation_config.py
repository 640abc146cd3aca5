"""How a distillation is configured."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.fields import ABOVE_0, AT_LEAST_1, FRACTION, NOT_EMPTY, checked
from crucible.kitchen.config import unread
from crucible.kitchen.stages.policy import OnPolicyConfig
from crucible.train.algorithms.distillation import Tail
from crucible.train.types import Feature, SamplingConfig

DistillationMode: TypeAlias = Literal["on_policy", "off_policy"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class DistillationConfig(OnPolicyConfig):
    """A distillation run. On the prompts of `evaluation` the KL to the teachers is measured too.

    Args:
        teachers: the models to learn from, with the student's tokenizer; several are mixed in equal shares: their distributions
            on-policy, off-policy the prompts that they answer.
        mode: `on_policy`, the student samples and each token's reward is minus its reverse KL to the teacher; `off_policy`,
            the teachers sample, once for all epochs, and the student imitates. `distillation_forward_kl` is always off-policy.
        group_size: answers to each prompt, of the student or of the teacher whose turn it is; None for 4 of the student, or one
            of a teacher.
        kl_coef: of the reverse KL.
        kl_discount: how much a token answers for the KL of those after it.
        teacher_batch: sequences in one request to a teacher.
        num_top: of `distillation_forward_kl`: how many of a teacher's likeliest tokens are learned in each place. A backend that
            takes one target for a position passes over a batch as many times.
        tail: of `distillation_forward_kl`: what becomes of the probability of all other tokens (see `top_token_datum`).
    """

    teachers: tuple[SamplingConfig, ...] = attrs.field(metadata=NOT_EMPTY)
    mode: DistillationMode = "on_policy"
    kl_coef: float = attrs.field(default=1.0, metadata=ABOVE_0)
    kl_discount: float = attrs.field(default=0.0, metadata=FRACTION)
    teacher_batch: int = attrs.field(default=16, metadata=AT_LEAST_1)
    num_top: int = attrs.field(default=8, metadata=AT_LEAST_1)
    tail: Tail = "renormalise"
    group_size: int | None = attrs.field(default=None, metadata=AT_LEAST_1)

    @property
    def method(self) -> str:
        """Name what is learned beside the method: a batch is another one in each mode, and by forward KL, which needs likeliest tokens."""
        return f"{super().method} {'forward_kl' if 'top_logprobs' in self.session.needs else self.mode}"

    @property
    def needs(self) -> tuple[Feature, ...]:
        """On-policy a policy loss and teachers that score samples; off-policy teachers that score where the KL is measured."""
        scores: tuple[Feature, ...] = ("prompt_logprobs",) if self.is_measured or self.mode == "on_policy" else ()
        return ("policy_losses" if self.mode == "on_policy" else "cross_entropy", *scores)

    @property
    def answers_per_prompt(self) -> int:
        """How often each prompt is answered: by the student in each round, or by a teacher once for all epochs."""
        return self.group_size or (4 if self.mode == "on_policy" else 1)

    def impossible(self) -> Sequence[str]:
        """Name what no run can do, and what would do nothing, in `distillation`."""
        because = "only distillation_forward_kl learns a teacher's likeliest tokens"
        return (*self.impossible_in_mode(), *unread(self, "num_top", "tail", because=because))

    def impossible_in_mode(self) -> Sequence[str]:
        """Name what no run of this mode can do, and what would do nothing, in whatever workflow."""
        problems, answers = list(super().impossible()), self.batch_size * self.answers_per_prompt
        if self.mode == "off_policy":
            names = ("kl_coef", "kl_discount", "policy_epochs", "num_minibatches")
            problems += unread(
                self, *names, because="the mode is off_policy, which imitates each batch of answers once"
            )
        elif self.num_minibatches > answers:
            problems.append(f"num_minibatches is {self.num_minibatches}, but a round has {answers} answers: lower it")
        return tuple(problems)
