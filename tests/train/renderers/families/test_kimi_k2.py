"""Kimi K2 against tinker-cookbook (Thinking) and the package `renderers` (Instruct), with a stand-in vocabulary."""

from collections.abc import Sequence

from hypothesis import given

from crucible.train.renderers import KimiK2, LayoutRenderer, TrainOnWhat
from crucible.train.types import Message, ToolCall, ToolSpec
from tests.train.renderers.families.drawn import Form, conversations, few, prompt_of, tool_lists
from tests.train.renderers.families.oracles import cookbook_example, cookbook_prompt, prime_tokens
from tests.train.renderers.families.tokenizers import kimi_stand_in

LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE
THINKING = LayoutRenderer(kimi_stand_in(), KimiK2())
INSTRUCT = LayoutRenderer(kimi_stand_in(), KimiK2(thinking=False))


def example(renderer: LayoutRenderer, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
    return list(renderer.supervised_example(messages, LAST, tools=tools).unwrap().tokens)


@few
@given(messages=conversations(Form(thinking=True, most_calls=2)))
def test_thinking_examples_and_weights_are_those_of_tinker_cookbook(messages: list[Message]) -> None:
    tokens, weights = cookbook_example("kimi_k2.KimiK2Renderer", kimi_stand_in(), messages)
    made = THINKING.supervised_example(messages, LAST).unwrap()
    assert kimi_stand_in().decode(made.tokens) == kimi_stand_in().decode(tokens)
    assert (list(made.tokens), list(made.weights)) == (tokens, weights)


@few
@given(messages=conversations(Form(thinking=True, most_calls=2)))
def test_thinking_prompts_are_those_of_tinker_cookbook(messages: list[Message]) -> None:
    theirs = cookbook_prompt("kimi_k2.KimiK2Renderer", kimi_stand_in(), messages[:-1])
    assert prompt_of(THINKING, messages[:-1]) == theirs


@few
@given(messages=conversations(Form(most_calls=2)), tools=tool_lists)
def test_instruct_is_that_of_renderers(messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
    settings = ("kimi_k2", "KimiK2Renderer", kimi_stand_in())
    named = [
        Message(role=m.role, content=m.content, tool_call_id=m.tool_call_id, name=m.name, tool_calls=_with_ids(m))
        for m in messages
    ]
    assert example(INSTRUCT, named, tools) == prime_tokens(*settings, named, tools, prompt=False)
    assert prompt_of(INSTRUCT, named[:-1], tools) == prime_tokens(*settings, named[:-1], tools, prompt=True)


def _with_ids(message: Message) -> tuple[ToolCall, ...]:
    """Give each call the id that Kimi gives it; `renderers` leaves a missing one empty."""
    return tuple(
        ToolCall(name=call.name, arguments=call.arguments, id=call.id or f"functions.{call.name}:{number}")
        for number, call in enumerate(message.tool_calls)
    )


def test_a_result_must_name_its_call() -> None:
    call = ToolCall(name="add", arguments="{}", id="functions.add:0")
    asked = [Message(role="user", content="?"), Message(role="assistant", content="", tool_calls=(call,))]
    problem = THINKING.generation_prompt([*asked, Message(role="tool", content="4")]).failure()
    assert str(problem) == "kimi_k2 needs the `tool_call_id` of the tool's result in message 2"
    prompt = prompt_of(THINKING, [*asked, Message(role="tool", content="4", tool_call_id=call.id)])
    assert "<|im_system|>add<|im_middle|>## Return of functions.add:0\n4<|im_end|>" in kimi_stand_in().decode(prompt)
