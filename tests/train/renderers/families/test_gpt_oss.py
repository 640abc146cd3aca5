"""gpt-oss against openai-harmony, token for token with the o200k vocabulary, and the models' chat template."""

from collections.abc import Sequence
from datetime import date

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.renderers import GptOss, LayoutRenderer, TrainOnWhat
from crucible.train.renderers.gpt_oss import Effort
from crucible.train.types import Message, ToolCall, ToolSpec, assistant_message, text_of
from tests.train.renderers.families.drawn import Form, conversations, few, prompt_of, tool_lists, without_thinking
from tests.train.renderers.families.oracles import analysis_blocks, encoded, harmony_tokens, template_text
from tests.train.renderers.families.tokenizers import gpt_oss

FORM = Form(thinking=True, most_calls=1)
LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
efforts: st.SearchStrategy[Effort] = st.sampled_from(("low", "medium", "high"))
days = st.none() | st.dates(date(2000, 1, 1), date(2099, 1, 1))


def text_with(layout: GptOss, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> str:
    example = LayoutRenderer(gpt_oss(), layout).supervised_example(messages, LAST, tools=tools).unwrap()
    return gpt_oss().decode(example.tokens)


@few
@given(messages=conversations(FORM), tools=tool_lists, effort=efforts, today=days)
def test_tokens_are_those_of_harmony(
    messages: list[Message], tools: tuple[ToolSpec, ...], effort: Effort, today: date | None
) -> None:
    plain = [
        *without_thinking(messages[:-1]),
        messages[-1],
    ]  # what history keeps is the template's choice, tested below
    renderer = LayoutRenderer(gpt_oss(), GptOss(effort=effort, today=today))
    day = today.isoformat() if today else None
    ours = list(renderer.supervised_example(plain, LAST, tools=tools).unwrap().tokens)
    assert ours == harmony_tokens(plain, tools, effort=effort, today=day, prompt=False)
    asked = plain[:-1]
    assert prompt_of(renderer, asked, tools) == harmony_tokens(asked, tools, effort=effort, today=day, prompt=True)


@few
@given(messages=conversations(Form(thinking=True, most_calls=1, text_beside_calls=False)))
def test_a_prompt_keeps_the_thinking_that_the_template_keeps(messages: list[Message]) -> None:
    ours = gpt_oss().decode(prompt_of(LayoutRenderer(gpt_oss(), GptOss()), messages[:-1]))
    assert analysis_blocks(ours) == analysis_blocks(_template(messages[:-1], prompt=True))


@few
@given(messages=conversations(Form(thinking=True)))
def test_without_tools_and_instructions_the_template_agrees(messages: list[Message]) -> None:
    asked = [message for message in messages if message.role != "system"]
    theirs = _template(asked, prompt=False)
    today = theirs.partition("Current date: ")[2][:10]
    layout = GptOss(today=date.fromisoformat(today))
    example = LayoutRenderer(gpt_oss(), layout).supervised_example(asked, LAST).unwrap()
    assert list(example.tokens) == encoded(gpt_oss(), theirs)


def _template(messages: Sequence[Message], *, prompt: bool) -> str:
    """Write with the chat template, which calls thinking `thinking`."""
    return template_text("gptoss", messages, prompt=prompt, thinking="thinking")


SCHEMA = {
    "type": "object",
    "description": "What is asked.",
    "properties": {
        "city": {"type": "string", "description": "Where."},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "days": {"type": "integer", "title": "Days", "default": 3},
        "hours": {"type": "array", "items": {"type": "number"}},
        "any": {},
        "place": {"type": ["string", "null"]},
        "list": {"type": "array"},
        "note": {"type": "string", "nullable": True, "examples": ["dry", "wet"]},
        "at": {"type": "object", "properties": {"x": {"type": "boolean", "description": "X."}}, "required": ["x"]},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"z": {"type": "integer"}}}},
    },
    "required": ["city"],
}


def test_schemas_are_written_as_harmony_writes_them() -> None:
    tools = [ToolSpec(name="get_weather", description="Two\nlines.", parameters=SCHEMA), ToolSpec(name="now")]
    messages = [Message(role="user", content="?")]
    ours = prompt_of(LayoutRenderer(gpt_oss(), GptOss()), messages, tools)
    theirs = harmony_tokens(messages, tools, effort="medium", today=None, prompt=True)
    assert gpt_oss().decode(ours) == gpt_oss().decode(theirs)
    assert ours == theirs


def test_without_an_effort_there_is_no_system_prompt() -> None:
    text = text_with(GptOss(effort=None), [Message(role="user", content="?"), Message(role="assistant", content="!")])
    assert text == "<|start|>user<|message|>?<|end|><|start|>assistant<|channel|>final<|message|>!<|return|>"


class TestReading:
    renderer = LayoutRenderer(gpt_oss(), GptOss())

    def test_both_orders_of_channel_and_recipient(self) -> None:
        call = ToolCall(name="add", arguments='{"a":1}')
        for head in (
            " to=functions.add<|channel|>commentary <|constrain|>json",
            "<|channel|>commentary to=functions.add <|constrain|>json",
        ):
            parsed = self.renderer.parse_response(gpt_oss().encode(f'{head}<|message|>{{"a":1}}<|call|>'))
            assert parsed.message == assistant_message("", tool_calls=[call])
            assert parsed.ended
            assert parsed.problem is None

    @pytest.mark.parametrize(
        "text", ["no channel", "<|channel|>final", "<|channel|>odd<|message|>x", "<|channel|>commentary to=browser.open<|message|>{}<|call|>",
                 "<|channel|>final<|message|>x<|call|>", "<|channel|>final<|message|>x<|end|>y"]
    )  # fmt: skip
    def test_what_cannot_be_read_is_a_problem_and_stays_as_text(self, text: str) -> None:
        parsed = self.renderer.parse_response(gpt_oss().encode(text))
        assert parsed.problem is not None
        assert text_of(parsed.message)

    def test_a_result_must_name_its_tool(self) -> None:
        call = ToolCall(name="add", arguments="{}", id="1")
        asked = [Message(role="user", content="?"), Message(role="assistant", content="", tool_calls=(call,))]
        result = Message(role="tool", content="4")
        assert "does not name its tool" in str(self.renderer.generation_prompt([*asked, result]).failure())
        for named in (attrs.evolve(result, name="add"), attrs.evolve(result, tool_call_id="1")):
            text = gpt_oss().decode(prompt_of(self.renderer, [*asked, named]))
            assert "<|start|>functions.add to=assistant<|channel|>commentary<|message|>4<|end|>" in text
