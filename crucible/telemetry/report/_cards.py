"""What is said of each run at the top: how it stands, what it is made of, and its headline numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import attrs

from crucible.effects import Json
from crucible.telemetry.loading import LoadedRun, Standing, standing_of
from crucible.telemetry.report._numbers import duration, number
from crucible.telemetry.series import Series

_STATES = {"completed": "completed", "failed": "failed", "open": "never ended"}
_HEADLINES = (
    ("accuracy", "score"),
    ("reward_mean", "reward"),
    ("loss",),
    ("margin",),
    ("teacher_kl", "kl"),
    ("logprob_gap_sample_train",),
)
_SHOWN = 4


@attrs.frozen(kw_only=True)
class Headline:
    """A metric at the beginning and at the end."""

    name: str
    first: str
    last: str


@attrs.frozen(kw_only=True)
class Card:
    """One run in short.

    Args:
        number: of the run among those of the page, which chooses its colour.
        facts: what it is made of, as pairs of a word and a text.
    """

    number: int
    run_id: str
    standing: Standing
    facts: tuple[tuple[str, str], ...]
    headlines: tuple[Headline, ...]

    @property
    def state(self) -> str:
        """How it stands, in words."""
        return _STATES[self.standing.state]


def card_of(number: int, run: LoadedRun, series: Mapping[str, Series]) -> Card:
    """Say of a run what a reader wants to know first."""
    standing = standing_of(run.events)
    return Card(
        number=number,
        run_id=run.run_id,
        standing=standing,
        facts=tuple((word, text) for word, text in _facts(run, standing, series) if text),
        headlines=_headlines(series),
    )


def moment(time: datetime | None) -> str:
    """Write a time to the second.

    >>> from datetime import UTC
    >>> moment(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)), moment(None)
    ('2026-01-02 03:04:05 UTC', '')
    """
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def steps_of(series: Mapping[str, Series]) -> int:
    """Give the newest step that any metric was recorded at."""
    return max((each.steps[-1] for each in series.values() if each.steps), default=0)


def _facts(run: LoadedRun, standing: Standing, series: Mapping[str, Series]) -> Iterator[tuple[str, str]]:
    about = run.info.metadata
    yield "recipe", _text(about.get("recipe"))
    yield "started", moment(standing.started)
    yield "took" if standing.state != "open" else "last heard of after", duration(standing.seconds)
    yield "steps", f"{steps_of(series):,}"
    yield "git", _revision(about.get("git"))
    yield "configuration", _text(about.get("fingerprint"))
    times = standing.num_writers - 1
    yield "resumed", "" if times == 0 else "once" if times == 1 else f"{times} times"
    packages = about.get("packages")
    versions = [f"{name} {version}" for name, version in packages.items()] if isinstance(packages, Mapping) else []
    yield "versions", ", ".join([*([f"Python {about['python']}"] if "python" in about else []), *versions])


def _headlines(series: Mapping[str, Series]) -> tuple[Headline, ...]:
    chosen: dict[str, Series] = {}
    ordered = sorted(series, key=lambda name: ("eval" not in name, len(name), name))
    for words in _HEADLINES:
        name = next((name for name in ordered if name.rpartition("/")[2] in words), None)
        if name is not None and len(chosen) < _SHOWN:
            chosen[name] = series[name]
    return tuple(headline for name, each in chosen.items() for headline in _headline(name, each.values))


def _headline(name: str, values: Sequence[float]) -> Iterator[Headline]:
    """Give the first number there is and the last value, a number or not: a loss that became NaN ends as NaN."""
    finite = [value for value in values if math.isfinite(value)]
    if values:
        yield Headline(name=name, first=number((finite or values)[0]), last=number(values[-1]))


def _revision(git: Json) -> str:
    if not isinstance(git, Mapping):
        return ""
    return f"{_text(git.get('revision'))[:10]}{' with changes' if git.get('changed') else ''}"


def _text(value: Json) -> str:
    return "" if value is None else str(value)
