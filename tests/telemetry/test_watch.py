"""A run is watched from another process: what is new is seen, its end and its silence are told, nothing is locked."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from crucible.telemetry.events import (
    DatasetBuilt,
    EffectPerformed,
    EpisodesFailed,
    EvaluationCompleted,
    RunOpened,
    SampleShown,
    StageFailed,
    TelemetryRefused,
)
from crucible.telemetry.experiments import RunHeld, RunReleased
from crucible.telemetry.loading import QUIET_SECONDS, RunPlace
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.watch import watch_run
from crucible.telemetry.watch._following import Follower
from crucible.telemetry.watch._frame import frame, line, sparkline
from crucible.telemetry.watch._watched import Watched
from crucible.telemetry.watch._watching import look
from tests.telemetry.made import COMPLETED, FAILED, HOSTILE, UNENDED, at, event, points

WRITER = Path(__file__).with_name("writing_process.py")
ROOT = Path(__file__).parents[2]


def text_of(watched: Watched, *, seconds: float = 4.0, width: int = 80) -> str:
    """Draw a frame as a person sees it so many seconds after the start."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True, color_system=None)
    console.print(frame("evening", watched, now=at(seconds)))
    return console.export_text()


def told(*events: object, **metrics: list[float]) -> Watched:
    watched = Watched()
    watched.take_events(events)  # type: ignore[arg-type]  # records all
    for place, (name, values) in enumerate(metrics.items()):
        watched.take_points(points(name, values, first=1000 * place))
    return watched


# Frames


def test_a_frame_says_where_the_run_is_how_far_and_how_fast() -> None:
    watched = told(*UNENDED, event(3, DatasetBuilt.NAME, total_steps=8.0), loss=[4.0, 3.0, 2.0], num_tokens=[10.0] * 3)
    text = text_of(watched)
    assert "running in sft/load" in text
    assert "step 2 of 8" in text
    assert "10 tokens/s" in text
    assert "1 steps/s" in text
    assert "about 6 s left" in text
    assert "loss" in text
    assert "█▅▁" in text
    assert "-2" in text


def test_a_frame_has_the_last_evaluation_the_last_sample_and_the_last_failures() -> None:
    events = [
        *UNENDED,
        event(3, EvaluationCompleted.NAME, step=8, accuracy=0.5, num_examples=4.0),
        event(4, SampleShown.NAME, step=8, prompt="2 + 2 =", answer="5", expected="4"),
        *(event(5 + n, StageFailed.NAME, f"sft/try[{n}]", error=f"busy {n}") for n in range(4)),
        event(9, EffectPerformed.NAME, effect="TrainingClient.optim_step", seconds=1.0, error="down"),
    ]
    text = text_of(told(*events))
    assert "accuracy 0.5 at step 8, 4 examples" in text
    assert "sample at step 8" in text
    assert "asked     2 + 2 =" in text
    assert "failures (the last of 5)" in text
    assert "busy 1" not in text
    assert "TrainingClient.optim_step: down" in text
    assert "telemetry: the disk is full" in text_of(told(event(1, TelemetryRefused.NAME, problem="the disk is full")))


def test_episodes_that_failed_are_among_the_failures_with_their_row() -> None:
    failed = event(1, EpisodesFailed.NAME, error="no grader", num_failed=6.0, row=3, shown="{'prompt': '3?'}")
    assert "6 episodes, first on row 3 {'prompt': '3?'}: no grader" in text_of(told(failed))


def test_a_run_that_tells_nothing_is_pointed_out_by_its_age() -> None:
    watched = told(*UNENDED)
    assert "told 5 s ago" in text_of(watched, seconds=7)
    assert "silent in sft/load  nothing told for 43 s" in text_of(watched, seconds=45)
    assert "nothing told for 2 h 0 min" in text_of(watched, seconds=7202)
    assert "nothing told yet" in text_of(Watched())


@pytest.mark.parametrize(("events", "words"), [(COMPLETED, "completed  took 4 s"), (FAILED, "failed in sft/load")])
def test_a_run_that_ended_has_no_age(events: tuple, words: str) -> None:  # type: ignore[type-arg]  # of records
    text = text_of(told(*events), seconds=9999)
    assert words in text
    assert "nothing told" not in text
    assert ("no rows in 'talk'" in text) == (events is FAILED)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_hostile_texts_and_narrow_terminals_stay_within_the_frame(width: int) -> None:
    watched = told(*UNENDED, loss=[1.0])
    for number, text in enumerate(HOSTILE):
        sample = event(10 + number, SampleShown.NAME, step=1, prompt=text, answer="[bold]", expected=text)
        watched.take_events([sample, event(50 + number, StageFailed.NAME, text, error=text)])
        watched.take_points(points(text, [1.0], first=9000 + 10 * number))
        shown = text_of(watched, width=width)
        assert max(map(cell_len, shown.splitlines())) <= width
        assert "\x1b" not in shown
    assert width < 80 or "[bold]" in text_of(watched, width=width)


def test_many_metrics_are_cut_and_counted() -> None:
    watched = told(**{f"metric_{number}": [1.0] for number in range(30)})
    assert "and 18 more metrics" in text_of(watched)


@given(st.lists(st.floats(), max_size=80), st.integers(1, 30))
def test_a_sparkline_has_a_block_for_each_share_of_the_values(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set("▁▂▃▄▅▆▇█x")


# Keeping up


def test_a_resumed_run_does_not_count_the_pause_into_its_speed() -> None:
    watched = told(*UNENDED, num_tokens=[10.0] * 3)
    watched.take_events([event(1000, RunOpened.NAME, "", writer=1)])
    assert [watched.speed.tokens_per_second, watched.speed.steps_per_second] == [None, None]
    later = [
        attrs.evolve(it, timestamp=at(1001 + it.sequence), sequence=5000 + it.sequence)
        for it in points("num_tokens", [10.0] * 3)
    ]
    watched.take_points([*points("num_tokens", [10.0] * 3), *later])
    assert watched.speed.tokens_per_second == 10.0
    assert watched.step == 2


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
async def test_a_follower_gives_each_record_once(tmp_path: Path, kind: str) -> None:
    is_sqlite = kind == "sqlite"
    events = SqliteEventStore(tmp_path) if is_sqlite else JsonlEventStore(tmp_path)
    metrics = SqliteMetricsStore(tmp_path) if is_sqlite else JsonlMetricsStore(tmp_path)
    await events.open_run("live")
    follower = Follower(RunPlace(run_id="live", folder=tmp_path, format="sqlite" if is_sqlite else "jsonl"))
    assert (await follower.new_events()).unwrap() == ()
    assert (await follower.new_points()).unwrap() == ()
    many = [event(number, "x", second=number) for number in range(200)]
    series = points("loss", [1.0] * 200)
    for first in range(0, 200, 50):
        await events.insert("live", many[first : first + 50])
        await metrics.record("live", series[first : first + 50])
        assert (await follower.new_events()).unwrap() == tuple(many[first : first + 50])
        assert (await follower.new_points()).unwrap() == tuple(series[first : first + 50])
    assert (await follower.new_events()).unwrap() == ()
    assert (await follower.new_points()).unwrap() == ()


@pytest.mark.anyio
async def test_steps_that_a_resumed_run_does_again_are_seen(tmp_path: Path) -> None:
    events, metrics = SqliteEventStore(tmp_path), SqliteMetricsStore(tmp_path)
    await events.open_run("live")
    await metrics.record("live", points("loss", [1.0] * 100))
    follower = Follower(RunPlace(run_id="live", folder=tmp_path, format="sqlite"))
    await follower.new_points()
    again = attrs.evolve(points("loss", [9.0])[0], sequence=5000, step=3)
    await metrics.record("live", [again])
    await events.insert("live", [event(2**40, RunOpened.NAME, "", second=100, writer=1)])
    await follower.new_events()
    assert again in (await follower.new_points()).unwrap()


@pytest.mark.anyio
async def test_a_store_that_cannot_be_read_ends_the_watching_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "torn.events.jsonl").write_text('{"run_id":"torn","metadata":{}}\nnot json\n')
    place = RunPlace(run_id="torn", folder=tmp_path, format="jsonl")
    assert "line 2" in str((await watch_run(place, Console(file=io.StringIO()))).failure())


@pytest.mark.anyio
async def test_a_run_that_waits_for_its_experiment_is_said_to_be_paused(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path)
    place = RunPlace(run_id="live", folder=tmp_path, format="sqlite")
    follower, watched = Follower(place), Watched()

    async def status(seconds: float) -> str:
        return text_of((await look(follower, watched)).unwrap(), seconds=seconds)

    await store.open_run("exp")
    await status(0)
    await store.open_run("live", metadata={"experiment": "exp"})
    await store.insert("live", UNENDED)
    assert "running" in await status(7)
    await store.insert("exp", [event(1, RunHeld.NAME, run_id="other"), event(2, RunHeld.NAME, run_id="live")])
    assert "paused by its experiment in sft/load  told 98 s ago" in await status(100)
    await store.insert("exp", [event(3, RunReleased.NAME, run_id="live", seconds=9.0)])
    assert "silent in sft/load" in await status(100)


# Another process


@contextmanager
def writing(folder: Path, *, steps: int, pause: float) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that writes run `live`, and wait until there is something to see."""
    process = subprocess.Popen([sys.executable, str(WRITER), str(folder), str(steps), str(pause)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "live.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def place_of(folder: Path) -> RunPlace:
    return RunPlace(run_id="live", folder=folder, format="sqlite")


@pytest.mark.slow
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_is_followed_while_another_process_writes_it_and_left_when_it_ends(
    tmp_path: Path, is_terminal: bool
) -> None:
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=is_terminal, color_system=None)

    async def watch() -> object:
        with anyio.fail_after(60):
            return (await watch_run(place_of(tmp_path), console, interval_seconds=0.05)).unwrap().state

    with writing(tmp_path, steps=12, pause=0.1) as process:
        assert anyio.run(watch) == "completed"
        assert process.wait(30) == 0
    said = output.getvalue()
    assert said.count("running in sft/batches") >= 3
    assert "completed" in said
    assert "step 12 of 12" in said
    assert ("asked" in said) == is_terminal
    assert ("\x1b[" in said) == is_terminal


@pytest.mark.slow
def test_a_process_that_was_killed_is_told_by_the_age_of_its_last_word(tmp_path: Path) -> None:
    with writing(tmp_path, steps=10_000, pause=0.05) as process:
        output = io.StringIO()
        console = Console(file=output, width=100, force_terminal=True, color_system=None)
        past = timedelta()

        def clock() -> datetime:
            return datetime.now(tz=at(0).tzinfo) + past

        async def watch(*, once: bool = False, patience: float | None = None) -> str:
            found = await watch_run(
                place_of(tmp_path), console, once=once, interval_seconds=0.05, patience_seconds=patience, clock=clock
            )
            return found.unwrap().state

        time.sleep(1)
        process.kill()  # kill -9
        process.wait()
        past = timedelta(seconds=QUIET_SECONDS + 13)
        assert anyio.run(lambda: watch(once=True)) == "open"
        assert "nothing told for 43 s" in output.getvalue()
        assert anyio.run(lambda: watch(patience=40.0)) == "open"


@pytest.mark.slow
def test_watching_takes_no_lock_that_the_writer_waits_for(tmp_path: Path) -> None:
    with writing(tmp_path, steps=400, pause=0.0) as process:
        follower, seen = Follower(place_of(tmp_path)), 0

        async def follow() -> int:
            nonlocal seen
            while process.poll() is None:
                seen += len((await follower.new_events()).unwrap())
            return seen + len((await follower.new_events()).unwrap())

        assert anyio.run(follow) == 3 + 3 * 400 + 1
        assert process.returncode == 0


def test_a_line_for_a_pipe_says_the_same_in_short() -> None:
    watched = told(*UNENDED, loss=[4.0, 3.0])
    assert line(watched, now=at(2)) == "running in sft/load  2 s since the start  step 1  loss 3"
