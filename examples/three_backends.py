"""One recipe, unchanged, on three backends: nothing at all, torch on this machine, and a Tinker server.

    python examples/three_backends.py noop torch tinker

Only the handlers differ. The Tinker server is a local one (`crucible.testing.tinker_server`) with torch behind it, so its
losses are those of torch, up to the rounding of the machine; with TINKER_API_KEY set, `tinkex.remote()` goes to the service.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from crucible.cookbook.machine import MachinePorts
from crucible.cookbook.models import smollm2
from crucible.cookbook.sl_basic import recipe
from crucible.effects import Handlers
from crucible.kitchen import run
from crucible.kitchen.handlers import noop, reasoning_gym, tinkex, torch
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.testing import tinker_server

small = recipe(smollm2(), num_rows=32)
config = attrs.evolve(small.default_config, batch_size=8, evaluation=None)


@contextmanager
def backend(name: str, root: Path) -> Iterator[Handlers[MachinePorts | MetricsStore | EventStore]]:
    """Give the handlers of a backend. What it does not handle, noop does: rows and verifier are real."""
    rest = noop.all() | reasoning_gym.datasets() | reasoning_gym.verifier()
    if name == "torch":
        yield rest | torch.local(root, num_threads=1)
    elif name == "tinker":
        with tinker_server.serve(torch.local(root, num_threads=1)) as server:
            yield rest | tinkex.remote(tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key))
    else:
        yield rest


def main() -> None:
    """Run the recipe on the backends that are named; on noop when none is."""
    for name in sys.argv[1:] or ["noop"]:
        with TemporaryDirectory() as root, backend(name, Path(root)) as handlers:
            result = run(small, handlers, config).unwrap()
        losses = [round(point.value, 3) for point in result.metrics if point.name == "loss"]
        print(f"{name:6} {losses}")


if __name__ == "__main__":
    main()
