"""Environments with tools: the policy calls them until it answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Never, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, attempt, do, fold, from_result, gather
from crucible.train.environments.conversations import MessageEnv, Reply
from crucible.train.environments.interface import EnvironmentFailed
from crucible.train.renderers import Renderer
from crucible.train.types import Message, ToolCall, ToolResult, ToolSpec, text_of

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True)
class ToolFailed:
    """A tool could not do what it was asked. The policy is told so, and may try again."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.frozen(kw_only=True)
class Tool(Generic[R_co]):
    """A tool: what the policy is told of it, and what it does with its arguments."""

    spec: ToolSpec
    run: Callable[[Mapping[str, object]], Eff[str, ToolFailed, R_co]]


@attrs.frozen(kw_only=True)
class ToolTask(Generic[R_co]):
    """A task for a policy with tools.

    Args:
        messages: the conversation up to the question.
        tools: what the policy may call, each of another name.
        score: how right the final answer is, from 0.0 to 1.0, given the whole conversation.
        max_turns: of the policy; calling a tool in the last of them ends the episode with reward 0.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool[R_co], ...]
    score: Callable[[tuple[Message, ...]], Eff[float, EnvironmentFailed, R_co]]
    max_turns: int = attrs.field(default=8, validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        names = [tool.spec.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise ValueError(f"two tools have the same name: {', '.join(names)}")


def pure_tool(spec: ToolSpec, function: Callable[[Mapping[str, object]], Result[str, ToolFailed]]) -> Tool[Never]:
    """Make a tool of a function that has no effects."""
    return Tool(spec=spec, run=lambda arguments: from_result(function(arguments)))


def tool_env(task: ToolTask[R], renderer: Renderer, *, malformed_reward: float | None = -1.0) -> MessageEnv[R]:
    """Make the environment of a task: tool calls are carried out and answered, anything else is the final answer.

    Calls of one turn run side by side. A tool that is not there, arguments that are no JSON object, and a tool that fails
    are told to the policy as what the tool says. Each step tells `tool_calls` and `tool_errors`.
    """
    begun = len(task.messages)
    return MessageEnv(
        messages=task.messages,
        renderer=renderer,
        respond=lambda conversation: _respond(task, conversation, begun),
        tools=tuple(tool.spec for tool in task.tools),
        malformed_reward=malformed_reward,
    )


@do
def _respond(task: ToolTask[R], conversation: tuple[Message, ...], begun: int) -> Do[EnvironmentFailed, R, Reply]:
    calls = conversation[-1].tool_calls
    if not calls:
        score = yield from task.score(conversation)
        return Reply(reward=score, done=True, metrics={"correct": score})
    turns = sum(message.role == "assistant" for message in conversation[begun:])
    if turns >= task.max_turns:
        return Reply(done=True, metrics={"correct": 0.0, "out_of_turns": 1.0})
    results = yield from gather([attempt(_called(task.tools, call)) for call in calls])
    messages = tuple(_told(call, result) for call, result in zip(calls, results, strict=True))
    errors = sum(isinstance(result, Failure) for result in results)
    return Reply(messages=messages, metrics={"tool_calls": float(len(calls)), "tool_errors": float(errors)})


@do
def _called(tools: Sequence[Tool[R]], call: ToolCall) -> Do[ToolFailed, R, str]:
    by_name = {tool.spec.name: tool for tool in tools}
    arguments = yield from from_result(read_arguments(call))
    if call.name not in by_name:
        known = ", ".join(sorted(by_name)) or "none"
        yield from from_result(_refused(f"there is no tool {call.name!r}; there are: {known}"))
    said = yield from by_name[call.name].run(arguments)
    return said


def read_arguments(call: ToolCall) -> Result[Mapping[str, object], ToolFailed]:
    """Read the arguments of a call; none at all is an empty object.

    >>> read_arguments(ToolCall(name="add", arguments='{"a": 1}')).unwrap()
    {'a': 1}
    >>> str(read_arguments(ToolCall(name="add", arguments="[1]")).failure())
    "the arguments of 'add' are no JSON object"
    """
    try:
        arguments = json.loads(call.arguments) if call.arguments.strip() else {}
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        return Failure(ToolFailed(message=f"the arguments of {call.name!r} are no JSON object"))
    return Success(arguments)


def final_text(conversation: Sequence[Message]) -> str:
    """Give the text of the last message."""
    return text_of(conversation[-1]) if conversation else ""


def _told(call: ToolCall, said: Result[str, ToolFailed]) -> Message:
    result = fold(
        said,
        lambda content: ToolResult(call=call, content=content),
        lambda error: ToolResult(call=call, content=str(error), is_error=True),
    )
    return result.message()


def _refused(message: str) -> Result[None, ToolFailed]:
    return Failure(ToolFailed(message=message))
