"""Turns: the requests of one model are begun in the order of their numbers, however they arrive."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

Turn: TypeAlias = Callable[[], Awaitable[None]]


class Turns:
    """Begins each request when all before it have begun. Numbers start at 1."""

    def __init__(self) -> None:
        self._next = 1
        self._last = 0
        self._waiting: dict[int, Turn] = {}
        self._busy = False

    def number(self, seq_id: int | None) -> int:
        """Give a request its number: its own, or the next one."""
        number = seq_id or self._last + 1
        self._last = max(self._last, number)
        return number

    async def take(self, number: int, begin: Turn) -> None:
        """Queue a request, and begin whatever is due."""
        self._waiting[number] = begin
        if self._busy:  # whoever is at it begins this one too
            return
        self._busy = True
        try:
            while self._next in self._waiting:
                turn = self._waiting.pop(self._next)
                self._next += 1
                await turn()
        finally:
            self._busy = False
