"""What a run told in words: its samples, and what went wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import attrs

from crucible.telemetry.events import (
    EpisodesFailed,
    EqualPairs,
    SamplerDiverged,
    SampleShown,
    StageFailed,
    TelemetryRefused,
    WorkflowFailed,
)
from crucible.telemetry.losses import said_of
from crucible.telemetry.report._effects import Call
from crucible.telemetry.report._timeline import shape_of
from crucible.telemetry.series import Series
from crucible.telemetry.types import EventRecord

FIRST_SAMPLES, LAST_SAMPLES = 6, 24
_LONGEST = 2000


@attrs.frozen(kw_only=True)
class Sample:
    """A prompt, what the model answered, and what was expected (nothing, where nothing was)."""

    step: str
    prompt: str
    answer: str
    expected: str

    @property
    def is_same(self) -> bool | None:
        """Whether the answer is the text expected; None where none was."""
        return None if not self.expected.strip() else self.answer.strip() == self.expected.strip()


@attrs.frozen(kw_only=True)
class Samples:
    """The first and the last samples of a run, and how many are left out between them."""

    first: tuple[Sample, ...]
    num_left_out: int
    last: tuple[Sample, ...]


def samples_of(events: Sequence[EventRecord]) -> Samples:
    """Read the samples off a run's events."""
    found = [_sample(event) for event in events if event.name == SampleShown.NAME]
    if len(found) <= FIRST_SAMPLES + LAST_SAMPLES:
        return Samples(first=tuple(found), num_left_out=0, last=())
    left_out = len(found) - FIRST_SAMPLES - LAST_SAMPLES
    return Samples(first=tuple(found[:FIRST_SAMPLES]), num_left_out=left_out, last=tuple(found[-LAST_SAMPLES:]))


def problems_of(events: Sequence[EventRecord], calls: Sequence[Call], series: Mapping[str, Series]) -> tuple[str, ...]:
    """Say what went wrong in a run, each thing once and how often.

    >>> problems_of([], [], {"loss": Series(name="loss", steps=(1, 2), values=(float("nan"), 1.0))})
    ('loss: 1 of 2 values is not finite, first at step 1',)
    """
    return (
        *_failures(events),
        *_failed_calls(calls),
        *_lost(events),
        *_diverged(events),
        *_refused(events),
        *_not_finite(series),
    )


def _failures(events: Sequence[EventRecord]) -> Iterator[str]:
    for name, kind in ((WorkflowFailed.NAME, "workflow"), (StageFailed.NAME, "stage")):
        failed = Counter(
            (shape_of(str(event.attributes.get("path", ""))), str(event.attributes.get("error", "")))
            for event in events
            if event.name == name
        )
        for (path, error), count in failed.items():
            yield f"{kind} {path} failed{_times(count)}: {error}"


def _failed_calls(calls: Sequence[Call]) -> Iterator[str]:
    failed = Counter((call.effect, shape_of(call.path), call.error) for call in calls if call.error)
    for (effect, path, error), count in failed.most_common(_MOST):
        yield f"{effect} in {path} failed{_times(count)}: {error}"


def _lost(events: Sequence[EventRecord]) -> Iterator[str]:
    """Say which episodes failed, those of all rounds together that failed alike, and which pairs were left out."""
    failed: dict[str, float] = {}
    first: dict[str, str] = {}
    for event in events:
        if event.name == EqualPairs.NAME:
            yield ": ".join(said_of(event))
        elif event.name == EpisodesFailed.NAME:
            error, number = str(event.attributes.get("error", "")), event.attributes.get("num_failed")
            failed[error] = failed.get(error, 0.0) + (number if isinstance(number, int | float) else 0.0)
            first.setdefault(error, said_of(event)[0].partition(", ")[2])
    for error, count in sorted(failed.items(), key=lambda one: -one[1])[:_MOST]:
        yield f"{count:,.0f} episodes failed{', ' if first[error] else ''}{first[error]}: {error}"


def _refused(events: Sequence[EventRecord]) -> Iterator[str]:
    told = [event.attributes.get("problem") for event in events if event.name == TelemetryRefused.NAME]
    for problem in dict.fromkeys(told):  # each process of a run tells it once
        yield f"telemetry: {problem}"


def _diverged(events: Sequence[EventRecord]) -> Iterator[str]:
    for event in events:
        if event.name == SamplerDiverged.NAME:
            yield f"sampling at step {event.attributes.get('step')}: {event.attributes.get('problem')}"


def _not_finite(series: Mapping[str, Series]) -> Iterator[str]:
    for name, each in series.items():
        odd = [step for step, value in zip(each.steps, each.values, strict=True) if not abs(value) < float("inf")]
        if odd:
            yield f"{name}: {len(odd)} of {len(each)} values {'is' if len(odd) == 1 else 'are'} not finite, first at step {odd[0]}"


def _sample(event: EventRecord) -> Sample:
    said = {name: _cut(str(event.attributes.get(name, ""))) for name in ("step", "prompt", "answer", "expected")}
    return Sample(**said)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text) - _LONGEST:,} more characters)"


def _times(count: int) -> str:
    return f" {count} times" if count > 1 else ""


_MOST = 20
