"""DeepSeek-V3.1 against tinker-cookbook's renderers, and against texts written by hand, with DeepSeek's own tokenizer."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given

from crucible.train.renderers import DeepSeekV3, LayoutRenderer, TrainOnWhat
from crucible.train.types import Message, ToolCall, ToolSpec, assistant_message, text_of
from tests.train.renderers.families.drawn import Form, conversations, few, prompt_of, tool_lists, without_thinking
from tests.train.renderers.families.oracles import cookbook_example, cookbook_prompt
from tests.train.renderers.families.tokenizers import deepseek

LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
CALL_END, MORE = "<｜tool▁call▁end｜>", "{additional_tool_calls}"  # noqa: RUF001  # DeepSeek's mark
OFF, ON = "deepseek_v3.DeepSeekV3DisableThinkingRenderer", "deepseek_v3.DeepSeekV3ThinkingRenderer"


def example(layout: DeepSeekV3, messages: Sequence[Message]) -> tuple[list[int], list[float]]:
    made = LayoutRenderer(deepseek(), layout).supervised_example(messages, LAST).unwrap()
    return list(made.tokens), list(made.weights)


@few
@given(messages=conversations(Form(most_calls=2)), tools=tool_lists)
def test_without_thinking_prompts_are_those_of_tinker_cookbook(
    messages: list[Message], tools: tuple[ToolSpec, ...]
) -> None:
    assume(all(text_of(message) for message in messages))  # it does not end a turn that is calls alone
    ours = prompt_of(LayoutRenderer(deepseek(), DeepSeekV3()), messages[:-1], tools[:1])
    theirs = cookbook_prompt(OFF, deepseek(), messages[:-1], tools[:1])
    if tools:  # tinker-cookbook leaves out a word of the model card
        text = deepseek().decode(theirs)
        theirs = list(deepseek().encode(text.replace("arguments" + CALL_END, "arguments" + CALL_END + MORE, 1)))
    assert ours == theirs


@few
@given(messages=conversations(Form()))
def test_without_thinking_examples_are_those_of_tinker_cookbook(messages: list[Message]) -> None:
    assert example(DeepSeekV3(), messages)[0] == cookbook_example(OFF, deepseek(), messages)[0]


@few
@given(messages=conversations(Form(thinking=True)))
def test_with_thinking_examples_are_those_of_tinker_cookbook(messages: list[Message]) -> None:
    if not isinstance(messages[-1].content, str):  # without a thought, ours closes the one that the prompt opens
        assert example(DeepSeekV3(thinking=True), messages)[0] == cookbook_example(ON, deepseek(), messages)[0]


@few
@given(messages=conversations(Form(thinking=True, most_calls=2)))
def test_a_prompt_with_thinking_has_no_thought_of_history(messages: list[Message]) -> None:
    on = LayoutRenderer(deepseek(), DeepSeekV3(thinking=True))
    off = LayoutRenderer(deepseek(), DeepSeekV3())
    ours, plain = prompt_of(on, messages[:-1]), prompt_of(off, without_thinking(messages[:-1]))
    opened = messages[-2].role != "tool"
    assert ours == [*plain[: len(plain) - opened], *(deepseek().encode("<think>") if opened else ())]


SUM = (ToolCall(name="add", arguments='{"a": 1}'), ToolCall(name="add", arguments="{}"))
EXPECTED = (
    "<｜begin▁of▁sentence｜>Be brief.<｜User｜>2+2?<｜Assistant｜></think>Let me see."  # noqa: RUF001  # DeepSeek's marks
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>'  # noqa: RUF001  # the same
    "<｜tool▁call▁begin｜>add<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>"  # noqa: RUF001  # the same
    "<｜tool▁output▁begin｜>1<｜tool▁output▁end｜><｜tool▁output▁begin｜>0<｜tool▁output▁end｜>"  # noqa: RUF001  # the same
    "1.<｜end▁of▁sentence｜><｜User｜>Sure?<｜Assistant｜>"  # noqa: RUF001  # the same
)


@pytest.mark.parametrize(
    ("layout", "end"), [(DeepSeekV3(), "</think>Yes."), (DeepSeekV3(thinking=True), "<think>Hm.</think>Yes.")]
)
def test_the_text_is_that_of_the_models_template(layout: DeepSeekV3, end: str) -> None:
    """Written by hand after chat_template.jinja of deepseek-ai/DeepSeek-V3.1; no package carries that file."""
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="2+2?"),
        assistant_message("Let me see.", tool_calls=SUM),
        Message(role="tool", content="1"),
        Message(role="tool", content="0"),
        Message(role="assistant", content="1."),
        Message(role="user", content="Sure?"),
        assistant_message("Yes.", thinking="Hm." if layout.thinking else ""),
    ]
    tokens, weights = example(layout, messages)
    assert deepseek().decode(tokens) == EXPECTED + end + "<｜end▁of▁sentence｜>"  # noqa: RUF001  # DeepSeek's marks
    trained = deepseek().decode([t for t, w in zip(tokens, weights, strict=True) if w])
    said = end.removeprefix("</think>").removeprefix("<think>")
    assert trained == said + "<｜end▁of▁sentence｜>"  # noqa: RUF001  # DeepSeek's marks
    assert text_of(messages[-1]) in trained
