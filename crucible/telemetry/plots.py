"""Plots of what a run recorded; needs the extra `demo` (matplotlib)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from crucible.telemetry.series import series_of
from crucible.telemetry.types import MetricPoint
from crucible.telemetry.units import unit_of

CURVES: Mapping[str, str] = {
    "loss": "loss",
    "preference/loss": "loss on pairs",
    "rl/reward_mean": "mean reward of a round",
    "distillation/teacher_kl": "KL to the teacher",
}
"""What shows best how a training went, and the words for it: the first that a run has is drawn."""

HELD_OUT: Mapping[str, str] = {
    "held_out/teacher_kl": "KL to the teacher on held-out prompts",
    "held_out/accuracy": "held-out pairs ranked right",
    "eval/accuracy": "held-out accuracy",
}
"""What is drawn beside it, in the same way."""


def plot_training(points: Sequence[MetricPoint], path: Path, *, title: str = "") -> None:
    """Draw how a training went, by step, and its evaluations where there are any, as a PNG at `path`.

    Raises: ImportError when matplotlib is not installed, with the extra that brings it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is not installed: pip install 'crucible-llm[demo]'") from error
    series = series_of(points)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel="optimizer step")
    axes.grid(alpha=0.3)
    for name in [name for name in CURVES if name in series][:1]:
        axes.plot(series[name].steps, series[name].values, color="tab:blue", linewidth=1.5)
        axes.set(ylabel=f"{CURVES[name]} ({unit_of(name)})")
    for name in [name for name in HELD_OUT if name in series][:1]:
        other = axes.twinx()
        other.plot(series[name].steps, series[name].values, "o--", color="tab:orange")
        other.set(ylabel=f"{HELD_OUT[name]} ({unit_of(name)})")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
