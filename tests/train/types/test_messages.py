"""Messages keep their form: through JSON, through a journal, in their plainest form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure, decode, encode
from crucible.train.types import (
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCall,
    assistant_message,
    images_of,
    message_json,
    message_of,
    parts_of,
    plainest,
    text_of,
    thinking_of,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
images = st.builds(ImagePart, data=st.binary(max_size=4), format=st.sampled_from(("png", "jpeg")))
parts = st.builds(TextPart, text=texts) | st.builds(ThinkingPart, text=texts) | images
contents = texts | st.lists(parts, max_size=4)
arguments = st.dictionaries(texts, st.integers() | texts, max_size=2).map(lambda it: json.dumps(it, ensure_ascii=False))
calls = st.lists(st.builds(ToolCall, name=texts, arguments=arguments, id=st.none() | texts), max_size=2).map(tuple)
roles = st.sampled_from(("system", "user", "assistant", "tool"))
messages = st.builds(Message, role=roles, content=contents, tool_calls=calls, tool_call_id=st.none() | texts)


@given(messages)
def test_a_message_can_be_recorded(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages)
def test_its_parts_are_its_text_its_thinking_and_its_images(message: Message) -> None:
    whole = parts_of(message)
    assert "".join(part.text for part in whole if isinstance(part, TextPart)) == text_of(message)
    assert "".join(part.text for part in whole if isinstance(part, ThinkingPart)) == thinking_of(message)
    assert tuple(part for part in whole if isinstance(part, ImagePart)) == images_of(message)


@given(messages)
def test_the_plainest_form_says_the_same_and_is_plainest(message: Message) -> None:
    plain = plainest(message)
    assert (text_of(plain), thinking_of(plain), images_of(plain)) == (
        text_of(message),
        thinking_of(message),
        images_of(message),
    )
    assert plainest(plain) == plain


@given(text=texts, thinking=texts, made=calls)
def test_json_gives_an_answer_back(text: str, thinking: str, made: tuple[ToolCall, ...]) -> None:
    message = assistant_message(text, thinking=thinking, tool_calls=made)
    assert message_of(message_json(message)).unwrap() == message


@given(messages)
def test_json_is_json(message: Message) -> None:
    json.dumps(message_json(message))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"role": "robot", "content": "Hi"}, "must be one of system, user, assistant, tool, not 'robot'"),
        ({"content": "Hi"}, "not None"),
        ({"role": ["user"], "content": "Hi"}, "not ['user']"),
        ({"role": "user"}, "`content` must be text"),
        ({"role": "user", "content": 4}, "`content` must be text"),
        ({"role": "user", "content": [{"type": "audio"}]}, "`content` must be text"),
        ({"role": "user", "content": ["Hi"]}, "`content` must be text"),
        ({"role": "user", "content": [{"type": "image", "data": "no bytes"}]}, "`content` must be text"),
        ({"role": "assistant", "content": "", "tool_calls": "add"}, "`tool_calls` must be"),
        ({"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}, "`tool_calls` must be"),
        ({"role": "assistant", "content": "", "tool_calls": ["add"]}, "`tool_calls` must be"),
        ({"role": "user", "content": "Hi", "trainable": 1}, "`trainable` must be"),
    ],
)
def test_what_is_no_message_is_an_error_that_says_why(data: dict[str, Any], said: str) -> None:
    read = message_of(data)
    assert isinstance(read, Failure)
    assert said in read.failure()


def test_what_chat_apis_write_is_read() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    read = message_of({"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]})
    made = ToolCall(name="add", arguments='{"a": 1}', id="1")
    assert read.unwrap() == assistant_message("", thinking="Hm.", tool_calls=[made])
    seen = message_of({"role": "user", "content": [{"type": "image", "data": b"x", "format": "jpeg"}]})
    assert seen.unwrap().content == (ImagePart(data=b"x", format="jpeg"),)
