"""What is saved, under which name, and when."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Success, perform
from crucible.kitchen.stages.checkpoints import cleanup, close_quietly, is_due, save_checkpoint, save_final_weights
from crucible.kitchen.stages.conditions import Conditions
from crucible.kitchen.stages.positions import checkpoint_name
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.telemetry.events import ArtifactSaved, CheckpointSaved
from crucible.train.errors import BackendFailed, SessionClosed
from crucible.train.ports import TrainingClient
from tests.kitchen.fakes import Told, call_number, fails_with, meddling
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, HELD_OUT, handlers_of


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 9))
def test_what_happens_every_so_many_steps_is_due_when_an_update_reaches_or_passes_a_multiple(
    before: int, taken: int, every: int
) -> None:
    reached = any(step % every == 0 for step in range(before + 1, before + taken + 1))
    assert is_due(before + taken, before=before, every=every) == reached
    assert not is_due(before + taken, before=before, every=0)
    assert not is_due(before, before=before, every=every)


def test_a_checkpoint_is_named_after_its_step_told_and_kept_in_the_state() -> None:
    handlers, told = handlers_of(), Told()
    state = handlers.run(save_checkpoint(opened(handlers)), writer=told).unwrap().state
    assert state.checkpoint is not None
    assert (state.checkpoint.name, state.checkpoint.step) == (checkpoint_name(state), 0)
    assert state.checkpoint.name.startswith("step_000000_size_16_seed_0_data_")
    assert told.events[1][1] == CheckpointSaved(step=0, path=state.checkpoint.path)


def test_the_final_weights_are_an_artifact() -> None:
    handlers, told = handlers_of(), Told()
    state = handlers.run(save_final_weights(opened(handlers)), writer=told).unwrap().state
    assert state.final_weights is not None
    assert told.events[1][1] == ArtifactSaved(kind="sampler_weights", path=state.final_weights.path, step=0)


def test_cleaning_up_closes_the_session_and_closing_quietly_hides_what_goes_wrong() -> None:
    handlers = handlers_of()
    context = opened(handlers)
    broken = meddling(handlers, call_number("TrainingClient.close_session"), fails_with(BackendFailed(message="no")))
    assert broken.run(cleanup(context)).failure() == BackendFailed(message="no")
    assert isinstance(broken.run(close_quietly(context.state.session)), Success)
    assert handlers.run(cleanup(context)) == Success(context)
    closed = handlers.run(perform(TrainingClient.get_tokenizer, context.state.session)).failure()
    assert closed == SessionClosed(session_id=context.state.session.id)


def test_what_is_due_after_a_step_is_read_off_the_configuration() -> None:
    when = Conditions[SupervisedState]()
    config = attrs.evolve(BASE, save_every=2, eval_every=3)
    state = opened(handlers_of(), config).state

    def due(step: int, config: SupervisedConfig = config) -> tuple[bool, bool, bool, bool]:
        it = attrs.evolve(state, step=step, step_before=step - 1, measured_step=2, config=config)
        return (when.should_checkpoint(it), when.should_evaluate(it), when.should_measure(it), when.is_registered(it))

    assert [due(step) for step in (1, 2, 3)] == [
        (False, False, False, False),
        (True, False, False, False),
        (False, False, False, False),
    ]
    full = attrs.evolve(config, evaluation=HELD_OUT, register_as="talker")
    assert [due(step, full) for step in (1, 2, 3)] == [
        (False, False, True, True),
        (True, False, False, True),
        (False, True, True, True),
    ]
