"""Experiments for rehearsals on noop, of every method, and handlers that do by hand what they compile to."""

from typing import TypeAlias

import attrs
from hypothesis import strategies as st

from crucible.effects import Handlers
from crucible.ir import (
    BackendRef,
    DatasetRef,
    DistillationSpec,
    EvaluationSpec,
    Experiment,
    ExportSpec,
    FeedbackLoopSpec,
    FeedbackSpec,
    InvalidSpec,
    ModelRef,
    PreferenceSpec,
    ReinforcementSpec,
    StageDef,
    SupervisedSpec,
    TeacherSpec,
    TriggerSpec,
)
from crucible.kitchen.compiling import Compiled, compile_experiment
from crucible.kitchen.compiling.rows import REHEARSED
from crucible.kitchen.handlers import noop, scorers

TrainingOfRows: TypeAlias = SupervisedSpec | PreferenceSpec | ReinforcementSpec | DistillationSpec

ROWS = DatasetRef(name="rows", num_rows=6)
HELD_OUT = DatasetRef(name="rows", split="test")
EVALUATION = EvaluationSpec(dataset=HELD_OUT, num_examples=2, max_tokens=4)
TEACHER = TeacherSpec(model=ModelRef(id="teacher"))

SUPERVISED = SupervisedSpec(batch_size=4, evaluation=EVALUATION, register_as="trained")
PREFERENCE = PreferenceSpec(batch_size=4, held_out=HELD_OUT)
REINFORCEMENT = ReinforcementSpec(batch_size=3, group_size=2, max_tokens=4)
DISTILLATION = DistillationSpec(batch_size=3, group_size=2, max_tokens=4, teachers=(TEACHER,))
OF_ROWS: tuple[TrainingOfRows, ...] = (
    SUPERVISED,
    PREFERENCE,
    REINFORCEMENT,
    attrs.evolve(REINFORCEMENT, asynchronous=True),
    DISTILLATION,
    attrs.evolve(DISTILLATION, mode="off_policy"),
    attrs.evolve(DISTILLATION, mode="forward_kl", num_top=2),
)


def rehearsal(training: TrainingOfRows | None = SUPERVISED, *stages: str | StageDef) -> Experiment:
    """Make an experiment on noop, with a pipeline of these stages."""
    pipeline = tuple(StageDef(name=each) if isinstance(each, str) else each for each in stages)
    return Experiment(
        id="rehearsal",
        model=ModelRef(id="model"),
        dataset=ROWS,
        backend=BackendRef(id="noop"),
        training=training,
        pipeline=pipeline,
    )


def loop() -> Experiment:
    """Make a feedback loop that finds a reason to train again."""
    return Experiment(
        id="loop",
        model=ModelRef(id="model"),
        backend=BackendRef(id="noop"),
        training=FeedbackLoopSpec(
            deployment_id="any", export=ExportSpec(path="curated.jsonl"), thresholds=TriggerSpec(num_examples=1)
        ),
        feedback=FeedbackSpec(storage="noop"),
    )


def sound(experiment: Experiment) -> Compiled:
    """Compile what must compile."""
    return compile_experiment(experiment).unwrap()


def problems(experiment: Experiment) -> dict[str, str]:
    """Give the problems of what must not compile: message and fix by path."""
    invalid: InvalidSpec = compile_experiment(experiment).failure()
    return {problem.path: f"{problem.message}: {problem.fix}" for problem in invalid.problems}


def by_hand(seed: int = 0) -> Handlers[noop.EveryPort]:
    """Give the handlers that a rehearsal compiles to, made by hand; telemetry is kept in memory."""
    return noop.all(seed) | noop.datasets(rows=REHEARSED) | scorers.evaluator()


@st.composite
def shared(draw: st.DrawFn) -> dict[str, object]:
    """Draw what every training on rows is configured with, within what is quick to run."""
    measured = draw(st.booleans())
    return {
        "epochs": draw(st.integers(1, 2)),
        "batch_size": draw(st.integers(1, 8)),
        "learning_rate": draw(st.floats(1e-5, 1e-1)),
        "schedule": draw(st.sampled_from(["constant", "linear", "cosine"])),
        "warmup_steps": draw(st.integers(0, 3)),
        "seed": draw(st.integers(0, 99)),
        "save_every": draw(st.integers(0, 2)),
        "eval_every": draw(st.integers(0, 2)) if measured else 0,
        "evaluation": EVALUATION if measured else None,
        "register_as": draw(st.sampled_from([None, "name"])),
    }


def _with(training: TrainingOfRows, values: dict[str, object]) -> TrainingOfRows:
    return attrs.evolve(training, **values)  # type: ignore[arg-type]  # drawn by the names of the fields


trainings: st.SearchStrategy[TrainingOfRows] = st.builds(_with, st.sampled_from(OF_ROWS), shared())
