"""`watch_run`: the dashboard of a run, drawn again and again until the run ends."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime

import anyio
from rich.console import Console
from rich.live import Live

from crucible.effects import Failure, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.loading import QUIET_SECONDS, RunPlace, Standing
from crucible.telemetry.watch._following import Follower
from crucible.telemetry.watch._frame import frame, line, quiet_seconds
from crucible.telemetry.watch._watched import Watched


def _now() -> datetime:
    return datetime.now(UTC)


async def look(follower: Follower, watched: Watched) -> Result[Watched, StoreError]:
    """Read what is new into `watched`."""
    events = (await follower.new_events()).map(watched.take_events)
    points = (await follower.new_points()).map(watched.take_points)
    watched.is_held = await follower.is_held()
    return events.bind(lambda _: points).map(lambda _: watched)


async def watch_run(
    place: RunPlace,
    console: Console,
    *,
    once: bool = False,
    interval_seconds: float = 1.0,
    patience_seconds: float | None = None,
    clock: Callable[[], datetime] = _now,
) -> Result[Standing, StoreError]:
    """Show a run until it ends, and give how it stood then.

    Args:
        place: of the run.
        console: to draw on; on one that is no terminal, a line is written when something is new.
        once: show one frame and come back.
        interval_seconds: between two looks.
        patience_seconds: come back when nothing was told for so long; never, when absent.
        clock: tells the time that ages are counted to.
    """
    follower, watched = Follower(place), Watched()
    looked = await look(follower, watched)
    if isinstance(looked, Failure):
        return Failure(looked.failure())
    if once:
        console.print(frame(place.run_id, watched, now=clock()))
        return Success(watched.standing)
    with Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else nullcontext() as live:
        shown = ""
        while True:
            if live is not None:
                live.update(frame(place.run_id, watched, now=clock()), refresh=True)
            elif _news(watched, clock()) != shown:
                shown = _news(watched, clock())
                console.print(line(watched, now=clock()), markup=False, highlight=False, soft_wrap=True)
            if isinstance(looked, Failure) or _is_over(watched, patience_seconds, clock()):
                break
            await anyio.sleep(interval_seconds)
            looked = await look(follower, watched)
    return looked.map(lambda seen: seen.standing)


def _is_over(watched: Watched, patience_seconds: float | None, now: datetime) -> bool:
    if watched.standing.state != "open":
        return True
    if patience_seconds is None or watched.is_held:
        return False
    return quiet_seconds(watched, now) >= patience_seconds


def _news(watched: Watched, now: datetime) -> str:
    """Give what changes when there is something to say: something was told, or nothing for another while."""
    return f"{watched.last_told} {watched.is_held} {quiet_seconds(watched, now) // QUIET_SECONDS}"
