"""A conversation that a family has no form for is an error that says why, before anything is written."""

import pytest

from crucible.train.renderers import (
    DeepSeekV3,
    GptOss,
    KimiK2,
    Layout,
    LayoutRenderer,
    Llama3,
    Qwen3,
    RoleColon,
    TrainOnWhat,
    renderer_named,
)
from crucible.train.types import ByteTokenizer, ImagePart, Message, TextPart, ToolCall, assistant_message
from tests.train.renderers.families.drawn import TOOLS

ASKED = Message(role="user", content="?")
SYSTEM = Message(role="system", content="Be brief.")
IMAGE = Message(role="user", content=(ImagePart(data=b"", format="png"),))
RESULT = Message(role="tool", content="4", tool_call_id="1")
THOUGHT = assistant_message("4", thinking="2+2")
ALL = (RoleColon(), Llama3(), Llama3(preamble=True), Qwen3(), DeepSeekV3(), KimiK2(), GptOss())


def calling(name: str = "add", arguments: str = "{}") -> Message:
    return assistant_message("", tool_calls=[ToolCall(name=name, arguments=arguments, id="1")])


@pytest.mark.parametrize(
    ("layout", "messages", "said"),
    [
        *((layout, [IMAGE], "no form for images in user messages, and message 0 has one") for layout in ALL),
        (Qwen3(images=True), [assistant_message(""), Message(role="system", content="")], "message 1 is another"),
        (Qwen3(images=True), [Message(role="system", content=IMAGE.content)], "no form for images in system messages"),
        *((layout, [ASKED, THOUGHT], "no form for thinking, and message 1 has some") for layout in ALL[:3]),
        (DeepSeekV3(), [ASKED, THOUGHT], "deepseekv3 without thinking has no form for thinking"),
        (KimiK2(thinking=False), [ASKED, THOUGHT], "kimi_k2_instruct has no form for thinking"),
        (Qwen3(thinking="off"), [ASKED, Message(role="assistant", content="a</think>b")], "has thinking in it"),
        *((layout, [ASKED, calling()], "message 1 has one") for layout in ALL[:2]),
        *((layout, [ASKED, calling("a b")], "a tool named 'a b'") for layout in ALL[2:]),
        *(
            (layout, [ASKED, calling("add", "[]")], "calls add with arguments that are no JSON object")
            for layout in ALL[2:]
        ),
        (DeepSeekV3(), [ASKED, RESULT], "message 1 is a tool's result, but does not follow"),
        *((layout, [ASKED, SYSTEM], "message 1 is another") for layout in (RoleColon(), DeepSeekV3(), GptOss())),
        (Qwen3(), [Message(role="user", content=THOUGHT.content)], "which only an assistant has"),
        (GptOss(), [ASKED, assistant_message("", tool_calls=calling().tool_calls * 2)], "message 1 calls more"),
    ],
)
def test_the_reason_is_said(layout: Layout, messages: list[Message], said: str) -> None:
    renderer = LayoutRenderer(ByteTokenizer(), layout)
    for result in (renderer.generation_prompt(messages), renderer.supervised_example(messages, TrainOnWhat.ALL_TOKENS)):
        assert said in str(result.failure())


@pytest.mark.parametrize("layout", ALL[:2])
def test_tools_are_refused_where_there_is_no_form(layout: Layout) -> None:
    result = LayoutRenderer(ByteTokenizer(), layout).generation_prompt([ASKED], tools=TOOLS)
    assert "no form for tools" in str(result.failure())


def test_customized_needs_a_choice_for_each_message() -> None:
    result = LayoutRenderer(ByteTokenizer(), Qwen3()).supervised_example([ASKED], TrainOnWhat.CUSTOMIZED)
    assert str(result.failure()) == "training on `customized` needs `trainable` on message 0"


def test_the_generic_renderer_writes_text_alone() -> None:
    generic = renderer_named("chat_template", ByteTokenizer()).unwrap()
    assert generic.stop_tokens == (ByteTokenizer().eos_token,)
    assert generic.extends
    assert not generic.stop_strings
    assert generic.generation_prompt([Message(role="user", content=(TextPart(text="?"),))]).value_or(None) is not None
    for refused in ([IMAGE], [THOUGHT]):
        assert "writes text alone" in str(generic.generation_prompt(refused).failure())
    assert "writes text alone" in str(generic.generation_prompt([ASKED], tools=TOOLS).failure())
    parsed = generic.parse_response([104, 105, 999])
    assert (parsed.message.content, parsed.ended, parsed.problem) == (
        "hi",
        False,
        "the answer holds a number that is no token",
    )


def test_thinking_in_the_text_of_history_is_dropped_as_thinking_is() -> None:
    inline = Message(role="assistant", content="<think>2+2</think>4")
    layout = DeepSeekV3(thinking=True)
    written = ["".join(span.text for span in layout.prompt([ASKED, one, ASKED], ())) for one in (inline, THOUGHT)]
    assert written[0] == written[1]
