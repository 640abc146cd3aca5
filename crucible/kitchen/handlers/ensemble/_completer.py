"""`Completer` on several: they vote, or the one that is surest of its text is taken."""

import math
from collections.abc import Callable, Mapping, Sequence

import attrs

from crucible.effects import Failure, Handlers, Result, Success, perform
from crucible.fields import FRACTION, checked
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.ensemble._llm import ballot_of, total
from crucible.kitchen.handlers.ensemble._polling import Ask, Chosen, Poll, Rule
from crucible.kitchen.handlers.ensemble._voting import Mode, Vote, Voting, quorum_of
from crucible.kitchen.ports import Completer, Completion, CompletionOptions
from crucible.train.errors import BackendFailed
from crucible.train.types import Message


def completers(members: Mapping[str, Handlers[Completer]], voting: Voting = Voting()) -> Handlers[Completer]:
    """Let several models complete conversations as one, by `voting`: as `of` does for chats, and each conversation of a batch by itself.

    >>> from crucible.kitchen.handlers import noop
    >>> completers({"a": noop.completer(), "b": noop.completer(), "c": noop.completer(seed=1)}, Voting(mode="cascade"))
    <Handlers of Completer>

    Raises: ValueError when there are no members, fewer than the quorum, or weights of others.
    """
    names = list(members)
    rule: Vote[Completion] = Vote.of(voting, names, lambda answer: ballot(answer, voting.same))
    quorum = quorum_of(voting.quorum, names)
    return Completer.handled_by(PollingCompleter(members, rule, mode=voting.mode, quorum=quorum))


def most_confident(
    members: Mapping[str, Handlers[Completer]], *, mode: Mode = "parallel", enough: float = 1.0, quorum: int = 1
) -> Handlers[Completer]:
    """Give the completion whose model is surest of it, by `confidence`; the first declared of equals.

    Members that give no log-probabilities cannot take part: that is a BackendFailed that names them. How sure models are is comparable
    where they cut text into the same tokens, and no promise that they are right.

    Args:
        members: whom to ask, by name.
        mode: `cascade` asks one after another until one is sure enough.
        enough: how sure that is, from 0 to 1.
        quorum: the fewest members that must answer.

    Raises: ValueError when there are no members, or fewer than the quorum.
    """
    rule = Surest(order=tuple(members), enough=enough)
    fewest = quorum_of(quorum, list(members))
    return Completer.handled_by(PollingCompleter(members, rule, mode=mode, quorum=fewest, needs_logprobs=True))


def ballot(answer: Completion, same: Callable[[str], str]) -> str:
    """Write a completion so that equal texts are the same answer."""
    return ballot_of(answer.text, answer.tool_calls, same)


def confidence(completion: Completion) -> float | None:
    """Give how sure a model was of its text: the geometric mean of the probabilities of its tokens; None if it does not tell.

    >>> from crucible.train.types import TokenUsage
    >>> usage = TokenUsage(prompt_tokens=1, completion_tokens=2)
    >>> sure = Completion(text="yes", finish_reason="stop", usage=usage, logprobs=(math.log(0.5), math.log(0.5)))
    >>> confidence(sure)
    0.5
    """
    if not completion.logprobs:
        return None
    return math.exp(math.fsum(completion.logprobs) / len(completion.logprobs))


@attrs.frozen(kw_only=True, field_transformer=checked)
class Surest:
    """The rule that takes the completion whose model is surest of it; the first declared of equals."""

    order: tuple[str, ...]
    enough: float = attrs.field(metadata=FRACTION)

    def is_decided(self, answers: Mapping[str, Completion], waiting: Sequence[str]) -> bool:
        """Tell whether one is sure enough."""
        return any((confidence(answer) or 0.0) >= self.enough for answer in answers.values())

    def choose(self, answers: Mapping[str, Completion]) -> Result[str, BackendFailed]:
        """Name the one that is surest."""
        told = {name: confidence(answers[name]) for name in self.order if name in answers}
        silent = [name for name, value in told.items() if value is None]
        if silent:
            message = f"{', '.join(silent)} gave no log-probabilities: nobody knows how sure they are"
            return Failure(BackendFailed(message=message))
        return Success(max(told, key=lambda name: told[name] or 0.0))


class PollingCompleter(Completer):
    """Asks all members what it is asked, and gives the answers that its rule takes, with the tokens of all."""

    def __init__(
        self,
        members: Mapping[str, Handlers[Completer]],
        rule: Rule[Completion],
        *,
        mode: Mode,
        quorum: int,
        needs_logprobs: bool = False,
    ) -> None:
        self._members = dict(members)
        self._rule = rule
        self._mode = mode
        self._quorum = quorum
        self._needs_logprobs = needs_logprobs

    async def complete(
        self, messages: Sequence[Message], options: CompletionOptions = CompletionOptions()
    ) -> Result[Completion, KitchenError]:
        """Ask the members, and choose."""
        return (await self._polled([messages], options)).map(lambda completions: completions[0])

    async def complete_batch(
        self, conversations: Sequence[Sequence[Message]], options: CompletionOptions = CompletionOptions()
    ) -> Result[tuple[Completion, ...], KitchenError]:
        """Ask each member all conversations at once, in a cascade those that are not decided; choose for each."""
        return await self._polled(conversations, options)

    async def _polled(
        self, conversations: Sequence[Sequence[Message]], options: CompletionOptions
    ) -> Result[tuple[Completion, ...], KitchenError]:
        asked = attrs.evolve(options, logprobs=True) if self._needs_logprobs else options
        asks = {name: _asking(member, conversations, asked) for name, member in self._members.items()}
        poll = Poll(members=asks, rule=self._rule, mode=self._mode, quorum=self._quorum)
        result = await poll.hold(len(conversations))
        return result.map(lambda chosen: tuple(_completion(each, options) for each in chosen))


def _asking(
    member: Handlers[Completer], conversations: Sequence[Sequence[Message]], options: CompletionOptions
) -> Ask[Completion, KitchenError]:
    async def ask(indices: Sequence[int]) -> Result[Sequence[Completion], KitchenError]:
        if len(conversations) == 1:  # so that a single one is asked as the caller asked it
            return (await member.arun(perform(Completer.complete, conversations[0], options))).map(lambda one: (one,))
        return await member.arun(
            perform(Completer.complete_batch, [conversations[index] for index in indices], options)
        )

    return ask


def _completion(chosen: Chosen[Completion], options: CompletionOptions) -> Completion:
    logprobs = chosen.answer.logprobs if options.logprobs else None
    return attrs.evolve(chosen.answer, usage=total([answer.usage for answer in chosen.given]), logprobs=logprobs)
