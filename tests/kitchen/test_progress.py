"""The progress of a run on a terminal, and where there is none."""

from io import StringIO

import attrs
import pytest
from rich.console import Console

from crucible.kitchen.progress import RunProgress
from crucible.telemetry.events import (
    DatasetBuilt,
    DatasetLoaded,
    DistillationStep,
    EpisodesFailed,
    EqualPairs,
    EvaluationCompleted,
    PreferenceStep,
    ReinforcementStep,
    RunResumed,
    SampleShown,
    StageStarted,
    StageStopped,
    TrainingStep,
)

EVENTS = (
    StageStarted(stage="load_dataset"),
    DatasetLoaded(dataset="sums", split="train", num_rows=8),
    StageStarted(stage="init_session"),
    DatasetBuilt(num_examples=8, num_tokens=80, num_trained_tokens=40, total_steps=4),
    StageStarted(stage="evaluate"),
    EvaluationCompleted(step=0, metrics={"accuracy": 0.25, "mean_score": 0.5}, num_examples=4),
    SampleShown(step=0, prompt="2 + [b]2[/b]?", answer="5 [red]", expected="4"),
    TrainingStep(step=3, loss=1.23456, learning_rate=0.1, grad_norm=1.0, num_tokens=10, epoch=0),
    StageStopped(stage="evaluate"),
    object(),
)


def shown(*, terminal: bool) -> str:
    screen = StringIO()
    with RunProgress(Console(file=screen, width=120, force_terminal=terminal, color_system=None)) as progress:
        for event in EVENTS:
            progress.show(event)
    return screen.getvalue()


def test_what_a_person_waits_for_is_printed() -> None:
    lines = [line.strip() for line in shown(terminal=False).splitlines()]
    assert lines[:6] == [
        "8 rows of sums, split train",
        "80 tokens, 40 trained, 4 steps",
        "step 0: accuracy 25.0%, mean_score 50.0% on 4 held-out examples",
        "asked     '2 + [b]2[/b]?'",
        "answered  '5 [red]'",
        "expected  '4'",
    ]


def test_what_was_lost_is_said_with_its_row() -> None:
    screen = StringIO()
    lost = EpisodesFailed(step=2, error="no grader", num_failed=6, row=3, row_id="", environment=1, shown="{'q': '3?'}")
    equal = EqualPairs(dataset="d", split="train", num_equal=2, num_cut=1, num_pairs=9, row=4)
    with RunProgress(Console(file=screen, width=120)) as progress:
        for event in (lost, attrs.evolve(lost, row=None), equal, attrs.evolve(equal, num_cut=0)):
            progress.show(event)
    assert screen.getvalue().splitlines()[:4] == [
        "step 2: 6 episodes failed, first on row 3 {'q': '3?'}: no grader",
        "step 2: 6 episodes failed: no grader",
        "2 of 9 pairs of d, split train, first row 4, left out: two equal answers, 1 of them only once they are cut",
        "2 of 9 pairs of d, split train, first row 4, left out: two equal answers",
    ]


@pytest.mark.parametrize(
    ("missing", "said"),
    [("", "runs/a"), ("epoch_loss, metrics", "runs/a, which did not keep epoch_loss, metrics")],
)
def test_a_resumed_run_says_where_it_goes_on_and_what_was_not_kept(missing: str, said: str) -> None:
    screen = StringIO()
    with RunProgress(Console(file=screen, width=120)) as progress:
        progress.show(RunResumed(step=3, path="runs/a", missing=missing))
    assert f"resumed after step 3 from {said}\n" in screen.getvalue()


def test_the_bar_shows_steps_and_loss() -> None:
    [bar] = [line for line in shown(terminal=True).splitlines() if "training, loss 1.235" in line]
    assert "3/4" in bar


def test_the_bar_says_what_is_being_done() -> None:
    screen = StringIO()
    progress = RunProgress(Console(file=screen, width=120, force_terminal=True, color_system=None))
    for stage, said in (("init_session", "loading the model"), ("evaluate", "measuring")):
        progress.show(StageStarted(stage=stage))
        with progress:
            pass
        assert said in screen.getvalue()


def test_a_run_shown_to_nobody_shows_nothing() -> None:
    screen = StringIO()
    RunProgress(Console(file=screen)).show(
        TrainingStep(step=1, loss=1, learning_rate=1, grad_norm=1, num_tokens=1, epoch=0)
    )
    assert screen.getvalue() == ""


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (PreferenceStep(step=2, metrics={"loss": 0.5}, num_pairs=4), "training, loss 0.500"),
        (ReinforcementStep(step=2, metrics={"reward_mean": 0.25}, num_tokens=9), "training, mean reward 0.250"),
        (ReinforcementStep(step=2, metrics={}, num_tokens=0), "training, mean reward nan"),
        (DistillationStep(step=2, metrics={"teacher_kl": 1.5}, num_tokens=9), "training, KL to the teacher 1.500"),
    ],
)
def test_each_kind_of_step_says_what_it_is_about(event: object, said: str) -> None:
    screen = StringIO()
    with RunProgress(Console(file=screen, width=120, force_terminal=True, color_system=None)) as progress:
        progress.show(event)
    assert said in screen.getvalue()
