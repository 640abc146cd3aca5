"""`ModelRegistry` in a SQLite file."""

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, cast

from crucible.effects import Failure, Json, Result, UnrecordableError, decode, encode
from crucible.kitchen.errors import AlreadyExists, KitchenError
from crucible.kitchen.handlers.sqlite._database import Database, StoppedError
from crucible.kitchen.ports import ModelArtifact, ModelRegistry, RegisteredModel
from crucible.storage import Schema
from crucible.train.errors import InvalidRequest, NotFound

_Row: TypeAlias = tuple[str, str, str, str, str, str, str]

_KIND = 0x43725265  # "CrRe"
_COLUMNS = "name, version, uri, metrics, lineage, metadata, created_at"
_MIGRATIONS = (
    (
        """CREATE TABLE models (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, version TEXT NOT NULL, uri TEXT NOT NULL,
            metrics TEXT NOT NULL, lineage TEXT NOT NULL, metadata TEXT NOT NULL, created_at TEXT NOT NULL
        )""",
        "CREATE INDEX models_by_name ON models (name, number)",
    ),
)


class SqliteRegistry(ModelRegistry):
    """A `ModelRegistry` in one file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path=path, schema=Schema(kind=_KIND, migrations=_MIGRATIONS))

    async def register(self, artifact: ModelArtifact) -> Result[RegisteredModel, KitchenError]:
        model_id = f"{artifact.name}@{artifact.version}"
        try:
            given = _columns(artifact)
            model_id.encode(), artifact.uri.encode()
        except (UnrecordableError, TypeError, ValueError) as error:
            fix = "keep to text, numbers, booleans, None, lists and string-keyed dicts of these"
            return Failure(InvalidRequest(message=f"model {model_id!r} cannot be written: {error}", fix=fix))

        def entered(connection: sqlite3.Connection) -> RegisteredModel:
            there = _row(connection, model_id)
            if there is None:
                row = (model_id, *given, datetime.now(UTC).isoformat())
                connection.execute(f"INSERT INTO models (id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            elif there[:-1] != given:
                fix = "register it under another version"
                raise StoppedError(AlreadyExists(kind="model", name=model_id, fix=fix))
            return _found(connection, model_id)

        return await self._database.transact(entered, writes=True)

    async def get(self, model_id: str) -> Result[RegisteredModel, KitchenError]:
        return await self._database.transact(lambda connection: _found(connection, model_id), writes=False)

    async def list_models(
        self, *, name: str | None = None, limit: int | None = None, offset: int = 0
    ) -> Result[tuple[RegisteredModel, ...], KitchenError]:
        if offset < 0 or (limit is not None and limit < 0):
            return Failure(InvalidRequest(message=f"{limit} entries cannot be listed after {offset}"))
        query = f"SELECT {_COLUMNS} FROM models WHERE ?1 IS NULL OR name = ?1 ORDER BY number LIMIT ?2 OFFSET ?3"
        window = (name, -1 if limit is None else limit, offset)
        return await self._database.transact(
            lambda connection: tuple(map(_model, connection.execute(query, window))), writes=False
        )


def _row(connection: sqlite3.Connection, model_id: str) -> _Row | None:
    row: _Row | None = connection.execute(f"SELECT {_COLUMNS} FROM models WHERE id = ?", (model_id,)).fetchone()
    return row


def _found(connection: sqlite3.Connection, model_id: str) -> RegisteredModel:
    row = _row(connection, model_id)
    if row is None:
        raise StoppedError(NotFound(kind="model", name=model_id))
    return _model(row)


def _columns(artifact: ModelArtifact) -> tuple[str, str, str, str, str, str]:
    texts = map(_text, (artifact.metrics, artifact.lineage, artifact.metadata))
    metrics, lineage, metadata = texts
    return artifact.name, artifact.version, artifact.uri, metrics, lineage, metadata


def _model(row: _Row) -> RegisteredModel:
    name, version, uri, metrics, lineage, metadata, created_at = row
    artifact = ModelArtifact(
        name=name,
        version=version,
        uri=uri,
        metrics=cast("dict[str, float]", decode(json.loads(metrics))),
        lineage=cast("dict[str, str]", decode(json.loads(lineage))),
        metadata=cast("dict[str, Json]", decode(json.loads(metadata))),
    )
    return RegisteredModel(id=f"{name}@{version}", artifact=artifact, created_at=datetime.fromisoformat(created_at))


def _text(value: Mapping[str, object]) -> str:
    """Write a mapping so that the same one is the same text, NaN included."""
    return json.dumps(encode(dict(value)), allow_nan=False, sort_keys=True, separators=(",", ":"))
