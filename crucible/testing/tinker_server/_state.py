"""What a server remembers: sessions, models in training, samplers, and what was saved."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import attrs

from crucible.testing.tinker_server._deviations import Averaging
from crucible.testing.tinker_server._turns import Turns
from crucible.train.errors import AccessDenied, NotFound, TrainError, Unavailable
from crucible.train.types import SamplingSession, SessionConfig, TrainingSession

Kind: TypeAlias = Literal["weights", "sampler_weights", "external_weights"]

TYPE_OF_KIND: dict[Kind, str] = {"weights": "training", "sampler_weights": "sampler", "external_weights": "external"}


class RefusedError(Exception):
    """A request is answered with an HTTP error."""

    def __init__(self, status: int, message: str, *, body: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body or {"detail": message}

    @classmethod
    def of(cls, error: TrainError) -> "RefusedError":
        """Give the status that fits what a handler answered."""
        status = {NotFound: 404, AccessDenied: 403, Unavailable: 503}.get(type(error), 400)
        return cls(status, str(error))


@attrs.define(kw_only=True)
class Session:
    """One client's stay."""

    id: str
    user_metadata: dict[str, str]
    display_name: str | None
    project_id: str | None
    expired: bool = False
    finished: str | None = None
    samplers: list[str] = attrs.field(factory=list)


@attrs.define(kw_only=True)
class Model:
    """A model in training, which the API also calls a training run."""

    id: str
    session_id: str
    config: SessionConfig
    training: TrainingSession
    user_metadata: dict[str, str]
    turns: Turns
    averaging: Averaging
    last_request_time: datetime = attrs.field(factory=lambda: datetime.now(UTC))


@attrs.frozen(kw_only=True)
class Sampler:
    """A version of a policy that can be sampled from."""

    id: str
    session_id: str
    model_path: str | None
    sampling: SamplingSession


@attrs.frozen(kw_only=True)
class Saved:
    """Something saved: `path` is the API's, `place` the handler's."""

    run_id: str
    kind: Kind
    name: str
    place: str
    config: SessionConfig
    user_metadata: dict[str, str] | None = None
    size_bytes: int | None = None
    time: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    expires_at: datetime | None = None
    public: bool = False

    @property
    def path(self) -> str:
        """The path that the API gives it."""
        return f"tinker://{self.run_id}/{self.kind}/{self.name}"

    def with_notes(self, user_metadata: dict[str, str] | None, expires_at: datetime | None) -> "Saved":
        """Give it its owner's notes and its end."""
        return attrs.evolve(self, user_metadata=user_metadata, expires_at=expires_at)

    def as_json(self) -> dict[str, object]:
        """Write it as the API lists it."""
        return {
            "checkpoint_id": f"{self.kind}/{self.name}",
            "checkpoint_type": TYPE_OF_KIND[self.kind],
            "time": self.time.isoformat(),
            "tinker_path": self.path,
            "size_bytes": self.size_bytes,
            "public": self.public,
            "user_metadata": self.user_metadata,
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
        }


def expiry(ttl_seconds: int | None) -> datetime | None:
    """Give the end of a time to live that begins now.

    Raises: RefusedError outside of what the API allows: an hour to ten years.
    """
    if ttl_seconds is None:
        return None
    if not 3600 <= ttl_seconds <= 10 * 365 * 86400:
        raise RefusedError(400, f"ttl_seconds is {ttl_seconds}, not from 3600 (an hour) to 10 years")
    return datetime.now(UTC) + timedelta(seconds=ttl_seconds)


class Shelf:
    """What was saved, by path, the oldest first. What has expired is not there."""

    def __init__(self) -> None:
        self._saved: dict[str, Saved] = {}

    def put(self, saved: Saved) -> str:
        """Keep it, in the place of what had its path; give the path."""
        self._saved[saved.path] = saved
        return saved.path

    def find(self, path: str) -> Saved | None:
        """Give what was saved at a path."""
        found = self._saved.get(path)
        expired = found is not None and found.expires_at is not None and found.expires_at <= datetime.now(UTC)
        return None if expired else found

    def drop(self, path: str) -> None:
        """Forget what was saved at a path."""
        self._saved.pop(path, None)

    def __iter__(self) -> Iterator[Saved]:
        return iter([saved for path in list(self._saved) if (saved := self.find(path)) is not None])


class State:
    """Everything a server remembers."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.models: dict[str, Model] = {}
        self.samplers: dict[str, Sampler] = {}
        self.shelf = Shelf()

    def session(self, session_id: str) -> Session:
        """Give a session that can still be used."""
        session = self.sessions.get(session_id)
        if session is None:
            raise RefusedError(404, f"session {session_id} was not found")
        if session.expired:
            raise RefusedError(410, f"session {session_id} has expired")
        return session

    def model(self, model_id: str) -> Model:
        """Give a model in training whose session can still be used."""
        model = self.models.get(model_id)
        if model is None:
            raise RefusedError(404, f"model {model_id} was not found")
        self.session(model.session_id)
        model.last_request_time = datetime.now(UTC)
        return model

    def sampler(self, sampler_id: str) -> Sampler:
        """Give a sampler whose session can still be used."""
        sampler = self.samplers.get(sampler_id)
        if sampler is None:
            raise RefusedError(404, f"sampler {sampler_id} was not found")
        self.session(sampler.session_id)
        return sampler

    def saved(self, path: str, kinds: Iterable[Kind]) -> Saved | NotFound:
        """Give what was saved at a path, if it is of one of these kinds."""
        found = self.shelf.find(path)
        if found is None:
            return NotFound(kind="checkpoint", name=path)
        if found.kind not in set(kinds):
            return NotFound(kind=f"{' or '.join(kinds)} checkpoint", name=path, fix=f"it holds {found.kind}")
        return found
