"""`TinkerBackend`: one connection to a Tinker server, and how its handlers wait for it."""

import importlib.util
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import Future as ThreadFuture
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.config import TinkerConfig
from crucible.kitchen.handlers.tinkex.errors import About, error_of, guarded, unpaid
from crucible.kitchen.handlers.tinkex.losses import nearest
from crucible.kitchen.handlers.tinkex.secrecy import keep_secrets
from crucible.kitchen.handlers.tinkex.waiting import arrived, in_thread
from crucible.train.errors import MissingExtra, NotFound, TrainError, Unavailable, Unsupported
from crucible.train.types import Tokenizer

if TYPE_CHECKING:
    import tinker

S = TypeVar("S")
T = TypeVar("T")

SESSION = About(kind="session", name="the Tinker session")


@attrs.frozen(kw_only=True, eq=False)
class Connection:
    """An open session of the SDK, and the models that the server has: their limits in tokens by their names."""

    service: "tinker.ServiceClient"
    models: dict[str, int | None]

    def check(self, model: str) -> Result[None, TrainError]:
        """Fail with NotFound, and the nearest names, for a model that the server does not list."""
        if not self.models or model in self.models:
            return Success(None)
        return Failure(NotFound(kind="model", name=model, fix=nearest(model, tuple(self.models))))


class TinkerBackend:
    """Connects to the server at its first use, once for all handlers on it.

    The SDK has no deadlines for most of what it does, and tries again for minutes, or while a bill is not paid for an hour. So
    every wait here ends: with the answer, with what is the matter with the server, or with its own deadline.
    """

    def __init__(self, config: TinkerConfig) -> None:
        self.config = config
        self.live: dict[str, tinker.SamplingClient] = {}
        self._lock = threading.Lock()
        self._opening: ThreadFuture[Connection] | None = None
        self._rest: ThreadFuture[tinker.RestClient] | None = None
        self._tokenizers: dict[str, Tokenizer] = {}

    async def connect(self) -> Result[Connection, TrainError]:
        """Give the connection, made at the first call; after a failure the next call tries again."""
        if importlib.util.find_spec("tinker") is None:
            return Failure(MissingExtra(extra="tinkex", package="tinker"))
        if self._opening is None:
            trouble = await self._trouble()
            if trouble is not None:
                return Failure(trouble)
        with self._lock:
            if self._opening is None:
                self._opening = in_thread(self._connected)
            opening = self._opening
        return await self._opened(opening)

    async def _opened(self, opening: "ThreadFuture[Connection]") -> Result[Connection, TrainError]:
        result = await self.wait(opening, SESSION, seconds=self.config.connect_seconds)
        with self._lock:
            if isinstance(result, Failure) and opening.done() and self._opening is opening:
                self._opening = None
        return result

    def _connected(self) -> Connection:
        """Open a session; blocks."""
        import tinker

        keep_secrets(self.config)

        service = tinker.ServiceClient(base_url=self.config.url, api_key=self.config.api_key)
        holder = service._get_session_holder()  # as its first use would, but here, where it may block
        # The SDK's heartbeats keep themselves alive: they end when nothing holds these handlers any more.
        weakref.finalize(self, holder.close).atexit = False
        rest = tinker.RestClient(base_url=self.config.url, api_key=self.config.api_key)
        known = rest.get_server_capabilities().future().result().supported_models
        models = {one.model_name: one.max_context_length for one in known if one.model_name}
        return Connection(service=service, models=models)

    async def rest(self) -> "Result[tinker.RestClient, TrainError]":
        """Give the client that asks about checkpoints; it needs no session."""
        if importlib.util.find_spec("tinker") is None:
            return Failure(MissingExtra(extra="tinkex", package="tinker"))
        if self._rest is None or (self._rest.done() and self._rest.exception() is not None):
            trouble = await self._trouble()
            if trouble is not None:
                return Failure(trouble)
            self._rest = in_thread(self._asking)
        return await self.wait(self._rest, SESSION, seconds=self.config.connect_seconds)

    def _asking(self) -> "tinker.RestClient":
        import tinker

        keep_secrets(self.config)

        return tinker.RestClient(base_url=self.config.url, api_key=self.config.api_key)

    def called(self, call: "Callable[[], ThreadFuture[T]]", about: About) -> "Result[ThreadFuture[T], TrainError]":
        """Submit a request to the SDK; what it refuses at once is an error value."""
        return self.blocking(call, about)

    def blocking(self, work: Callable[[], T], about: About) -> Result[T, TrainError]:
        """Use the SDK from a thread that may block; what it raises is an error value."""
        # A context of its own: the SDK's loop is one of asyncio, whatever the loop of the caller is.
        return guarded(lambda: Context().run(work), about).alt(self.redacted)

    def keep_live(self, name: str, client: "tinker.SamplingClient") -> str:
        """Keep a sampler of live weights; give the path by which a sampling session finds it."""
        self.live[f"live://{name}"] = client
        return f"live://{name}"

    @staticmethod
    def then(future: "ThreadFuture[S]", read: Callable[[S], T]) -> "ThreadFuture[T]":
        """Give a future of what `read` makes of a future's answer."""
        made: ThreadFuture[T] = ThreadFuture()

        def settle(done: "ThreadFuture[S]") -> None:
            error = CancelledError() if done.cancelled() else done.exception()
            if error is None:
                made.set_result(read(done.result()))
            else:
                made.set_exception(error)

        future.add_done_callback(settle)
        return made

    async def wait_for_work(
        self, future: "ThreadFuture[Result[T, TrainError]]", about: About, *, seconds: float | None = None
    ) -> Result[T, TrainError]:
        """Wait for work of our own, which gives a result. What it raises is no error of the server's, and raised here."""
        waited = await self.wait(future, about, seconds=seconds)
        if future.done() and future.exception() is not None:
            return future.result()
        return waited.bind(lambda result: result)

    async def ask(
        self, call: "Callable[[], ThreadFuture[T]]", about: About, *, seconds: float | None = None
    ) -> Result[T, TrainError]:
        """Submit a request and wait for its answer; when none comes in time, it is cancelled."""
        submitted = self.called(call, about)
        if isinstance(submitted, Failure):
            return submitted
        future = submitted.unwrap()
        try:
            return await self.wait(future, about, seconds=seconds)
        finally:
            future.cancel()

    async def wait(
        self, future: "ThreadFuture[T]", about: About, *, seconds: float | None = None
    ) -> Result[T, TrainError]:
        """Wait for an answer. The request is never cancelled: it can be waited for again.

        Fails: what the server is found to suffer from when it is silent for long; Unavailable when the time is up.
        """
        limit = self.config.request_seconds if seconds is None else seconds
        end = time.monotonic() + limit
        while not await arrived(future, min(self.config.connect_seconds, end - time.monotonic())):
            trouble = await self._trouble()
            if trouble is not None and not future.done():
                return Failure(trouble)
            if time.monotonic() >= end and not future.done():
                message = f"no answer about {about.name} from {self.config.url} within {limit:g} s"
                return Failure(Unavailable(message=f"{message}; the request may still be carried out"))
        if future.cancelled():
            return Failure(Unavailable(message=f"the request about {about.name} was cancelled"))
        error = future.exception()
        if error is None:
            return Success(future.result())
        if not isinstance(error, Exception):
            raise error
        return Failure(self.redacted(error_of(error, about)))

    def redacted(self, error: TrainError) -> TrainError:
        """Give an error whose texts do not hold the key."""
        texts = {
            name: self.config.without_key(text) for name, text in attrs.asdict(error).items() if isinstance(text, str)
        }
        return attrs.evolve(error, **texts)  # type: ignore[arg-type]  # the fields that are texts stay texts

    async def tokenizer(
        self, model: str, source: str | None, load: Callable[[], Tokenizer]
    ) -> Result[Tokenizer, TrainError]:
        """Give a model's tokenizer: the configured one, or the one that `load` asks the SDK for, read once."""
        if self.config.tokenizer is not None:
            return Success(self.config.tokenizer)
        if model not in self._tokenizers:
            read = await self._read_tokenizer(source or model, load)
            if isinstance(read, Failure):
                return read
            self._tokenizers[model] = read.unwrap()
        return Success(self._tokenizers[model])

    async def _read_tokenizer(self, source: str, load: Callable[[], Tokenizer]) -> Result[Tokenizer, TrainError]:
        from crucible.kitchen.handlers.torch.tokenizer import load_tokenizer

        fix = "give TinkerConfig(tokenizer=...)"
        if source.startswith("moonshotai/"):  # the SDK would run the code that comes with it
            return Failure(
                Unsupported(feature=f"the tokenizer {source!r}, which is a program", backend="tinkex", fix=fix)
            )

        def read() -> Tokenizer:
            return load_tokenizer(source) if Path(source).exists() else load()

        found = await self.wait(in_thread(read), About(kind="model", name=source))
        return found.alt(lambda error: NotFound(kind="tokenizer", name=source, fix=f"{fix} ({error})"))

    async def _trouble(self) -> TrainError | None:
        """Tell what is the matter when the server cannot be reached, or wants to be paid; None when nothing is."""
        probe = in_thread(self._probed)
        await arrived(probe, self.config.connect_seconds)
        if not probe.done():
            return Unavailable(message=f"{self.config.url} did not answer within {self.config.connect_seconds:g} s")
        return probe.result()

    def _probed(self) -> TrainError | None:
        import httpx

        headers = {"X-API-Key": self.config.key} if self.config.key else {}
        url, last = f"{self.config.url}/api/v1/get_server_capabilities", ""
        for attempt in range(self.config.connect_attempts):
            if attempt:
                time.sleep(0.125 * 2**attempt)
            try:
                answer = httpx.get(url, headers=headers, timeout=self.config.connect_seconds)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # a key may hold what no header can
                last = str(error) or type(error).__name__
            else:
                return unpaid(self.config.without_key(answer.text)) if answer.status_code == 402 else None
        return Unavailable(message=self.config.without_key(f"{self.config.url} cannot be reached: {last}"))
