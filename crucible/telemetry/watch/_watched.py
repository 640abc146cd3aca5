"""What a person who watches a run wants to know, kept up to date event by event."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import attrs

from crucible.effects import Json
from crucible.telemetry.events import (
    DatasetBuilt,
    EffectPerformed,
    EpisodesFailed,
    EqualPairs,
    EvaluationCompleted,
    RunOpened,
    RunWarned,
    SamplerDiverged,
    SampleShown,
    StageFailed,
    TelemetryRefused,
)
from crucible.telemetry.loading import Standing, StandingReader
from crucible.telemetry.losses import said_of
from crucible.telemetry.types import EventRecord, MetricPoint

_RECENT = 40
_FAILURES = 3


@attrs.frozen(kw_only=True)
class Curve:
    """One metric: its steps and values so far, of a step done twice the later."""

    name: str
    values: Mapping[int, float]

    @property
    def newest(self) -> float:
        """The value at the greatest step."""
        return self.values[max(self.values)]


@attrs.frozen(kw_only=True)
class Speed:
    """How fast the last steps were; None where it cannot be told."""

    steps_per_second: float | None
    tokens_per_second: float | None


class Watched:
    """A run as it was told so far."""

    def __init__(self) -> None:
        self._reader = StandingReader()
        self._curves: dict[str, dict[int, float]] = {}
        self._timed: deque[tuple[datetime, int]] = deque(maxlen=_RECENT)
        self._tokens: deque[tuple[datetime, float]] = deque(maxlen=_RECENT)
        self._point_told: datetime | None = None
        self._opened: datetime | None = None
        self.is_held = False
        self.step: int | None = None
        self.total_steps: int | None = None
        self.last_evaluation: EventRecord | None = None
        self.last_sample: EventRecord | None = None
        self.failures: deque[str] = deque(maxlen=_FAILURES)
        self.num_failures = 0

    def take_events(self, events: Iterable[EventRecord]) -> None:
        """Take events, in the order of their numbers."""
        for event in events:
            self._reader.take(event)
            if event.name == RunOpened.NAME:
                self._opened = event.timestamp
                self._timed.clear()
                self._tokens.clear()
            elif event.name == DatasetBuilt.NAME:
                total = event.attributes.get("total_steps")
                self.total_steps = int(total) if isinstance(total, int | float) else None
            elif event.name == EvaluationCompleted.NAME:
                self.last_evaluation = event
            elif event.name == SampleShown.NAME:
                self.last_sample = event
            elif event.name == SamplerDiverged.NAME:
                self._take_failure("sampling", event.attributes.get("problem"))
            elif event.name == TelemetryRefused.NAME:
                self._take_failure("telemetry", event.attributes.get("problem"))
            elif event.name in (EpisodesFailed.NAME, EqualPairs.NAME):
                self._take_failure(*said_of(event))
            elif event.name == RunWarned.NAME:
                self._take_failure("warning", event.attributes.get("problem"))
            elif event.name == StageFailed.NAME or (
                event.name == EffectPerformed.NAME and event.attributes.get("error")
            ):
                what = event.attributes.get("effect") or event.attributes.get("path")
                self._take_failure(what, event.attributes.get("error"))

    def _take_failure(self, what: Json, why: Json) -> None:
        self.num_failures += 1
        failure = f"{what}: {why}"
        if failure in self.failures:  # said again, it is the newest, and is shown once
            self.failures.remove(failure)
        self.failures.append(failure)

    def take_points(self, points: Iterable[MetricPoint]) -> None:
        """Take points, in the order of their numbers."""
        for point in points:
            self._point_told = max(self._point_told or point.timestamp, point.timestamp)
            if point.step is None:
                continue
            self.step = point.step
            self._curves.setdefault(point.name, {})[point.step] = point.value
            if self._opened is not None and point.timestamp < self._opened:
                continue  # another process told it: the time between the two is no time of training
            if point.name.rpartition("/")[2] == "num_tokens":
                self._tokens.append((point.timestamp, point.value))
            if not self._timed or self._timed[-1][1] < point.step:
                self._timed.append((point.timestamp, point.step))

    @property
    def standing(self) -> Standing:
        """How it stands."""
        return self._reader.standing

    @property
    def last_told(self) -> datetime | None:
        """When it told anything, the last time."""
        times = [time for time in (self.standing.last_told, self._point_told) if time is not None]
        return max(times, default=None)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The metrics, those that a person looks for first at the front."""
        ordered = sorted(self._curves, key=lambda name: (_rank(name), name))
        return tuple(Curve(name=name, values=self._curves[name]) for name in ordered)

    @property
    def speed(self) -> Speed:
        """How fast the last steps were."""
        steps = [(time, float(step - before)) for (_, before), (time, step) in pairwise(self._timed)]
        return Speed(
            steps_per_second=_rate([*list(self._timed)[:1], *steps]), tokens_per_second=_rate(list(self._tokens))
        )


def _rate(told: Sequence[tuple[datetime, float]]) -> float | None:
    """Give how much came for each second after the first."""
    if len(told) <= 1:
        return None
    seconds = (told[-1][0] - told[0][0]).total_seconds()
    return sum(amount for _, amount in told[1:]) / seconds if seconds > 0 else None


def _rank(name: str) -> int:
    last = name.rpartition("/")[2]
    return next((rank for rank, word in enumerate(_FIRST) if word in last), len(_FIRST) + last.startswith("num_"))


_FIRST = ("loss", "reward_mean", "accuracy", "margin", "kl", "gap_sample", "learning_rate", "grad_norm")
