"""What was found out about a server is kept by server, version and model, shown before a run, and can be given."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from crucible.effects import perform
from crucible.kitchen.handlers import noop, tinkex
from crucible.kitchen.handlers.tinkex import knowing
from crucible.testing.tinker_server import Deviations, Server, serve
from crucible.train.ports import TrainingClient
from crucible.train.types import ByteTokenizer, Capabilities, SessionConfig

SESSION = SessionConfig(model="noop", needs=("cross_entropy",))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep what is found out in a folder of the test's own."""
    monkeypatch.setenv("CRUCIBLE_CACHE", str(tmp_path))
    return tmp_path / "tinker"


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(noop.all(), models=["noop"], faults=[Deviations(averages=True)]) as serving:
        yield serving


def config_of(server: Server) -> tinkex.TinkerConfig:
    return tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer())


def seen(config: tinkex.TinkerConfig) -> Capabilities:
    """Give what a session of a new process would tell."""
    return tinkex.remote(config).run(perform(TrainingClient.start_session, SESSION)).unwrap().capabilities


def test_a_server_is_probed_once_for_each_version(server: Server, cache: Path) -> None:
    config = config_of(server)
    first, second = seen(config), seen(config)
    assert (first.known_by, second.known_by) == ("probed", "cached")
    assert (second.num_requests, second.seconds) == (0, 0.0)
    assert first == attrs.evolve(second, known_by="probed", num_requests=first.num_requests, seconds=first.seconds)
    (file,) = cache.iterdir()
    assert server.api_key not in file.read_text("utf-8")
    version, _ = knowing.version_of(config)
    file.write_text(file.read_text("utf-8").replace(version, "another"), "utf-8")
    assert seen(config).known_by == "probed"
    assert seen(attrs.evolve(config, probe="always")).known_by == "probed"


def test_a_cache_that_cannot_be_read_costs_a_probe(server: Server, cache: Path) -> None:
    config = config_of(server)
    seen(config)
    (file,) = cache.iterdir()
    assert knowing.known(config, "noop") is not None
    for text in ("", "[]", "{}", '{"version": "v", "time": 1e18, "found": {"$attrs": "no.such"}}'):
        file.write_text(text, "utf-8")
        assert knowing.known(config, "noop") is None


def test_what_is_old_is_found_out_again_and_thrown_away(server: Server, cache: Path) -> None:
    config = config_of(server)
    seen(config)
    assert knowing.known(config, "noop") is not None
    assert knowing.known(config, "other") is None
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**kept, "time": kept["time"] - knowing.KEPT_SECONDS}), "utf-8")
    assert knowing.known(config, "noop") is None
    forgotten = file.with_name("forgotten.json")
    forgotten.write_text("{}", "utf-8")
    os.utime(forgotten, (0, 0))
    assert seen(config).known_by == "probed"
    assert list(cache.iterdir()) == [file]


def test_what_is_given_is_believed_and_nothing_is_asked(server: Server) -> None:
    given = Capabilities(backend="mine", top_logprobs=False)
    config = config_of(server)
    assert seen(attrs.evolve(config, capabilities=given)) == given
    assert seen(attrs.evolve(config, probe="never")).known_by == "declared"
    assert not server.asked("forward_backward", "asample")


def test_what_is_known_is_said_before_anything_is_sent(server: Server) -> None:
    config = config_of(server)
    assert tinkex.expected(config, "noop") == "what it can do is probed at the start"
    assert not server.requests
    seen(config)
    assert "probed before: losses: mean, sent so that they are sums; custom losses: yes" in tinkex.expected(
        config, "noop"
    )
    given = attrs.evolve(config, capabilities=Capabilities(top_logprobs=False))
    assert "top logprobs: no" in tinkex.expected(given, "noop")
