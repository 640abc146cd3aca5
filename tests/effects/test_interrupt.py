"""A real ctrl-C: finalizers run, once and to their end, and then Python hears of it."""

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible.effects import Handlers, Result, Success, pure
from tests.effects.fakes import Work, Worker, add

ROOT = Path(__file__).parents[2]

PROGRAM = """
import signal
from crucible.effects import Success, attempt, bracket, gather, perform, pure
from tests.effects.fakes import Work, Worker

class Loud(Worker):
    async def say(self, word):
        print(word, "begins", flush=True)
        if word == "last":
            signal.raise_signal(signal.SIGINT)
        else:
            await super().rest(TIMES.get(word, 0.01))
        print(word, "ends", flush=True)
        return Success(word)

def say(word):
    return attempt(perform(Work.say, word))

one = bracket(say("open"), lambda _: say("use"), lambda _: say("close"))
try:
    print(Work.handled_by(Loud()).run(EFF))
except KeyboardInterrupt:
    print("interrupted")
"""


def interrupted(at: str, times: dict[str, float], eff: str = "one", again_at: str = "") -> list[str]:
    """Run a program in a process of its own, press ctrl-C once when it writes `at`, and give what it wrote."""
    presses = [at, again_at]
    source = textwrap.dedent(PROGRAM).replace("TIMES", repr(times)).replace("EFF", eff)
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if presses and lines[-1] == presses[0]:
                del presses[0]
                process.send_signal(signal.SIGINT)
        return lines


LONG = 60.0
SHORT = 0.3


class TestCtrlC:
    def test_during_use_releases_once(self) -> None:
        assert interrupted("use begins", {"use": LONG})[2:] == [
            "use begins",
            "close begins",
            "close ends",
            "interrupted",
        ]

    def test_during_acquisition_waits_for_it_and_releases(self) -> None:
        lines = interrupted("open begins", {"open": SHORT, "use": LONG})
        assert lines == ["open begins", "open ends", "use begins", "close begins", "close ends", "interrupted"]

    def test_during_release_lets_it_end(self) -> None:
        assert interrupted("close begins", {"close": SHORT})[-3:] == ["close begins", "close ends", "interrupted"]

    def test_releases_in_every_branch(self) -> None:
        lines = interrupted("use begins", {"use": LONG}, eff="gather([one] * 3)")
        assert lines.count("close ends") == lines.count("open ends")
        assert lines[-1] == "interrupted"

    def test_again_stops_at_once(self) -> None:
        lines = interrupted("use begins", {"use": LONG, "close": LONG}, again_at="close begins")
        assert lines[2:] == ["use begins", "close begins", "interrupted"]

    def test_is_heard_though_the_program_ends_at_the_same_time(self) -> None:
        assert interrupted("", {}, eff="say('last')") == ["last begins", "last ends", "interrupted"]


class Pressing(Worker):
    """Presses ctrl-C, as often as it is told, while it works."""

    async def add(self, a: int, b: int = 1) -> Result[int, str]:
        for _ in range(a):
            signal.raise_signal(signal.SIGINT)
        self.log.append("after the last one")
        return Success(a)


class TestWithinThisProcess:
    @pytest.fixture(autouse=True)
    def _usual_handler(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, before)

    def test_the_first_lets_a_step_end(self) -> None:
        worker = Pressing()
        with pytest.raises(KeyboardInterrupt):
            Work.handled_by(worker).run(add(1, 1))
        assert worker.log == ["after the last one"]

    def test_the_second_breaks_in(self) -> None:
        worker = Pressing()
        with pytest.raises(KeyboardInterrupt):
            Work.handled_by(worker).run(add(2, 1))
        assert worker.log == []

    def test_without_one_nothing_is_different(self) -> None:
        assert Work.handled_by(Pressing()).run(add(0, 1)) == Success(0)


class TestOtherwise:
    def test_a_handler_that_somebody_set_is_left_alone(self) -> None:
        seen: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
        try:
            assert Handlers.none().run(pure(None).map(lambda _: signal.raise_signal(signal.SIGINT))) == Success(None)
        finally:
            signal.signal(signal.SIGINT, before)
        assert seen == [signal.SIGINT]

    def test_the_handler_before_the_run_is_back_after_it(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        assert Handlers.none().run(pure(1)) == Success(1)
        assert signal.getsignal(signal.SIGINT) is before

    def test_a_run_in_a_thread_works(self) -> None:
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.append(Work.handled_by(Worker()).run(add(1, 2))))
        thread.start()
        thread.join()
        assert results == [Success(3)]

    def test_what_a_run_gives_is_not_written_out(self) -> None:
        class Unwritten:
            def __repr__(self) -> str:
                raise AssertionError("the repr of a large result takes longer than the run")

        given = Unwritten()
        assert Handlers.none().run(pure(given)).unwrap() is given
