"""Rows as prompts with the answers they expect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.errors import InvalidRequest
from crucible.train.questions import question_of
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import ByteTokenizer, Row

TOKENIZER = ByteTokenizer()
RENDERER = ChatTemplateRenderer(TOKENIZER)


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_row_is_split_into_its_prompt_and_its_answer(asked: str, answer: str) -> None:
    row = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
    question = question_of(row, RENDERER).unwrap()
    assert (question.row, question.text, question.expected) == (row, asked, answer)


def test_the_prompt_ends_where_the_answer_begins_and_holds_nothing_of_it() -> None:
    question = question_of({"prompt": "2+2?", "completion": "secret"}, RENDERER).unwrap()
    shown = TOKENIZER.decode(question.prompt.tokens)
    assert shown.endswith("<|im_start|>assistant\n")
    assert "2+2?" in shown
    assert "secret" not in shown


def test_only_the_last_answer_of_a_conversation_is_asked_for() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two?"},
        {"role": "assistant", "content": "2"},
    ]
    question = question_of({"messages": messages}, RENDERER).unwrap()
    assert (question.text, question.expected) == ("two?", "2")
    assert "1<|im_end|>" in TOKENIZER.decode(question.prompt.tokens)


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": [{"role": "assistant", "content": "nobody asked"}]},
        {"messages": []},
        {"messages": [{"role": "robot", "content": "?"}, {"role": "assistant", "content": "!"}]},
        {"text": "only text"},
        {},
    ],
)
@pytest.mark.parametrize("index", [0, 7])
def test_a_row_that_asks_nothing_is_named_by_its_index(wrong: Row, index: int) -> None:
    error = question_of(wrong, RENDERER, index=index).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == index


def test_a_row_that_nobody_answers_expects_nothing() -> None:
    question = question_of({"messages": [{"role": "user", "content": "and?"}]}, RENDERER).unwrap()
    assert (question.text, question.expected) == ("and?", None)
    assert "and?<|im_end|>" in TOKENIZER.decode(question.prompt.tokens)
