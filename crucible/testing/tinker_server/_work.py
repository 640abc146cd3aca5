"""`Work`: what all endpoints share: the handlers, what is remembered, and what was promised."""

import json
import re
import secrets
import zlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar, cast

import attrs
from anyio.abc import TaskGroup

from crucible.effects import Failure, Handlers, Port, Result, Success, perform
from crucible.testing.tinker_server._deviations import Deviations
from crucible.testing.tinker_server._promises import Promise, Promises, Wire, guarded, kept, refusal
from crucible.testing.tinker_server._state import Model, State
from crucible.testing.tinker_server.faults import Fail, Hold, Misfortune
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.types import ModelInput, SamplingSession, TokenLogprob

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R", TrainingClient, SamplingClient)
Ports: TypeAlias = TrainingClient | SamplingClient
Json: TypeAlias = dict[str, object]
Finish: TypeAlias = Callable[[], Awaitable[Result[Wire, TrainError]]]
Submit: TypeAlias = Callable[[], Awaitable[Result[Finish, TrainError]]]


@attrs.frozen(kw_only=True)
class Ask:
    """One request, read: its body, the words of its path, its query, its idempotency key, and what it is to meet."""

    body: bytes
    words: Mapping[str, str]
    options: Mapping[str, str]
    key: str
    misfortune: Misfortune | None

    def json(self, *names: str) -> object:
        """Give a value of a JSON body by the names on the way to it; None where there is none."""
        found: object = json.loads(self.body or b"null")
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    @property
    def limit(self) -> int:
        """How many things to list."""
        return int(self.options.get("limit", "20"))

    @property
    def offset(self) -> int:
        """How many things to leave out before."""
        return int(self.options.get("offset", "0"))


class Work:
    """Performs operations on the handlers, and keeps promises with what they give."""

    def __init__(
        self,
        handlers: Handlers[Ports],
        tasks: TaskGroup,
        *,
        url: str,
        models: tuple[str, ...],
        seed: int,
        deviations: Deviations,
    ) -> None:
        self.deviations = deviations
        self.url = url
        self.state = State()
        self.promises = Promises()
        self.models = models
        self.seed = seed
        self._handlers = handlers
        self._tasks = tasks
        self._held: defaultdict[str, list[Promise]] = defaultdict(list)
        self._sessions: dict[str, str] = {}
        self._signed: dict[str, tuple[Path, datetime]] = {}
        self._token = secrets.token_hex(4)

    async def call(
        self,
        operation: Callable[Concatenate[R, P], Awaitable[Result[A, TrainError]]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Result[A, TrainError]:
        """Perform an operation on the handlers."""
        return await self._handlers.arun(perform(operation, *args, **kwargs))

    @property
    def has_top_logprobs(self) -> bool:
        """Whether the handlers give likeliest tokens, which not all do."""
        return bool(self._handlers.ports & {TopLogprobsClient, Port})

    async def top_logprobs(
        self, session: SamplingSession, prompt: ModelInput, num_top: int
    ) -> Result[tuple[tuple[TokenLogprob, ...], ...], TrainError]:
        """Ask the handlers for likeliest tokens; they must have them."""
        handlers = cast("Handlers[TopLogprobsClient]", self._handlers)
        asked = perform(TopLogprobsClient.compute_top_logprobs, session, [prompt], num_top=num_top)
        return (await handlers.arun(asked)).map(lambda rows: rows[0])

    @property
    def version(self) -> str:
        """What this server says of itself; no two servers say the same."""
        return f"crucible.testing {self._token}"

    def place(self, *parts: object) -> str:
        """Name something to save: a plain name that no other server has used in the same folder."""
        return re.sub(r"[^\w.-]+", "_", "-".join(map(str, (*parts, self._token)))).lstrip(".")

    def seed_of(self, sampler_id: str, seq_id: int | None) -> int:
        """Give a seed to a request that has none: the same one in every run of the same program."""
        return zlib.crc32(f"{self.seed}/{sampler_id.rpartition(':')[2]}/{seq_id}".encode())

    def session_id(self, key: str) -> str:
        """Name the session that is begun by the request of an idempotency key."""
        return self._sessions.setdefault(key or secrets.token_hex(8), f"session-{self._token}-{len(self._sessions)}")

    def sign(self, file: Path, expires: datetime) -> str:
        """Give a URL of a file that holds until then."""
        secret = secrets.token_urlsafe(16)
        self._signed[secret] = (file, expires)
        return f"{self.url}/files/{secret}"

    def signed(self, secret: str) -> Path | None:
        """Give the file of a URL that still holds."""
        file, expires = self._signed.get(secret, (None, datetime.now(UTC)))
        return file if expires > datetime.now(UTC) else None

    def came(self, route: str) -> None:
        """Release the promises that were held until a request of this route."""
        for promise in self._held.pop(route, []):
            promise.release()

    def expire(self, detail: Mapping[str, object]) -> None:
        """End the session that a request belongs to."""
        owner = " ".join(str(detail.get(name, "")) for name in ("session_id", "model_id", "sampling_session_id"))
        promise = self.promises.find(str(detail.get("request_id")))
        for session in self.state.sessions.values():
            session.expired |= session.id in owner or (promise is not None and promise.session_id == session.id)

    async def close(self) -> None:
        """Close all sessions on the handlers."""
        for model in self.state.models.values():
            await self.call(TrainingClient.close_session, model.training)
        for sampler in self.state.samplers.values():
            await self.call(SamplingClient.close_session, sampler.sampling)

    def promise(
        self, ask: Ask, session_id: str, place: tuple[object, ...], start: Callable[[Promise], None]
    ) -> Promise:
        """Take in a request: promise its result and start on it; sent again, it finds its promise."""
        known = self.promises.at(place)
        if known is not None:
            return known
        made = self.promises.make(place, session_id)
        met = ask.misfortune
        if isinstance(met, Hold):
            made.released = False
            if met.until is not None:
                self._held[met.until].append(made)
        if isinstance(met, Fail):
            made.keep({"error": met.message, "category": met.category})
        start(made)
        return made

    def begin(self, promise: Promise, finish: Finish) -> None:
        """Keep a promise, in its own time; one that was kept before is left as it is."""
        if promise.answer is None:
            self._tasks.start_soon(kept, promise, finish)

    def in_turn(self, ask: Ask, model: Model, seq_id: int | None, submit: Submit) -> Promise:
        """Promise a request of a model. It is submitted when all that come before it were; its result may come later."""

        async def turn(promise: Promise) -> None:
            if promise.answer is not None:
                return
            begun = await guarded(submit)
            if isinstance(begun, Failure):
                promise.keep(refusal(begun.failure()))
            else:
                self.begin(promise, begun.unwrap())

        number = model.turns.number(seq_id)

        def start(promise: Promise) -> None:
            self._tasks.start_soon(model.turns.take, number, lambda: turn(promise))

        return self.promise(ask, model.session_id, ("turn", model.id, number), start)


def told(promise: Promise) -> Json:
    """Answer a request that was taken in."""
    return {"request_id": promise.request_id}


def whole(finish: Finish) -> Submit:
    """Do all of the work in its turn: nothing after it begins before it is done."""

    async def submit() -> Result[Finish, TrainError]:
        done = await finish()

        async def same() -> Result[Wire, TrainError]:
            return done

        return Success(same)

    return submit
