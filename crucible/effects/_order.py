"""Keeping a replayed run to the order in which the calls of the recorded one began and ended.

Without handlers every answer is there at once. Were it given at once, branches that run side by side would overtake each
other, and another of them would be the first to fail.
"""

import math
from collections.abc import Iterable
from typing import Never

import anyio

from crucible.effects._journal import Entry

_POLL_SECONDS = 0.25
_POLLS = 4


class Stalled(Exception):  # noqa: N818  # what happened; the replay makes a `Diverged` of it
    """Nothing more will happen, though the recording goes on."""


class Order:
    """What has happened of a recording, and what is next."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.path: entry for entry in entries}
        moments = [moment for entry in self._entries.values() for moment in (entry.began, entry.ended) if moment]
        self._to_come = sorted(moments, reverse=True)
        self._happened: set[int] = set()
        self._waiting: dict[int, anyio.Event] = {}
        self._over = anyio.Event()
        self._timed = 0
        self._begun: set[str] = set()

    @property
    def unmade(self) -> Entry | None:
        """The first recorded call that was not made."""
        return next((entry for path, entry in self._entries.items() if path not in self._begun), None)

    @property
    def goes_on(self) -> bool:
        """Whether something that was recorded has not happened yet."""
        return bool(self._to_come)

    def begin(self, entry: Entry) -> None:
        """Note that a call was made."""
        self._begun.add(entry.path)
        self._note(entry.began)

    def end(self, entry: Entry) -> None:
        """Note that a call was answered, or cancelled."""
        self._note(entry.ended)

    async def turn(self, entry: Entry) -> None:
        """Wait until all that was recorded before the end of a call has happened."""
        if self._to_come and self._to_come[-1] < entry.ended:
            event = self._waiting[entry.ended] = anyio.Event()
            await self._until(event)

    async def cancellation(self) -> Never:
        """Wait to be cancelled, by a time limit or by what another branch does."""
        has_limit = anyio.current_effective_deadline() < math.inf
        self._timed += has_limit
        try:
            await self._until(anyio.Event())
        finally:
            self._timed -= has_limit
        raise Stalled

    async def all_of_it(self) -> None:
        """Wait until all that was recorded has happened."""
        while self._to_come:
            await self._until(self._over)

    async def _until(self, event: anyio.Event) -> None:
        """Wait for `event`.

        Raises: Stalled when nothing happens for a while and no time limit is running either.
        """
        idle = 0
        while idle < _POLLS:
            before = len(self._happened)
            with anyio.move_on_after(_POLL_SECONDS):
                return await event.wait()
            idle = idle + 1 if before == len(self._happened) and not self._timed else 0
        raise Stalled

    def _note(self, moment: int) -> None:
        self._happened.add(moment)
        while self._to_come and self._to_come[-1] in self._happened:
            self._to_come.pop()
        if not self._to_come:
            self._over.set()
        elif self._to_come[-1] in self._waiting:
            self._waiting[self._to_come[-1]].set()
