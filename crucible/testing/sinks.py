"""The contract of `Sink`, as a suite that any sink can be put through."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import attrs

from crucible.effects import Failure, Json, Result
from crucible.telemetry.events import SampleShown
from crucible.telemetry.sinks import Ending, Sink, SinkContent, SinkRun
from crucible.telemetry.types import EventRecord, MetricPoint
from crucible.testing._laws import ContractViolationError, require, require_equal

START = datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC)

NUMBERS = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1 + 0.2, 2.0**63, -1.7976931348623157e308, 1.0)
"""Numbers that some tracker is known to change."""


def check_sink(
    make: Callable[[], Sink],
    read_back: Callable[[str], SinkContent],
    *,
    run_id: str = "contract",
    rounded: Callable[[float], float] = float,
    patience_seconds: float = 10.0,
) -> None:
    """Put the sinks that `make` gives through the contract of `Sink`.

    Args:
        make: gives a sink; each writes to the same place, as the sinks of one process after another do.
        read_back: gives what is in that place of a run, read with the means of the tool that reads it.
        run_id: of runs that are not there yet; other ids are made of it.
        rounded: what becomes of a number where the tool's own format keeps fewer bits of it.
        patience_seconds: how long what was written may take to be there: a tool may write with a process of its own.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    suite = _Suite(make, read_back, rounded, patience_seconds)
    laws: dict[str, Callable[[str], None]] = {
        "points are found by name, with step and value": suite.points,
        "what is flushed is there while the run goes on": suite.flushing,
        "numbers are kept": suite.numbers,
        "many points in one call are kept": suite.many,
        "points without a step, and of large steps, are kept": suite.steps,
        "samples and metadata are there": suite.texts,
        "runs are apart, whatever they are called": suite.runs,
        "a run goes on in another process, and what is done again counts": suite.resuming,
        "a run ends in any way, and may have nothing": suite.ending,
    }
    for number, (sentence, law) in enumerate(laws.items()):
        try:
            law(f"{run_id}-{number}")
        except ContractViolationError as violation:
            raise ContractViolationError(f"{sentence}: {violation}") from None
        except Exception as defect:
            defect.add_note(f"while checking that {sentence}")
            raise


def sink_point(sequence: int, value: float, *, name: str = "loss", step: int | None = None) -> MetricPoint:
    """Make a point whose timestamp follows from its sequence number."""
    moment = START + timedelta(seconds=sequence)
    return MetricPoint(name=name, value=value, step=step, timestamp=moment, sequence=sequence)


def sink_sample(sequence: int, step: int, prompt: str, answer: str) -> EventRecord:
    """Make the event of a sample."""
    texts: dict[str, Json] = {"step": step, "prompt": prompt, "answer": answer, "expected": "", "path": "a / b"}
    moment = START + timedelta(seconds=sequence)
    return EventRecord(name=SampleShown.NAME, timestamp=moment, attributes=texts, sequence=sequence)


@attrs.frozen
class _Suite:
    make: Callable[[], Sink]
    read_back: Callable[[str], SinkContent]
    rounded: Callable[[float], float]
    patience_seconds: float

    def points(self, run_id: str) -> None:
        told = [sink_point(n, n / 4, name=name, step=n // 2) for n, name in enumerate(("loss", "eval/accuracy") * 3)]
        with_others = [*told, sink_point(9, 1.0, name="lr", step=3)]
        run = self._open(run_id)
        _did(run.write(with_others[:4], [EventRecord(name="other", timestamp=START, sequence=50)]), "writing")
        _did(run.write(with_others[4:], []), "writing")
        self._end(run)
        self._expect(
            run_id,
            {
                "loss": [(0, 0.0), (1, 0.5), (2, 1.0)],
                "eval/accuracy": [(0, 0.25), (1, 0.75), (2, 1.25)],
                "lr": [(3, 1.0)],
            },
        )

    def flushing(self, run_id: str) -> None:
        run = self._open(run_id)
        _did(run.write([sink_point(0, 2.0, step=0)], []), "writing")
        _did(run.flush(), "flushing")
        self._expect(run_id, {"loss": [(0, 2.0)]})
        _did(run.write([sink_point(1, 1.0, step=1)], []), "writing")
        _did(run.flush(), "flushing")
        self._expect(run_id, {"loss": [(0, 2.0), (1, 1.0)]})
        _did(run.close("completed"), "closing")

    def numbers(self, run_id: str) -> None:
        run = self._open(run_id)
        _did(run.write([sink_point(n, value, step=n) for n, value in enumerate(NUMBERS)], []), "writing")
        self._end(run)
        self._expect(run_id, {"loss": [(step, self.rounded(value)) for step, value in enumerate(NUMBERS)]})

    def many(self, run_id: str) -> None:
        run = self._open(run_id)
        _did(run.write([sink_point(n, float(n), step=n) for n in range(2500)], []), "writing")
        self._end(run)
        self._expect(run_id, {"loss": [(n, float(n)) for n in range(2500)]})

    def steps(self, run_id: str) -> None:
        run = self._open(run_id)
        told = [sink_point(0, 7.0, name="once"), sink_point(1, 8.0, name="late", step=2**40)]
        _did(run.write(told, []), "writing")
        self._end(run)

        def kept() -> None:
            content = self.read_back(run_id)
            require_equal([value for _, value in content.points.get("once", ())], [7.0], "the point without a step")
            require_equal(list(content.points.get("late", ())), [(2**40, 8.0)], "the point of step 2**40")

        self._patiently(kept)

    def texts(self, run_id: str) -> None:
        samples = (("2 + 2 = ", "4"), ('tést "é"\n| # |', "<b>\u2028</b>"))
        metadata: dict[str, Json] = {
            "recipe": "sft",
            "config": {"rate": 0.5, "adam": {"beta": 0.9}, "big": 2**70, "odd": "é \n|", "none": None},
        }
        run = self._open(run_id, metadata)
        events = [sink_sample(10 + n, n, prompt, answer) for n, (prompt, answer) in enumerate(samples)]
        _did(run.write([sink_point(0, 1.0, step=0)], events), "writing")
        _did(run.describe({**metadata, "late": "yes"}), "describing again")
        _did(run.write([sink_point(1, 1.0, step=1)], []), "writing")
        self._end(run)
        expected = {
            "recipe": "sft",
            "rate": "0.5",
            "adam.beta": "0.9",
            "big": str(2**70),
            "odd": "é \n|",
            "late": "yes",
        }

        def kept() -> None:
            content = self.read_back(run_id)
            require_equal(list(content.samples), list(samples), "the samples")
            found = {name: content.metadata.get(name) for name in expected}
            require_equal(found, expected, "the metadata")

        self._patiently(kept)

    def runs(self, run_id: str) -> None:
        names = (run_id, f"{run_id}/../{run_id}", f"{run_id} b", f"{run_id}.é'\"?#%")
        opened = [self._open(name) for name in names]
        for number, run in enumerate(opened):
            _did(run.write([sink_point(0, float(number), step=0)], []), "writing")
        for run in reversed(opened):
            self._end(run)
        for number, name in enumerate(names):
            self._expect(name, {"loss": [(0, float(number))]})

    def resuming(self, run_id: str) -> None:
        run = self._open(run_id, {"recipe": "sft"})
        _did(run.write([sink_point(n, float(n), step=n) for n in range(6)], []), "writing")
        self._end(run, "interrupted")
        run = self._open(run_id, {"recipe": "sft"})
        again = [sink_point(100 + step, 10.0 * step, step=step) for step in range(4, 8)]
        _did(run.write(again, []), "writing")
        self._end(run)

        def counts() -> None:
            found = dict(self.read_back(run_id).points.get("loss", ()))
            expected = {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 40.0, 5: 50.0, 6: 60.0, 7: 70.0}
            require_equal(found, expected, "the series, the later point of a step counting")

        self._patiently(counts)

    def ending(self, run_id: str) -> None:
        endings: Sequence[Ending] = ("completed", "failed", "interrupted")
        for ending in endings:
            self._end(self._open(f"{run_id}-{ending}", {"recipe": "sft"}), ending)

    def _open(self, run_id: str, metadata: dict[str, Json] | None = None) -> SinkRun:
        sink = self.make()
        require(bool(sink.name), "the sink has no name")
        opened = sink.open(run_id)
        _did(opened, f"opening {run_id!r}")
        run = opened.unwrap()
        if metadata is not None:
            _did(run.describe(metadata), "describing")
        return run

    def _end(self, run: SinkRun, ending: Ending = "completed") -> None:
        _did(run.flush(), "flushing")
        _did(run.close(ending), "closing")

    def _expect(self, run_id: str, expected: dict[str, list[tuple[int, float]]]) -> None:
        def found() -> None:
            points = self.read_back(run_id).points
            for name, pairs in expected.items():
                there = list(points.get(name, ()))
                same = len(there) == len(pairs) and all(map(_same, there, pairs))
                require(same, f"{name} of {run_id!r} is {_brief(there)}, expected {_brief(pairs)}")
            require_equal(set(points), set(expected), f"the names of the metrics of {run_id!r}")

        self._patiently(found)

    def _patiently(self, law: Callable[[], None]) -> None:
        """Ask again until it holds, for a while."""
        until = time.monotonic() + self.patience_seconds
        while True:
            try:
                return law()
            except ContractViolationError:
                if time.monotonic() >= until:
                    raise
            time.sleep(0.05)


def _same(found: tuple[int | None, float], expected: tuple[int, float]) -> bool:
    """Compare by value: NaN is itself, and the sign of zero is nobody's loss."""
    both_nan = math.isnan(found[1]) and math.isnan(expected[1])
    return found[0] == expected[0] and (both_nan or found[1] == expected[1])


def _brief(pairs: Sequence[object]) -> str:
    return repr(list(pairs)) if len(pairs) < 12 else f"{len(pairs)} points, {list(pairs[:3])!r} to {list(pairs[-1:])!r}"


def _did(result: Result[object, object], what: str) -> None:
    if isinstance(result, Failure):
        error = result.failure()
        raise ContractViolationError(f"{what} failed with {type(error).__name__}({error})")
