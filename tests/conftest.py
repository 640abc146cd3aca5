"""What every test shares: one thread for torch, hypothesis profiles, the two event loops."""

import os
import sys
import tempfile

# Read by the libraries when they are imported, so set before any test imports one.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy 2-core machine made a step 14 times slower
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # its storage has a protocol of its own, which no server here speaks
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["CRUCIBLE_CACHE"] = tempfile.mkdtemp(prefix="crucible-cache-")  # what is found out of servers is not kept

import pytest
from hypothesis import settings

# No deadline: on a machine shared with others, time says nothing about a property. CI draws the same examples each time,
# so that it fails for a change and not for the weather; development draws new ones.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Programs for the type checkers (tests/typing/test_typing.py), not for pytest.
collect_ignore_glob = ["typing/accept/*", "typing/reject/*"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each test marked `anyio` on both event loops."""
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Keep torch, where a test imported it, to one thread."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
