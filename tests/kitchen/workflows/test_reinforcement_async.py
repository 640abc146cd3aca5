"""Reinforcement learning with sampling and training side by side: no round is lost, none is too old."""

import math
from collections import Counter
from typing import Any

import anyio.lowlevel
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Call, Handlers, Journal, Proceed, Result, record, replay
from crucible.kitchen import Context
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.workflows.reinforcement import reinforcement_async
from crucible.telemetry.events import ReinforcementStep, RolloutCompleted
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.errors import InvalidRequest
from tests.kitchen.workflows.arenas import BASE, LEARNING, chatting, handlers_of, letters, played, silent
from tests.kitchen.workflows.runs import (
    apart_from_names,
    changes_of,
    checkpoints_in,
    labels_and_steps,
    ran,
    sessions_left_open,
)
from tests.kitchen.workflows.test_reinforcement import config_of

configs = st.builds(
    config_of,
    algorithm=st.just(grpo()),
    epochs=st.integers(1, 2),
    batch_size=st.integers(1, 3),
    group_size=st.integers(2, 3),
    policy_epochs=st.integers(1, 2),
    num_minibatches=st.integers(1, 2),
    max_staleness=st.integers(1, 4),
    kl_coef=st.sampled_from([0.0, 0.1]),
    save_every=st.integers(0, 2),
)


def paced(handlers: Handlers[EveryPort], *, sampling: int, training: int) -> Handlers[EveryPort]:
    """Let the backends take some turns of the event loop for each request, as real ones take time."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        for _ in range(sampling if call.name.startswith("SamplingClient") else training):
            await anyio.lowlevel.checkpoint()
        return await proceed(call)

    return handlers.wrap(around)


def test_the_reward_rises() -> None:
    config = attrs.evolve(LEARNING, epochs=10)
    run = played(reinforcement_async(silent), config, paced(handlers_of(), sampling=1, training=1))
    rewards = [event.metrics["reward_mean"] for event in run.events(RolloutCompleted)]
    assert rewards[0] < 0.1
    assert rewards[-1] > 0.4


@settings(max_examples=15)
@given(configs, st.integers(0, 6), st.integers(0, 6))
def test_every_round_is_learned_from_once_and_none_is_staler_than_allowed(
    config: ReinforcementConfig, sampling: int, training: int
) -> None:
    handlers = paced(handlers_of(), sampling=sampling, training=training)
    run = played(reinforcement_async(letters), config, handlers)
    rounds = config.epochs * math.ceil(5 / config.batch_size)
    steps, state = run.events(ReinforcementStep), run.outcome.unwrap().state
    assert len(steps) == len(run.events(RolloutCompleted)) == state.batches_done == rounds
    assert state.epoch == config.epochs
    for event in steps:
        assert 0 <= event.metrics["staleness"] <= config.max_staleness
        assert event.metrics["num_updates"] > 0
    assert sum(e.num_trajectories for e in run.events(RolloutCompleted)) == 5 * config.epochs * config.group_size
    assert state.step == sum(int(event.metrics["num_updates"]) for event in steps)
    assert all(label == taken for label, taken in labels_and_steps(run.log.calls))
    assert sessions_left_open(run.log) == []


@settings(max_examples=10)
@given(configs, st.integers(0, 4), st.integers(0, 4))
def test_every_problem_is_played_once_in_each_epoch(config: ReinforcementConfig, sampling: int, training: int) -> None:
    run = played(reinforcement_async(letters), config, paced(handlers_of(), sampling=sampling, training=training))
    prompts: Counter[object] = Counter()
    for call in run.log.of("SamplingClient.sample"):
        asked = call.arguments[1]
        assert isinstance(asked, tuple)
        prompts.update(asked)
    assert list(prompts.values()) == [config.epochs] * 5


def test_rounds_are_rolled_out_while_the_last_one_is_learned_from() -> None:
    run = played(
        reinforcement_async(letters), attrs.evolve(BASE, algorithm=grpo()), paced(handlers_of(), sampling=1, training=4)
    )
    second = run.index_of("SamplingClient.start_session", number=1)
    assert second < run.index_of("TrainingClient.optim_step")
    stale = [event.metrics["staleness"] for event in run.events(ReinforcementStep)]
    assert stale == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_when_training_is_slow_the_rounds_become_as_stale_as_allowed_and_are_learned_from_all_the_same(
    allowed: int,
) -> None:
    """Each round takes several optimizer steps: staleness counts rounds, so none of them is lost by that."""
    config = attrs.evolve(
        BASE, algorithm=grpo(), max_staleness=allowed, batch_size=1, policy_epochs=2, num_minibatches=2
    )
    run = played(reinforcement_async(letters), config, paced(handlers_of(), sampling=0, training=9))
    steps = run.events(ReinforcementStep)
    assert [event.metrics["staleness"] for event in steps] == [min(place, allowed) for place in range(5)]
    assert [event.metrics["num_updates"] for event in steps] == [4] * 5


@settings(max_examples=10)
@given(configs, st.sampled_from([letters, chatting]), st.integers(0, 3), st.integers(0, 3))
def test_a_replay_without_handlers_gives_what_was_recorded(
    config: ReinforcementConfig, environment: Any, sampling: int, training: int
) -> None:
    journal, workflow = Journal(), reinforcement_async(environment)
    handlers = paced(handlers_of(), sampling=sampling, training=training)
    first = played(workflow, config, record(handlers, journal))
    again = ran(replay(journal), workflow(Context.start(config, run_id="evening")))
    assert again.outcome == first.outcome
    for kind in (ReinforcementStep, RolloutCompleted):
        assert again.events(kind) == first.events(kind)


@settings(max_examples=8)
@given(configs)
def test_the_same_run_does_the_same(config: ReinforcementConfig) -> None:
    first, again = (played(reinforcement_async(letters), config) for _ in range(2))
    assert first.outcome == again.outcome
    assert sorted(map(repr, first.effects)) == sorted(map(repr, again.effects))


@settings(max_examples=8)
@given(configs)
def test_resumed_from_any_checkpoint_the_rounds_that_are_left_are_played(config: ReinforcementConfig) -> None:
    config, shelf = attrs.evolve(config, save_every=1, max_staleness=3), Shelf()
    run = played(reinforcement_async(letters), config, handlers_of(shelf=shelf))
    whole = run.outcome.unwrap().state
    for checkpoint in checkpoints_in(run):
        again = attrs.evolve(config, resume_from=checkpoint.path)
        state = played(reinforcement_async(letters), again, handlers_of(shelf=shelf)).outcome.unwrap().state
        assert (state.step, state.batches_done, state.epoch) == (whole.step, whole.batches_done, whole.epoch)
    last = checkpoints_in(run)[-1].path
    ended = played(reinforcement_async(letters), attrs.evolve(config, resume_from=last), handlers_of(shelf=shelf))
    assert changes_of(ended.outcome.unwrap().state, shelf) == changes_of(whole, shelf)
    ends = [
        attrs.evolve(apart_from_names(s), policy=None, first_batch=0) for s in (ended.outcome.unwrap().state, whole)
    ]
    assert ends[0] == ends[1]


def test_no_problems_are_an_error() -> None:
    run = played(reinforcement_async(letters), BASE, handlers_of(()))
    assert isinstance(run.outcome.failure(), InvalidRequest)


def test_a_policy_that_may_never_be_stale_is_the_other_workflow() -> None:
    with pytest.raises(ValueError, match="max_staleness"):
        attrs.evolve(BASE, max_staleness=0)
