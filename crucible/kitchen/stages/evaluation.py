"""Evaluation: the trained weights answer held-out prompts, and the Evaluator judges. No gradient is touched."""

from collections.abc import Sequence
from typing import TypeVar

import attrs

from crucible.effects import Do, Eff, do, fail, from_result, perform, tell
from crucible.kitchen.config import EvaluationConfig, TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest, Evaluator
from crucible.kitchen.ports.evaluator import checked_report
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.stages.samplers import with_present_weights
from crucible.kitchen.stages.setup import prompt_rules
from crucible.kitchen.states import TrainingState
from crucible.telemetry.events import EvaluationCompleted, SampleShown
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.questions import PromptRules, Question, question_of
from crucible.train.renderers import ChatTemplateRenderer, Renderer
from crucible.train.types import SamplingParams, SamplingSession, text_of

S = TypeVar("S", bound=TrainingState[TrainingConfig])


@generic_stage
def evaluate(
    context: Context[S],
) -> Do[TrainError | KitchenError, TrainingClient | SamplingClient | DatasetStore | Evaluator, Context[S]]:
    """Answer the held-out prompts with the weights as they are now, and have the answers judged."""
    state, config = context.state, context.state.config.evaluation
    if config is None:
        return context
    renderer = ChatTemplateRenderer(state.tokenizer)
    rules = yield from from_result(prompt_rules(state.config, state.session, trained=0, answered=config.max_tokens))
    questions = yield from held_out_questions(config, renderer, rules)
    sampled = yield from with_present_weights(
        state.session,
        f"evaluated_{state.step:06d}",
        lambda session: greedy_answers(session, questions, config, renderer),
    )
    answers = sampled.value
    report = yield from judge(config, questions, answers)
    metrics = dict(report.metrics)
    yield from tell(EvaluationCompleted(step=state.step, metrics=metrics, num_examples=len(questions)))
    first = questions[0]
    yield from tell(SampleShown(step=state.step, prompt=first.text, answer=answers[0], expected=first.expected or ""))
    return context.to(attrs.evolve(state, metrics={**state.metrics, **metrics}, measured_step=state.step))


@do
def held_out_questions(
    config: EvaluationConfig, renderer: Renderer, rules: PromptRules | None = None
) -> Do[TrainError | KitchenError, DatasetStore, tuple[Question, ...]]:
    """Read the held-out rows as prompts; no row at all is an error."""
    dataset = yield from perform(DatasetStore.load_dataset, config.dataset)
    rows = yield from perform(DatasetStore.read_rows, dataset, count=config.num_examples)
    if not rows:
        message = f"the evaluation dataset {dataset.name!r}, split {dataset.split!r}, has no rows"
        yield from fail(InvalidRequest(message=message, fix="check the split"))
    questions = []
    for index, row in enumerate(rows):
        question = yield from from_result(question_of(row, renderer, index=index, rules=rules))
        questions.append(question)
    return tuple(questions)


@do
def greedy_answers(
    session: SamplingSession, questions: Sequence[Question], config: EvaluationConfig, renderer: Renderer
) -> Do[TrainError, SamplingClient, list[str]]:
    """Answer every question at temperature 0, a batch at a time."""
    params = SamplingParams(max_tokens=config.max_tokens, temperature=0.0)
    answers: list[str] = []
    for start in range(0, len(questions), config.batch_size):
        batch = [question.prompt for question in questions[start : start + config.batch_size]]
        groups = yield from perform(SamplingClient.sample, session, batch, params)
        answers += [text_of(renderer.parse_response(group[0].tokens).message) for group in groups]
    return answers


def judge(
    config: EvaluationConfig, questions: Sequence[Question], answers: Sequence[str]
) -> Eff[EvaluationReport, KitchenError, Evaluator]:
    """Have the answers judged.

    Fails: as the Evaluator does; BackendFailed for a report that is not of each answer, or holds what is no number.
    """
    examples = tuple(
        AnsweredRow(row=question.row, answer=answer, expected=question.expected)
        for question, answer in zip(questions, answers, strict=True)
    )
    request = EvaluationRequest(dataset=config.dataset.name, examples=examples)
    return perform(Evaluator.evaluate, request).bind(lambda report: from_result(checked_report(request, report)))
