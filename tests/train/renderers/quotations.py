"""Conversations that quote a text, at every place where people write one."""

import json
from collections.abc import Sequence

import attrs
from hypothesis import strategies as st

from crucible.train.renderers import RenderedExample, Renderer, TrainOnWhat
from crucible.train.types import Message, TextPart, ThinkingPart, ToolCall, ToolSpec

ASKED, ANSWERED = Message(role="user", content="2+2?"), Message(role="assistant", content="4")
CALL = ToolCall(name="add", arguments='{"a": 1}', id="functions.add:0")
RESULT = Message(role="tool", content="4", tool_call_id=CALL.id, name="add")
PLAIN_PLACES = ("system", "user", "earlier answer", "answer", "parts of a message")
PLACES = (*PLAIN_PLACES, "thinking", "tool result", "call argument", "call key", "tool name", "tool description",
          "tool parameter")  # fmt: skip
around = st.text(st.sampled_from("ab <|>/_im\n\u00e9\U0001f98a"), max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=4
)


@attrs.frozen(kw_only=True)
class Quoting:
    """A conversation that ends with an answer, and the tools that it declares."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()

    def example(
        self, renderer: Renderer, train_on: TrainOnWhat = TrainOnWhat.LAST_ASSISTANT_MESSAGE
    ) -> RenderedExample:
        return renderer.supervised_example(self.messages, train_on, tools=self.tools).unwrap()

    def prompt(self, renderer: Renderer) -> tuple[int, ...]:
        return renderer.generation_prompt(self.messages[:-1], tools=self.tools).unwrap().tokens


def quoting(place: str, text: str) -> Quoting:
    """Make a conversation that holds a text at one place."""
    if place in PLAIN_PLACES or place == "thinking":
        return Quoting(messages=_plain(place, text))
    given = json.dumps({text: 1} if place == "call key" else {"a": text}, ensure_ascii=False)
    call = attrs.evolve(CALL, arguments=given) if place.startswith("call") else CALL
    result = attrs.evolve(RESULT, content=text) if place == "tool result" else RESULT
    tool = ToolSpec(
        name=text if place == "tool name" else "add",
        description=text if place == "tool description" else "Adds.",
        parameters={"type": "object", "properties": {"a": {"type": "string", "description": _if(place, text)}}},
    )
    calling = Message(role="assistant", content="", tool_calls=(call,))
    return Quoting(messages=(ASKED, calling, result, ANSWERED), tools=(tool,))


def _if(place: str, text: str) -> str:
    return text if place == "tool parameter" else "a"


def _plain(place: str, text: str) -> tuple[Message, ...]:
    if place == "system":
        return (Message(role="system", content=text), ASKED, ANSWERED)
    if place == "user":
        return (Message(role="user", content=text), ANSWERED)
    if place == "earlier answer":
        return (ASKED, Message(role="assistant", content=text), ASKED, ANSWERED)
    if place == "answer":
        return (ASKED, Message(role="assistant", content=text))
    if place == "parts of a message":
        half = len(text) // 2
        return (Message(role="user", content=(TextPart(text=text[:half]), TextPart(text=text[half:]))), ANSWERED)
    return (ASKED, Message(role="assistant", content=(ThinkingPart(text=text), TextPart(text="4"))))


def spelled(place: str, text: str) -> Sequence[str]:
    """Give the ways in which a text may stand at a place: as it is, or as JSON has it."""
    return (text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]) if place else (text,)
