"""A whole run is killed with -9: what it said was stored is there, whole and once, and it goes on in the same series."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import attrs
import pytest

from crucible.effects import Do, Handlers, Result, perform, tell
from crucible.kitchen import Recipe, generic_stage, loop, run
from crucible.kitchen.context import Context, Iteration
from crucible.telemetry.events import RunOpened
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.series import series_of
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventFilter
from tests.kitchen.fakes import Burnt, Cook, Meal, Plate, Served, Stove
from tests.sources import ROOT

PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.kitchen.test_killed import go_on
go_on(Path(sys.argv[1]), first=int(sys.argv[2]), last=10**9, wait_seconds=float(sys.argv[3]))
"""


@attrs.frozen(kw_only=True)
class Peeled:
    """Told before a dish is cooked."""

    NAME = "kitchen.peeled"
    dish: str


class Announcing(Stove):
    """Says, before it cooks, which dish it is: those before it were served, and what was told of them stored."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__()
        self._wait_seconds = wait_seconds

    async def make(self, dish: str) -> Result[int, Burnt]:
        sys.stdout.write(f"{dish}\n")
        sys.stdout.flush()
        await anyio.sleep(self._wait_seconds)
        return await super().make(dish)


def go_on(folder: Path, *, first: int, last: int, wait_seconds: float = 0.0) -> None:
    """Serve dishes from `first` on: each stage first says what the stages before it told, then tells its own."""

    @generic_stage
    def serve(context: Context[Iteration[Meal, int]]) -> Do[Burnt, Cook, Plate]:
        yield from tell(Peeled(dish=str(context.state.item)))
        yield from perform(Cook.make, str(context.state.item))
        yield from tell(Served(step=context.state.item, dish="soup", weight=float(context.state.item)))
        return context.to(context.state.state)

    workflow = loop("dishes", lambda _: range(first, last), serve).named("dinner")
    recipe = Recipe(name="dinner", description="", workflow=workflow, default_config=Meal())
    run(recipe, Cook.handled_by(Announcing(wait_seconds)) | stores(folder), run_id="evening").unwrap()


def stores(folder: Path) -> Handlers[MetricsStore | EventStore]:
    return MetricsStore.handled_by(SqliteMetricsStore(folder)) | EventStore.handled_by(SqliteEventStore(folder))


@contextmanager
def running(folder: Path, *, first: int, wait_seconds: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(first), str(wait_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def killed_after(folder: Path, *, first: int, dishes: int) -> int:
    """Kill a run that has announced some dishes; give the first step that it did not say it had stored."""
    with running(folder, first=first) as child:
        assert child.stdout is not None
        announced = [int(child.stdout.readline()) for _ in range(dishes)]
    return announced[-1]


@pytest.mark.slow
def test_a_killed_run_has_lost_nothing_that_it_said_was_stored_and_goes_on_in_the_same_series(tmp_path: Path) -> None:
    first = 0
    for dishes in (1, 7, 40):
        stored_to = killed_after(tmp_path, first=first, dishes=dishes)
        points = stores(tmp_path).run(perform(MetricsStore.read, "evening")).unwrap() if stored_to else ()
        steps = [point.step for point in points]
        assert set(range(stored_to)) <= set(steps)
        first = stored_to
    go_on(tmp_path, first=first, last=first + 5)
    points = stores(tmp_path).run(perform(MetricsStore.read, "evening")).unwrap()
    series = series_of(points)["kitchen/weight"]
    assert list(series.values) == [float(step) for step in series.steps]
    assert set(range(first + 5)) <= set(series.steps)
    assert len({point.sequence for point in points}) == len(points)
    events = stores(tmp_path).run(perform(EventStore.query, "evening")).unwrap()
    assert [event.attributes["writer"] for event in events if event.name == RunOpened.NAME] == [0, 1, 2, 3]


@pytest.mark.slow
def test_what_a_long_stage_told_is_there_when_it_is_killed_in_its_middle(tmp_path: Path) -> None:
    with running(tmp_path, first=5, wait_seconds=600.0) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "5\n"
        deadline = time.monotonic() + 60
        while not peeled(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert peeled(tmp_path) == ["5"]
    newest = stores(tmp_path).run(perform(EventStore.query, "evening", EventFilter(last=1))).unwrap()
    assert [event.name for event in newest] == [Peeled.NAME]


def peeled(folder: Path) -> list[object]:
    found = stores(folder).run(perform(EventStore.query, "evening", EventFilter(name=Peeled.NAME))).unwrap()
    return [event.attributes["dish"] for event in found]
