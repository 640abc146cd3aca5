"""An open training session: the SDK's client, the line of its requests, and what their answers will be."""

import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future as ThreadFuture
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.summing import Window
from crucible.kitchen.handlers.tinkex.waiting import Line
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import Capabilities, Future

if TYPE_CHECKING:
    import tinker

T = TypeVar("T")

Waiting: TypeAlias = Callable[[], Awaitable[Result[T, TrainError]]]
"""What waits for the answer to a request that was sent; it can be called again."""

Sending: TypeAlias = "ThreadFuture[Result[Waiting[T], TrainError]]"
"""A request on its way to the server."""

STEP = "crucible_step"
"""Under this name the number of optimizer steps stands in the metadata of what is saved."""

KEPT_RESULTS = 256
"""How many awaited results of a session can be awaited once more."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class OpenSession:
    """Sends requests in the order they came, from one thread, and keeps what waits for their answers."""

    def __init__(
        self,
        session_id: str,
        client: "tinker.TrainingClient",
        *,
        max_length: int,
        step: int,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.id = session_id
        self.capabilities = capabilities
        self.window = Window()
        self.client = client
        self.max_length = max_length
        self._line = Line()
        self._steps = _done(step)
        self._names: dict[str, int] = {}
        self._count = 0
        self._pending: dict[str, Sending[object]] = {}
        self._awaited: list[str] = []

    def with_known(self, capabilities: Capabilities) -> "OpenSession":
        """Take note of what the server can do."""
        self.capabilities = capabilities
        return self

    def send(self, work: Callable[[], Result[Waiting[T], TrainError]]) -> "Sending[T]":
        """Queue work that sends a request, behind what was queued before it."""
        return self._line.submit(work)

    def promise(self, operation: str, work: Callable[[], Result[Waiting[T], TrainError]]) -> Future[T]:
        """Queue work that sends a request, and give a future of its answer."""
        self._count += 1
        future = Future[T](id=f"{self.id}/{operation}-{self._count}", session_id=self.id, operation=operation)
        self._pending[future.id] = self.send(work)
        return future

    def promised(self, future: Future[T]) -> "Result[Sending[T], TrainError]":
        """Find what was sent for a future."""
        sending = self._pending.get(future.id)
        if sending is None:
            fix = f"await what this session gave; of what was awaited it keeps the newest {KEPT_RESULTS}"
            return Failure(InvalidRequest(message=f"future {future.id} is not known here", fix=fix))
        return Success(cast("Sending[T]", sending))

    def forget_old(self, awaited: Future[T]) -> None:
        """Keep the newest results alone: they hold a number for each token, and a run has many steps."""
        if awaited.id not in self._awaited:
            self._awaited.append(awaited.id)
        while len(self._awaited) > KEPT_RESULTS:
            self._pending.pop(self._awaited.pop(0), None)

    def stepping(self, request: "ThreadFuture[T]") -> "ThreadFuture[int]":
        """Count an optimizer step that was sent; give the number of steps after it."""
        self._steps = _counted(self._steps, request)
        return self._steps

    def steps(self, seconds: float) -> int:
        """Give the number of steps taken, once it is known of all that were sent; blocks.

        Raises: TimeoutError when that takes longer.
        """
        return self._steps.result(timeout=seconds)

    def unused(self, kind: str, name: str) -> str:
        """Give the name, with a number behind it when it was used before in this session."""
        count = self._names[f"{kind}/{name}"] = self._names.get(f"{kind}/{name}", 0) + 1
        return name if count == 1 else f"{name}~{count}"

    def close(self) -> None:
        """Let go of the thread, after what was queued."""
        self._line.close()


def checked_name(name: str) -> Result[str, TrainError]:
    """Give a name that is safe in a path of the Tinker API.

    >>> checked_name("step_000100").value_or(None), checked_name("../other").value_or(None)
    ('step_000100', None)
    """
    if _NAME.fullmatch(name):
        return Success(name)
    fix = "use letters, digits, '_', '.' and '-', such as 'step_000100'"
    return Failure(InvalidRequest(message=f"{name!r} cannot be the name of something saved", fix=fix))


def step_in(metadata: Mapping[str, str] | None) -> int:
    """Read the number of steps from the metadata of something saved; 0 where this handler did not save it.

    >>> step_in({"crucible_step": "12"}), step_in(None)
    (12, 0)
    """
    found = (metadata or {}).get(STEP, "")
    return int(found) if found.isdecimal() else 0


def _done(value: T) -> "ThreadFuture[T]":
    future: ThreadFuture[T] = ThreadFuture()
    future.set_result(value)
    return future


def _counted(before: "ThreadFuture[int]", request: "ThreadFuture[T]") -> "ThreadFuture[int]":
    total: ThreadFuture[int] = ThreadFuture()

    def add(_: "ThreadFuture[T]") -> None:
        taken = not request.cancelled() and request.exception() is None
        total.set_result(before.result() + taken)

    before.add_done_callback(lambda _: request.add_done_callback(add))
    return total
