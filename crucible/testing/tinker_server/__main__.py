"""`python -m crucible.testing.tinker_server`: the server as a program, until ctrl-C."""

import argparse
import threading
from contextlib import suppress

from crucible.kitchen.handlers import noop, torch
from crucible.testing.tinker_server import serve


def main() -> None:
    """Serve one model, or with none the noop handlers; print where, and the key."""
    parser = argparse.ArgumentParser(prog="python -m crucible.testing.tinker_server", description=__doc__)
    parser.add_argument(
        "--model", help="a local directory, hub id or .gguf file; without it, any name is served by noop"
    )
    parser.add_argument(
        "--root", default="runs/tinker_server", help="the folder for what is saved (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=0, help="0 for a free one (default)")
    given = parser.parse_args()
    handlers = torch.local(given.root) if given.model else noop.all()
    with serve(handlers, models=[given.model] if given.model else [], port=given.port) as server:
        print(f"export TINKER_BASE_URL={server.url} TINKER_API_KEY={server.api_key}", flush=True)  # noqa: T201  # a program
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
