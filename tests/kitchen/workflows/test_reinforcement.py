"""Reinforcement learning in turns, on handlers that need nothing: what it does, round by round."""

import math
from collections import Counter
from itertools import pairwise
from typing import Any, Never

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Journal, Success, record, replay
from crucible.kitchen import Context
from crucible.kitchen.handlers.noop import Shelf
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.workflows.reinforcement import reinforcement, reinforcement_async
from crucible.telemetry.events import ArtifactSaved, ModelRegistered, ReinforcementStep, RolloutCompleted
from crucible.train.algorithms.policy_gradient import PolicyGradient, dapo, grpo, reinforce
from crucible.train.environments import ProblemEnv, RolloutLimits
from crucible.train.errors import InvalidRequest
from crucible.train.renderers import Renderer
from crucible.train.types import Datum, ModelInput, Row, SamplingConfig
from tests.kitchen.fakes import call_number, meddling
from tests.kitchen.workflows.arenas import (
    BASE,
    LEARNING,
    RIDDLES,
    TOKENIZER,
    Played,
    adding,
    chatting,
    constant,
    constant_for,
    handlers_of,
    judged,
    letters,
    played,
    riddle,
    says_in_turn,
    silent,
)
from tests.kitchen.workflows.runs import (
    apart_from_names,
    changes_of,
    checkpoints_in,
    labels_and_steps,
    ran,
    sessions_left_open,
    steps_of_policies,
)
from tests.typing.ports import Clock

GRADIENTS = "TrainingClient.forward_backward"


def config_of(**fields: Any) -> ReinforcementConfig:
    return attrs.evolve(BASE, **fields)


configs = st.builds(
    config_of,
    algorithm=st.sampled_from([reinforce(), grpo(), dapo()]),
    epochs=st.integers(1, 2),
    batch_size=st.integers(1, 3),
    group_size=st.integers(1, 3),
    policy_epochs=st.integers(1, 2),
    num_minibatches=st.integers(1, 3),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    warmup_steps=st.integers(0, 4),
    kl_coef=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 2),
    save_every=st.integers(0, 3),
)


# It learns


def rewards_of(environment: Any, **fields: Any) -> list[float]:
    run = played(reinforcement(environment), attrs.evolve(LEARNING, **fields))
    return [event.metrics["reward_mean"] for event in run.events(RolloutCompleted)]


def test_the_reward_rises() -> None:
    rewards = rewards_of(silent)
    assert len(rewards) == 8
    assert rewards[0] < 0.1
    assert rewards[-1] > 0.5


@pytest.mark.parametrize("algorithm", [grpo(), dapo()])
def test_the_reward_rises_with_clipped_losses_and_several_passes_too(algorithm: PolicyGradient) -> None:
    rewards = rewards_of(silent, algorithm=algorithm, policy_epochs=2, epochs=6)
    assert rewards[0] < 0.1
    assert rewards[-1] > 0.5


def test_the_reward_of_several_turns_rises() -> None:
    rewards = rewards_of(chatting, epochs=10)
    assert rewards[-1] > rewards[0] + 0.2


# Rounds


def learned(config: ReinforcementConfig) -> Played:
    """Run until the end, where there is something to learn: the rewards of one group at least differ."""
    run = played(reinforcement(letters), config)
    assume(isinstance(run.outcome, Success))
    return run


@settings(max_examples=8)
@given(configs)
def test_each_round_samples_from_the_weights_as_they_are_and_takes_the_steps_it_says(
    config: ReinforcementConfig,
) -> None:
    run = learned(config)
    steps, rounds = run.events(ReinforcementStep), run.events(RolloutCompleted)
    assert len(steps) == len(rounds) == config.epochs * math.ceil(5 / config.batch_size)
    taken = [int(event.metrics["num_updates"]) for event in steps]
    starts = [sum(taken[:index]) for index in range(len(taken))]
    assert [event.step for event in rounds] == starts
    assert steps_of_policies(run.log) == [*starts, sum(taken)]  # the last are the final weights
    assert all(event.metrics["staleness"] == 0 for event in steps)
    assert len(run.log.of("TrainingClient.optim_step")) == sum(taken) == run.outcome.unwrap().state.step


@settings(max_examples=10)
@given(configs)
def test_the_sampler_is_opened_on_the_policy_of_its_round_and_closed_after_it(config: ReinforcementConfig) -> None:
    run = learned(attrs.evolve(config, kl_coef=0.0))
    saved = [weights.path for weights in run.log.answers("TrainingClient.save_sampler_weights")]  # type: ignore[attr-defined]  # sampler weights
    opened = [call.arguments[0] for call in run.log.of("SamplingClient.start_session")]
    assert opened == [SamplingConfig(model="noop", weights_path=path) for path in saved[:-1]]
    assert sessions_left_open(run.log) == []


@settings(max_examples=8)
@given(configs)
def test_every_problem_gets_a_group_of_episodes_in_each_epoch(config: ReinforcementConfig) -> None:
    run = played(reinforcement(letters), config)
    prompts: Counter[str] = Counter()
    for call in run.log.of("SamplingClient.sample"):
        assert call.keywords["num_samples"] == config.group_size
        prompts.update(_shown(prompt) for prompt in _inputs(call.arguments[1]))
    assert all(count == config.epochs for count in prompts.values())
    assert len(prompts) == 5
    assert sum(e.num_trajectories for e in run.events(RolloutCompleted)) == 5 * config.epochs * config.group_size


def _inputs(argument: object) -> list[ModelInput]:
    assert isinstance(argument, tuple | list)
    return [one for one in argument if isinstance(one, ModelInput)]


def _data(argument: object) -> list[Datum]:
    assert isinstance(argument, tuple | list)
    return [one for one in argument if isinstance(one, Datum)]


def _shown(prompt: ModelInput) -> str:
    return TOKENIZER.decode(prompt.tokens)


@settings(max_examples=8)
@given(configs)
def test_learning_rates_are_never_negative_and_the_loss_is_the_algorithms(config: ReinforcementConfig) -> None:
    run = played(reinforcement(letters), config)
    for call in run.log.of("TrainingClient.optim_step"):
        assert 0 <= call.arguments[1].learning_rate <= config.learning_rate  # type: ignore[attr-defined]  # AdamParams
    for call in run.log.of(GRADIENTS):
        assert call.keywords["loss_fn"] == config.algorithm.loss.loss_fn
        for datum in _data(call.arguments[1]):
            assert set(datum.loss_fn_inputs) == {"target_tokens", "logprobs", "advantages"}


def test_ppo_takes_its_passes_in_minibatches_each_an_optimizer_step() -> None:
    config = attrs.evolve(BASE, algorithm=grpo(), policy_epochs=2, num_minibatches=3, group_size=3)
    run = played(reinforcement(letters), attrs.evolve(config, num_rows=2))
    calls = run.log.of(GRADIENTS)
    assert [len(_data(call.arguments[1])) for call in calls] == [2] * 6
    first, second = ([datum for call in half for datum in _data(call.arguments[1])] for half in (calls[:3], calls[3:]))
    assert len(first) == len(second) == 6
    assert first != second
    assert all(datum in second for datum in first)
    assert run.events(ReinforcementStep)[0].metrics["num_updates"] == 6


def test_gradients_and_update_of_a_minibatch_are_both_submitted_before_either_is_awaited() -> None:
    config = attrs.evolve(BASE, algorithm=grpo(), policy_epochs=2, num_rows=1, save_every=1)
    names = [call.rpartition(".")[2] for call in played(reinforcement(letters), config).log.names]
    begin = names.index("forward_backward")
    step = ["forward_backward", "optim_step", "await_", "await_"]
    assert names[begin : begin + 9] == [*step, *step, "save_checkpoint"]


@settings(max_examples=8)
@given(configs)
def test_a_checkpoint_labelled_n_holds_exactly_n_optimizer_steps(config: ReinforcementConfig) -> None:
    run = played(reinforcement(letters), config)
    labelled = labels_and_steps(run.log.calls)
    assert all(label == steps for label, steps in labelled)
    assert [event.step for event in checkpoints_in(run)] == [steps for _, steps in labelled]
    ends = [event.step for event in run.events(ReinforcementStep)]
    due = [b for a, b in pairwise([0, *ends]) if config.save_every and b // config.save_every > a // config.save_every]
    assert [label for label, _ in labelled] == due


# The same run again


@settings(max_examples=8)
@given(configs, st.sampled_from([letters, chatting]))
def test_the_same_run_does_the_same(config: ReinforcementConfig, environment: Any) -> None:
    first, again = (played(reinforcement(environment), config) for _ in range(2))
    assert first.outcome == again.outcome
    assert first.effects == again.effects
    assert first.told == again.told


@settings(max_examples=10)
@given(configs, st.sampled_from([letters, chatting, judged]))
def test_a_replay_without_handlers_gives_what_was_recorded(config: ReinforcementConfig, environment: Any) -> None:
    journal, workflow = Journal(), reinforcement(environment)
    first = played(workflow, config, record(handlers_of(), journal))
    again = ran(replay(journal), workflow(Context.start(config, run_id="evening")))
    assert (again.outcome, again.told) == (first.outcome, first.told)


short = st.builds(
    config_of,
    algorithm=st.sampled_from([reinforce(), grpo()]),
    epochs=st.integers(1, 2),
    batch_size=st.integers(2, 3),
    group_size=st.integers(1, 2),
    num_minibatches=st.integers(1, 2),
    policy_epochs=st.integers(1, 2),
    num_rows=st.integers(1, 4),
    seed=st.integers(0, 2),
)


@settings(max_examples=10)
@given(short, st.sampled_from([letters, chatting]))
def test_resumed_from_any_checkpoint_a_run_takes_the_same_rounds_to_the_same_end(
    config: ReinforcementConfig, environment: Any
) -> None:
    config, shelf, workflow = attrs.evolve(config, save_every=1), Shelf(), reinforcement(environment)
    run = played(workflow, config, handlers_of(shelf=shelf))
    assume(isinstance(run.outcome, Success))
    whole = run.outcome.unwrap().state
    for checkpoint in checkpoints_in(run):
        resumed_config = attrs.evolve(config, resume_from=checkpoint.path)
        resumed = played(workflow, resumed_config, handlers_of(shelf=shelf))
        state = resumed.outcome.unwrap().state
        ends = [attrs.evolve(apart_from_names(each), policy=None, first_batch=0) for each in (state, whole)]
        assert ends[0] == ends[1]
        assert changes_of(state, shelf) == changes_of(whole, shelf)
        done = resumed.events(ReinforcementStep)
        assert done == run.events(ReinforcementStep)[len(run.events(ReinforcementStep)) - len(done) :]


def test_positions_survive_rounds_without_data() -> None:
    """Every other round teaches nothing: steps and rounds are not as many, and a checkpoint knows both."""
    rows = tuple(map(riddle, range(8)))
    shelf, config = Shelf(), attrs.evolve(BASE, batch_size=1, save_every=1, epochs=2)

    def some(row: Any, renderer: Any, /) -> Any:
        return (letters if int(str(row["prompt"])[:-1]) % 3 == 0 else constant)(row, renderer)

    run = played(reinforcement(some), config, handlers_of(rows, shelf=shelf))
    whole = run.outcome.unwrap().state
    assert 0 < whole.step < whole.batches_done == 16
    assert all("_batch_" in event.path or event.step == 0 for event in checkpoints_in(run)[1:])
    for checkpoint in checkpoints_in(run):
        again = played(
            reinforcement(some), attrs.evolve(config, resume_from=checkpoint.path), handlers_of(rows, shelf=shelf)
        )
        state = again.outcome.unwrap().state
        assert (state.step, state.batches_done) == (whole.step, 16)
        assert changes_of(state, shelf) == changes_of(whole, shelf)


# Kinds of environments


def test_an_environment_of_several_turns_is_one_sequence_with_every_turn_trained_on() -> None:
    run = played(reinforcement(chatting), attrs.evolve(BASE, algorithm=grpo(), num_rows=1))
    assert len(run.log.of("SamplingClient.sample")) == 3
    [call] = run.log.of(GRADIENTS)
    data = _data(call.arguments[1])
    assert len(data) == 3
    for datum in data:
        trained = [old != 0 for old in datum.loss_fn_inputs["logprobs"].data]
        spans = sum(after and not before for before, after in pairwise([False, *trained]))
        assert spans == 3
    [rollout] = run.events(RolloutCompleted)
    assert rollout.metrics["env/turn"] == 2.0
    assert rollout.metrics["env/format"] >= 0


def test_a_conversation_that_grows_too_long_costs_its_own_end_only() -> None:
    config = attrs.evolve(BASE, limits=RolloutLimits(max_prompt_tokens=45))
    run = played(reinforcement(chatting), config)
    assert run.outcome.unwrap().state.batches_done == 3
    assert any("env/truncated" in event.metrics for event in run.events(RolloutCompleted))


def test_an_environment_with_tools_carries_them_out() -> None:
    handlers = meddling(handlers_of(), call_number("SamplingClient.sample"), says_in_turn)
    config = attrs.evolve(BASE, algorithm=grpo(), num_rows=2, max_tokens=200)
    run = played(reinforcement(adding), config, handlers)
    [rollout] = run.events(RolloutCompleted)
    assert rollout.metrics["reward_mean"] == 1.0
    assert (rollout.metrics["env/tool_calls"], rollout.metrics["env/tool_errors"]) == (1.0, 0.0)
    assert len(run.log.of("SamplingClient.sample")) == 2


def test_answers_may_be_judged_by_the_evaluator() -> None:
    run = played(reinforcement(judged))
    assert len(run.log.of("Evaluator.evaluate")) == 5 * 3
    assert all("env/correct" in event.metrics for event in run.events(RolloutCompleted))


# The reference


def test_the_kl_is_to_the_reference_and_told() -> None:
    config = attrs.evolve(LEARNING, kl_coef=0.01, algorithm=grpo(), reference_batch=25, epochs=4)
    run = played(reinforcement(silent), config)
    opened = [call.arguments[0] for call in run.log.of("SamplingClient.start_session")]
    assert opened.count(SamplingConfig(model="noop")) == 4
    asked = [len(_inputs(call.arguments[1])) for call in run.log.of("SamplingClient.compute_logprobs")]
    assert asked == [25, 25, 10] * 4
    kl = [event.metrics["kl_reference"] for event in run.events(ReinforcementStep)]
    assert kl[0] == pytest.approx(0.0, abs=1e-9)  # the policy begins as the reference
    assert kl[-1] > 0.05
    assert sessions_left_open(run.log) == []


def test_the_kl_holds_the_policy_back() -> None:
    assert rewards_of(silent, kl_coef=1.0)[-1] < rewards_of(silent, kl_coef=1e-6)[-1] / 2


def test_without_a_coefficient_no_reference_is_asked() -> None:
    run = played(reinforcement(letters))
    assert not run.log.of("SamplingClient.compute_logprobs")
    assert all("kl_reference" not in event.metrics for event in run.events(ReinforcementStep))


# Nothing to learn from


def test_no_problems_are_an_error_and_no_round() -> None:
    run = played(reinforcement(letters), BASE, handlers_of(()))
    assert isinstance(run.outcome.failure(), InvalidRequest)
    assert not run.log.of("TrainingClient.start_session")


@pytest.mark.parametrize("make", [reinforcement, reinforcement_async])
def test_a_run_in_which_all_groups_are_constant_fails_and_saves_nothing(make: Any) -> None:
    run = played(make(constant), attrs.evolve(BASE, save_every=1, register_as="model"))
    assert str(run.outcome.failure()).startswith(
        "no optimizer step was taken in 3 of 3 batches: the rewards of every group are equal (from 1 to 1 in the last round)"
    )
    assert not run.log.of(GRADIENTS)
    assert not checkpoints_in(run)
    assert not run.events(ArtifactSaved)
    assert not run.events(ModelRegistered)
    assert sessions_left_open(run.log) == []
    assert [event.metrics["groups_kept"] for event in run.events(ReinforcementStep)] == [0.0] * 3
    assert [event.metrics["reward_mean"] for event in run.events(ReinforcementStep)] == [1.0] * 3


@pytest.mark.parametrize("make", [reinforcement, reinforcement_async])
def test_steps_without_a_gradient_are_no_training(make: Any) -> None:
    """GRPO keeps groups whose rewards are equal: it steps on them, and nothing moves."""
    run = played(make(constant), attrs.evolve(BASE, algorithm=grpo(), register_as="model"))
    assert run.log.of(GRADIENTS)
    assert str(run.outcome.failure()).startswith(
        "the gradient was 0 in all 3 optimizer steps: the rewards of every group are equal (from 1 to 1"
    )
    assert not run.events(ArtifactSaved)
    assert not run.events(ModelRegistered)


def test_groups_that_teach_nothing_are_told_though_they_are_kept() -> None:
    kept = attrs.evolve(BASE, algorithm=grpo(), batch_size=5, group_size=8)
    dull, some = played(reinforcement(constant), kept), played(reinforcement(constant_for(0, 1)), kept)
    assert [event.metrics["frac_reward_zero_std"] for event in dull.events(ReinforcementStep)] == [1.0]
    [step], [rollout] = some.events(ReinforcementStep), some.events(RolloutCompleted)
    assert step.metrics["frac_reward_zero_std"] == rollout.metrics["frac_reward_zero_std"] == pytest.approx(0.4)


def test_a_row_that_is_no_problem_is_named_by_its_index() -> None:
    rows = (*RIDDLES, {"messages": [{"role": "user", "content": "nobody answers"}]})
    run = played(reinforcement(judged), BASE, handlers_of(rows))
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 5
    assert sessions_left_open(run.log) == []


# Ports


@pytest.mark.parametrize("make", [reinforcement, reinforcement_async])
def test_a_workflow_knows_the_ports_of_its_environments(make: Any) -> None:
    def judged_by_the_clock(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Clock], Never, Never]:
        raise NotImplementedError

    assert Clock in make(judged_by_the_clock).outline.all_ports()
    assert Clock not in make(letters).outline.all_ports()
