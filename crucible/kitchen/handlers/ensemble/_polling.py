"""Asking the members of an ensemble: all at once, one after another, or until the outcome is decided."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

import anyio
import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.ensemble._voting import Mode
from crucible.train.errors import BackendFailed, InvalidRequest, Unavailable

A = TypeVar("A")
E = TypeVar("E")
A_contra = TypeVar("A_contra", contravariant=True)

Ask: TypeAlias = Callable[[Sequence[int]], Awaitable[Result[Sequence[A], E]]]
"""Asks one member the questions with these numbers."""


class Rule(Protocol[A_contra]):
    """How one of several answers is chosen."""

    def is_decided(self, answers: Mapping[str, A_contra], waiting: Sequence[str]) -> bool:
        """Tell whether those who wait can be left out: they are declared after the others. There is an answer at least."""

    def choose(self, answers: Mapping[str, A_contra]) -> Result[str, BackendFailed]:
        """Name the member whose answer is taken. There is an answer at least."""


@attrs.frozen(kw_only=True)
class Chosen(Generic[A]):
    """The answer that was taken, and all that were given."""

    answer: A
    given: tuple[A, ...]


@attrs.define
class _Question(Generic[A, E]):
    """What the members said to one question."""

    answers: dict[str, A] = attrs.field(factory=dict)
    failures: dict[str, E] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Poll(Generic[A, E]):
    """The members of an ensemble, by name and in order, and how they decide."""

    members: Mapping[str, Ask[A, E]]
    rule: Rule[A]
    mode: Mode
    quorum: int

    async def hold(self, num_questions: int) -> Result[tuple[Chosen[A], ...], E | BackendFailed | Unavailable]:
        """Ask the members all questions, and choose an answer to each: all or an error."""
        questions: list[_Question[A, E]] = [_Question() for _ in range(num_questions)]
        if self.mode == "parallel":
            every = range(num_questions)
            results = await _side_by_side({name: _asking(ask, every) for name, ask in self.members.items()})
            for name in self.members:
                _note(questions, every, name, results[name])
        else:
            for name, ask in self.members.items():
                asked = [index for index in range(num_questions) if not self._is_over(questions[index], name)]
                if asked:
                    _note(questions, asked, name, await ask(asked))
        chosen: list[Chosen[A]] = []
        for question in questions:
            result = self._choose(question)
            if isinstance(result, Failure):
                return result
            chosen.append(result.unwrap())
        return Success(tuple(chosen))

    def _is_over(self, question: _Question[A, E], next_name: str) -> bool:
        """Tell, before the next member is asked, whether it and those after it can be left out."""
        if self.mode == "sequential":
            return False
        names = list(self.members)
        waiting = names[names.index(next_name) :]
        answers = len(question.answers)
        if answers + len(waiting) < self.quorum:
            return True
        return answers >= self.quorum and self.rule.is_decided(question.answers, waiting)

    def _choose(self, question: _Question[A, E]) -> Result[Chosen[A], E | BackendFailed | Unavailable]:
        if len(question.answers) < self.quorum:
            return Failure(self._too_few(question))
        return self.rule.choose(question.answers).map(
            lambda name: Chosen(answer=question.answers[name], given=tuple(question.answers.values()))
        )

    def _too_few(self, question: _Question[A, E]) -> E | BackendFailed | Unavailable:
        """Say why there are too few answers: as one failure where all are of a kind, or one says that the request is wrong."""
        failures = list(question.failures.values())
        if not question.answers and len({type(failure) for failure in failures}) == 1:
            return failures[0]
        if not question.answers and any(isinstance(failure, InvalidRequest) for failure in failures):
            return next(failure for failure in failures if isinstance(failure, InvalidRequest))
        why = "; ".join(f"{name}: {failure}" for name, failure in question.failures.items())
        message = (
            f"{len(question.answers)} of {len(self.members)} members answered, and {self.quorum} are needed: {why}"
        )
        transient = [failure for failure in failures if isinstance(failure, Unavailable)]
        if not transient:
            return BackendFailed(message=message)
        waits = [failure.retry_after_seconds for failure in transient if failure.retry_after_seconds is not None]
        return Unavailable(message=message, retry_after_seconds=max(waits, default=None))


def _asking(ask: Ask[A, E], indices: Sequence[int]) -> Callable[[], Awaitable[Result[Sequence[A], E]]]:
    return lambda: ask(indices)


def _note(
    questions: Sequence[_Question[A, E]], indices: Sequence[int], name: str, result: Result[Sequence[A], E]
) -> None:
    if isinstance(result, Failure):
        for index in indices:
            questions[index].failures[name] = result.failure()
        return
    for index, answer in zip(indices, result.unwrap(), strict=True):
        questions[index].answers[name] = answer


async def _side_by_side(tasks: Mapping[str, Callable[[], Awaitable[A]]]) -> dict[str, A]:
    """Run tasks at once; the first that raises stops the others, and what it raised is raised as itself."""
    values: dict[str, A] = {}
    raised: dict[str, Exception] = {}

    async def run(name: str) -> None:
        try:
            values[name] = await tasks[name]()
        except Exception as error:  # noqa: BLE001  # it is raised below, out of the group that would wrap it
            raised[name] = error
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for name in tasks:
            group.start_soon(run, name)
    for name in tasks:
        if name in raised:
            raise raised[name]
    return values
