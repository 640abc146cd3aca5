"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

Run: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
"""A run's id or the beginning of it, its folder, or its file."""

MoreRuns: TypeAlias = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...]", help_behavior_hint="")
]
"""More of them."""

Runs: TypeAlias = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
"""Where run ids are looked for."""

Target: TypeAlias = Annotated[Path, tyro.conf.arg(metavar="FILE")]
"""What is written."""

RUNS = Path("runs")
