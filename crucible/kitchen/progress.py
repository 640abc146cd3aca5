"""`RunProgress`: a run on the terminal, as it goes on; needs the extra `demo` (rich)."""

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from crucible.telemetry.events import (
    BackendProbed,
    DatasetBuilt,
    DatasetLoaded,
    DistillationStep,
    EpisodesFailed,
    EqualPairs,
    EvaluationCompleted,
    PreferenceStep,
    ReferenceChosen,
    ReinforcementStep,
    RunResumed,
    RunWarned,
    SamplerDiverged,
    SampleShown,
    StageStarted,
    TrainingStep,
)


class RunProgress:
    """Shows a progress bar over the optimizer steps, the loss, evaluations and samples.

    Give its `show` to `run(..., on_event=progress.show)`. On something that is no terminal it prints the lines alone.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._steps = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: object) -> None:
        """Show an event, if it is one that a person waits for."""
        match event:
            case StageStarted(stage="evaluate" | "init_session" as stage):
                self._progress.update(self._steps, description=_DOING[stage])
            case RunResumed():
                self._progress.update(self._steps, completed=event.step)
            case DatasetBuilt():
                self._progress.update(self._steps, total=event.total_steps, completed=0)
            case TrainingStep() | PreferenceStep() | ReinforcementStep() | DistillationStep():
                self._progress.update(self._steps, completed=event.step, description=f"training, {_learned(event)}")
            case _:
                pass
        said = _said_of(event)
        if said is not None:
            self._progress.console.print(said, markup=False, highlight=False, soft_wrap=True)


def _said_of(event: object) -> str | None:
    """Say what stays on the screen of an event."""
    said = None
    match event:
        case BackendProbed():
            said = _capable(event)
        case DatasetLoaded():
            said = f"{event.num_rows} rows of {event.dataset}, split {event.split}"
        case RunResumed():
            without = f", which did not keep {event.missing}" if event.missing else ""
            said = f"resumed after step {event.step} from {event.path}{without}"
        case ReferenceChosen():
            said = f"the reference is {event.reference}"
        case DatasetBuilt():
            said = f"{event.num_tokens} tokens, {event.num_trained_tokens} trained, {event.total_steps} steps"
        case RunWarned():
            said = f"warning: {event.problem}"
        case EpisodesFailed():
            row = "" if event.row is None else f", first on row {event.row} {event.shown}"
            said = f"step {event.step}: {event.num_failed} episodes failed{row}: {event.error}"
        case EqualPairs():
            cut = f", {event.num_cut} of them only once they are cut" if event.num_cut else ""
            data = f"{event.dataset}, split {event.split}, first row {event.row}"
            said = f"{event.num_equal} of {event.num_pairs} pairs of {data}, left out: two equal answers{cut}"
        case SamplerDiverged():
            said = f"step {event.step}: {event.problem}"
        case EvaluationCompleted():
            scores = ", ".join(f"{name} {value:.1%}" for name, value in event.metrics.items())
            said = f"step {event.step}: {scores} on {event.num_examples} held-out examples"
        case SampleShown():
            said = f"  asked     {event.prompt!r}\n  answered  {event.answer!r}\n  expected  {event.expected!r}"
        case _:
            pass
    return said


def _learned(event: TrainingStep | PreferenceStep | ReinforcementStep | DistillationStep) -> str:
    match event:
        case TrainingStep():
            return f"loss {event.loss:.3f}"
        case PreferenceStep():
            return f"loss {event.metrics.get('loss', math.nan):.3f}"
        case ReinforcementStep():
            return f"mean reward {event.metrics.get('reward_mean', math.nan):.3f}{_gap(event.metrics)}"
        case DistillationStep():
            return f"KL to the teacher {event.metrics.get('teacher_kl', math.nan):.3f}{_gap(event.metrics)}"


def _gap(metrics: Mapping[str, float]) -> str:
    gap = metrics.get("logprob_gap_sample_train")
    return "" if gap is None else f", sampler off by {gap:.2g}"


_DOING = {"evaluate": "measuring", "init_session": "loading the model"}


def _capable(event: BackendProbed) -> str:
    """Say what the backend does with losses, and what it lacks."""
    parts = {
        "custom losses": event.custom_losses,
        "prompt logprobs": event.prompt_logprobs,
        "top logprobs": event.top_logprobs,
    }
    lacking = ", ".join(name for name, there in parts.items() if not there)
    undone = ", sent so that they are sums" if event.loss_reduction != "sum" and event.losses_are_sums else ""
    cost = f"{event.known_by}, {event.num_requests} requests in {event.probe_seconds:.1f} s"
    return f"{event.backend} ({cost}): losses are {event.loss_reduction}{undone}; lacking: {lacking or 'nothing'}"
