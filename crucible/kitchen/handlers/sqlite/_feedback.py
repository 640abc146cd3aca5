"""`FeedbackClient` in a SQLite file, its exports in a folder."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, TypeVar

import anyio.to_thread

from crucible.effects import Failure, Result, Success
from crucible.kitchen.errors import AlreadyExists, KitchenError
from crucible.kitchen.handlers.feedback_rules import Deployment, RuledFeedback, numbered
from crucible.kitchen.handlers.files import RefusedError, add_file
from crucible.kitchen.handlers.sqlite._database import Database, StoppedError
from crucible.kitchen.ports import CuratedExample, Exchange
from crucible.storage import Schema
from crucible.train.errors import InvalidRequest, NotFound

T = TypeVar("T")

_KIND = 0x43724665  # "CrFe"
_MIGRATIONS = (
    (
        """CREATE TABLE exchanges (
            number INTEGER PRIMARY KEY, deployment TEXT NOT NULL, id TEXT NOT NULL, prompt TEXT NOT NULL, response TEXT NOT NULL,
            edited_response TEXT, score REAL NOT NULL, trained_on INTEGER NOT NULL DEFAULT 0, UNIQUE (deployment, id)
        )""",
        "CREATE TABLE baselines (deployment TEXT PRIMARY KEY, last INTEGER NOT NULL)",
    ),
)
# What a user makes of an answer may come later than the answer; the answer itself stays.
_RECORD = """INSERT INTO exchanges (deployment, id, prompt, response, edited_response, score) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (deployment, id) DO UPDATE SET edited_response = excluded.edited_response, score = excluded.score
    WHERE prompt = excluded.prompt AND response = excluded.response"""
_READ = """SELECT id, prompt, response, edited_response, score, trained_on,
    number > coalesce((SELECT last FROM baselines WHERE deployment = ?1), 0)
    FROM exchanges WHERE deployment = ?1 ORDER BY number"""
_MOVE_BASELINE = """INSERT INTO baselines (deployment, last)
    SELECT deployment, max(number) FROM exchanges WHERE deployment = ? GROUP BY deployment
    ON CONFLICT (deployment) DO UPDATE SET last = excluded.last"""


class SqliteFeedback(RuledFeedback):
    """A `FeedbackClient` in one file; until a deployment's first baseline, all its exchanges are new."""

    NAME: ClassVar[str] = "sqlite.feedback"

    def __init__(self, path: Path, export_folder: Path) -> None:
        self._database = _database(path)
        self._export_folder = export_folder

    async def update_baseline(
        self, deployment_id: str, *, trained_on: Sequence[CuratedExample] = ()
    ) -> Result[None, KitchenError]:
        def updated(connection: sqlite3.Connection) -> None:
            if not connection.execute(_MOVE_BASELINE, (deployment_id,)).rowcount:
                raise StoppedError(_unknown(deployment_id))
            connection.executemany(
                "UPDATE exchanges SET trained_on = 1 WHERE deployment = ? AND id = ?",
                [(deployment_id, example.event_id) for example in trained_on],
            )

        return await self._database.transact(updated, writes=True)

    async def _ask(self, deployment_id: str, question: Callable[[Deployment], T]) -> Result[T, KitchenError]:
        found = await self._database.transact(lambda connection: _read(connection, deployment_id), writes=False)
        return await anyio.to_thread.run_sync(
            lambda: found.map(question)
        )  # without the lock, and beside the event loop

    async def _write(self, path: str, data: bytes) -> Result[str, KitchenError]:
        wanted = PurePosixPath(path)

        def written() -> Result[str, KitchenError]:
            try:
                return Success(str(add_file(self._export_folder / wanted.parent, numbered(wanted.name), data)))
            except RefusedError as refused:
                return Failure(refused.error)

        return await anyio.to_thread.run_sync(written)


async def record_exchanges(
    path: Path | str, deployment_id: str, exchanges: Sequence[Exchange]
) -> Result[None, KitchenError]:
    """Keep what users asked, were answered and said of it, for `feedback` to read: all of these or, on an error, none.

    They are on the disk (fsync) when this succeeds. An id given again takes the edit and the score given last, and keeps its
    place; with another prompt or response it is AlreadyExists.
    """
    rows = [(deployment_id, e.id, e.prompt, e.response, e.edited_response, e.score) for e in exchanges]
    try:
        "".join(text for row in rows for text in row if isinstance(text, str)).encode()
    except UnicodeEncodeError as error:
        return Failure(InvalidRequest(message=f"an exchange cannot be written: {error}", fix="give valid Unicode"))

    def recorded(connection: sqlite3.Connection) -> None:
        for row, exchange in zip(rows, exchanges, strict=True):
            if not connection.execute(_RECORD, row).rowcount:
                fix = "give an exchange that differs an id of its own"
                raise StoppedError(AlreadyExists(kind="exchange", name=exchange.id, fix=fix))

    return await _database(Path(path)).transact(recorded, writes=True)


def _database(path: Path) -> Database:
    return Database(path=path, schema=Schema(kind=_KIND, migrations=_MIGRATIONS))


def _read(connection: sqlite3.Connection, deployment_id: str) -> Deployment:
    before: list[Exchange] = []
    new: list[Exchange] = []
    trained_on: set[str] = set()
    for event_id, prompt, response, edited, score, was_trained_on, is_new in connection.execute(
        _READ, (deployment_id,)
    ):
        exchange = Exchange(id=event_id, prompt=prompt, response=response, edited_response=edited, score=score)
        (new if is_new else before).append(exchange)
        if was_trained_on:
            trained_on.add(event_id)
    if not before and not new:
        raise StoppedError(_unknown(deployment_id))
    return Deployment(id=deployment_id, before=tuple(before), new=tuple(new), trained_on=frozenset(trained_on))


def _unknown(deployment_id: str) -> NotFound:
    return NotFound(kind="deployment", name=deployment_id, fix="keep an exchange of it with sqlite.record_exchanges")
