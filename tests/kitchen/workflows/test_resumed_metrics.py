"""A run that is resumed from any of its checkpoints tells, from there on, every number that it would have told without the break.

So does every workflow; its last state, and what its own checkpoints hold, are the same too.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Handlers
from crucible.kitchen import Context
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.handlers.noop import Blobs, EveryPort, Shelf
from crucible.kitchen.stages.feedback import FeedbackConfig, FeedbackState
from crucible.kitchen.states import TrainingState
from crucible.kitchen.workflows import (
    distillation,
    distillation_forward_kl,
    feedback_loop,
    preference,
    reinforcement,
    reinforcement_async,
    supervised,
)
from crucible.telemetry.events import CheckpointSaved, RunResumed
from crucible.telemetry.measures import measure
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.types import DatasetConfig, Row
from tests.kitchen.workflows import (
    arenas,
    small,
    test_distillation,
    test_feedback_loop,
    test_forward_kl,
    test_preference,
)
from tests.kitchen.workflows.runs import Ran, on_nothing, ran, taught_before
from tests.kitchen.workflows.test_reinforcement_async import paced

Config: TypeAlias = TrainingConfig | FeedbackConfig
Point: TypeAlias = tuple[str, int, float]

HELD_OUT = small.HELD_OUT
MEASURED: dict[str, Any] = {"epochs": 2, "batch_size": 2, "save_every": 1, "eval_every": 1, "evaluation": HELD_OUT}
PAIRS: dict[str, Any] = {**MEASURED, "held_out": DatasetConfig(name="duels", split="test"), "evaluation": None}
ROUNDS: dict[str, Any] = {
    **MEASURED,
    "group_size": 3,
    "algorithm": grpo(),
    "policy_epochs": 2,
    "num_minibatches": 2,
    "kl_coef": 0.1,
}


@attrs.frozen(kw_only=True)
class Case:
    """A workflow with a configuration and rows."""

    work: Callable[[Any], Eff[Any, Any, Any]]  # Any: of any configuration, state, error and ports
    config: Config
    rows: tuple[Row, ...]
    tested: tuple[Row, ...] = ()
    pace: tuple[int, int] = (0, 0)

    def run(self, shelf: Shelf, config: Config) -> Ran[Any, Any]:
        """Run it, with data of its own on the models of a shelf."""
        handlers: Handlers[EveryPort] = on_nothing(self.rows, self.tested, shelf=shelf, held=Blobs())
        slow = paced(handlers, sampling=self.pace[0], training=self.pace[1]) if any(self.pace) else handlers
        return ran(slow, self.work(Context.start(config, run_id="evening")))

    def resumed(self, shelf: Shelf, path: str) -> Ran[Any, Any]:
        """Run it again from a checkpoint."""
        if isinstance(self.config, FeedbackConfig):
            retraining = attrs.evolve(self.config.retraining, resume_from=path)
            return self.run(shelf, attrs.evolve(self.config, retraining=retraining))
        return self.run(shelf, attrs.evolve(self.config, resume_from=path, start_from=None))


CASES: Mapping[str, Case] = {
    "supervised": Case(
        work=supervised, config=attrs.evolve(small.BASE, **MEASURED), rows=small.ROWS[:5], tested=small.TESTED
    ),
    **{
        loss: Case(
            work=preference,
            config=attrs.evolve(test_preference.BASE, **PAIRS, loss=loss),
            rows=test_preference.DUELS,
            tested=test_preference.HELD_OUT,
        )
        for loss in test_preference.LOSSES
    },
    "reinforcement": Case(
        work=reinforcement(arenas.letters),
        config=attrs.evolve(arenas.BASE, **ROUNDS),
        rows=arenas.RIDDLES,
        tested=small.TESTED,
    ),
    "reinforcement, some rounds without data": Case(
        work=reinforcement(arenas.constant_for(0, 3)),
        config=attrs.evolve(arenas.BASE, **ROUNDS),
        rows=arenas.RIDDLES,
        tested=small.TESTED,
    ),
    "reinforcement_async": Case(
        work=reinforcement_async(arenas.letters),
        config=attrs.evolve(arenas.BASE, **{**ROUNDS, "epochs": 3, "save_every": 9, "max_staleness": 3}),
        rows=arenas.RIDDLES,
        tested=small.TESTED,
    ),
    "distillation on-policy": Case(
        work=distillation,
        config=attrs.evolve(test_distillation.BASE, **MEASURED, policy_epochs=2),
        rows=test_distillation.LESSONS,
        tested=small.TESTED,
    ),
    "distillation off-policy": Case(
        work=distillation,
        config=attrs.evolve(test_distillation.BASE, **MEASURED, mode="off_policy"),
        rows=test_distillation.LESSONS,
        tested=small.TESTED,
    ),
    "distillation_forward_kl": Case(
        work=distillation_forward_kl,
        config=attrs.evolve(test_forward_kl.BASE, **MEASURED),
        rows=test_forward_kl.LESSONS,
        tested=small.TESTED,
    ),
    "feedback_loop": Case(
        work=feedback_loop,
        config=attrs.evolve(
            test_feedback_loop.BASE, retraining=attrs.evolve(test_feedback_loop.RETRAINING, **MEASURED)
        ),
        rows=small.ROWS,
        tested=small.TESTED,
    ),
}


def points(events: list[object]) -> list[Point]:
    """Give all numbers that are points of series, in order."""
    found = []
    for event in events:
        measured = measure(event)
        found += [(name, measured.step or 0, value) for name, value in measured.metrics.items()]
    return found


def told(run: Ran[Any, Any]) -> list[object]:
    return [event for _, event in run.told.events]


def after(run: Ran[Any, Any], checkpoint: CheckpointSaved) -> list[object]:
    """Give what was told after a checkpoint was saved."""
    events = told(run)
    return events[events.index(checkpoint) + 1 :]


def last_state(run: Ran[Any, Any], shelf: Shelf) -> tuple[object, ...]:
    """Give all of the last state but the names of sessions, and the weights themselves in the place of their path."""
    state = run.outcome.unwrap().state
    if isinstance(state, FeedbackState):
        state = state.trained
    assert isinstance(state, TrainingState)
    assert state.final_weights is not None
    assert state.checkpoint is not None
    left_out = {"session", "config", "checkpoint", "final_weights", "batches", "first_batch", "policy", "teachers"}
    fields = {
        field.name: getattr(state, field.name) for field in attrs.fields(type(state)) if field.name not in left_out
    }
    weights = shelf.get(state.final_weights.path, kind="weights").unwrap().policy.changes
    return fields, weights, state.checkpoint.name, state.checkpoint.step


def kept_in(run: Ran[Any, Any], shelf: Shelf) -> dict[int, object]:
    """Give what each checkpoint of a run holds, by its number of batches."""
    saved = [shelf.get(event.path, kind="checkpoint").unwrap() for event in run.events(CheckpointSaved)]
    return {int(one.metadata["batches_done"]): (one.policy.changes, one.step, one.metadata) for one in saved}


def check(case: Case, shelf: Shelf) -> None:
    whole = case.run(shelf, case.config)
    kept = kept_in(whole, shelf)
    checkpoints = whole.events(CheckpointSaved)
    assert len(checkpoints) == len(kept) > 1
    for checkpoint in checkpoints:
        again = case.resumed(shelf, checkpoint.path)
        [resumed] = again.events(RunResumed)
        assert (resumed.path, resumed.step, resumed.missing) == (checkpoint.path, checkpoint.step, "")
        assert points(told(again)) == points(after(whole, checkpoint))
        assert last_state(again, shelf) == last_state(whole, shelf)
        assert kept_in(again, shelf).items() <= kept.items()


@pytest.mark.parametrize("name", CASES)
def test_resumed_at_any_checkpoint_a_workflow_tells_every_number_again(name: str) -> None:
    check(CASES[name], Shelf())


@pytest.mark.parametrize("name", ["dpo", "kto", "reinforcement", "reinforcement_async", "distillation on-policy"])
def test_so_does_one_that_started_from_a_checkpoint_and_is_held_against_it(name: str) -> None:
    case, shelf = CASES[name], Shelf()
    assert isinstance(case.config, TrainingConfig)
    start = taught_before(shelf).path
    check(attrs.evolve(case, config=attrs.evolve(case.config, start_from=start)), shelf)


@settings(max_examples=15)
@given(st.data(), st.sampled_from(list(CASES)))
def test_so_it_does_with_any_configuration(data: st.DataObject, name: str) -> None:
    case, shelf = CASES[name], Shelf()
    changes: dict[str, Any] = {
        "batch_size": data.draw(st.integers(1, 4), label="batch_size"),
        "epochs": data.draw(st.integers(1, 3), label="epochs"),
        "save_every": data.draw(st.integers(1, 6), label="save_every"),
        "eval_every": data.draw(st.integers(0, 4), label="eval_every"),
        "seed": data.draw(st.integers(0, 2), label="seed"),
        "warmup_steps": data.draw(st.integers(0, 3), label="warmup_steps"),
    }
    if name == "reinforcement_async":
        case = attrs.evolve(case, pace=data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)), label="pace"))
    if isinstance(case.config, FeedbackConfig):
        case = attrs.evolve(
            case, config=attrs.evolve(case.config, retraining=attrs.evolve(case.config.retraining, **changes))
        )
    else:
        case = attrs.evolve(case, config=attrs.evolve(case.config, **changes))
    whole = case.run(shelf, case.config)
    checkpoints = whole.events(CheckpointSaved)
    if not checkpoints:
        return
    checkpoint = data.draw(st.sampled_from(checkpoints), label="checkpoint")
    again = case.resumed(shelf, checkpoint.path)
    found, wanted = Counter(points(told(again))), Counter(points(after(whole, checkpoint)))
    assert wanted <= found
    for point, step, _ in found - wanted:  # it measures itself where it begins
        assert (point.startswith(("eval/", "held_out/")), step) == (True, checkpoint.step)
    assert last_state(again, shelf) == last_state(whole, shelf)


OTHER_METHODS = {
    "dpo": "preference",
    "reinforcement": "reinforcement",
    "reinforcement_async": "reinforcement",
    "distillation on-policy": "distillation on_policy",
    "distillation off-policy": "distillation off_policy",
    "distillation_forward_kl": "distillation forward_kl",
}


@pytest.mark.parametrize(("name", "method"), OTHER_METHODS.items())
def test_a_checkpoint_of_another_method_is_no_run_to_go_on_with(name: str, method: str) -> None:
    # it was complete: to go on with it would be the success of a training that was never begun
    case, shelf = CASES[name], Shelf()
    saving = attrs.evolve(small.BASE, epochs=2, batch_size=2, save_every=1)
    before = Case(work=supervised, config=saving, rows=small.ROWS[:5])
    last = before.run(shelf, saving).events(CheckpointSaved)[-1]
    error = case.resumed(shelf, last.path).outcome.failure()
    assert f"{last.path} was saved by supervised, not by {method}" in str(error)
    assert "start_from" in str(error)


def test_likeliest_tokens_are_not_learned_on_from_answers_that_were_imitated() -> None:
    imitated, taught, shelf = CASES["distillation off-policy"], CASES["distillation_forward_kl"], Shelf()
    last = imitated.run(shelf, imitated.config).events(CheckpointSaved)[-1]
    said = str(attrs.evolve(taught, rows=imitated.rows).resumed(shelf, last.path).outcome.failure())
    assert "was saved by distillation off_policy, not by distillation forward_kl" in said
