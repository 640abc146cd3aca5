"""Qwen3 against its chat templates and the package `renderers`, with Qwen's own vocabulary."""

import struct
import zlib
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.renderers import LayoutRenderer, Qwen3, TrainOnWhat
from crucible.train.types import ImageChunk, ImagePart, Message, Part, TextPart, ToolSpec, text_of
from tests.train.renderers.families.drawn import Form, conversations, few, prompt_of, tool_lists
from tests.train.renderers.families.oracles import encoded, prime_tokens, template_text
from tests.train.renderers.families.tokenizers import qwen3

THINKS, TALKS = Form(thinking=True, most_calls=2), Form(most_calls=2)
LAST = TrainOnWhat.LAST_ASSISTANT_MESSAGE


def png(width: int, height: int) -> bytes:
    """Write a black picture as PNG."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\0" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def example_tokens(layout: Qwen3, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[int]:
    return list(LayoutRenderer(qwen3(), layout).supervised_example(messages, LAST, tools=tools).unwrap().tokens)


class TestChosenThinking:
    renderer = LayoutRenderer(qwen3(), Qwen3())

    @few
    @given(messages=conversations(THINKS), tools=tool_lists)
    def test_an_example_is_what_the_template_writes(self, messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
        theirs = template_text("qwen3", messages, tools)
        assert example_tokens(Qwen3(), messages, tools) == encoded(qwen3(), theirs)

    @few
    @given(messages=conversations(THINKS), tools=tool_lists)
    def test_a_prompt_is_what_the_template_writes(self, messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
        theirs = template_text("qwen3", messages[:-1], tools, prompt=True)
        assert prompt_of(self.renderer, messages[:-1], tools) == encoded(qwen3(), theirs)

    @few
    @given(messages=conversations(THINKS), tools=tool_lists)
    def test_renderers_agrees(self, messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
        theirs = prime_tokens("qwen3", "Qwen3Renderer", qwen3(), messages, tools, prompt=False)
        assert example_tokens(Qwen3(), messages, tools) == theirs

    def test_thinking_in_the_text_is_thinking(self) -> None:
        inline = Message(role="assistant", content="<think>\nHm.\n</think>\n\nYes.")
        messages = [Message(role="user", content="?"), inline]
        theirs = template_text("qwen3", messages)
        assert example_tokens(Qwen3(), messages, ()) == encoded(qwen3(), theirs)

    def test_a_result_that_a_user_wraps_is_no_question(self) -> None:
        wrapped = Message(role="user", content="<tool_response>\n4\n</tool_response>")
        answer = Message(role="assistant", content="<think>\nHm.\n</think>\n\nYes.")
        messages = [Message(role="user", content="?"), answer, wrapped, answer]
        tokens = example_tokens(Qwen3(), messages, ())
        assert qwen3().decode(tokens) == template_text("qwen3", messages)
        assert qwen3().control_tokens["<tool_response>"] not in tokens  # a user's text all the same


class TestThinkingOff:
    renderer = LayoutRenderer(qwen3(), Qwen3(thinking="off"))

    @few
    @given(messages=conversations(TALKS), tools=tool_lists)
    def test_prompts_and_examples_are_what_the_template_writes(
        self, messages: list[Message], tools: tuple[ToolSpec, ...]
    ) -> None:
        prompt = template_text("qwen3", messages[:-1], tools, prompt=True, enable_thinking=False)
        assert prompt_of(self.renderer, messages[:-1], tools) == encoded(qwen3(), prompt)
        theirs = template_text("qwen3", messages, tools, enable_thinking=False)
        assert qwen3().decode(example_tokens(self.renderer.layout, messages, tools)) == theirs  # type: ignore[arg-type]  # a Qwen3
        if text_of(messages[-1]):
            assert example_tokens(Qwen3(thinking="off"), messages, tools) == encoded(qwen3(), theirs)

    def test_the_empty_thought_is_not_trained_on(self) -> None:
        messages = [Message(role="user", content="?"), Message(role="assistant", content="Yes.")]
        example = self.renderer.supervised_example(messages, LAST).unwrap()
        trained = [t for t, w in zip(example.tokens, example.weights, strict=True) if w]
        assert qwen3().decode(trained) == "Yes.<|im_end|>"


class TestInstruct:
    @few
    @given(messages=conversations(TALKS), tools=tool_lists)
    def test_prompts_and_examples_are_what_the_template_writes(
        self, messages: list[Message], tools: tuple[ToolSpec, ...]
    ) -> None:
        layout = Qwen3(thinking="never")
        prompt = template_text("qwen3_instruct_2507", messages[:-1], tools, prompt=True)
        assert prompt_of(LayoutRenderer(qwen3(), layout), messages[:-1], tools) == encoded(qwen3(), prompt)
        theirs = template_text("qwen3_instruct_2507", messages, tools)
        assert example_tokens(layout, messages, tools) == encoded(qwen3(), theirs)


class TestAlwaysThinking:
    """No package carries the Thinking-2507 templates: they are Qwen3's, with the thought opened in the prompt."""

    @few
    @given(messages=conversations(THINKS), tools=tool_lists)
    def test_texts_are_those_of_qwen3_with_the_thought_opened(
        self, messages: list[Message], tools: tuple[ToolSpec, ...]
    ) -> None:
        layout = Qwen3(thinking="always")
        prompt = template_text("qwen3", messages[:-1], tools, prompt=True) + "<think>\n"
        assert prompt_of(LayoutRenderer(qwen3(), layout), messages[:-1], tools) == encoded(qwen3(), prompt)
        theirs = template_text("qwen3", messages, tools)
        assert qwen3().decode(example_tokens(layout, messages, tools)) == theirs


class TestVision:
    renderer = LayoutRenderer(qwen3(), Qwen3(thinking="never", images=True))

    @few
    @given(messages=conversations(TALKS), tools=tool_lists)
    def test_text_is_what_the_template_writes(self, messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
        prompt = template_text("qwen3_vl", messages[:-1], tools, prompt=True)
        assert prompt_of(self.renderer, messages[:-1], tools) == encoded(qwen3(), prompt)
        theirs = template_text("qwen3_vl", messages, tools)
        assert example_tokens(Qwen3(thinking="never", images=True), messages, tools) == encoded(qwen3(), theirs)

    @few
    @given(size=st.tuples(st.integers(3, 600), st.integers(3, 600)), before=st.sampled_from(("", "Look: ")))
    def test_an_image_stands_where_the_template_has_its_mark(self, size: tuple[int, int], before: str) -> None:
        image = ImagePart(data=png(*size), format="png")
        parts: list[Part] = [TextPart(text=before), image, TextPart(text="What is it?")]
        messages = [Message(role="user", content=parts), Message(role="assistant", content="Black.")]
        theirs = encoded(qwen3(), template_text("qwen3_vl", messages))
        example = self.renderer.supervised_example(messages, TrainOnWhat.ALL_TOKENS).unwrap()
        (placed,) = example.images
        count = len(placed.chunk)
        at = theirs.index(qwen3().convert_tokens_to_ids("<|image_pad|>"))
        assert placed.start == at
        assert list(example.tokens) == [*theirs[:at], *(0,) * count, *theirs[at + 1 :]]
        assert set(example.weights[at : at + count]) == {0.0}
        assert all(example.weights[:at] + example.weights[at + count :])
        kinds = [type(chunk) is ImageChunk for chunk in example.model_input.chunks]
        assert kinds == [False, True, False]
        assert example.model_input.tokens == example.tokens

    def test_an_image_that_cannot_be_read_is_refused(self) -> None:
        messages = [Message(role="user", content=(ImagePart(data=b"no image", format="png"),))]
        problem = str(self.renderer.generation_prompt(messages).failure())
        assert problem == "message 0 has an image whose size cannot be read: no png, or far too long"

    def test_a_cut_keeps_images_whole(self) -> None:
        image = ImagePart(data=png(64, 64), format="png")
        messages = [Message(role="user", content=(image, TextPart(text="?"))), Message(role="assistant", content="!")]
        example = self.renderer.supervised_example(messages, LAST).unwrap()
        (placed,) = example.images
        for length in range(len(example.tokens) + 1):
            cut = example.first(length)
            assert cut.tokens == example.tokens[: len(cut.tokens)]
            assert len(cut.model_input) == len(cut.tokens) == len(cut.weights)
            assert len(cut.tokens) == length or placed.start == len(cut.tokens)


@pytest.mark.parametrize("layout", [Qwen3(thinking="off"), Qwen3(thinking="never")])
def test_thinking_is_not_lost_silently(layout: Qwen3) -> None:
    thought = attrs.evolve(Message(role="assistant", content=""), content=(TextPart(text="a"),))
    from crucible.train.types import assistant_message

    for answer, refused in ((thought, False), (assistant_message("4", thinking="2+2"), True)):
        result = LayoutRenderer(qwen3(), layout).supervised_example([Message(role="user", content="?"), answer], LAST)
        assert (result.value_or(None) is None) is refused
