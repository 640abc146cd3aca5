"""A supervised run that was recorded is replayed with no handler behind it, from memory and from a file."""

from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Diverged, Failure, Journal, record, replay
from crucible.kitchen import Context, Recipe, execute
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.train.errors import BackendFailed, TrainError
from crucible.train.types import DatasetConfig, Row
from tests.kitchen.fakes import Stores, Told, call_number, fails_with, meddling, ticking
from tests.kitchen.workflows.small import BASE, HELD_OUT, Outcome, Ports, configs, handlers_of, many_rows

FULL = attrs.evolve(BASE, evaluation=HELD_OUT, eval_every=2, save_every=2, register_as="talker", batch_size=3, epochs=2)


def recorded(config: SupervisedConfig, journal: Journal, rows: list[Row] | None = None) -> Outcome:
    handlers = handlers_of() if rows is None else handlers_of(rows)
    return record(handlers, journal).run(supervised(Context.start(config)))


def replayed(config: SupervisedConfig, journal: Journal) -> Outcome:
    return replay(journal).run(supervised(Context.start(config)))


@settings(max_examples=15)
@given(configs, many_rows)
def test_a_replay_gives_what_was_recorded_and_tells_the_same(config: SupervisedConfig, rows: list[Row]) -> None:
    journal, first, again = Journal(), Told(), Told()
    work = supervised(Context.start(config))
    outcome = record(handlers_of(rows), journal).run(work, writer=first)
    assert replay(journal).run(work, writer=again) == outcome
    assert again == first


def test_a_replay_from_a_file_gives_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    with Journal.open(path) as journal:
        outcome = recorded(FULL, journal)
        assert journal.in_doubt == ()
    with Journal.open(path) as journal:
        assert replayed(FULL, journal) == outcome
        assert replayed(FULL, journal) == outcome


def test_a_whole_run_with_its_telemetry_is_replayed_from_a_file(tmp_path: Path) -> None:
    recipe = Recipe(name="talk", description="", workflow=supervised, default_config=FULL)
    path, handlers = tmp_path / "run.journal", handlers_of() | Stores().handlers()
    with Journal.open(path) as journal:
        result = record(handlers, journal).run(execute(recipe, run_id="evening", clock=ticking()))
    with Journal.open(path) as journal:
        assert replay(journal).run(execute(recipe, run_id="evening", clock=ticking())) == result


def test_a_failed_run_is_replayed_to_the_same_failure() -> None:
    journal, error = Journal(), BackendFailed(message="out of memory")
    handlers = meddling(handlers_of(), call_number("TrainingClient.optim_step", 2), fails_with(error))
    assert record(handlers, journal).run(supervised(Context.start(FULL))) == Failure(error)
    assert replayed(FULL, journal) == Failure(error)


@pytest.mark.parametrize(
    ("changed", "call", "argument"),
    [
        (attrs.evolve(FULL, learning_rate=5e-4), "TrainingClient.optim_step", "adam"),
        (attrs.evolve(FULL, schedule="cosine"), "TrainingClient.optim_step", "adam"),
        (attrs.evolve(FULL, seed=1), "TrainingClient.forward_backward", "data"),
        (attrs.evolve(FULL, batch_size=2), "TrainingClient.forward_backward", "data"),
        (attrs.evolve(FULL, num_rows=3), "DatasetStore.take", None),
        (attrs.evolve(FULL, dataset=DatasetConfig(name="other")), "DatasetStore.load_dataset", "config"),
        (attrs.evolve(FULL, evaluation=attrs.evolve(HELD_OUT, max_tokens=5)), "SamplingClient.sample", "params"),
    ],
)
def test_a_changed_run_diverges_where_it_first_differs(
    changed: SupervisedConfig, call: str, argument: str | None
) -> None:
    journal = Journal()
    recorded(FULL, journal).unwrap()
    with pytest.raises(Diverged) as raised:
        replayed(changed, journal)
    message = str(raised.value)
    assert f"now:      {call}" in message
    assert argument is None or f"first difference: argument {argument!r}" in message


def test_a_changed_learning_rate_diverges_with_both_rates_in_the_message() -> None:
    journal = Journal()
    recorded(FULL, journal).unwrap()
    with pytest.raises(Diverged) as raised:
        replayed(attrs.evolve(FULL, learning_rate=5e-4), journal)
    assert "supervised/epochs[0]/batches[0]/optim_step/#1" in str(raised.value)
    assert "first difference: argument 'adam'" in str(raised.value)
    assert "learning_rate=0.0005" in str(raised.value)
    assert "learning_rate=0.001" in str(raised.value)


def test_a_changed_configuration_diverges_where_it_first_matters() -> None:
    changed, journal = attrs.evolve(FULL, learning_rate=5e-4), Journal()

    def recipe(config: SupervisedConfig) -> Recipe[SupervisedConfig, SupervisedState, TrainError | KitchenError, Ports]:
        return Recipe(name="talk", description="", workflow=supervised, default_config=config)

    handlers = handlers_of() | Stores().handlers()
    record(handlers, journal).run(execute(recipe(FULL), run_id="evening", clock=ticking())).unwrap()
    with pytest.raises(Diverged) as raised:
        replay(journal).run(execute(recipe(changed), run_id="evening", clock=ticking()))
    assert "optim_step/#1" in str(raised.value)
    assert "learning_rate=0.0005" in str(raised.value)


@given(st.integers(0, 100))
@settings(max_examples=5)
def test_a_shortened_recording_diverges_where_it_ends(cut: int) -> None:
    journal, short = Journal(), Journal()
    recorded(FULL, journal).unwrap()
    entries = list(journal)[: cut % len(journal)]
    for entry in entries:
        short.append(entry)
    with pytest.raises(Diverged, match="recorded: nothing"):
        replayed(FULL, short)
