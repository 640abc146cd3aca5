"""From a page to one file of HTML that needs nothing else: no network, no fonts, no libraries."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from crucible.storage import replacing
from crucible.telemetry.loading import LoadedRun
from crucible.telemetry.report import _charts
from crucible.telemetry.report._cards import moment
from crucible.telemetry.report._differences import LAST
from crucible.telemetry.report._numbers import duration, number
from crucible.telemetry.report._page import page_of

_HERE = "crucible.telemetry.report"


def render_report(runs: Sequence[LoadedRun], *, title: str = "") -> str:
    """Give a report of runs as HTML.

    Args:
        runs: to show; their curves lie over each other, each in a colour of its own.
        title: of the page; the ids of the runs when absent.

    Raises: ImportError when jinja2 is not installed, with the extra that brings it; ValueError for no runs.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("jinja2 is not installed: pip install 'crucible-llm[cli]'") from error
    environment = Environment(
        loader=PackageLoader(_HERE, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration, "moment": moment}
    script = _text("page.js")
    page = page_of(runs, title=title or _title(runs))
    return environment.get_template("page.html.j2").render(
        page=page,
        style=_text("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        drawing=_charts,
        labels=list(page.short_names),
        last_values=LAST,
    )


def write_report(runs: Sequence[LoadedRun], path: Path | str, *, title: str = "") -> int:
    """Write a report to a file, and give its size in bytes.

    Raises: OSError when it cannot be written, and what `render_report` raises.
    """
    data = render_report(runs, title=title).encode("utf-8", "replace")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)
    return len(data)


def _title(runs: Sequence[LoadedRun]) -> str:
    if len(runs) <= _NAMED:
        return " and ".join(run.run_id for run in runs)
    return f"{len(runs)} runs"


def _text(name: str) -> str:
    return resources.files(_HERE).joinpath(name).read_text(encoding="utf-8")


_NAMED = 2
