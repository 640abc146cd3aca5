"""What is said of answers that are not well formed: nothing is lost, nothing is guessed, nothing raises."""

import pytest

from crucible.train.renderers import DeepSeekV3, KimiK2, Layout, Qwen3
from crucible.train.types import Message, ToolCall, assistant_message, text_of, thinking_of

BAR, BLANK = "\uff5c", "\u2581"


def deepseek(text: str) -> str:
    """Write DeepSeek's marks: `[tool calls begin]` for the special token of that name."""
    marks = ("tool calls begin", "tool calls end", "tool call begin", "tool call end", "tool sep")
    for mark in marks:
        text = text.replace(f"[{mark}]", f"<{BAR}{mark.replace(' ', BLANK)}{BAR}>")
    return text


def kimi(text: str) -> str:
    """Write Kimi's marks in the same way."""
    for mark in ("tool_calls_section_begin", "tool_calls_section_end", "tool_call_begin", "tool_call_end"):
        text = text.replace(f"[{mark}]", f"<|{mark}|>")
    return text.replace("[sep]", "<|tool_call_argument_begin|>")


QWEN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a":1}}\n</tool_call>'
ADD = ToolCall(name="add", arguments='{"a":1}')
BROKEN: list[tuple[Layout, str]] = [
    (Qwen3(), "<think>\nno end"),
    (Qwen3(thinking="always"), "no end"),
    (Qwen3(), "<tool_call>\nno end"),
    (Qwen3(), '<tool_call>\n{"name": "add"}\n</tool_call>'),
    (Qwen3(), '<tool_call>\n{"name": 1, "arguments": {}}\n</tool_call>'),
    (Qwen3(), '<tool_call>\n{"name": "add", "arguments": "{}"}\n</tool_call>'),
    (Qwen3(), "<tool_call>\n[]\n</tool_call>"),
    (Qwen3(), f"{QWEN_CALL}\n<tool_call>\n{{\n</tool_call> and more"),
    (Qwen3(), "<tool_call>" + "[" * 100_000 + "</tool_call>"),
    (DeepSeekV3(), deepseek("x[tool calls begin][tool call begin]add[tool sep]{}[tool call end]")),
    (DeepSeekV3(), deepseek("x[tool calls begin][tool calls end]")),
    (DeepSeekV3(), deepseek("[tool calls begin][tool call begin]add[tool sep][][tool call end][tool calls end]")),
    (DeepSeekV3(), deepseek("[tool calls begin][tool call begin]add{}[tool call end][tool calls end]")),
    (DeepSeekV3(), deepseek("[tool calls begin]and[tool call begin]add[tool sep]{}[tool call end][tool calls end]")),
    (DeepSeekV3(thinking=True), "<think>no end"),
    (
        KimiK2(),
        kimi("<think></think>x[tool_calls_section_begin][tool_call_begin]functions.add:0[sep]{}[tool_call_end]"),
    ),
    (KimiK2(), kimi("[tool_calls_section_begin][tool_call_begin]add[sep]{}[tool_call_end][tool_calls_section_end]")),
    (KimiK2(thinking=False), kimi("[tool_calls_section_begin][tool_calls_section_end]")),
    (KimiK2(), "<think>no end"),
]


@pytest.mark.parametrize(("layout", "text"), BROKEN)
def test_what_cannot_be_read_is_a_problem_and_nothing_of_it_is_lost(layout: Layout, text: str) -> None:
    parsed = layout.read(text, None)
    assert parsed.problem is not None
    assert not parsed.ended
    kept = (
        thinking_of(parsed.message) + text_of(parsed.message) + "".join(c.arguments for c in parsed.message.tool_calls)
    )
    lost = "".join(kept.split())
    for mark in ("<think>", "</think>", QWEN_CALL):
        text = text.replace(mark, "{'a':1}" if mark == QWEN_CALL else "")
    assert len(lost) >= len("".join(text.split()))


def test_what_can_be_read_beside_it_is() -> None:
    parsed = Qwen3().read(f"Well.\n{QWEN_CALL}\n<tool_call>\nno JSON\n</tool_call>", "<|im_end|>")
    assert parsed.message == assistant_message("Well.\n<tool_call>\nno JSON\n</tool_call>", tool_calls=[ADD])
    assert parsed.problem is not None
    assert "no JSON" in parsed.problem


def test_an_argument_may_hold_the_mark_that_ends_a_call() -> None:
    text = '<tool_call>\n{"name": "write", "arguments": {"text": "</tool_call>"}}\n</tool_call>'
    parsed = Qwen3().read(text, "<|im_end|>")
    call = ToolCall(name="write", arguments='{"text": "</tool_call>"}')
    assert (parsed.message, parsed.problem) == (assistant_message("", tool_calls=[call]), None)


def test_a_call_in_another_order_is_read() -> None:
    parsed = Qwen3().read('<tool_call>{"arguments": {"a":1}, "name": "add"}</tool_call>', None)
    assert parsed.message.tool_calls == (ToolCall(name="add", arguments='{"a": 1}'),)


def test_text_after_calls_is_kept() -> None:
    calls = "[tool_calls_section_begin][tool_call_begin]functions.add:0[sep]{}[tool_call_end][tool_calls_section_end]"
    parsed = KimiK2().read(kimi(f"<think>Hm.</think>a{calls}b"), "<|im_end|>")
    made = ToolCall(name="add", arguments="{}", id="functions.add:0")
    assert parsed.message == assistant_message("ab", thinking="Hm.", tool_calls=[made])
    assert parsed.problem is None


def test_thinking_without_its_beginning_is_thinking() -> None:
    parsed = Qwen3().read("Hm.\n</think>\n\nYes.", None)
    assert parsed.message == assistant_message("Yes.", thinking="Hm.")
    instruct = Qwen3(thinking="never").read("Hm.</think>Yes.", None)
    assert instruct.message == Message(role="assistant", content="Hm.</think>Yes.")
