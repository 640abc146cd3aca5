"""The preference workflow on handlers that need nothing: it learns, asks the reference once, and can be resumed."""

import math
from itertools import pairwise
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Diverged, Failure, Handlers, Journal, perform, record, replay, trace
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.stages.preference import PreferenceConfig, PreferenceLossName, PreferenceState
from crucible.kitchen.workflows.preference import preference
from crucible.telemetry.events import (
    ArtifactSaved,
    DatasetBuilt,
    EqualPairs,
    EvaluationCompleted,
    PreferencesEvaluated,
    PreferenceStep,
)
from crucible.train.algorithms.kto import KtoOnPairs
from crucible.train.algorithms.preference import BradleyTerry
from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    NonFiniteLoss,
    SequenceTooLong,
    SessionClosed,
    TrainError,
)
from crucible.train.ports import TrainingClient
from crucible.train.types import DatasetConfig, Datum, Row, SamplingConfig, SessionConfig
from tests.kitchen.fakes import call_number, fails_with, meddling, raises
from tests.kitchen.workflows.arenas import TOKENIZER
from tests.kitchen.workflows.runs import (
    Ran,
    apart_from_names,
    changes_of,
    checkpoints_in,
    labels_and_steps,
    on_nothing,
    ran,
    sessions_left_open,
)
from tests.kitchen.workflows.small import Log

Fought: TypeAlias = Ran[Context[PreferenceState], TrainError | KitchenError]

TEST = DatasetConfig(name="duels", split="test")
BASE = PreferenceConfig(
    session=SessionConfig(model="noop"), dataset=DatasetConfig(name="duels"), learning_rate=1e-3, batch_size=2
)
LOSSES: tuple[PreferenceLossName, ...] = ("dpo", "ipo", "simpo", "orpo", "kto", "bradley_terry")
GRADIENTS = "CustomLossClient.forward_backward_custom"


def duel(number: int) -> Row:
    """Make a pair in which the better answer is a yes."""
    return {"prompt": f"{number}?", "chosen": f"yes {number}", "rejected": f"no {number}"}


DUELS = tuple(map(duel, range(5)))
HELD_OUT = tuple(map(duel, range(50, 54)))


def handlers_of(rows: tuple[Row, ...] = DUELS, *, shelf: Shelf | None = None) -> Handlers[EveryPort]:
    return on_nothing(rows, HELD_OUT, shelf=shelf)


def fought(config: PreferenceConfig, handlers: Handlers[EveryPort] | None = None) -> Fought:
    return ran(handlers or handlers_of(), preference(Context.start(config, run_id="evening")))


def config_of(*, measured: bool, **fields: Any) -> PreferenceConfig:
    return attrs.evolve(BASE, held_out=TEST if measured else None, **fields)


configs = st.builds(
    config_of,
    measured=st.booleans(),
    loss=st.sampled_from(LOSSES),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 4),
    beta=st.sampled_from([0.05, 0.5]),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    warmup_steps=st.integers(0, 4),
    seed=st.integers(0, 3),
    save_every=st.integers(0, 3),
    reference_batch=st.integers(1, 5),
    register_as=st.none() | st.just("duellist"),
)


# It learns


@pytest.mark.parametrize("loss", LOSSES)
def test_margin_and_accuracy_on_held_out_pairs_rise(loss: PreferenceLossName) -> None:
    config = attrs.evolve(BASE, loss=loss, held_out=TEST, epochs=6, schedule="constant")
    before, after = fought(config).events(PreferencesEvaluated)
    assert (before.step, after.step, before.num_pairs) == (0, 18, 4)
    assert after.metrics["margin"] > before.metrics["margin"]
    assert after.metrics["accuracy"] == 1.0 >= before.metrics["accuracy"]
    assert after.metrics["loss"] < before.metrics["loss"]


def test_dpo_begins_at_the_reference_and_moves_away_from_it() -> None:
    run = fought(attrs.evolve(BASE, held_out=TEST, epochs=4, batch_size=5, schedule="constant"))
    first, *_, last = run.events(PreferenceStep)
    assert first.metrics["loss"] == pytest.approx(math.log(2))
    assert first.metrics["margin"] == pytest.approx(0.0)
    assert last.metrics["margin"] > 0.1
    assert last.metrics["accuracy"] == 1.0
    losses = [step.metrics["loss"] for step in run.events(PreferenceStep)]
    assert all(later < earlier for earlier, later in pairwise(losses))


@settings(max_examples=20)
@given(configs)
def test_every_pair_is_trained_on_once_in_each_epoch_by_a_schedule_that_is_never_negative(
    config: PreferenceConfig,
) -> None:
    run = fought(config)
    steps = run.events(PreferenceStep)
    total = config.epochs * math.ceil(5 / config.batch_size)
    assert [event.step for event in steps] == list(range(1, total + 1))
    assert sum(event.num_pairs for event in steps) == 5 * config.epochs
    assert all(0 <= event.metrics["learning_rate"] <= config.learning_rate for event in steps)
    assert run.events(DatasetBuilt)[0].total_steps == total


def test_epochs_are_shuffled_reproducibly_and_differently() -> None:
    def orders(seed: int) -> list[list[object]]:
        calls = fought(attrs.evolve(BASE, epochs=3, batch_size=1, seed=seed)).log.of(GRADIENTS)
        seen = [call.arguments[1] for call in calls]
        return [seen[start : start + 5] for start in (0, 5, 10)]

    first, second, third = orders(0)
    assert first != second != third != first
    assert orders(0) == [first, second, third]
    assert orders(1)[0] != first


def test_kto_scores_answers_to_other_prompts_beside_the_pairs_and_tells_how_far_the_policy_went() -> None:
    run = fought(attrs.evolve(BASE, loss="kto", held_out=TEST, epochs=6, schedule="constant"))
    state = run.outcome.unwrap().state
    assert len(state.pairs.baselines) == len(state.pairs.data) == 10
    assert not any(datum in state.pairs.data for datum in state.pairs.baselines)
    for call, step in zip(run.log.of(GRADIENTS), run.events(PreferenceStep), strict=True):
        sequences, loss = _sequence(call.arguments[1]), call.arguments[2]
        assert isinstance(loss, KtoOnPairs)
        assert len(sequences) == 4 * step.num_pairs == 2 * len(loss.baselines_NT)
        places = [state.pairs.sequences.index(datum) for datum in sequences if isinstance(datum, Datum)]
        seen = (*loss.pairs.reference_N, *loss.baseline_reference_N)
        assert seen == tuple(state.pairs.reference_N[place] for place in places)
    first, *_, last = run.events(PreferenceStep)
    assert first.metrics["kl"] == pytest.approx(0.0)
    assert first.metrics["loss"] == pytest.approx(0.5)
    assert last.metrics["accuracy"] == 1.0
    assert last.metrics["kl"] >= 0


def test_kto_on_one_prompt_has_no_answers_to_others() -> None:
    rows: tuple[Row, ...] = tuple({"prompt": "?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(3))
    run = fought(attrs.evolve(BASE, loss="kto", epochs=3, schedule="constant"), handlers_of(rows))
    steps = run.events(PreferenceStep)
    assert sum(step.num_pairs for step in steps) == 9
    assert {step.metrics["kl"] for step in steps} == {0.0}
    assert steps[-1].metrics["margin"] > steps[0].metrics["margin"]


def test_a_reward_model_learns_from_the_last_message_of_each_completion_and_asks_no_reference() -> None:
    asked, yes = ({"role": "user", "content": "good?"}, {"role": "assistant", "content": "yes"})
    rows: tuple[Row, ...] = tuple(
        {**duel(i), **{side: [{"role": "assistant", "content": side}, asked, yes] for side in ("chosen", "rejected")}}
        for i in range(3)
    )
    run = fought(attrs.evolve(BASE, loss="bradley_terry", beta=1.0), handlers_of(rows))
    assert not run.log.of("SamplingClient.start_session")
    first = run.events(PreferenceStep)[0].metrics
    assert first["loss"] == pytest.approx(
        math.log(2)
    )  # the bigram model cannot see so far back: both verdicts are alike
    assert first["chosen_reward"] == pytest.approx(first["rejected_reward"])
    [loss, *_] = [call.arguments[2] for call in run.log.of(GRADIENTS)]
    assert isinstance(loss, BradleyTerry)
    assert loss.scale == 1.0
    assert {sum(weights) for weights in loss.weights_NT} == {float(len(TOKENIZER.encode("yes")) + 1)}


# The same run again


@settings(max_examples=15)
@given(configs)
def test_the_same_run_does_the_same(config: PreferenceConfig) -> None:
    first, again = fought(config), fought(config)
    assert first.outcome == again.outcome
    assert first.effects == again.effects
    assert first.told == again.told


@settings(max_examples=10)
@given(configs)
def test_a_replay_without_handlers_gives_what_was_recorded_and_tells_the_same(config: PreferenceConfig) -> None:
    journal = Journal()
    first = fought(config, record(handlers_of(), journal))
    again = ran(replay(journal), preference(Context.start(config, run_id="evening")))
    assert (again.outcome, again.told) == (first.outcome, first.told)


def test_a_run_with_another_beta_diverges_from_the_recording_at_the_first_loss() -> None:
    journal = Journal()
    fought(BASE, record(handlers_of(), journal)).outcome.unwrap()
    with pytest.raises(Diverged, match="forward_backward_custom"):
        replay(journal).run(preference(Context.start(attrs.evolve(BASE, beta=0.2), run_id="evening")))


# Acceptance: a checkpoint labelled N holds N steps, a resumed run keeps its reference


@settings(max_examples=15)
@given(configs)
def test_a_checkpoint_labelled_n_holds_exactly_n_optimizer_steps(config: PreferenceConfig) -> None:
    run = fought(config)
    labelled = labels_and_steps(run.log.calls)
    total = config.epochs * math.ceil(5 / config.batch_size)
    due = [step for step in range(1, total + 1) if config.save_every and step % config.save_every == 0]
    assert labelled == [(step, step) for step in due]
    assert [event.step for event in checkpoints_in(run)] == due


def test_gradients_and_update_are_both_submitted_before_either_is_awaited() -> None:
    names = [call.rpartition(".")[2] for call in fought(attrs.evolve(BASE, batch_size=5, save_every=1)).log.names]
    begin = names.index("forward_backward_custom")
    assert names[begin : begin + 5] == ["forward_backward_custom", "optim_step", "await_", "await_", "save_checkpoint"]


@settings(max_examples=15)
@given(configs)
def test_resumed_from_any_checkpoint_a_run_keeps_its_reference_and_comes_to_the_same_end(
    config: PreferenceConfig,
) -> None:
    config, shelf = attrs.evolve(config, save_every=1), Shelf()
    run = fought(config, handlers_of(shelf=shelf))
    whole = run.outcome.unwrap().state
    assert len(checkpoints_in(run)) == whole.step
    for checkpoint in checkpoints_in(run):
        resumed = fought(attrs.evolve(config, resume_from=checkpoint.path), handlers_of(shelf=shelf))
        state = resumed.outcome.unwrap().state
        assert state.pairs.reference_N == whole.pairs.reference_N
        assert apart_from_names(state) == apart_from_names(whole)
        assert changes_of(state, shelf) == changes_of(whole, shelf)
        assert resumed.events(PreferenceStep) == run.events(PreferenceStep)[checkpoint.step :]


def test_a_resumed_run_asks_the_model_without_adapters_not_the_one_it_has_trained() -> None:
    shelf = Shelf()
    run = fought(attrs.evolve(BASE, save_every=2), handlers_of(shelf=shelf))
    path = checkpoints_in(run)[0].path
    resumed = fought(attrs.evolve(BASE, resume_from=path), handlers_of(shelf=shelf))
    [opened] = resumed.log.of("SamplingClient.start_session")
    assert opened.arguments == (SamplingConfig(model="noop"),)
    assert any(score != 0 for score in resumed.outcome.unwrap().state.pairs.reference_N)


def test_a_reference_of_trained_weights_is_kept_as_well() -> None:
    shelf = Shelf()
    first = fought(attrs.evolve(BASE, epochs=2), handlers_of(shelf=shelf)).outcome.unwrap().state.final_weights
    assert first is not None
    config = attrs.evolve(BASE, reference_path=first.path, save_every=1)
    run = fought(config, handlers_of(shelf=shelf))
    whole = run.outcome.unwrap().state
    assert whole.pairs.reference_N != fought(BASE).outcome.unwrap().state.pairs.reference_N
    for checkpoint in checkpoints_in(run):
        resumed = fought(attrs.evolve(config, resume_from=checkpoint.path), handlers_of(shelf=shelf))
        assert apart_from_names(resumed.outcome.unwrap().state) == apart_from_names(whole)


def test_a_run_that_broke_is_resumed_from_its_last_checkpoint() -> None:
    shelf, config = Shelf(), attrs.evolve(BASE, epochs=2, save_every=2, held_out=TEST)
    whole = fought(config, handlers_of(shelf=shelf)).outcome.unwrap().state
    error = NonFiniteLoss(loss=float("inf"))
    broken = fought(config, meddling(handlers_of(shelf=shelf), call_number(GRADIENTS, 4), fails_with(error)))
    assert broken.outcome == Failure(error)
    path = checkpoints_in(broken)[-1].path
    state = fought(attrs.evolve(config, resume_from=path), handlers_of(shelf=shelf)).outcome.unwrap().state
    assert apart_from_names(state) == apart_from_names(whole)
    assert changes_of(state, shelf) == changes_of(whole, shelf)


# The reference


@settings(max_examples=10)
@given(configs)
def test_the_reference_is_asked_once_for_each_sequence_whatever_the_epochs(config: PreferenceConfig) -> None:
    log = fought(config).log
    asked = sum(len(_sequence(call.arguments[1])) for call in log.of("SamplingClient.compute_logprobs"))
    of_a_pair = {"dpo": 2, "ipo": 2, "kto": 4}.get(config.loss, 0)
    assert asked == of_a_pair * (5 + (4 if config.held_out else 0))
    assert len(log.of("SamplingClient.start_session")) == (asked > 0)


def _sequence(argument: object) -> tuple[object, ...]:
    assert isinstance(argument, tuple | list)
    return tuple(argument)


@pytest.mark.parametrize("failing", ["SamplingClient.compute_logprobs", GRADIENTS, "TrainingClient.await_"])
@pytest.mark.parametrize("raised", [False, True])
def test_whatever_fails_every_session_is_closed(failing: str, *, raised: bool) -> None:
    log, ill = Log(), BackendFailed(message="out of memory")
    answer = raises(OSError("gas")) if raised else fails_with(ill)
    handlers = trace(meddling(handlers_of(), call_number(failing, 1), answer), into=log.calls.append)
    if raised:
        with pytest.raises(OSError, match="gas"):
            handlers.run(preference(Context.start(BASE)))
    else:
        assert handlers.run(preference(Context.start(BASE))) == Failure(ill)
    assert sessions_left_open(log) == []


# Measuring


def test_measuring_changes_nothing_about_what_is_learned() -> None:
    shelves = Shelf(), Shelf()
    measured, alone = (
        fought(attrs.evolve(BASE, held_out=held_out, epochs=2), handlers_of(shelf=shelf)).outcome.unwrap().state
        for held_out, shelf in zip((TEST, None), shelves, strict=True)
    )
    assert changes_of(measured, shelves[0]) == changes_of(alone, shelves[1]) != {}


def test_measuring_asks_for_a_forward_pass_and_for_no_gradient() -> None:
    log = fought(attrs.evolve(BASE, held_out=TEST, batch_size=5)).log
    assert len(log.of("TrainingClient.forward")) == 2
    assert len(log.of(GRADIENTS)) == len(log.of("TrainingClient.optim_step")) == 1
    assert not log.of("TrainingClient.forward_backward")
    for call in log.of("TrainingClient.forward"):
        assert all(isinstance(datum, Datum) for datum in _sequence(call.arguments[1]))


def test_held_out_pairs_are_measured_every_so_many_steps_too() -> None:
    run = fought(attrs.evolve(BASE, held_out=TEST, epochs=2, eval_every=2))
    assert [event.step for event in run.events(PreferencesEvaluated)] == [0, 2, 4, 6]


@pytest.mark.parametrize("ranked", [False, True])
def test_answers_are_measured_before_after_and_every_so_many_steps_with_held_out_pairs_or_without(
    *, ranked: bool
) -> None:
    asked: tuple[Row, ...] = ({"prompt": "1?", "completion": "yes 1", "chosen": "yes 1", "rejected": "no 1"},)
    config = attrs.evolve(
        BASE,
        held_out=TEST if ranked else None,
        evaluation=EvaluationConfig(dataset=TEST, max_tokens=3),
        epochs=2,
        eval_every=2,
        register_as="duellist",
    )
    run = fought(config, on_nothing(DUELS, asked))
    assert [event.step for event in run.events(EvaluationCompleted)] == [0, 2, 4, 6]
    assert [event.step for event in run.events(PreferencesEvaluated)] == ([0, 2, 4, 6] if ranked else [])
    metrics = run.outcome.unwrap().state.metrics
    assert metrics.keys() >= ({"accuracy", "margin"} if ranked else {"accuracy"})
    assert len(run.log.of("Evaluator.evaluate")) == 4


def test_a_held_out_row_that_is_no_pair_is_not_taken_for_a_training_row() -> None:
    handlers = on_nothing(DUELS, [{"prompt": "1+1?", "chosen": "2"}])
    error = str(fought(attrs.evolve(BASE, held_out=TEST), handlers).outcome.failure())
    assert "in the held-out dataset 'duels', split 'test': the row has columns ['chosen', 'prompt'] (item 0)" in error


def test_a_held_out_split_without_rows_is_an_error_that_says_so() -> None:
    error = fought(attrs.evolve(BASE, held_out=TEST), on_nothing(DUELS)).outcome.failure()
    assert error == InvalidRequest(
        message="the held-out dataset 'duels', split 'test', has no rows", fix="check the split, or hold nothing out"
    )


# Rows that cannot be used


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "?", "completion_a": "a", "completion_b": "b", "label": "Tie"},
        {"prompt": "?", "completion_a": "a", "completion_b": "b", "label": "C"},
        {"prompt": "?", "chosen": "a"},
        {"chosen": "", "rejected": ""},
        {},
    ],
)
@pytest.mark.parametrize("index", [0, 3])
def test_a_tie_or_a_row_of_the_wrong_shape_is_named_by_its_index(wrong: Row, index: int) -> None:
    rows = (*DUELS[:index], wrong, *DUELS[index:])
    run = fought(BASE, handlers_of(rows))
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == index
    assert sessions_left_open(run.log) == []


def test_a_pair_that_is_too_long_is_named_by_its_index() -> None:
    rows = (*DUELS, {"prompt": "?", "chosen": "!" * 200, "rejected": "no"})
    error = fought(attrs.evolve(BASE, max_length=100), handlers_of(rows)).outcome.failure()
    assert isinstance(error, SequenceTooLong)
    assert error.index == 5


def test_no_rows_are_an_error_before_any_session_is_opened() -> None:
    run = fought(BASE, handlers_of(()))
    assert isinstance(run.outcome.failure(), InvalidRequest)
    assert not run.log.of("TrainingClient.start_session")


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}])
def test_a_setting_that_the_loss_would_refuse_is_refused_with_the_configuration(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        attrs.evolve(BASE, **wrong)


def test_the_session_is_closed_at_the_end() -> None:
    handlers = handlers_of()
    session = fought(BASE, handlers).outcome.unwrap().state.session
    closed = handlers.run(perform(TrainingClient.get_tokenizer, session)).failure()
    assert closed == SessionClosed(session_id=session.id)


# Pairs that say nothing of which answer is better


SAME: Row = {"prompt": "1?", "chosen": "maybe", "rejected": "maybe"}
LATE: Row = {"prompt": "2?", "chosen": "well" * 20 + "yes", "rejected": "well" * 20 + "no"}
CUT: dict[str, Any] = {"max_length": 40, "truncate": True}


@pytest.mark.parametrize("loss", LOSSES)
def test_pairs_of_two_equal_answers_are_left_out_and_told(loss: PreferenceLossName) -> None:
    rows = (duel(0), SAME, LATE, duel(3), duel(4))
    config = attrs.evolve(BASE, loss=loss, batch_size=1, **CUT)
    run = fought(config, on_nothing(rows))
    without = fought(config, on_nothing((duel(0), duel(3), duel(4))))
    assert run.outcome.unwrap().state.step == 3
    assert run.outcome.unwrap().state.pairs == without.outcome.unwrap().state.pairs
    [told] = run.events(EqualPairs)
    assert told == EqualPairs(dataset="duels", split="train", num_equal=2, num_cut=1, num_pairs=5, row=1)
    [built] = run.events(DatasetBuilt)
    assert (built.num_examples, built.total_steps) == (3, 3)
    assert all(event.metrics["loss"] == event.metrics["loss"] for event in run.events(PreferenceStep))
    assert not without.events(EqualPairs)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((SAME, SAME), "all 2 pairs of 'duels', split 'train', have two equal answers (item 0): check the columns"),
        (
            (SAME, LATE),
            "have two equal answers, 1 of them because they are cut where they begin to differ (item 0): raise",
        ),
    ],
)
def test_a_run_all_of_whose_pairs_are_equal_is_refused(rows: tuple[Row, ...], said: str) -> None:
    run = fought(attrs.evolve(BASE, **CUT), on_nothing(rows))
    assert said in str(run.outcome.failure())
    assert not run.events(ArtifactSaved)
    assert sessions_left_open(run.log) == []


def test_held_out_pairs_that_are_equal_are_left_out_too_and_refused_where_all_are() -> None:
    config = attrs.evolve(BASE, held_out=TEST)
    run = fought(config, on_nothing((duel(0), duel(1)), (SAME, duel(2))))
    assert run.events(EqualPairs) == [
        EqualPairs(dataset="duels", split="test", num_equal=1, num_cut=0, num_pairs=2, row=0)
    ]
    assert [event.num_pairs for event in run.events(PreferencesEvaluated)] == [1, 1]
    refused = fought(config, on_nothing((duel(0),), (SAME,)))
    assert "all 1 pairs of 'duels', split 'test'" in str(refused.outcome.failure())


def test_long_answers_that_differ_before_they_are_cut_are_kept() -> None:
    early: Row = {"prompt": "2?", "chosen": "yes" + "well" * 20, "rejected": "no" + "well" * 20}
    run = fought(attrs.evolve(BASE, **CUT), on_nothing((early,)))
    assert run.outcome.unwrap().state.step == 1
    assert not run.events(EqualPairs)
