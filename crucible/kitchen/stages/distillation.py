"""The stages of distillation: a student learns from teachers, on its own samples or on theirs."""

from collections.abc import Sequence
from typing import Never

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, attempt, do, fail, from_result, gather, perform, tell
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.distillation_config import DistillationConfig, DistillationMode
from crucible.kitchen.stages.evaluation import held_out_questions
from crucible.kitchen.stages.policy import (
    Collected,
    OnPolicyState,
    Updated,
    target_logprobs,
)
from crucible.kitchen.stages.positions import placed
from crucible.kitchen.stages.samplers import with_present_weights
from crucible.kitchen.stages.setup import laid_out, prompt_rules
from crucible.kitchen.states import Batched, Tokenized
from crucible.telemetry.events import DistillationEvaluated, DistillationStep
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.algorithms.distillation import SoftDatum, imitation_datum, mixture_logprobs
from crucible.train.algorithms.kl import reverse_kl_advantages
from crucible.train.algorithms.policy_gradient import importance_sampling
from crucible.train.algorithms.trajectories_to_data import trajectory_to_data
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.questions import PromptRules, Question, question_of
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import Datum, ModelInput, Sample, SamplingParams, SamplingSession
from crucible.train.types.trajectories import PolicyDatum, TokensWithLogprobs, Trajectory, Transition

__all__ = [
    "DistillationConfig",
    "DistillationMode",
    "DistillationState",
    "PromptBatch",
    "answers_as_data",
    "build_distillation_dataset",
    "cleanup_teacher",
    "evaluate_distillation",
    "get_distillation_batch",
    "get_imitation_batch",
    "init_teacher",
    "is_on_policy",
    "log_distillation_metrics",
    "student_inference",
    "teacher_inference",
    "teachers_view",
]


@attrs.frozen(kw_only=True)
class DistillationState(OnPolicyState[DistillationConfig]):
    """The prompts are rendered, the teachers open. `answers` and `lessons` are theirs, in the order of the prompts."""

    prompts: tuple[ModelInput, ...]
    teachers: tuple[SamplingSession, ...] = ()
    answers: tuple[Datum, ...] = ()
    lessons: tuple[SoftDatum, ...] = ()

    def places_of(self, prompts: Sequence[int]) -> tuple[int, ...]:
        """Give where the answers to some prompts stand among all answers, those to one prompt side by side."""
        size = self.config.answers_per_prompt
        return tuple(place for prompt in prompts for place in range(prompt * size, (prompt + 1) * size))


@attrs.frozen(kw_only=True)
class PromptBatch:
    """A batch of prompts is chosen."""

    base: DistillationState
    prompts: tuple[ModelInput, ...]


@stage
def build_distillation_dataset(
    context: Context[Tokenized[DistillationConfig]],
) -> Do[TrainError, Never, Context[DistillationState]]:
    """Render the rows into prompts, their answers left out; a row that cannot be used is named by its index."""
    state, config = context.state, context.state.config
    renderer = ChatTemplateRenderer(state.tokenizer)
    rules = yield from from_result(_prompt_rules(state))
    questions: list[Question] = []
    for index, row in enumerate(state.rows):
        questions.append((yield from from_result(question_of(row, renderer, index=index, rules=rules))))
    prompts = tuple(question.prompt for question in questions)
    updates = config.updates_per_batch if config.mode == "on_policy" else 1
    total_steps = config.epochs * steps_per_epoch(len(prompts), batch_size=config.batch_size) * updates
    optimization = yield from laid_out(config, total_steps=total_steps)
    ready = DistillationState(
        config=config,
        session=state.session,
        tokenizer=state.tokenizer,
        optimization=optimization,
        num_examples=len(prompts),
        prompts=prompts,
    )
    return context.to((yield from placed(ready, state)))


def _prompt_rules(
    state: Tokenized[DistillationConfig] | DistillationState,
) -> Result[PromptRules | None, TrainError]:
    """Say how long a prompt may be, which with its answer is one example."""
    most = state.config.max_tokens
    return prompt_rules(state.config, state.session, trained=most, answered=most)


def _close_teachers(context: Context[DistillationState]) -> Eff[object, Never, SamplingClient]:
    return gather([attempt(perform(SamplingClient.close_session, teacher)) for teacher in context.state.teachers])


@stage(rollback=_close_teachers)
def init_teacher(context: Context[DistillationState]) -> Do[TrainError, SamplingClient, Context[DistillationState]]:
    """Open the teachers; they are closed again when anything after this fails."""
    opened = context
    try:
        for config in context.state.config.teachers:
            teacher = yield from perform(SamplingClient.start_session, config)
            opened = context.to(attrs.evolve(context.state, teachers=(*opened.state.teachers, teacher)))
    except BaseException:
        yield from _close_teachers(opened)
        raise
    return opened


@stage
def cleanup_teacher(context: Context[DistillationState]) -> Do[TrainError, SamplingClient, Context[DistillationState]]:
    """Close the teachers."""
    for teacher in context.state.teachers:
        yield from perform(SamplingClient.close_session, teacher)
    return context.to(attrs.evolve(context.state, teachers=()))


@stage
def teacher_inference(
    context: Context[DistillationState],
) -> Do[TrainError, SamplingClient, Context[DistillationState]]:
    """Let the teachers answer every prompt, in turn, once for all epochs; a failed request is an error, not a datum."""
    state, teachers = context.state, context.state.teachers
    asked = [range(place, len(state.prompts), len(teachers)) for place in range(len(teachers))]
    shares = yield from gather(
        [_answers_of(teacher, state, indices) for teacher, indices in zip(teachers, asked, strict=True)]
    )
    answers = {index: answer for share in shares for index, answer in share.items()}
    in_order = tuple(answer for index in range(len(state.prompts)) for answer in answers[index])
    return context.to(attrs.evolve(state, answers=in_order))


@do
def _answers_of(
    teacher: SamplingSession, state: DistillationState, indices: Sequence[int]
) -> Do[TrainError, SamplingClient, dict[int, tuple[Datum, ...]]]:
    """Let one teacher answer its share of the prompts."""
    config, answers = state.config, dict[int, tuple[Datum, ...]]()
    for start in range(0, len(indices), config.teacher_batch):
        batch = indices[start : start + config.teacher_batch]
        params = SamplingParams(max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed + start)
        prompts = [state.prompts[index] for index in batch]
        groups = yield from perform(
            SamplingClient.sample, teacher, prompts, params, num_samples=config.answers_per_prompt
        )
        for index, prompt, group in zip(batch, prompts, groups, strict=True):
            answers[index] = ()
            for answer in group:
                answers[index] = (*answers[index], (yield from from_result(_imitation(prompt, answer, index))))
    return answers


def _imitation(prompt: ModelInput, answer: Sample, index: int) -> Result[Datum, TrainError]:
    if answer.tokens:
        return Success(imitation_datum(prompt, answer.tokens))
    message = "the teacher answered with nothing"
    return Failure(InvalidRequest(message=message, fix="leave the prompt out, or ask another teacher", index=index))


@pure_stage
def get_imitation_batch(
    context: Context[Iteration[DistillationState, tuple[int, ...]]],
) -> Context[Batched[DistillationState]]:
    """Pick the teachers' answers of this batch."""
    state, indices = context.state.state, context.state.item
    return context.to(Batched(base=state, batch=tuple(state.answers[place] for place in state.places_of(indices))))


@pure_stage
def get_distillation_batch(context: Context[Iteration[DistillationState, tuple[int, ...]]]) -> Context[PromptBatch]:
    """Pick the prompts of this batch."""
    state, indices = context.state.state, context.state.item
    return context.to(PromptBatch(base=state, prompts=tuple(state.prompts[index] for index in indices)))


@stage
def student_inference(
    context: Context[PromptBatch],
) -> Do[TrainError, TrainingClient | SamplingClient, Context[Collected[DistillationState]]]:
    """Let the student, as it is now, answer the prompts, and reward each token by minus its KL to the teachers."""
    base, config = context.state.base, context.state.base.config
    params = SamplingParams(
        max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed + 1_000_003 * base.batches_done
    )
    sampled = yield from with_present_weights(
        base.session,
        f"policy_{base.batches_done:06d}",
        lambda session: perform(
            SamplingClient.sample, session, context.state.prompts, params, num_samples=config.answers_per_prompt
        ),
    )
    data = answers_as_data(context.state.prompts, sampled.value)
    teachers = yield from teachers_view(base.teachers, data, config.teacher_batch)
    penalised = reverse_kl_advantages(data, teachers, coef=config.kl_coef, discount=config.kl_discount)
    return context.to(
        Collected(
            base=attrs.evolve(base, policy=sampled.policy),
            data=penalised.data,
            loss=importance_sampling(),
            metrics={**({"teacher_kl": penalised.kl} if data else {}), "num_sequences": float(len(data))},
            why_none="the student answered every prompt with no token at all",
        )
    )


def answers_as_data(prompts: Sequence[ModelInput], groups: Sequence[Sequence[Sample]]) -> tuple[PolicyDatum, ...]:
    """Make the data of sampled answers, advantages 0; an answer without a token makes none."""
    return tuple(
        datum
        for place, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
        for index, sample in enumerate(group)
        if sample.tokens
        for datum in trajectory_to_data(_single_turn(prompt, sample), 0.0, group=place, index=index)
    )


def _single_turn(prompt: ModelInput, sample: Sample) -> Trajectory:
    action = TokensWithLogprobs(tokens=sample.tokens, maybe_logprobs=sample.logprobs)
    return Trajectory(transitions=(Transition(observation=prompt, action=action, episode_done=True),))


@do
def teachers_view(
    teachers: Sequence[SamplingSession], data: Sequence[PolicyDatum], batch_size: int
) -> Do[TrainError, SamplingClient, tuple[tuple[float, ...], ...]]:
    """Give what the mixture of all teachers thinks of each target of each datum."""
    views = yield from gather([target_logprobs(teacher, data, batch_size) for teacher in teachers])
    return tuple(mixture_logprobs(together) for together in zip(*views, strict=True))


@stage
def evaluate_distillation(
    context: Context[DistillationState],
) -> Do[TrainError | KitchenError, TrainingClient | SamplingClient | DatasetStore, Context[DistillationState]]:
    """Measure the reverse KL to the teachers on what the student, as it is now, answers to the held-out prompts.

    It answers with the same seed each time. No gradient is touched.
    """
    state, config, measured = context.state, context.state.config, context.state.config.evaluation
    if measured is None:
        return context
    rules = yield from from_result(_prompt_rules(state))
    questions = yield from held_out_questions(measured, ChatTemplateRenderer(state.tokenizer), rules)
    prompts = [question.prompt for question in questions]
    params = SamplingParams(max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed)
    sampled = yield from with_present_weights(
        state.session,
        f"compared_{state.step:06d}",
        lambda session: perform(SamplingClient.sample, session, prompts, params),
    )
    data = answers_as_data(prompts, sampled.value)
    if not data:
        message = f"the student answered each of the {len(prompts)} held-out prompts with no token at all"
        yield from fail(
            InvalidRequest(message=message, fix="look at what it was trained on, or lower the learning rate")
        )
    seen = yield from teachers_view(state.teachers, data, config.teacher_batch)
    metrics = {"teacher_kl": reverse_kl_advantages(data, seen).kl}
    yield from tell(DistillationEvaluated(step=state.step, metrics=metrics, num_prompts=len(prompts)))
    return context.to(attrs.evolve(state, metrics={**state.metrics, **metrics}, measured_step=state.step))


def log_distillation_metrics(
    context: Context[Updated[DistillationState]],
) -> Eff[Context[DistillationState], Never, Never]:
    """Tell the KL to the teachers and what the update did."""
    done = context.state
    step = DistillationStep(step=done.base.step, metrics=dict(done.metrics), num_tokens=done.num_tokens)
    return tell(step).map(lambda _: context.to(done.base))


def is_on_policy(state: DistillationState) -> bool:
    """Tell whether the student learns on its own samples."""
    return state.config.mode == "on_policy"
