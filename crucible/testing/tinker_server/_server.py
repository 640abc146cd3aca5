"""The server's thread: an event loop of its own, with uvicorn in it."""

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import anyio
import uvicorn

from crucible.effects import Handlers
from crucible.testing.tinker_server._app import make_app
from crucible.testing.tinker_server._deviations import Deviations
from crucible.testing.tinker_server._work import Ports, Work
from crucible.testing.tinker_server.faults import Fault, Faults
from crucible.testing.tinker_server.record import Record


class _Uvicorn(uvicorn.Server):
    """A uvicorn server that says when it is up."""

    def __init__(self, config: uvicorn.Config, up: Callable[[], None]) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up()


class Running:
    """A server in a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        handlers: Handlers[Ports],
        *,
        api_key: str,
        models: Sequence[str],
        faults: Sequence[Fault | Deviations],
        seed: int,
        port: int,
    ) -> None:
        self.record = Record()
        self.api_key = api_key
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._handlers = handlers
        self._models = tuple(models)
        self._faults = Faults([one for one in faults if isinstance(one, Fault)], seed=seed)
        self._seed = seed
        self._deviations = next((one for one in faults if isinstance(one, Deviations)), Deviations())
        self._up: Future[_Uvicorn] = Future()
        self._thread = threading.Thread(target=self._run, name="crucible-tinker-server", daemon=True)

    def start(self) -> None:
        """Start the thread; return when requests are answered."""
        self._thread.start()
        self._up.result()

    def stop(self) -> None:
        """Let go of connections and of unfinished work, close the handlers' sessions, and end the thread."""
        server = self._up.result()
        server.should_exit = server.force_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            if self._up.done():
                raise
            self._up.set_exception(error)

    async def _serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            work = Work(
                self._handlers,
                tasks,
                url=self.url,
                models=self._models,
                seed=self._seed,
                deviations=self._deviations,
            )
            app = make_app(work, api_key=self.api_key, record=self.record, faults=self._faults)
            config = uvicorn.Config(
                app, http="h11", ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False
            )
            server = _Uvicorn(config, lambda: self._up.set_result(server))
            with self._socket:
                await server.serve(sockets=[self._socket])
            tasks.cancel_scope.cancel()
        await work.close()
