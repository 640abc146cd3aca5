"""The stages of distillation by forward KL: the student learns what the teachers would likeliest have said in each place.

The teachers answer as in `distillation`; these stages come after.
"""

import math
from collections.abc import Sequence

import attrs

from crucible.effects import Do, Failure, Result, Success, do, from_result, gather, perform
from crucible.kitchen.config import refused
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.distillation import DistillationConfig, DistillationState
from crucible.kitchen.stages.policy import Updated, take_step, whole_sequence
from crucible.kitchen.stages.training import after_step
from crucible.train.algorithms.distillation import SoftDatum, Tail, TopTokens, mean_over_positions, top_token_datum
from crucible.train.algorithms.policy_gradient import BuiltInLoss
from crucible.train.errors import BackendFailed, InvalidRequest, TrainError
from crucible.train.ports import TopLogprobsClient, TrainingClient
from crucible.train.types import Datum, SamplingSession, TokenLogprob


@attrs.frozen(kw_only=True)
class LessonBatch:
    """A batch of the teachers' answers is chosen, with what they would likeliest have said in each place."""

    base: DistillationState
    lessons: tuple[SoftDatum, ...]


def possible_by_forward_kl(config: DistillationConfig) -> Result[None, InvalidRequest]:
    """Let a configuration without problems through, whatever its mode: it is the teachers who answer.

    Fails: InvalidRequest with all of them.
    """
    return refused(attrs.evolve(config, mode="off_policy").impossible_in_mode())


@pure_stage
def answered_by_teachers(context: Context[DistillationConfig]) -> Context[DistillationConfig]:
    """Take the run to be off-policy, whatever its configuration says: it is the teachers who answer, with their likeliest tokens."""
    config = context.state
    session = attrs.evolve(config.session, needs=(*config.session.needs, "top_logprobs"))
    return context.to(attrs.evolve(config, mode="off_policy", session=session))


@stage
def teacher_top_tokens(
    context: Context[DistillationState],
) -> Do[TrainError, TopLogprobsClient, Context[DistillationState]]:
    """Ask each teacher, once for all epochs, for its likeliest tokens in the places of its own answers."""
    state, teachers = context.state, context.state.teachers
    asked = [
        state.places_of(range(turn, len(state.prompts), len(teachers))) for turn in range(len(teachers))
    ]  # as each has answered
    shares = yield from gather(
        [
            _lessons_of(teacher, [state.answers[place] for place in places], state)
            for teacher, places in zip(teachers, asked, strict=True)
        ]
    )
    lessons = {
        place: lesson
        for places, share in zip(asked, shares, strict=True)
        for place, lesson in zip(places, share, strict=True)
    }
    return context.to(attrs.evolve(state, lessons=tuple(lessons[place] for place in range(len(state.answers)))))


@do
def _lessons_of(
    teacher: SamplingSession, answers: Sequence[Datum], state: DistillationState
) -> Do[TrainError, TopLogprobsClient, tuple[SoftDatum, ...]]:
    """Ask one teacher about its answers."""
    config, lessons = state.config, list[SoftDatum]()
    for start in range(0, len(answers), config.teacher_batch):
        batch = answers[start : start + config.teacher_batch]
        inputs = [whole_sequence(answer) for answer in batch]
        found = yield from perform(TopLogprobsClient.compute_top_logprobs, teacher, inputs, num_top=config.num_top)
        for answer, places in zip(batch, found, strict=True):
            lessons.append((yield from from_result(lesson_of(answer, places, tail=config.tail))))
    return tuple(lessons)


def lesson_of(answer: Datum, places: Sequence[Sequence[TokenLogprob]], *, tail: Tail) -> Result[SoftDatum, TrainError]:
    """Make the soft targets of an answer: in the places that are trained on, the likeliest tokens that a teacher named.

    Fails: BackendFailed when it named none there.
    """
    weights = answer.loss_fn_inputs["weights"].data
    kept = [
        [one for one in place if one.logprob > -math.inf] if weight else []
        for place, weight in zip(places[1:], weights, strict=True)
    ]
    if not all(place for place, weight in zip(kept, weights, strict=True) if weight):
        return Failure(BackendFailed(message="the teacher named no token in a place of its own answer"))
    teacher = TopTokens(
        tokens_NK=tuple(tuple(one.token for one in place) for place in kept),
        logprobs_NK=tuple(tuple(one.logprob for one in place) for place in kept),
    )
    return Success(top_token_datum(answer.model_input, teacher, tail=tail))


@pure_stage
def get_lesson_batch(context: Context[Iteration[DistillationState, tuple[int, ...]]]) -> Context[LessonBatch]:
    """Pick the lessons of this batch."""
    state, indices = context.state.state, context.state.item
    return context.to(
        LessonBatch(base=state, lessons=tuple(state.lessons[place] for place in state.places_of(indices)))
    )


@stage
def forward_kl_update(
    context: Context[LessonBatch],
) -> Do[TrainError, TrainingClient, Context[Updated[DistillationState]]]:
    """Take one step down the forward KL to the teachers, which is the cross-entropy minus the teachers' entropy."""
    base, batch = context.state.base, mean_over_positions(context.state.lessons)
    output, update = yield from take_step(base, batch.data, BuiltInLoss(loss_fn="cross_entropy"), number=base.step)
    after = after_step(base, output, update)
    metrics = {
        "teacher_kl": output.loss - batch.entropy,
        "loss": output.loss,
        "teacher_entropy": batch.entropy,
        **update.told,
    }
    return context.to(Updated(base=after, metrics=metrics, num_tokens=batch.num_positions))
