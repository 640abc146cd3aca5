"""A training that was to take optimizer steps and took none is no success; one that was complete before is."""

from typing import Any

import attrs
import pytest

from crucible.kitchen import Context
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.stages.trained import steps_were_taken
from crucible.kitchen.states import TrainingState
from crucible.kitchen.workflows import supervised
from tests.kitchen.workflows.runs import ran
from tests.kitchen.workflows.small import BASE, handlers_of


def state(**changes: Any) -> TrainingState[SupervisedConfig]:
    """Give the state after a run of three rows, changed."""
    config = attrs.evolve(BASE, num_rows=3, batch_size=2, epochs=2, eval_every=0, save_every=0)
    whole = ran(handlers_of(), supervised(Context.start(config))).outcome.unwrap().state
    assert (whole.step, whole.batches_done) == (4, 4)
    return attrs.evolve(whole, **changes)


def test_a_training_that_took_steps_is_one_whatever_it_was_before() -> None:
    assert steps_were_taken(state(step=0, batches_done=0), state()).unwrap() is None
    assert steps_were_taken(state(step=2, batches_done=2), state()).unwrap() is None


def test_a_training_that_was_complete_before_has_no_step_to_take() -> None:
    assert steps_were_taken(state(), state()).unwrap() is None
    assert steps_were_taken(state(step=0), state(step=0)).unwrap() is None


@pytest.mark.parametrize(("why", "said"), [("", "batches; the weights"), ("it was dull", "batches: it was dull; the")])
def test_a_training_without_a_step_fails_and_says_why(why: str, said: str) -> None:
    begun = state(step=0, batches_done=0)
    error = steps_were_taken(begun, attrs.evolve(begun, batches_done=3, why_no_step=why)).failure()
    assert str(error).startswith("no optimizer step was taken in 3 of 4 " + said)


def test_steps_that_had_no_gradient_trained_nothing() -> None:
    begun = state(step=0, batches_done=0, had_gradient=False)
    error = steps_were_taken(begun, state(had_gradient=False, why_no_step="it was dull")).failure()
    assert str(error).startswith("the gradient was 0 in all 4 optimizer steps: it was dull; the weights")


def test_an_epoch_without_a_batch_is_no_training() -> None:
    empty = state(step=0, batches_done=0, num_examples=0)
    assert str(steps_were_taken(empty, empty).failure()).startswith("no optimizer step was taken in 0 of 0 batches")
