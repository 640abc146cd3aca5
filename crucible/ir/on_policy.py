"""Training on what the policy itself did: reinforcement learning and distillation."""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.ir.problems import Problem
from crucible.ir.refs import ModelRef
from crucible.ir.rules import ABOVE_0, AT_LEAST_0, AT_LEAST_1, FRACTION, NOT_EMPTY, Limits, rule, within
from crucible.ir.training import TrainingBase

AlgorithmName: TypeAlias = Literal["cispo", "dapo", "dr_grpo", "grpo", "reinforce", "rloo"]
LossFn: TypeAlias = Literal["cispo", "dro", "importance_sampling", "ppo"]
Baseline: TypeAlias = Literal["leave_one_out", "mean", "mean_and_std", "none"]
AggregationKind: TypeAlias = Literal["fixed_length", "sequence_mean", "token_mean", "token_sum"]
Extraction: TypeAlias = Literal["boxed", "whole_text"]
DistillationMode: TypeAlias = Literal["forward_kl", "off_policy", "on_policy"]
Tail: TypeAlias = Literal["drop", "renormalise"]

_SUMS_TOKENS = frozenset({"reinforce", "rloo"})
_KEEPS_ALL_GROUPS = frozenset({"grpo", "dr_grpo"})


@attrs.frozen(kw_only=True)
class OnPolicySpec(TrainingBase):
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


@attrs.frozen(kw_only=True)
class AggregationSpec:
    """How the tokens of samples add up; `max_tokens` is what `fixed_length` divides by, None the training's own."""

    kind: AggregationKind = "token_mean"
    max_tokens: int | None = attrs.field(default=None, metadata=AT_LEAST_1)

    @rule("kind", "max_tokens")
    def _only_a_fixed_length_has_one(self) -> Iterator[Problem]:
        if self.max_tokens is not None and self.kind != "fixed_length":
            message = f"is for fixed_length, and kind is {self.kind}"
            yield Problem(path="max_tokens", message=message, fix="leave it out, or set kind to fixed_length")


@attrs.frozen(kw_only=True)
class AlgorithmSpec:
    """A policy-gradient algorithm: one by its name, and what is to be different in it.

    Args:
        name: of the algorithm that gives everything that is left out here.
        loss_fn: what the backend computes.
        loss_fn_config: its numbers, such as `clip_low_threshold`; None for those of the algorithm, or of the loss itself
            where `loss_fn` is another.
        baseline: what the rewards of a group are compared with.
        aggregation: how tokens add up.
        drop_constant_groups: leave out groups whose rewards are all the same.
    """

    name: AlgorithmName = "reinforce"
    loss_fn: LossFn | None = None
    loss_fn_config: Mapping[str, float] | None = None
    baseline: Baseline | None = None
    aggregation: AggregationSpec | None = None
    drop_constant_groups: bool | None = None

    @rule("name", "loss_fn", "aggregation.kind")
    def _dro_sums_tokens(self) -> Iterator[Problem]:
        sums = self.name in _SUMS_TOKENS if self.aggregation is None else self.aggregation.kind == "token_sum"
        if self.loss_fn == "dro" and not sums:
            message = "the tokens of dro can only be summed"
            yield Problem(
                path="loss_fn", message=message, fix="set aggregation.kind to token_sum, or take another loss"
            )


@attrs.frozen(kw_only=True)
class RolloutLimitsSpec:
    """Where an episode is cut: after so many turns, or before a prompt of more tokens."""

    max_turns: int = attrs.field(default=32, metadata=AT_LEAST_1)
    max_prompt_tokens: int | None = attrs.field(default=None, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class EnvironmentSpec:
    r"""How rows become problems whose answers the evaluator judges.

    Args:
        extract: what of a text is its answer: all of it, or what stands in the last `\boxed{}`.
        system: a message before each problem, such as one that asks for a form; None for none.
        format_coef: what an answer in another form costs.
        needs_answer: whether a row must hold the answer that is expected.
    """

    extract: Extraction = "whole_text"
    system: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    format_coef: float = attrs.field(default=0.1, metadata=AT_LEAST_0)
    needs_answer: bool = True


@attrs.frozen(kw_only=True)
class ReinforcementSpec(OnPolicySpec):
    """Reinforcement learning: `batch_size` problems in a round, `group_size` episodes of each.

    Args:
        group_size: episodes of each problem.
        algorithm: baseline, loss and aggregation.
        environment: how rows become problems.
        limits: where an episode is cut.
        kl_coef: of the KL to the reference, taken off the advantages; 0 for none.
        reference_path: sampler weights of the reference; None is what training starts from.
        reference_batch: sequences in one request to the reference.
        asynchronous: sample the next rounds while this one is learned from.
        max_staleness: when asynchronous: rounds that the policy may be older than the one it teaches.
        max_failed_share: of the episodes of a round: `max_failing_rounds` in a row of which a greater share failed stop the run,
            once it has saved a checkpoint; 1.0 for never.
        max_failing_rounds: how many such rounds stop it.
    """

    method: Literal["reinforcement"] = attrs.field(default="reinforcement", init=False)
    algorithm: AlgorithmSpec = AlgorithmSpec()
    environment: EnvironmentSpec = EnvironmentSpec()
    limits: RolloutLimitsSpec = RolloutLimitsSpec()
    kl_coef: float = attrs.field(default=0.0, metadata=AT_LEAST_0)
    reference_path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    reference_batch: int = attrs.field(default=16, metadata=AT_LEAST_1)
    group_size: int = attrs.field(default=4, metadata=AT_LEAST_1)
    asynchronous: bool = False
    max_staleness: int = attrs.field(default=1, metadata=AT_LEAST_1)
    max_failed_share: float = attrs.field(default=0.5, metadata=FRACTION)
    max_failing_rounds: int = attrs.field(default=3, metadata=AT_LEAST_1)

    @rule("group_size", "algorithm")
    def _compares_with_something(self) -> Iterator[Problem]:
        named, drops = self.algorithm, self.algorithm.drop_constant_groups
        if drops is None:
            drops = named.name not in _KEEPS_ALL_GROUPS
        if self.group_size == 1 and (drops or named.baseline != "none"):
            message = "alone in its group, an answer has none to be compared with, and nothing would be learned"
            fix = "raise it, or set algorithm.baseline to none and algorithm.drop_constant_groups to false"
            yield Problem(path="group_size", message=message, fix=fix)

    @rule("kl_coef", "reference_path")
    def _asks_a_reference_for_something(self) -> Iterator[Problem]:
        if self.reference_path is not None and not self.kl_coef:
            message = "nothing is asked of a reference where kl_coef is 0"
            yield Problem(path="reference_path", message=message, fix="leave it out, or raise kl_coef")

    @rule("asynchronous", "max_staleness")
    def _only_rounds_ahead_are_stale(self) -> Iterator[Problem]:
        if self.max_staleness != 1 and not self.asynchronous:
            message = "is for asynchronous, and rounds are sampled in turns"
            yield Problem(path="max_staleness", message=message, fix="leave it out, or set asynchronous to true")


@attrs.frozen(kw_only=True)
class TeacherSpec:
    """A model to learn from: a base model, with trained weights on it (`weights_path`) or without."""

    model: ModelRef
    weights_path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)


@attrs.frozen(kw_only=True)
class DistillationSpec(OnPolicySpec):
    """Distillation. On the prompts of `evaluation` the KL to the teachers is measured too.

    Args:
        teachers: the models to learn from, with the student's tokenizer; several are mixed in equal shares.
        mode: `on_policy`, the student samples and each token's reward is minus its reverse KL to the teacher; `off_policy`,
            the teachers sample, once for all epochs, and the student imitates; `forward_kl`, it learns their likeliest tokens
            in each place of their answers.
        group_size: answers to each prompt; None for 4 of the student, or one of a teacher.
        kl_coef: of the reverse KL.
        kl_discount: how much a token answers for the KL of those after it.
        teacher_batch: sequences in one request to a teacher.
        num_top: of `forward_kl`: how many of a teacher's likeliest tokens are learned in each place.
        tail: of `forward_kl`: what becomes of the probability of all other tokens.
    """

    method: Literal["distillation"] = attrs.field(default="distillation", init=False)
    teachers: tuple[TeacherSpec, ...] = attrs.field(metadata=within(Limits(min_length=1)))
    mode: DistillationMode = "on_policy"
    kl_coef: float = attrs.field(default=1.0, metadata=ABOVE_0)
    kl_discount: float = attrs.field(default=0.0, metadata=FRACTION)
    teacher_batch: int = attrs.field(default=16, metadata=AT_LEAST_1)
    num_top: int = attrs.field(default=8, metadata=AT_LEAST_1)
    tail: Tail = "renormalise"
    group_size: int | None = attrs.field(default=None, metadata=AT_LEAST_1)

    @rule("mode", "kl_coef", "kl_discount", "num_top", "tail")
    def _each_mode_reads_its_own(self) -> Iterator[Problem]:
        usual = DistillationSpec(teachers=self.teachers)
        of_mode = {"on_policy": ("kl_coef", "kl_discount"), "forward_kl": ("num_top", "tail")}
        for mode, names in of_mode.items():
            for name in names:
                if self.mode != mode and getattr(self, name) != getattr(usual, name):
                    message = f"is for {mode}, and the mode is {self.mode}"
                    yield Problem(path=name, message=message, fix=f"leave it out, or set mode to {mode}")
