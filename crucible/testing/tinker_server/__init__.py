"""A server that speaks the Tinker API to the official SDK, on any handlers; needs the extra `server`.

So a program written for Tinker runs offline: in milliseconds on `noop.all()`, and on a real model on `torch.local(...)`.
What goes wrong is scripted, and every request is on record.

>>> import tinker
>>> from crucible.kitchen.handlers import noop
>>> with serve(noop.all()) as server:
...     client = tinker.ServiceClient(base_url=server.url, api_key=server.api_key)
...     training = client.create_lora_training_client(base_model="any").result()
...     saved = training.save_state("start").result()
...     client.close("success").result()
>>> [asked.route for asked in server.asked("create_model", "save_weights")]
['create_model', 'save_weights']

`python -m crucible.testing.tinker_server --model PATH` serves a real model to any program.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from crucible.effects import Handlers
from crucible.testing.tinker_server._deviations import Deviations
from crucible.testing.tinker_server.faults import Delay, Drop, Expire, Fail, Fault, Hold, Misfortune, Refuse
from crucible.testing.tinker_server.record import Asked
from crucible.train.errors import MissingExtra
from crucible.train.ports import SamplingClient, TrainingClient

if TYPE_CHECKING:
    from crucible.testing.tinker_server._server import Running

__all__ = [
    "Asked",
    "Delay",
    "Deviations",
    "Drop",
    "Expire",
    "Fail",
    "Fault",
    "Hold",
    "Misfortune",
    "Refuse",
    "Server",
    "serve",
]


class Server:
    """A running server: where it is, its key, and what it was asked."""

    def __init__(self, running: "Running") -> None:
        self._running = running

    @property
    def url(self) -> str:
        """The SDK's `base_url`."""
        return self._running.url

    @property
    def api_key(self) -> str:
        """The key that is let in."""
        return self._running.api_key

    @property
    def requests(self) -> tuple[Asked, ...]:
        """Every request so far, in the order in which they came in."""
        return self._running.record.all()

    def asked(self, *routes: str) -> tuple[Asked, ...]:
        """Give the requests of some routes, such as `forward_backward` and `optim_step`, in the order they came in."""
        return tuple(one for one in self.requests if one.route in routes)

    def __repr__(self) -> str:
        return f"<Server at {self.url}>"


@contextmanager
def serve(
    handlers: Handlers[TrainingClient | SamplingClient],
    *,
    models: Sequence[str] = (),
    faults: Sequence[Fault | Deviations] = (),
    seed: int = 0,
    port: int = 0,
    api_key: str = "tml-local",
) -> Iterator[Server]:
    """Serve the Tinker API on `127.0.0.1`, from a thread of its own; what it answers is what `handlers` do.

    Two servers on the same handlers, seed and program answer the same. The result of a request that is sent again, with the
    same `seq_id`, is that of the first: it trains once.

    Args:
        handlers: what trains and samples, such as `noop.all()` or `torch.local("runs/")`.
        models: the models that are offered. With none, any name is let through to the handlers, and none is listed.
        faults: what goes wrong, and when; or one `Deviations`, as other servers differ from what the API promises.
        seed: of faults that are drawn, of adapters, and of samples, where the client gives none.
        port: 0 for a free one.
        api_key: the only key that is let in; the SDK takes none that does not begin with `tml-`.

    Raises: ImportError, naming the extra, when a package is missing; OSError when the port is taken.
    """
    for package in ("tinker", "starlette", "uvicorn"):
        if find_spec(package) is None:
            raise ImportError(str(MissingExtra(extra="server", package=package)))
    from crucible.testing.tinker_server._server import Running  # noqa: PLC0415  # the SDK takes seconds to import

    running = Running(handlers, api_key=api_key, models=models, faults=faults, seed=seed, port=port)
    running.start()
    try:
        yield Server(running)
    finally:
        running.stop()
