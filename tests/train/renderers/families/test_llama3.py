"""Llama 3 and 3.1 against their chat templates and the package `renderers`, with Llama's own vocabulary."""

import json
from collections.abc import Sequence
from datetime import date

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.train.renderers import LayoutRenderer, Llama3, TrainOnWhat
from crucible.train.types import Message, ToolCall, ToolSpec
from tests.train.renderers.families.drawn import TOOLS, Form, conversations, few, prompt_of, tool_lists
from tests.train.renderers.families.oracles import encoded, template_text
from tests.train.renderers.families.tokenizers import llama3

BOS = "<|begin_of_text|>"
CALLS = Form(most_calls=1, text_beside_calls=False)
LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE


def example_tokens(layout: Llama3, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
    return list(LayoutRenderer(llama3(), layout).supervised_example(messages, LAST, tools=tools).unwrap().tokens)


@few
@given(messages=conversations(Form()))
def test_llama_3_is_what_its_template_writes(messages: list[Message]) -> None:
    theirs = template_text("llama3", messages, bos_token=BOS)
    assert example_tokens(Llama3(), messages) == encoded(llama3(), theirs)
    prompt = template_text("llama3", messages[:-1], prompt=True, bos_token=BOS)
    assert prompt_of(LayoutRenderer(llama3(), Llama3()), messages[:-1]) == encoded(llama3(), prompt)


@few
@given(messages=conversations(CALLS), tools=tool_lists)
def test_llama_3_1_is_what_its_template_writes(messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
    layout = Llama3(preamble=True)
    theirs = template_text("llama3_1", messages, tools, bos_token=BOS)
    assert example_tokens(layout, messages, tools) == encoded(llama3(), theirs)
    prompt = template_text("llama3_1", messages[:-1], tools, prompt=True, bos_token=BOS)
    assert prompt_of(LayoutRenderer(llama3(), layout), messages[:-1], tools) == encoded(llama3(), prompt)


@few
@given(messages=conversations(CALLS), today=st.dates(date(2000, 1, 1), date(2099, 1, 1)))
def test_llama_3_2_writes_the_date_it_is_given(messages: list[Message], today: date) -> None:
    theirs = template_text("llama3_2", messages, bos_token=BOS, date_string=today.strftime("%d %b %Y"))
    assert example_tokens(Llama3(preamble=True, today=today), messages) == encoded(llama3(), theirs)


def test_blanks_around_a_content_are_trimmed_as_the_template_does() -> None:
    messages = [Message(role="user", content="\n Hi \n"), Message(role="assistant", content="  Yes. ")]
    theirs = template_text("llama3", messages, bos_token=BOS)
    assert example_tokens(Llama3(), messages) == encoded(llama3(), theirs)


class TestRefusals:
    question = Message(role="user", content="?")
    call = ToolCall(name="add", arguments="{}")

    @pytest.mark.parametrize("content", ["beside", ""])
    def test_what_the_template_would_drop(self, content: str) -> None:
        more = Message(role="assistant", content=content, tool_calls=(self.call,) * (1 if content else 2))
        result = LayoutRenderer(llama3(), Llama3(preamble=True)).generation_prompt([self.question, more])
        assert "one tool call and nothing else" in str(result.failure())

    def test_tools_without_a_question_to_write_them_in(self) -> None:
        result = LayoutRenderer(llama3(), Llama3(preamble=True)).generation_prompt(
            [Message(role="system", content="Hi")], tools=TOOLS
        )
        assert "first user message" in str(result.failure())

    def test_tools_in_llama_3(self) -> None:
        assert isinstance(LayoutRenderer(llama3(), Llama3()).generation_prompt([self.question], tools=TOOLS), Failure)


def test_an_answer_that_is_a_call_is_one_only_in_llama_3_1() -> None:
    text = json.dumps({"name": "add", "parameters": {"a": 1}})
    tokens = llama3().encode(text + "<|eot_id|>")
    plain = LayoutRenderer(llama3(), Llama3()).parse_response(tokens)
    assert plain.message.content == text
    called = LayoutRenderer(llama3(), Llama3(preamble=True)).parse_response(tokens)
    assert attrs.asdict(called.message)["tool_calls"] == ({"name": "add", "arguments": '{"a": 1}', "id": None},)
