"""Tinker servers on noop that differ from what the API promises, and the handlers on them."""

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop, tinkex
from crucible.kitchen.handlers.noop import EveryPort
from crucible.testing.tinker_server import Deviations, Server, serve
from crucible.train.types import ByteTokenizer

AVERAGES = Deviations(averages=True)
MODEL = "noop"


@attrs.frozen(kw_only=True)
class There:
    """A server, how to reach it, and the handlers on it, with noop's for the ports that it does not have."""

    server: Server
    config: tinkex.TinkerConfig
    handlers: Handlers[EveryPort]


@contextmanager
def serving(deviations: Deviations = Deviations(), *, before: Handlers[EveryPort] | None = None) -> Iterator[There]:
    """Serve noop with deviations; `before` gives the ports that stay here."""
    with serve(noop.all(), models=[MODEL, "other"], faults=[deviations]) as server:
        config = tinkex.TinkerConfig(
            base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer(), probe="always"
        )
        yield There(server=server, config=config, handlers=(before or noop.all()) | tinkex.remote(config))
