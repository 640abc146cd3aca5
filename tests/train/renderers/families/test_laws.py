"""What holds for every renderer, on conversations that hypothesis draws."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import decode, encode
from crucible.train.renderers import (
    RENDERER_NAMES,
    DeepSeekV3,
    KimiK2,
    Layout,
    LayoutRenderer,
    Qwen3,
    RenderedExample,
    Renderer,
    TrainOnWhat,
    renderer_named,
)
from crucible.train.types import ByteTokenizer, Message, Tokenizer, ToolSpec, assistant_message, text_of, thinking_of
from tests.train.renderers.families.drawn import (
    TOOLS,
    Form,
    answers,
    conversations,
    few,
    messages_with_calls,
    prompt_of,
)
from tests.train.renderers.families.tokenizers import deepseek, gpt_oss, kimi_stand_in, llama3, qwen3

KEEPING: dict[str, Layout] = {
    "qwen3 keeping": Qwen3(keep_thinking=True),
    "qwen3_thinking keeping": Qwen3(thinking="always", keep_thinking=True),
    "qwen3_disable_thinking keeping": Qwen3(thinking="off", keep_thinking=True),
    "deepseekv3 keeping": DeepSeekV3(thinking=True, keep_thinking=True),
    "kimi_k2 keeping": KimiK2(keep_thinking=True),
}
LIKE_ANOTHER = {"chat_template", "gpt_oss_low_reasoning", "gpt_oss_high_reasoning"}
NAMES = (*(name for name in RENDERER_NAMES if name not in LIKE_ANOTHER), *KEEPING)
EXTENDING = {"role_colon", "llama3", "llama3_1", "qwen3_instruct", "qwen3_vl_instruct", "deepseekv3_disable_thinking"}
EXTENDING |= {"kimi_k2_instruct", *KEEPING}
each = pytest.mark.parametrize("name", NAMES)
bytes_or_tokens = st.lists(st.integers(-3, 300_000), max_size=30)


@lru_cache(maxsize=32)
def renderer(name: str) -> Renderer:
    tokenizer = tokenizer_for(name)
    layout = KEEPING.get(name)
    return LayoutRenderer(tokenizer, layout) if layout else renderer_named(name, tokenizer).unwrap()


def tokenizer_for(name: str) -> Tokenizer:
    made: dict[str, Callable[[], Tokenizer]] = {
        "role_colon": llama3,
        "llama3": llama3,
        "deepseekv3": deepseek,
        "kimi_k2": kimi_stand_in,
        "gpt_oss": gpt_oss,
    }
    return next((make() for family, make in made.items() if name.startswith(family)), qwen3())


def form(name: str) -> Form:
    bare = name.removesuffix(" keeping")
    if bare in {"role_colon", "llama3"}:
        return Form()
    if bare == "llama3_1":
        return Form(most_calls=1, text_beside_calls=False)
    thinks = bare in {"qwen3", "qwen3_thinking", "qwen3_vl", "deepseekv3", "kimi_k2"} or bare.startswith("gpt_oss")
    return Form(thinking=thinks, most_calls=1 if bare.startswith("gpt_oss") else 2)


def trained(made: RenderedExample) -> list[int]:
    return [token for token, weight in zip(made.tokens, made.weights, strict=True) if weight]


def as_read(message: Message, name: str) -> Message:
    """Give a message as it comes back: ids that are not written are lost, and Kimi gives one to every call."""
    kimi = name.startswith("kimi_k2")
    calls = tuple(
        attrs.evolve(call, id=(call.id or f"functions.{call.name}:{number}") if kimi else None)
        for number, call in enumerate(message.tool_calls)
    )
    return attrs.evolve(message, tool_calls=calls)


def example(name: str, messages: Sequence[Message], train_on: TrainOnWhat) -> RenderedExample:
    if train_on is TrainOnWhat.CUSTOMIZED:
        messages = [attrs.evolve(one, trainable=index % 2 == 0) for index, one in enumerate(messages)]
    return renderer(name).supervised_example(messages, train_on).unwrap()


@each
@few
@given(data=st.data())
def test_render_then_parse_gives_the_answer_back(name: str, data: st.DataObject) -> None:
    messages = data.draw(conversations(form(name)))
    parsed = renderer(name).parse_response(trained(example(name, messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE)))
    assert parsed.message == as_read(messages[-1], name)
    assert parsed.problem is None
    assert parsed.ended


@each
@few
@given(data=st.data())
def test_an_example_is_its_prompt_and_then_the_answer(name: str, data: st.DataObject) -> None:
    messages = data.draw(conversations(form(name)))
    tools = TOOLS if form(name).most_calls else ()
    made = renderer(name).supervised_example(messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE, tools=tools).unwrap()
    prompt = prompt_of(renderer(name), messages[:-1], tools)
    first = next(index for index, weight in enumerate(made.weights) if weight)
    assert list(made.tokens[: len(prompt)]) == prompt
    assert first == len(prompt)


@each
@few
@given(data=st.data(), train_on=st.sampled_from(TrainOnWhat))
def test_weights_cover_exactly_the_chosen_spans(name: str, data: st.DataObject, train_on: TrainOnWhat) -> None:
    """Number the contents: a number is trained on exactly when its message is chosen."""
    messages = [
        attrs.evolve(one, content=f"<{index}> {text_of(one)}") if not thinking_of(one) and not one.tool_calls else one
        for index, one in enumerate(data.draw(conversations(form(name))))
    ]
    made = example(name, messages, train_on)
    assert len(made.tokens) == len(made.weights)
    assert set(made.weights) <= {0.0, 1.0}
    if train_on is TrainOnWhat.ALL_TOKENS:
        assert all(made.weights)
        return
    text = tokenizer_for(name).decode(trained(made))
    for index, message in enumerate(messages):
        if not thinking_of(message) and not message.tool_calls:
            assert (f"<{index}>" in text) is is_chosen(index, messages, train_on)
    everything = example(name, messages, TrainOnWhat.ALL_TOKENS)
    assert tokenizer_for(name).decode(made.tokens) == tokenizer_for(name).decode(everything.tokens)


def is_chosen(index: int, messages: Sequence[Message], train_on: TrainOnWhat) -> bool:
    """Say once more, in other words than the code's, what is trained on."""
    if train_on is TrainOnWhat.CUSTOMIZED:
        return index % 2 == 0
    if train_on is TrainOnWhat.LAST_ASSISTANT_MESSAGE:
        return index == len(messages) - 1
    roles = {
        TrainOnWhat.ALL_ASSISTANT_MESSAGES: {"assistant"},
        TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES: {"user", "system"},
        TrainOnWhat.ALL_MESSAGES: {"user", "system", "assistant", "tool"},
    }
    return messages[index].role in roles[train_on]


@each
@few
@given(data=st.data())
def test_a_conversation_extends_its_beginning_where_the_renderer_says_so(name: str, data: st.DataObject) -> None:
    assert renderer(name).extends is (name in EXTENDING)
    if not renderer(name).extends:
        return
    messages = data.draw(conversations(form(name)))
    whole = example(name, messages, TrainOnWhat.LAST_ASSISTANT_MESSAGE).tokens
    for index, message in enumerate(messages):
        if message.role == "assistant":
            prompt = prompt_of(renderer(name), messages[:index])
            made = example(name, messages[: index + 1], TrainOnWhat.LAST_ASSISTANT_MESSAGE)
            answer = [*prompt, *trained(made)]
            kept = len(answer) - (name == "role_colon")  # the `User:` that ends an answer is that of the next question
            assert list(whole[: len(prompt)]) == prompt
            assert list(whole[:kept]) == answer[:kept]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in EXTENDING])
def test_a_renderer_that_does_not_extend_has_its_reason(name: str) -> None:
    first = assistant_message("4", thinking="2+2" if form(name).thinking else "")
    asked = [Message(role="user", content="2+2?"), first]
    longer = [*asked, Message(role="user", content="Sure?"), assistant_message("Yes.")]
    short = example(name, asked, TrainOnWhat.LAST_ASSISTANT_MESSAGE).tokens
    long = example(name, longer, TrainOnWhat.LAST_ASSISTANT_MESSAGE).tokens
    assert long[: len(short)] != short


@each
@few
@given(tokens=bytes_or_tokens)
def test_any_tokens_can_be_read(name: str, tokens: list[int]) -> None:
    parsed = renderer(name).parse_response(tokens)
    assert parsed.message.role == "assistant"
    if any(not 0 <= token < tokenizer_for(name).vocab_size for token in tokens):
        assert parsed.problem is not None


@each
@few
@given(data=st.data())
def test_a_broken_answer_can_be_read_too(name: str, data: st.DataObject) -> None:
    shape = form(name)
    drawn = answers(shape) | messages_with_calls(shape) if shape.most_calls else answers(shape)
    asked = [Message(role="user", content="?")]
    whole = trained(example(name, [*asked, data.draw(drawn)], TrainOnWhat.LAST_ASSISTANT_MESSAGE))
    cut = data.draw(st.integers(0, len(whole) - 1))
    again = data.draw(st.permutations(whole))
    for tokens in (whole[:cut], whole[cut:], again, [*whole[:cut], *whole[cut:][::-1]]):
        assert renderer(name).parse_response(tokens).message.role == "assistant"
    assert not renderer(name).parse_response(whole[: min(cut, len(whole) - 2)]).ended or name == "role_colon"


@each
def test_stops_are_given_for_the_sampler(name: str) -> None:
    stops = renderer(name)
    assert stops.stop_tokens or stops.stop_strings
    assert all(0 <= token < tokenizer_for(name).vocab_size for token in stops.stop_tokens)


@each
def test_an_empty_conversation_is_an_error(name: str) -> None:
    assert "at least one message" in str(renderer(name).generation_prompt([]).failure())


@each
def test_half_a_surrogate_pair_is_an_error(name: str) -> None:
    problem = renderer(name).generation_prompt([Message(role="user", content="\ud83e")]).failure()
    assert "half a surrogate pair" in str(problem)


@few
@given(messages=conversations(Form(thinking=True, most_calls=2)), tools=st.sampled_from(((), TOOLS)))
def test_conversations_can_be_recorded(messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
    assert decode(encode((messages, tools))) == (messages, tools)


def test_a_renderer_can_be_recorded() -> None:
    made = renderer_named("qwen3_instruct", ByteTokenizer()).unwrap()
    assert decode(encode(made)) == made
