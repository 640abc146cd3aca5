"""Preference data: rows to comparisons, comparisons to the interleaved data that preference losses take."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import InvalidRequest, SequenceTooLong, TrainError
from crucible.train.renderers import RenderedExample, Renderer, TrainOnWhat
from crucible.train.supervised import DatumRules, conversation_of, datum_of
from crucible.train.types import Comparison, ComparisonLabel, Datum, LabeledComparison, Message, Role, Row

Turns: TypeAlias = tuple[Message, ...]

_LABELS: tuple[ComparisonLabel, ...] = ("A", "B", "Tie")
_SHAPES = (
    "give it prompt + chosen + rejected, each text or a list of messages; chosen + rejected as whole conversations with the "
    "same beginning; or prompt + completion_a + completion_b + label (A, B or Tie)"
)


def comparison_of(row: Row, *, index: int = 0) -> Result[LabeledComparison, TrainError]:
    """Read a row as a judged comparison; in rows of chosen and rejected, A is the chosen one.

    >>> judged = comparison_of({"prompt": "2+2?", "chosen": "4", "rejected": "5"}).unwrap()
    >>> judged.label, judged.comparison.completion_b[0].content
    ('A', '5')

    Fails: InvalidRequest with the row's index when it has none of the shapes.
    """
    if {"completion_a", "completion_b", "label"} <= set(row):
        label = next((label for label in _LABELS if label == row["label"]), None)
        if label is None:
            message = f"the label is {row['label']!r}"
            return Failure(InvalidRequest(message=message, fix=f"use one of {', '.join(_LABELS)}", index=index))
        return _compared(row, ("completion_a", "completion_b"), label, index)
    if {"chosen", "rejected"} <= set(row):
        return _compared(row, ("chosen", "rejected"), "A", index)
    return Failure(InvalidRequest(message=f"the row has columns {sorted(row)}", fix=_SHAPES, index=index))


def pair_of(
    judged: LabeledComparison, renderer: Renderer, rules: DatumRules, *, index: int = 0, last_message_only: bool = False
) -> Result[tuple[Datum, Datum], TrainError]:
    """Make the data of a comparison: that of the chosen completion, then that of the rejected.

    Every assistant message of a completion is trained on (or its last message only, as where it ends in a verdict), nothing of
    the prompt. Of the rules, `max_length` and `truncate` count.

    Fails: InvalidRequest for a tie, which has no better answer, and for what cannot be rendered or has no token to train on;
    SequenceTooLong when it is longer than `max_length` and may not be cut. Each names the row's index.
    """
    prompt, chosen, rejected = judged.comparison.prompt, judged.chosen, judged.rejected
    if chosen is None or rejected is None:
        fix = "leave ties out: this loss learns from a better and a worse answer"
        return Failure(InvalidRequest(message="neither completion is the better one", fix=fix, index=index))
    size = 1 if last_message_only else max(len(chosen), len(rejected))
    better = _datum((*prompt, *chosen[:-size]), chosen[-size:], renderer, rules, index)
    worse = _datum((*prompt, *rejected[:-size]), rejected[-size:], renderer, rules, index)
    return better.bind(lambda first: worse.map(lambda second: (first, second)))


def build_pairs(
    rows: Sequence[Row], renderer: Renderer, rules: DatumRules, *, last_message_only: bool = False
) -> Result[tuple[Datum, ...], TrainError]:
    """Make the data of all rows as `pair_of` does, chosen and rejected in turn; the first that cannot be used is the error."""
    data: list[Datum] = []
    for index, row in enumerate(rows):
        judged = comparison_of(row, index=index)
        if isinstance(judged, Failure):
            return judged
        built = pair_of(judged.unwrap(), renderer, rules, index=index, last_message_only=last_message_only)
        if isinstance(built, Failure):
            return built
        data += built.unwrap()
    return Success(tuple(data))


def equal_pairs(data: Sequence[Datum]) -> tuple[int, ...]:
    """Give the places of the pairs, of data as `build_pairs` makes them, whose chosen and rejected answers are the same tokens."""
    return tuple(place // 2 for place in range(0, len(data), 2) if data[place] == data[place + 1])


def verdict_prompt(comparison: Comparison) -> Turns:
    """Give the conversation after which a model that was trained to compare says A, B or Tie (as tinker-cookbook writes it).

    >>> judged = comparison_of({"prompt": "2+2?", "chosen": "4", "rejected": "5"}).unwrap()
    >>> [message.content for message in verdict_prompt(judged.comparison)][1:4]
    ['==== Completion A ====', '4', '==== Completion B ====']
    """
    return (
        *comparison.prompt,
        Message(role="system", content="==== Completion A ===="),
        *comparison.completion_a,
        Message(role="system", content="==== Completion B ===="),
        *comparison.completion_b,
        Message(role="system", content="==== Preference ===="),
    )


def verdict_example(judged: LabeledComparison) -> Turns:
    """Give the conversation with its verdict as last message: supervised data of a model that compares.

    >>> judged = comparison_of({"prompt": "2+2?", "chosen": "4", "rejected": "5"}).unwrap()
    >>> verdict_example(judged.swapped())[-1].content
    'B'
    """
    return (*verdict_prompt(judged.comparison), Message(role="assistant", content=judged.label))


def _compared(
    row: Row, columns: tuple[str, str], label: ComparisonLabel, index: int
) -> Result[LabeledComparison, TrainError]:
    prompt = _turns(row["prompt"], "user", index) if "prompt" in row else Success(())
    read = [prompt, *(_turns(row[column], "assistant", index) for column in columns)]
    for turns in read:
        if isinstance(turns, Failure):
            return turns
    asked, first, second = (turns.unwrap() for turns in read)
    asked = asked or _common_beginning(first, second)
    answers = [_without(asked, turns) for turns in (first, second)]
    if not asked or not all(turns and turns[-1].role == "assistant" for turns in answers):
        message = "the row has no prompt with two answers, each ending with an assistant's message"
        return Failure(InvalidRequest(message=message, fix=_SHAPES, index=index))
    comparison = Comparison(prompt=asked, completion_a=answers[0], completion_b=answers[1])
    return Success(LabeledComparison(comparison=comparison, label=label))


def _turns(value: object, role: Role, index: int) -> Result[Turns, TrainError]:
    if isinstance(value, str):
        return Success((Message(role=role, content=value),))
    return conversation_of({"messages": value}, index=index)


def _common_beginning(first: Turns, second: Turns) -> Turns:
    """Give the messages that both conversations begin with, leaving at least the last of each."""
    limit = min(len(first), len(second)) - 1
    same = next((i for i in range(limit) if first[i] != second[i]), max(limit, 0))
    return first[:same]


def _without(prompt: Turns, turns: Turns) -> Turns:
    """Take the prompt away from a whole conversation; what is an answer already stays."""
    return turns[len(prompt) :] if turns[: len(prompt)] == prompt else turns


def _datum(
    prompt: Turns, answer: Turns, renderer: Renderer, rules: DatumRules, index: int
) -> Result[Datum, TrainError]:
    marked = [
        *(attrs.evolve(message, trainable=False) for message in prompt),
        *(attrs.evolve(message, trainable=message.role == "assistant") for message in answer),
    ]
    rendered = renderer.supervised_example(marked, TrainOnWhat.CUSTOMIZED)
    usable: Result[RenderedExample, TrainError] = rendered.alt(
        lambda error: InvalidRequest(message=str(error), index=index)
    )
    return usable.bind(lambda example: _fitted(example, rules, index)).map(datum_of)


def _fitted(example: RenderedExample, rules: DatumRules, index: int) -> Result[RenderedExample, TrainError]:
    length = len(example.tokens)
    if length > rules.max_length and not rules.truncate:
        return Failure(SequenceTooLong(index=index, length=length, limit=rules.max_length))
    kept = example.first(rules.max_length)
    if any(kept.weights[1:]):
        return Success(kept)
    fix = "give both completions text, or raise max_length"
    return Failure(InvalidRequest(message="a completion of the row has no token to train on", fix=fix, index=index))
