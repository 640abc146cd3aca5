"""What the code of an environment raises is a failure that says where; what a handler raises goes on with a note of the row."""

from typing import Any, Never

import attrs
import pytest

from crucible.effects import Eff, Failure, Handlers, Success, fail, pure
from crucible.train.environments import (
    EnvironmentFailed,
    EnvironmentGroup,
    FailedAlike,
    Observation,
    ProblemEnv,
    StepResult,
    failed_alike,
    guarded,
    rollout_together,
)
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import ByteTokenizer, Message, ModelInput, Sample
from tests.effects.fakes import CrashError, crash, working


@attrs.frozen
class Room:
    """An environment whose start and steps are given."""

    begin: Any = None
    act: Any = None

    @property
    def observation(self) -> Observation:
        return Observation(prompt=ModelInput.from_tokens((1, 2)))

    def start(self) -> Any:
        return pure(self) if self.begin is None else self.begin()

    def step(self, action: tuple[int, ...], /) -> Any:
        return pure(StepResult[Never](reward=1.0)) if self.act is None else self.act()


NOTHING: dict[str, Any] = {}


def raises() -> Any:
    return NOTHING["answer"]


def raises_later() -> Any:
    return pure(None).map(lambda _: NOTHING["answer"])


def one_more() -> Any:
    return pure(StepResult(reward=0.5, next=Room()))


@pytest.mark.parametrize("how", [raises, raises_later])
def test_an_exception_of_the_environment_is_its_failure_with_file_and_line(how: Any) -> None:
    began = Handlers.none().run(guarded(Room(begin=how), of="row 3").start()).failure()
    acted = Handlers.none().run(guarded(Room(act=how), of="row 3").start().bind(lambda room: room.step((5,)))).failure()
    for failed in (began, acted):
        assert str(failed).startswith("KeyError was raised in test_guarded.py, line ")
        assert str(failed).endswith(": 'answer'")
        assert isinstance(failed.cause, KeyError)
        assert failed.cause.__traceback__ is not None
        assert failed.cause.__notes__ == ["in the environment of row 3"]


def test_a_failure_of_the_environment_and_its_success_stay_as_they_are() -> None:
    broken = EnvironmentFailed(message="no grader")
    assert Handlers.none().run(guarded(Room(begin=lambda: fail(broken)), of="row 3").start()) == Failure(broken)
    state = Handlers.none().run(guarded(Room(act=one_more), of="row 3").start()).unwrap()
    assert state.observation == Room().observation
    step = Handlers.none().run(state.step((5,))).unwrap()
    assert step.reward == 0.5
    assert step.next is not None
    assert Handlers.none().run(step.next.step((5,))) == Success(StepResult[Never](reward=1.0))


def test_the_states_after_the_first_are_guarded_too() -> None:
    deep = guarded(Room(act=lambda: pure(StepResult(reward=0.0, next=Room(act=raises)))), of="row 3")
    second = Handlers.none().run(deep.start().bind(lambda room: room.step((5,)))).unwrap().next
    assert second is not None
    assert "KeyError was raised" in str(Handlers.none().run(second.step((5,))).failure())


class Blind(Room):
    """A room that cannot be looked at."""

    @property
    def observation(self) -> Observation:
        raise OSError("dark")


UNTYPED: list[tuple[Room, str]] = [
    (Room(begin=lambda: pure(None)), "None is no state of an environment: it has no method step"),
    (Room(begin=lambda: pure(Blind())), "OSError was raised in test_guarded.py, line "),
    (Room(begin=lambda: fail("no key")), "no key"),
    (Room(act=lambda: pure(1.0)), "a step gave 1.0, and no StepResult"),
    (Room(act=lambda: pure(StepResult(reward=1.0, metrics=NOTHING.get("none")))), "a step gave StepResult("),  # type: ignore[arg-type]  # of code without types
    (Room(act=lambda: pure(StepResult(reward=1.0, next="end"))), "'end' is no state of an environment"),  # type: ignore[arg-type]  # of code without types
    (Room(act=lambda: pure(StepResult(reward=1.0, next=Blind()))), "OSError was raised in test_guarded.py, line "),
    (Room(act=lambda: pure(StepResult(reward=None))), "turn 1: reward is None, which is no number"),  # type: ignore[arg-type]  # of code without types
    (Room(act=lambda: pure(StepResult(reward=1.0, metrics={"hits": "3"}))), "turn 1: hits is '3', which is no number"),  # type: ignore[dict-item]  # of code without types
    (Room(act=lambda: fail("no key")), "no key"),
]


@pytest.mark.parametrize(("room", "why"), UNTYPED)
def test_what_an_environment_without_types_gives_costs_its_episode_and_says_what_it_was(room: Room, why: str) -> None:
    group = EnvironmentGroup[Any](environment=guarded(room, of="row 3"), size=1)
    sample = Sample(tokens=(5,), logprobs=(-1.0,), stop_reason="stop")
    [rolled] = Handlers.none().run(rollout_together([group], lambda *asked: pure(((sample,),)))).unwrap()
    [failed] = rolled.failures
    assert str(failed.error).startswith(why)


def test_what_is_no_environment_is_a_failure() -> None:
    nothing: Any = None
    failed = Handlers.none().run(guarded(nothing, of="row 3").start()).failure()
    assert str(failed) == "None is no environment: it has no method start"


def test_what_a_handler_raises_goes_on_with_a_note_of_the_row() -> None:
    with pytest.raises(CrashError) as raised:
        working().run(guarded(Room(begin=lambda: crash("down")), of="row 3 {'q': 1}").start())
    assert "in the environment of row 3 {'q': 1}" in raised.value.__notes__


def test_a_score_that_is_a_plain_number_is_told_how_to_be_a_computation() -> None:
    score: Any = lambda text: 1.0  # noqa: E731  # what is wrong with it
    asked = (Message(role="user", content="2+2?"),)
    problem = ProblemEnv(messages=asked, renderer=ChatTemplateRenderer(ByteTokenizer()), score=score)
    started = guarded(problem, of="row 3").start()
    failed = Handlers.none().run(started.bind(lambda state: state.step(ByteTokenizer().encode("4")))).failure()
    assert "wrap a plain value in pure(...)" in str(failed)
    assert str(failed).endswith("'float' object is not iterable")


# Kinds of failure


def why(message: str, cause: object = None) -> Eff[Any, EnvironmentFailed, Never]:
    return fail(EnvironmentFailed(message=message, cause=cause))


def test_failures_are_counted_by_their_kind_the_most_frequent_first() -> None:
    rooms = [
        Room(begin=lambda: why("no rule for 'a'")),
        Room(begin=lambda: why("it took 31 s", "the disk was full at 12:01")),
        Room(begin=lambda: why("it took 7 s", "the disk was full at 12:02")),
        Room(begin=lambda: why("it took 8 s", OSError("gas"))),
        Room(begin=lambda: why("it took 8 s", OSError("water"))),
        Room(begin=lambda: why("it took 9 s", "the net was down")),
        Room(begin=lambda: why("no rule for 'b'")),
    ]
    groups = [EnvironmentGroup[Any](environment=room, size=place + 1) for place, room in enumerate(rooms)]
    rolled = Handlers.none().run(rollout_together(groups, lambda *asked: pure(()))).unwrap()
    found = [(str(alike.error), alike.count, alike.group) for alike in failed_alike(rolled)]
    assert found == [
        ("it took 8 s: gas", 9, 3),
        ("no rule for 'a'", 8, 0),
        ("it took 9 s: the net was down", 6, 5),
        ("it took 31 s: the disk was full at 12:01", 5, 1),
    ]
    assert failed_alike([]) == ()


def test_a_failure_that_quotes_a_long_answer_is_cut() -> None:
    long = FailedAlike(error=EnvironmentFailed(message="it cannot be read", cause="x" * 5000), count=1, group=0)
    assert long.why.startswith("it cannot be read: xxx")
    assert len(long.why) == 1001
