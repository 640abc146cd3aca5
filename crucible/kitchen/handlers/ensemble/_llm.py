"""`LLMClient` on several: they vote."""

import json
from collections.abc import Callable, Mapping, Sequence

import attrs

from crucible.effects import Handlers, Result, perform
from crucible.kitchen.handlers.ensemble._polling import Ask, Chosen, Poll
from crucible.kitchen.handlers.ensemble._voting import Vote, Voting, quorum_of
from crucible.train.errors import TrainError
from crucible.train.ports import LLMClient
from crucible.train.types import ChatOptions, ChatResponse, Message, TokenUsage, ToolCall, text_of


def of(members: Mapping[str, Handlers[LLMClient]], voting: Voting = Voting()) -> Handlers[LLMClient]:
    """Let several models answer chats as one, by `voting`.

    The answer is that of the first member, in declared order, of those whose answer is chosen; its usage is the sum over all members
    that answered. A member that fails costs its vote; when fewer than the quorum are left, that is an error that names each
    failure (Unavailable where one of them may pass), and one error that all have is given as it is. Too little agreement is a
    BackendFailed that names the votes.

    What each member may take (`deadline`, `retry`, `spend`) is wrapped around it before: outside of the ensemble a budget would foretell
    one call where several are made. Two members on one model need seeds of their own, or they say the same.

    >>> from crucible.effects import perform
    >>> from crucible.kitchen.handlers import noop
    >>> members = {
    ...     name: noop.llm(answer=lambda asked, said=said: said) for name, said in zip("abc", ["Yes", "no", " yes "])
    ... }
    >>> answer = of(members).run(perform(LLMClient.chat, [Message(role="user", content="Is it so?")])).unwrap()
    >>> answer.message.content
    'Yes'

    Raises: ValueError when there are no members, fewer than the quorum, or weights of others.
    """
    return LLMClient.handled_by(VotingLLM(members, voting))


class VotingLLM(LLMClient):
    """Asks all members what it is asked, and gives the answer that wins, with the tokens of all."""

    def __init__(self, members: Mapping[str, Handlers[LLMClient]], voting: Voting) -> None:
        names = list(members)
        self._members = dict(members)
        self._mode = voting.mode
        self._quorum = quorum_of(voting.quorum, names)
        self._rule: Vote[ChatResponse] = Vote.of(voting, names, lambda answer: ballot(answer, voting.same))

    async def chat(
        self, messages: Sequence[Message], options: ChatOptions = ChatOptions()
    ) -> Result[ChatResponse, TrainError]:
        """Ask the members, and choose."""
        asks = {name: _asking(member, messages, options) for name, member in self._members.items()}
        poll = Poll(members=asks, rule=self._rule, mode=self._mode, quorum=self._quorum)
        return (await poll.hold(1)).map(lambda chosen: _response(chosen[0]))


def _asking(
    member: Handlers[LLMClient], messages: Sequence[Message], options: ChatOptions
) -> Ask[ChatResponse, TrainError]:
    async def ask(indices: Sequence[int]) -> Result[Sequence[ChatResponse], TrainError]:
        return (await member.arun(perform(LLMClient.chat, messages, options))).map(lambda response: (response,))

    return ask


def ballot(answer: ChatResponse, same: Callable[[str], str]) -> str:
    """Write an answer so that equal texts are the same answer."""
    return ballot_of(text_of(answer.message), answer.message.tool_calls, same)


def ballot_of(text: str, calls: Sequence[ToolCall], same: Callable[[str], str]) -> str:
    """Write a text and tool calls so that equal texts are the same answer; ids of calls are no part of it."""
    written = [f"{call.name}({_canonical(call.arguments)})" for call in calls]
    return " ".join([same(text), *written]).strip() if written else same(text)


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, ensure_ascii=False)
    except ValueError:
        return arguments


def total(usages: Sequence[TokenUsage]) -> TokenUsage:
    """Add up what was read and written."""
    return TokenUsage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
    )


def _response(chosen: Chosen[ChatResponse]) -> ChatResponse:
    return attrs.evolve(chosen.answer, usage=total([answer.usage for answer in chosen.given]))
