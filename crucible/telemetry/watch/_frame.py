"""One frame of the dashboard, for a terminal of any width."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crucible.telemetry.loading import QUIET_SECONDS, age
from crucible.telemetry.types import EventRecord
from crucible.telemetry.watch._watched import Curve, Watched

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 30
_MOST_CURVES = 12
_STYLES = {"completed": "bold green", "failed": "bold red", "open": "bold cyan"}
_WORDS = {"completed": "completed", "failed": "failed", "open": "running"}


def frame(run_id: str, watched: Watched, *, now: datetime) -> RenderableType:
    """Draw what is known of a run.

    Args:
        run_id: of the run.
        watched: what it told.
        now: the time, from which ages are counted.
    """
    parts = [_status(watched, now), *_progress(watched), *_values(watched), *_words(watched)]
    return Panel(
        Group(*parts), title=Text(_cut(run_id), style="bold"), title_align="left", box=box.ROUNDED, padding=(0, 1)
    )


def line(watched: Watched, *, now: datetime) -> str:
    """Say in one line how a run stands, for an output that is no terminal."""
    curves = [f"{_cut(curve.name)} {curve.newest:.4g}" for curve in watched.curves[:4]]
    step = _step_of(watched)
    return "  ".join([_status(watched, now).plain.replace("\n", " "), *([step] if step else []), *curves])


def quiet_seconds(watched: Watched, now: datetime) -> float:
    """Give for how long a run has told nothing; 0 for one that has not told anything yet."""
    return 0.0 if watched.last_told is None else max(0.0, (now - watched.last_told).total_seconds())


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Draw values as a line of blocks, each the mean of its share of them; `x` where one is not finite.

    >>> sparkline([0.0, 1.0, 2.0, 3.0])
    '▁▃▆█'
    >>> sparkline([1.0, float("nan"), 1.0]), sparkline([]), len(sparkline(list(range(1000)), 30))
    ('▄x▄', '', 30)
    """
    width = min(width, len(values))
    parts = [values[len(values) * at // width : len(values) * (at + 1) // width] for at in range(width)]
    means = [
        math.nan if not all(map(math.isfinite, part)) else sum(each / len(part) for each in part) for part in parts
    ]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join(_block(mean, low, high) for mean in means)


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "x"
    share = 0.5 if high / 2 - low / 2 <= 0 else (value / 2 - low / 2) / (high / 2 - low / 2)
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * (len(_BLOCKS) - 1) + (0.5 if high != low else 0)))]


def _status(watched: Watched, now: datetime) -> Text:
    standing = watched.standing
    quiet = quiet_seconds(watched, now)
    is_held = standing.state == "open" and watched.is_held
    is_silent = standing.state == "open" and quiet >= QUIET_SECONDS and not is_held
    odd = "paused by its experiment" if is_held else "silent" if is_silent else ""
    word, style = (odd, "bold yellow") if odd else (_WORDS[standing.state], _STYLES[standing.state])
    text = Text().append(word, style=style)
    if standing.path:
        text.append(f" in {_cut(standing.path)}")
    if standing.state == "open":
        if watched.last_told is None:
            text.append("  nothing told yet", style="yellow")
        elif is_silent:
            text.append(f"  nothing told for {age(quiet)}", style="bold yellow")
        elif quiet >= 1:
            text.append(f"  told {age(quiet)} ago", style="dim")
    if standing.started is not None:
        until = now if standing.state == "open" else standing.last_told or now
        passed = age((until - standing.started).total_seconds())
        text.append(f"  {passed} since the start" if standing.state == "open" else f"  took {passed}", style="dim")
    if standing.error:
        text.append(f"\n{_cut(standing.error)}", style="red")
    return text


def _step_of(watched: Watched) -> str:
    if watched.step is None:
        return ""
    return f"step {watched.step:,}" + ("" if not watched.total_steps else f" of {watched.total_steps:,}")


def _progress(watched: Watched) -> Iterator[RenderableType]:
    if watched.step is None:
        return
    speed, said = watched.speed, [_step_of(watched)]
    if speed.tokens_per_second is not None:
        said.append(f"{speed.tokens_per_second:,.0f} tokens/s")
    if speed.steps_per_second is not None:
        said.append(f"{speed.steps_per_second:,.3g} steps/s")
        if watched.total_steps and watched.standing.state == "open":
            left = (
                max(0, watched.total_steps - watched.step) / speed.steps_per_second if speed.steps_per_second else 0.0
            )
            said.append(f"about {age(left)} left" if left >= 1 else "last step")
    row = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=watched.total_steps, completed=watched.step, width=_WIDTH) if watched.total_steps else ""
    row.add_row(*([bar] if watched.total_steps else []), Text("   ".join(said)))
    yield row


def _values(watched: Watched) -> Iterator[RenderableType]:
    curves = watched.curves
    if not curves:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for name, justify in (("metric", "left"), ("newest", "right"), ("change", "right"), ("so far", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for curve in curves[:_MOST_CURVES]:
        table.add_row(*_row(curve))
    yield Text()
    yield table
    if len(curves) > _MOST_CURVES:
        yield Text(f"and {len(curves) - _MOST_CURVES} more metrics", style="dim")


def _row(curve: Curve) -> tuple[Text, Text, Text, Text]:
    values = [curve.values[step] for step in sorted(curve.values)]
    change = values[-1] - values[0] if len(values) > 1 else math.nan
    return (
        Text(_cut(curve.name)),
        Text(f"{values[-1]:.4g}", style="bold" if math.isfinite(values[-1]) else "bold red"),
        Text(f"{change:+.3g}" if math.isfinite(change) and change else "", style="dim"),
        Text(sparkline(values), style="cyan"),
    )


def _words(watched: Watched) -> Iterator[RenderableType]:
    if watched.last_evaluation is not None:
        yield Text(f"\nevaluated  {_evaluation(watched.last_evaluation)}")
    if watched.last_sample is not None:
        said = watched.last_sample.attributes
        sample = Text().append(f"\nsample at step {_cut(str(said.get('step')))}\n", style="dim")
        for word, name in (("asked   ", "prompt"), ("answered", "answer"), ("expected", "expected")):
            if said.get(name):
                sample.append(f"  {word}  ", style="dim").append(_cut(str(said[name]))).append("\n")
        sample.right_crop(1)
        yield sample
    if watched.failures:
        more = "" if watched.num_failures == len(watched.failures) else f" (the last of {watched.num_failures})"
        yield Text(f"\nfailures{more}", style="bold red")
        yield from (Text(f"  {_cut(failure)}", style="red") for failure in watched.failures)


def _evaluation(event: EventRecord) -> str:
    numbers = {name: each for name, each in event.attributes.items() if isinstance(each, float)}
    count = numbers.pop("num_examples", None)
    scores = "  ".join(f"{_cut(name)} {value:.4g}" for name, value in numbers.items())
    return f"{scores} at step {event.attributes.get('step')}" + ("" if count is None else f", {count:.0f} examples")


def _cut(text: str) -> str:
    """Keep a text to what a person reads at a glance, without control characters that a terminal would obey."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


_LONGEST = 200
