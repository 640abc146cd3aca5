"""Plots of what a run recorded; needs the extra `demo` (matplotlib)."""

from collections.abc import Sequence
from pathlib import Path

from crucible.telemetry.types import MetricPoint


def plot_losses(points: Sequence[MetricPoint], path: Path, *, title: str = "") -> None:
    """Draw the training loss by step, and evaluations where there are any, as a PNG at `path`.

    Raises: ImportError when matplotlib is not installed, with the extra that brings it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is not installed: pip install 'crucible-llm[demo]'") from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*_series(points, "loss"), color="tab:blue", linewidth=1.5)
    axes.set(title=title, xlabel="optimizer step", ylabel="loss (nats per trained token)")
    axes.grid(alpha=0.3)
    steps, accuracies = _series(points, "eval/accuracy")
    if steps:
        other = axes.twinx()
        other.plot(steps, accuracies, "o--", color="tab:orange")
        other.set(ylabel="held-out accuracy", ylim=(-0.02, 1.02))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _series(points: Sequence[MetricPoint], name: str) -> tuple[list[int], list[float]]:
    """Give the steps and values of one metric, by step."""
    chosen = sorted((point.step, point.value) for point in points if point.name == name and point.step is not None)
    return [step for step, _ in chosen], [value for _, value in chosen]
