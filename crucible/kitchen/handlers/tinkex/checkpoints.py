"""What a Tinker server keeps, and what can be done with it."""

import secrets
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future as ThreadFuture
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import anyio
import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.errors import About
from crucible.kitchen.handlers.tinkex.session import step_in
from crucible.kitchen.handlers.tinkex.waiting import in_thread
from crucible.train.errors import BackendFailed, InvalidRequest, StorageFailed, TrainError, Unavailable

if TYPE_CHECKING:
    import tinker
    from tinker.types import Checkpoint as Listed
    from tinker.types import CheckpointsListResponse

T = TypeVar("T")

Kind: TypeAlias = Literal["training", "sampler", "external"]

PAGE = 100
"""How many checkpoints are asked for at once."""


@attrs.frozen(kw_only=True)
class StoredCheckpoint:
    """Something saved on the server. `step` is 0 where crucible did not save it; `expires_at` is None for never."""

    path: str
    kind: Kind
    step: int
    saved_at: datetime
    size_bytes: int | None
    is_public: bool
    expires_at: datetime | None


class Checkpoints:
    """The checkpoints of an account. Every method gives a Result, as an operation of a port does."""

    def __init__(self, backend: TinkerBackend) -> None:
        self._backend = backend

    async def list(self, run: str | None = None) -> Result[tuple[StoredCheckpoint, ...], TrainError]:
        """List what was saved, by one training run or by all."""
        about = About(kind="checkpoint", name=run or "all")
        if run is not None:
            found = await self._ask(lambda rest: rest.list_checkpoints(run).future(), about)
            return found.map(lambda page: tuple(map(_stored, page.checkpoints)))
        listed: list[StoredCheckpoint] = []
        while True:
            answer = await self._ask(partial(_page, len(listed)), about)
            if isinstance(answer, Failure):
                return answer
            page = answer.unwrap()
            listed += map(_stored, page.checkpoints)
            total = page.cursor.total_count if page.cursor is not None else len(listed)
            if not page.checkpoints or len(listed) >= total:
                return Success(tuple(listed))

    async def delete(self, path: str) -> Result[None, TrainError]:
        """Delete a checkpoint."""
        return await self._ask(lambda rest: rest.delete_checkpoint_from_tinker_path(path).future(), _at(path))

    async def publish(self, path: str) -> Result[None, TrainError]:
        """Let everybody read a checkpoint."""
        return await self._ask(lambda rest: rest.publish_checkpoint_from_tinker_path(path).future(), _at(path))

    async def unpublish(self, path: str) -> Result[None, TrainError]:
        """Let nobody else read a checkpoint."""
        return await self._ask(lambda rest: rest.unpublish_checkpoint_from_tinker_path(path).future(), _at(path))

    async def expire(self, path: str, seconds: int | None) -> Result[None, TrainError]:
        """Keep a checkpoint for so long from now, from 3600 seconds to ten years; None is for ever."""
        return await self._ask(lambda rest: rest.set_checkpoint_ttl_from_tinker_path(path, seconds).future(), _at(path))

    async def download(self, path: str, folder: Path | str) -> Result[Path, TrainError]:
        """Write a training checkpoint's adapter, as others read it, to a folder that is not there yet: whole or not at all.

        The server first exports it under a name of its own, which is deleted afterwards.
        """
        target, about = Path(folder), _at(path)
        if await anyio.Path(target).exists():
            return Failure(StorageFailed(path=str(target), message="it is there already", fix="name another folder"))
        if "/weights/" not in path:
            fix = "give the path that save_checkpoint gave, .../weights/..."
            return Failure(InvalidRequest(message=f"{path} cannot be exported", fix=fix))
        exported = await self._exported(path, about)
        if isinstance(exported, Failure):
            return exported
        external = exported.unwrap()
        urls = await self._ask(lambda rest: rest.get_external_weights_urls(external).future(), about)
        written = urls if isinstance(urls, Failure) else await self._written(urls.unwrap().urls, target)
        await self.delete(external)
        return written.map(lambda _: target)

    async def _exported(self, path: str, about: About) -> Result[str, TrainError]:
        """Export a checkpoint on the server, through a model that is made from it."""
        connection = await self._backend.connect()
        if isinstance(connection, Failure):
            return connection
        service = connection.unwrap().service
        made = await self._backend.ask(lambda: service.create_training_client_from_state(path).future(), about)
        if isinstance(made, Failure):
            return made
        client, name = made.unwrap(), f"export_{secrets.token_hex(4)}"
        saved = await self._backend.ask(lambda: client.save_weights_external(name).future(), about)
        return saved.map(lambda answer: answer.path)

    async def _written(self, urls: Mapping[str, str], target: Path) -> Result[None, TrainError]:
        seconds = self._backend.config.request_seconds
        work = in_thread(lambda: _download(urls, target, seconds=self._backend.config.connect_seconds))
        return await self._backend.wait_for_work(work, About(kind="checkpoint", name=str(target)), seconds=seconds)

    async def _ask(self, call: "Callable[[tinker.RestClient], ThreadFuture[T]]", about: About) -> Result[T, TrainError]:
        rest = await self._backend.rest()
        if isinstance(rest, Failure):
            return rest
        seconds = self._backend.config.connect_seconds
        return await self._backend.ask(lambda: call(rest.unwrap()), about, seconds=seconds)


def _page(offset: int, rest: "tinker.RestClient") -> "ThreadFuture[CheckpointsListResponse]":
    return rest.list_user_checkpoints(PAGE, offset).future()


def _at(path: str) -> About:
    return About(kind="checkpoint", name=path)


def _stored(listed: "Listed") -> StoredCheckpoint:
    return StoredCheckpoint(
        path=listed.tinker_path,
        kind=listed.checkpoint_type,
        step=step_in(listed.user_metadata),
        saved_at=listed.time,
        size_bytes=listed.size_bytes,
        is_public=listed.public,
        expires_at=listed.expires_at,
    )


def _download(urls: Mapping[str, str], target: Path, *, seconds: float) -> Result[None, TrainError]:
    """Write files beside the folder, then name it; a name that leads out of the folder is refused."""
    import httpx

    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        for name, url in urls.items():
            file = beside / name
            if not file.resolve().is_relative_to(beside.resolve()):
                return Failure(BackendFailed(message=f"the server names a file outside of the folder: {name!r}"))
            file.parent.mkdir(parents=True, exist_ok=True)
            with httpx.stream("GET", url, timeout=seconds) as answer, file.open("wb") as out:
                answer.raise_for_status()
                out.writelines(answer.iter_bytes())
        beside.rename(target)
    except httpx.HTTPError as error:
        return Failure(Unavailable(message=f"a file of the checkpoint could not be downloaded: {type(error).__name__}"))
    except OSError as error:
        return Failure(StorageFailed(path=str(target), message=str(error), fix="look at the disk and at the rights"))
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Success(None)
