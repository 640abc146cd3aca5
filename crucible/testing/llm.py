"""The contract of `LLMClient`, as a suite that any handler can be put through."""

import json
from collections.abc import Callable
from typing import TypeAlias

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import obey, refused, require, require_equal
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import LLMClient
from crucible.train.types import ChatOptions, Message, ToolSpec, text_of

Law: TypeAlias = Do[TrainError, LLMClient, None]

QUESTION = (Message(role="system", content="Be brief."), Message(role="user", content="Name a colour of the sky."))
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}, "certain": {"type": "boolean"}},
    "required": ["colour", "certain"],
    "additionalProperties": False,
}
TOOL = ToolSpec(name="look_up", description="Look up a colour.", parameters={"type": "object", "properties": {}})


def check_llm_client(
    make: Callable[[], Handlers[LLMClient]], *, schemas: bool = True, tools: bool = True, deterministic: bool = False
) -> None:
    """Put the handlers that `make` gives through the contract of `LLMClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        schemas: whether the model can keep to a JSON Schema.
        tools: whether the model can be made to call a tool.
        deterministic: whether the same seed and messages give the same answer without fail.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {"a conversation is answered, and the tokens counted": _answering(), "an empty one is refused": _empty()}
    laws |= {"an answer keeps to its limit": _limits()}
    laws |= {"an answer fits its schema": _schema()} if schemas else {}
    laws |= {"a tool that must be called is called": _tools()} if tools else {}
    laws |= {"the same seed gives the same answer": _seeds()} if deterministic else {}
    obey(make, laws)


@do
def _answering() -> Law:
    response = yield from perform(LLMClient.chat, QUESTION)
    require_equal(response.message.role, "assistant", "the role of the answer")
    require_equal((response.finish_reason, response.message.tool_calls), ("stop", ()), "how the answer ended")
    require(bool(text_of(response.message).strip()), "the answer is empty")
    require(response.usage.prompt_tokens > 0 and response.usage.completion_tokens > 0, f"{response.usage}")
    require(bool(response.model), "the response does not say which model gave it")


@do
def _empty() -> Law:
    yield from refused("an empty conversation", perform(LLMClient.chat, ()), InvalidRequest)


@do
def _limits() -> Law:
    response = yield from perform(LLMClient.chat, QUESTION, ChatOptions(max_tokens=1))
    require(
        response.usage.completion_tokens <= 1, f"{response.usage.completion_tokens} tokens, at most 1 was asked for"
    )


@do
def _schema() -> Law:
    response = yield from perform(LLMClient.chat, QUESTION, ChatOptions(output_schema=SCHEMA))
    answer = json.loads(text_of(response.message))
    require(isinstance(answer, dict) and answer.keys() == {"colour", "certain"}, f"the answer is {answer!r}")
    require(isinstance(answer["colour"], str) and isinstance(answer["certain"], bool), f"the answer is {answer!r}")


@do
def _tools() -> Law:
    for choice in ("required", TOOL.name):
        response = yield from perform(LLMClient.chat, QUESTION, ChatOptions(tools=(TOOL,), tool_choice=choice))
        require_equal(response.finish_reason, "tool_calls", "how the answer ended")
        require_equal([call.name for call in response.message.tool_calls], [TOOL.name], "the tools called")
        require(isinstance(json.loads(response.message.tool_calls[0].arguments), dict), "arguments are no object")
    none = ChatOptions(tools=(TOOL,), tool_choice="none")
    response = yield from perform(LLMClient.chat, QUESTION, none)
    require_equal(response.message.tool_calls, (), "the tools called where none may be")


@do
def _seeds() -> Law:
    first = yield from perform(LLMClient.chat, QUESTION, ChatOptions(seed=3))
    again = yield from perform(LLMClient.chat, QUESTION, ChatOptions(seed=3))
    require_equal(again, first, "the answer to the same question with the same seed")
