"""Well-formed conversations as hypothesis draws them, and answers alone."""

import json
from collections.abc import Sequence

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from crucible.train.renderers import Renderer
from crucible.train.types import Message, ToolCall, ToolSpec, assistant_message

few = settings(max_examples=20)
"""A drawn conversation holds many cases, and 20 of the families' tests run for each."""

# No blanks at the ends, where some templates strip them, and no marks; blanks, scripts and JSON inside.
_words = st.sampled_from(
    ("Hi", "2+2=4.", "ünï", "日本語 🦊", "a\n\nb", "x  y", '{"k": [1]}', "don't", "\tq", "1234567", "?!")
)
_letters = st.text("abZ 07.,:;!?-_/'\"\\\n\t{}[]()#*\u00e9\u0301\u65e5\U0001f98a\u200d\ufeff", max_size=8)
texts = st.lists(_words | _letters, min_size=1, max_size=3).map(" ".join).map(str.strip).filter(bool)
names = st.sampled_from(("get_weather", "add", "search-2"))
values = st.integers(-9, 9) | st.booleans() | st.none() | texts | st.lists(st.integers(0, 3), max_size=2)
arguments = st.dictionaries(st.sampled_from(("a", "city", "ünï")), values, max_size=2)
calls = st.builds(
    lambda name, given: ToolCall(name=name, arguments=json.dumps(given, ensure_ascii=False)), names, arguments
)
TOOLS = (
    ToolSpec(
        name="get_weather",
        description="Gets the weather of a city.",
        parameters={
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Wo? 日本"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    ),
    ToolSpec(name="add", description="Adds.", parameters={"type": "object", "properties": {}}),
)
tool_lists = st.sampled_from(((), TOOLS[:1], TOOLS))


@attrs.frozen(kw_only=True)
class Form:
    """What a family has a form for."""

    thinking: bool = False
    most_calls: int = 0
    text_beside_calls: bool = True


def answers(form: Form) -> st.SearchStrategy[Message]:
    """Draw an assistant's message without tool calls."""
    thinking = texts | st.just("") if form.thinking else st.just("")
    return st.builds(lambda text, thought: assistant_message(text, thinking=thought), texts, thinking)


def messages_with_calls(form: Form) -> st.SearchStrategy[Message]:
    """Draw an assistant's message with tool calls."""
    said = texts | st.just("") if form.text_beside_calls else st.just("")
    thinking = texts | st.just("") if form.thinking else st.just("")
    called = st.lists(calls, min_size=1, max_size=form.most_calls)
    return st.builds(
        lambda text, thought, made: assistant_message(text, thinking=thought, tool_calls=made), said, thinking, called
    )


@st.composite
def conversations(draw: st.DrawFn, form: Form) -> list[Message]:
    """Draw a conversation that ends with an assistant's message: questions, tool calls with their results, answers."""
    drawn = [Message(role="system", content=draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        drawn.append(Message(role="user", content=draw(texts)))
        for _ in range(draw(st.integers(0, 2)) if form.most_calls else 0):
            drawn += draw(_round(form, len(drawn)))
        drawn.append(draw(answers(form)))
    if form.most_calls and draw(st.booleans()):
        drawn[-1] = draw(messages_with_calls(form))
    return drawn


@st.composite
def _round(draw: st.DrawFn, form: Form, number: int) -> list[Message]:
    """Draw a message with calls, numbered as Kimi numbers them, and the result of each."""
    message = draw(messages_with_calls(form))
    made = [attrs.evolve(call, id=f"functions.{call.name}:{number + i}") for i, call in enumerate(message.tool_calls)]
    results = [Message(role="tool", content=draw(texts), tool_call_id=call.id, name=call.name) for call in made]
    return [attrs.evolve(message, tool_calls=tuple(made)), *results]


def prompt_of(renderer: Renderer, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
    """Give the tokens of a generation prompt."""
    return list(renderer.generation_prompt(messages, tools=tools).unwrap().tokens)


def without_thinking(messages: Sequence[Message]) -> list[Message]:
    """Give a conversation without thinking."""
    from crucible.train.types import text_of

    return [attrs.evolve(message, content=text_of(message)) for message in messages]
