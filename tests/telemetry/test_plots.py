"""The plot of a run: one picture whatever it trained on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crucible.telemetry.plots import CURVES, HELD_OUT, plot_training
from crucible.telemetry.types import MetricPoint


def points_of(*names: str) -> list[MetricPoint]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        MetricPoint(name=name, value=step / 7 + number, step=step, timestamp=now, sequence=100 * number + step)
        for number, name in enumerate(names)
        for step in range(20)
    ]


@pytest.mark.parametrize("name", CURVES)
def test_whatever_a_run_trained_on_there_is_a_curve(name: str, tmp_path: Path) -> None:
    plot_training([], tmp_path / "empty.png")
    plot_training(points_of(name), tmp_path / "new" / "curve.png")
    plot_training(points_of(name, *HELD_OUT), tmp_path / "both.png")
    sizes = [(tmp_path / file).stat().st_size for file in ("empty.png", "new/curve.png", "both.png")]
    assert sizes == sorted(set(sizes))
