"""Tasks side by side: the first that goes wrong stops the others, and what it raised is raised as itself."""

from collections.abc import Callable, Coroutine, Iterable
from typing import TypeAlias

import anyio

from crucible.effects._cancelling import ours
from crucible.effects._driver import Failed

Task: TypeAlias = Callable[[], Coroutine[object, object, None]]


class Siblings:
    """What went wrong in tasks that run side by side.

    Where several went wrong before all stopped, kind and index say which one is raised, never chance: what ends the
    process goes before an exception, and that before a typed failure.
    """

    __slots__ = ("_cancel_scope", "_raised")

    def __init__(self) -> None:
        self._cancel_scope = anyio.CancelScope()
        self._raised: dict[int, BaseException] = {}

    @property
    def stopped(self) -> bool:
        """Whether a task went wrong, so that nothing new is to begin."""
        return bool(self._raised)

    def stop(self, index: int, error: BaseException) -> None:
        """Stop all tasks for what the one at `index` raised; a cancellation is nobody's fault and goes on."""
        if isinstance(error, anyio.get_cancelled_exc_class()):
            raise error
        self._raised[index] = error
        self._cancel_scope.cancel()

    async def guarded(self, index: int, task: Task) -> None:
        """Run the task at `index`; what it raises stops all."""
        try:
            await task()
        except BaseException as error:
            self.stop(index, error)

    async def run(self, tasks: Iterable[Task]) -> None:
        """Run the tasks and wait for all of them, then raise what stopped them."""
        try:
            with self._cancel_scope, ours(self._cancel_scope):
                async with anyio.create_task_group() as group:
                    for task in tasks:
                        group.start_soon(task)
        except anyio.get_cancelled_exc_class():
            self._raise(lambda error: not isinstance(error, Failed))  # only an exception replaces a cancellation
            raise
        self._raise(lambda _: True)

    def _raise(self, counts: Callable[[BaseException], bool]) -> None:
        ranked = sorted((_rank(error), index) for index, error in self._raised.items() if counts(error))
        errors = [self._raised[index] for _, index in ranked]
        for other in errors[1:]:
            if not isinstance(other, Failed):
                errors[0].add_note(f"at the same time, beside it: {other!r}")
        if errors:
            raise errors[0]


def _rank(error: BaseException) -> int:
    return 2 if isinstance(error, Failed) else 1 if isinstance(error, Exception) else 0
