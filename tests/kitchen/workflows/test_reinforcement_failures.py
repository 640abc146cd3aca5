"""What a reinforcement run loses when an environment, or what it asks, does not work: and that it always ends."""

from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Handlers, TimedOut, fail, pure, timeout, trace
from crucible.kitchen import Context
from crucible.kitchen.environments import evaluator_grade
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stages.reinforcement import EnvironmentOf, ReinforcementConfig, environment_groups
from crucible.kitchen.stages.rollouts import RolledOut, compute_advantages, metrics_by_environment, roll_out
from crucible.kitchen.workflows.reinforcement import begin, reinforcement, reinforcement_async
from crucible.telemetry.events import (
    ArtifactSaved,
    EnvironmentPlayed,
    EpisodesFailed,
    ModelRegistered,
    ReinforcementStep,
    RolloutCompleted,
)
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.environments import (
    EnvironmentFailed,
    ProblemEnv,
    RolloutLimits,
    ToolTask,
    environment_failure,
    tool_env,
)
from crucible.train.errors import BackendFailed, InvalidRequest, TrainError
from crucible.train.renderers import Renderer
from crucible.train.types import Row
from crucible.train.types.trajectories import PolicyDatum
from tests.kitchen.fakes import (
    call_number,
    fails_with,
    meddling,
    raises,
    run_and_cancel,
    waits_for_ever,
)
from tests.kitchen.workflows.arenas import (
    ADDER,
    BASE,
    RIDDLES,
    TOKENIZER,
    asked,
    broken_for,
    constant_for,
    handlers_of,
    judged,
    letters,
    played,
    raising,
)
from tests.kitchen.workflows.runs import checkpoints_in, sessions_left_open
from tests.kitchen.workflows.small import Log

WORKFLOWS = [reinforcement, reinforcement_async]
BROKEN = BackendFailed(message="the judge is ill")


def impatient(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
    """Make an environment that gives its judge a hundredth of a second."""

    def score(text: str) -> Eff[float, EnvironmentFailed, Evaluator]:
        grade = evaluator_grade("riddles", row)(text, "!")
        return timeout(grade, seconds=0.01).alt(environment_failure("the judge takes too long"))

    return pure(ProblemEnv(messages=asked(row), renderer=renderer, score=score))


def watched(handlers: Handlers[EveryPort], log: Log) -> Handlers[EveryPort]:
    return trace(handlers, into=log.calls.append)


def judge_who(answer: Any, *numbers: int) -> Handlers[EveryPort]:
    return meddling(handlers_of(), call_number("Evaluator.evaluate", *numbers), answer)


# Acceptance: a raising rollout never hangs the run


@pytest.mark.parametrize("make", WORKFLOWS)
def test_environments_with_a_bug_end_the_run_and_the_row_and_the_line_are_named(make: Any) -> None:
    run = played(make(raising), attrs.evolve(BASE, register_as="model"))
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    [first, *_] = run.events(EpisodesFailed)
    assert error.index == first.row is not None
    assert str(RIDDLES[first.row]["prompt"]) in str(error)
    assert "no episode of round 0 was finished: 6 of 6 failed, 6 of them because: ZeroDivisionError was raised" in str(
        error
    )
    assert "in arenas.py, line" in str(error)
    assert "a bug in the grader" in str(error)
    assert not run.events(ArtifactSaved)
    assert not run.events(ModelRegistered)
    assert sessions_left_open(run.log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
@pytest.mark.parametrize("number", [1, 4, 9])
def test_a_judge_that_raises_ends_the_run_wherever_it_is(make: Any, number: int) -> None:
    log = Log()
    with pytest.raises(OSError, match="gas") as raised:
        watched(judge_who(raises(OSError("gas")), number), log).run(make(judged)(Context.start(BASE)))
    assert any(note.startswith("in the environment of row ") for note in raised.value.__notes__)
    assert sessions_left_open(log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_factory_of_environments_that_raises_ends_the_run_and_the_row_is_named(make: Any) -> None:
    def factory(row: Row, renderer: Renderer, /) -> Any:
        return letters(row, renderer) if row["prompt"] != "3?" else row["solution"]

    run = played(make(factory))
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 3
    assert str(error).startswith(
        "no environment can be made of the row {'completion': '3!', 'prompt': '3?'}: KeyError was raised in "
        "test_reinforcement_failures.py, line "
    )
    assert ": 'solution' (item 3): " in str(error)
    assert sessions_left_open(run.log) == []


def test_a_message_that_is_none_is_named_by_its_row() -> None:
    """Rows hold dicts where an environment wants messages: the likeliest slip."""

    def factory(row: Row, renderer: Renderer, /) -> Any:
        said: Any = {"role": "user", "content": row["prompt"]}
        return pure(ProblemEnv(messages=(said,), renderer=renderer, score=lambda text: pure(1.0)))

    error = played(reinforcement(factory)).outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index is not None
    assert "AttributeError was raised in " in str(error)


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_judge_that_hangs_costs_only_the_trajectories_that_gave_it_a_time_limit(make: Any) -> None:
    config = attrs.evolve(BASE, algorithm=grpo())
    run = played(make(impatient), config, judge_who(waits_for_ever, 2))
    assert run.outcome.unwrap().state.step == 3
    assert [event.num_failed for event in run.events(RolloutCompleted)] == [1, 0, 0]
    assert [event.num_trajectories for event in run.events(RolloutCompleted)] == [5, 6, 3]
    assert sessions_left_open(run.log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_run_that_hangs_ends_at_its_own_time_limit_with_every_session_closed(make: Any) -> None:
    log = Log()
    work = timeout(make(judged)(Context.start(BASE)), seconds=0.2)
    assert watched(judge_who(waits_for_ever, 5), log).run(work).failure() == TimedOut(seconds=0.2)
    assert sessions_left_open(log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_run_that_is_cancelled_in_a_rollout_closes_every_session(make: Any) -> None:
    log = Log()
    work = make(judged)(Context.start(BASE))
    anyio.run(run_and_cancel, watched(handlers_of(), log), call_number("Evaluator.evaluate", 5), work)
    assert sessions_left_open(log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
@pytest.mark.parametrize("number", [1, 6, 15])
def test_an_environment_that_fails_with_a_value_costs_only_its_own_trajectory(make: Any, number: int) -> None:
    config = attrs.evolve(BASE, algorithm=grpo())
    run = played(make(judged), config, judge_who(fails_with(BROKEN), number))
    assert run.outcome.unwrap().state.batches_done == 3
    rollouts = run.events(RolloutCompleted)
    assert sum(event.num_failed for event in rollouts) == 1
    assert sum(event.num_trajectories for event in rollouts) == 14
    trained = [len(_data(call.arguments[1])) for call in run.log.of("TrainingClient.forward_backward")]
    assert sum(trained) == 14


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_round_without_one_episode_ends_the_run_and_says_why(make: Any) -> None:
    run = played(make(broken_for(0, 1, 2, 3, 4)), attrs.evolve(BASE, algorithm=grpo(), register_as="model"))
    assert "6 of 6 failed, 6 of them because: no grader, first with the row {" in str(run.outcome.failure())
    assert "no optimizer step was taken before" in str(run.outcome.failure())
    assert not checkpoints_in(run)
    assert not run.events(ArtifactSaved)
    assert not run.events(ModelRegistered)
    assert not run.events(ReinforcementStep)
    assert sessions_left_open(run.log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_round_without_an_episode_after_others_saves_what_they_taught(make: Any) -> None:
    config = attrs.evolve(BASE, algorithm=grpo(), epochs=2, batch_size=5, group_size=2, max_staleness=1)
    shelf = Shelf()
    broken = meddling(handlers_of(shelf=shelf), call_number("Evaluator.evaluate", *range(11, 60)), fails_with(BROKEN))
    run = played(make(judged), config, broken)
    [saved] = checkpoints_in(run)
    assert f"go on with resume_from={saved.path!r}" in str(run.outcome.failure())
    assert "the answer was not judged: the judge is ill" in str(run.outcome.failure())
    resumed = played(make(judged), attrs.evolve(config, resume_from=saved.path), handlers_of(shelf=shelf))
    assert resumed.outcome.unwrap().state.batches_done == 2
    assert len(resumed.events(RolloutCompleted)) == 1


# Acceptance: more failures than may be


@pytest.mark.parametrize("make", WORKFLOWS)
def test_a_run_that_loses_more_than_half_of_its_episodes_stops_in_the_third_round_and_keeps_a_checkpoint(
    make: Any,
) -> None:
    config = attrs.evolve(BASE, algorithm=grpo(), epochs=5, batch_size=5)
    run = played(make(broken_for(0, 1, 2)), config)
    [saved] = checkpoints_in(run)
    assert saved.step == 2
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    for part in (
        "more than 50% of the episodes of 3 rounds in a row failed, 9 of 15 in round 2",
        "9 of them because: no grader, first with the row {'completion': '",
        f"go on with resume_from={saved.path!r}",
    ):
        assert part in str(error)
    assert len(run.events(ReinforcementStep)) == 2
    assert sessions_left_open(run.log) == []


@pytest.mark.parametrize("make", WORKFLOWS)
@pytest.mark.parametrize(("bad", "changes"), [((0, 1), {}), ((0, 1, 2, 3), {"max_failed_share": 1.0})])
def test_a_run_that_loses_fewer_than_may_be_goes_on(make: Any, bad: tuple[int, ...], changes: Any) -> None:
    config = attrs.evolve(BASE, algorithm=grpo(), epochs=5, batch_size=5, **changes)
    run = played(make(broken_for(*bad)), config)
    assert run.outcome.unwrap().state.batches_done == 5
    assert not checkpoints_in(run)


def test_rounds_that_fail_count_only_in_a_row() -> None:
    config = attrs.evolve(BASE, algorithm=grpo(), batch_size=1, epochs=3, max_failing_rounds=2, max_failed_share=0.4)
    bad = [call for start in range(0, 45, 6) for call in (start + 1, start + 2)]  # of each second round
    run = played(reinforcement(judged), config, judge_who(fails_with(BROKEN), *bad))
    assert [event.num_failed for event in run.events(RolloutCompleted)][:4] == [2, 0, 2, 0]
    assert run.outcome.unwrap().state.batches_done == 15
    at_once = played(
        reinforcement(judged), attrs.evolve(config, max_failing_rounds=1), judge_who(fails_with(BROKEN), 1, 2)
    )
    assert "of 1 rounds in a row failed, 2 of 3 in round 0" in str(at_once.outcome.failure())


@pytest.mark.parametrize("make", WORKFLOWS)
def test_each_kind_of_failure_of_a_round_is_told_once_with_its_first_row(make: Any) -> None:
    rows = tuple({**row, "id": f"riddle-{number}"} for number, row in enumerate(RIDDLES))

    def environment_of(row: Row, renderer: Renderer, /) -> Any:
        number = int(str(row["prompt"])[:-1])
        whys = {1: "the grader has no rule for 1", 3: "the grader has no rule for 3", 4: "out of memory"}
        problem = letters(row, renderer)
        if number not in whys:
            return problem
        return problem.map(
            lambda it: attrs.evolve(it, score=lambda text: fail(EnvironmentFailed(message=whys[number])))
        )

    run = played(make(environment_of), attrs.evolve(BASE, algorithm=grpo(), batch_size=5), handlers_of(rows))
    [rules, memory] = run.events(EpisodesFailed)
    assert (rules.num_failed, memory.num_failed) == (6, 3)
    assert memory.error == "out of memory"
    assert (memory.row, memory.row_id) == (4, "riddle-4")
    assert "'prompt': '4?'" in memory.shown
    assert rules.row in (1, 3)
    assert rules.error == f"the grader has no rule for {rules.row}"
    assert run.events(EnvironmentPlayed)[rules.environment].num_failed == 3


def test_an_environment_whose_first_prompt_is_too_long_costs_its_own_group() -> None:
    rows = (*RIDDLES[:1], {"prompt": "?" * 100, "completion": "!"})
    config = attrs.evolve(BASE, algorithm=grpo(), limits=RolloutLimits(max_prompt_tokens=80))
    run = played(reinforcement(letters), config, handlers_of(rows))
    [rollout] = run.events(RolloutCompleted)
    assert (rollout.num_trajectories, rollout.num_failed) == (3, 3)


@pytest.mark.parametrize("make", WORKFLOWS)
@pytest.mark.parametrize(
    "call", ["SamplingClient.start_session", "SamplingClient.sample", "TrainingClient.forward_backward"]
)
def test_a_sampler_or_trainer_that_fails_ends_the_run_with_its_error(make: Any, call: str) -> None:
    handlers = meddling(handlers_of(), call_number(call, 2), fails_with(BROKEN))
    run = played(make(letters), attrs.evolve(BASE, algorithm=grpo()), handlers)
    assert run.outcome.failure() == BROKEN
    assert sessions_left_open(run.log) == []


# Acceptance: dropping groups keeps metrics and data on the right environment


def rolled_out(environment_of: EnvironmentOf[Any], config: ReinforcementConfig) -> tuple[RolledOut, Any]:
    """Roll out one round of all riddles, and give the data made of it."""
    handlers = handlers_of()
    state = handlers.run(begin(Context.start(config))).unwrap().state
    groups = handlers.run(environment_groups(state, range(5), environment_of)).unwrap()
    rolled = handlers.run(roll_out(state, groups, 0)).unwrap()
    collected = handlers.run(compute_advantages(Context.start(rolled))).unwrap().state
    return rolled, collected


def some(dull: set[int], bad: set[int]) -> EnvironmentOf[Any]:
    def environment_of(row: Row, renderer: Renderer, /) -> Any:
        number = int(str(row["prompt"])[:-1])
        return (broken_for(number) if number in bad else constant_for(*dull))(row, renderer)

    return environment_of


def _data(argument: object) -> tuple[object, ...]:
    assert isinstance(argument, tuple | list)
    return tuple(argument)


def riddle_of(datum: PolicyDatum) -> str:
    return TOKENIZER.decode(datum.datum.model_input.tokens).partition("?")[0][-1]


@settings(max_examples=20)
@given(st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)), st.booleans())
def test_metrics_and_data_stay_with_their_environment_whatever_is_dropped(
    dull: set[int],
    bad: set[int],
    drop: bool,  # hypothesis gives it
) -> None:
    algorithm = attrs.evolve(BASE.algorithm, drop_constant_groups=drop)
    rolled, collected = rolled_out(some(dull, bad), attrs.evolve(BASE, algorithm=algorithm, group_size=4))
    found = metrics_by_environment(rolled)
    assert len(found) == 5
    for number, metrics in enumerate(found):
        rewards = rolled.groups[number].trajectories.total_rewards
        if number in bad:
            assert metrics == {}
        elif number in dull:
            assert metrics["reward"] == metrics["env/correct"] == 1.0
        else:
            assert metrics["reward"] == pytest.approx(sum(rewards) / 4) != 1.0
    constant = {i for i, group in enumerate(rolled.groups) if len(set(group.trajectories.total_rewards)) < 2}
    taught = {datum.group for datum in collected.data}
    assert taught == set(range(5)) - (constant if drop else bad)
    assert all(riddle_of(datum) == str(datum.group) for datum in collected.data)
    assert collected.metrics["groups_kept"] == (len(set(range(5)) - constant) if drop else 5)


def test_the_mean_reward_that_is_told_is_of_all_groups_not_only_of_those_that_teach() -> None:
    run = played(reinforcement(constant_for(0, 1, 2, 3)), attrs.evolve(BASE, batch_size=5, group_size=8))
    [rollout], [step] = run.events(RolloutCompleted), run.events(ReinforcementStep)
    assert [played.environment for played in run.events(EnvironmentPlayed)] == [0, 1, 2, 3, 4]
    rewards = [played.metrics["reward"] for played in run.events(EnvironmentPlayed)]
    assert sorted(reward == 1.0 for reward in rewards) == [False, True, True, True, True]
    assert sum(rewards) / 5 == pytest.approx(rollout.metrics["reward_mean"])
    assert rollout.metrics["reward_mean"] == step.metrics["reward_mean"] > 0.8
    assert step.metrics["groups_kept"] == 1.0


# Environments without types


@pytest.mark.parametrize("make", WORKFLOWS)
@pytest.mark.parametrize("given", [None, "an environment"])
def test_what_is_no_environment_ends_the_run_with_its_row(make: Any, given: Any) -> None:
    said = str(played(make(lambda row, renderer: pure(given))).outcome.failure())
    assert f"because: {given!r} is no environment: it has no method start, first with the row {{" in said


# Tools that the renderer cannot write


@pytest.mark.parametrize("make", WORKFLOWS)
def test_tools_that_the_renderer_cannot_write_end_the_run_in_the_first_round_with_the_fix(make: Any) -> None:
    def environment_of(row: Row, renderer: Renderer, /) -> Any:
        task = ToolTask(messages=asked(row), tools=(ADDER,), score=lambda conversation: pure(1.0))
        return pure(tool_env(task, renderer))

    run = played(make(environment_of))
    said = str(run.outcome.failure())
    assert (
        "6 of 6 failed, 6 of them because: ChatTemplateRenderer cannot render a conversation with tools (add)" in said
    )
    assert "renderer_for(model, tokenizer)" in said
    assert not run.log.of("SamplingClient.sample")
