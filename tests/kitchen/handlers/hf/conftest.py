"""A hub and a served model on this machine, for the tests of this folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible.kitchen.handlers import hf
from tests.kitchen.handlers.hf.hub_server import HubSite
from tests.kitchen.handlers.hf.model_server import ModelSite
from tests.kitchen.handlers.hf.servers import serving

CANARY = "hf_canaryThatSings"
ROWS = [{"n": n, "messages": [{"role": "user", "content": f"Question {n}"}]} for n in range(24)]


def lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def site() -> Iterator[HubSite]:
    hub = HubSite(token=CANARY)
    hub.add("org/model", {"README.md": b"# Hi", "weights/a.bin": bytes(range(200)), "config.json": b"{}"})
    parts = {f"train-{part}.jsonl": lines(ROWS[8 * part : 8 * part + 8]) for part in range(3)}
    hub.add("org/data", {"README.md": b"# Data", "test.jsonl": lines(ROWS[:4]), **parts}, type="dataset")
    with serving(hub):
        yield hub


@pytest.fixture
def config(site: HubSite, tmp_path: Path) -> hf.HfConfig:
    return hf.HfConfig(endpoint=site.url, token=CANARY, cache=tmp_path / "cache", timeout_seconds=5)


@pytest.fixture
def model() -> Iterator[ModelSite]:
    served = ModelSite()
    with serving(served):
        yield served


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep these tests from the login of whoever runs them."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
