"""States of stages, read from annotations, and what can follow what."""

from typing import Any, Generic, Never, TypeVar

import attrs
import pytest

from crucible.effects import Do, Eff, Failure, pure
from crucible.kitchen import Context, Iteration, pure_stage, stage
from crucible.kitchen.compiling.shapes import Form, Shape, matched, shape_of, shown
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState, build_supervised_dataset, get_batch
from crucible.kitchen.stages.training import forward_backward, log_epoch_metrics
from crucible.kitchen.states import Batched, Loaded, Tokenized, TrainingState
from crucible.kitchen.workflows import supervised

T = TypeVar("T")
ANY: Form = T  # a checker knows no type variable outside of an annotation
N = TypeVar("N", bound=int)


@attrs.frozen
class Box(Generic[T]):
    inside: T


class IntBox(Box[int]):
    pass


def generic(kind: Any, number: int = 1) -> Form:
    """Give a class of so many arguments, all of them the same variable."""
    return kind[(ANY,) * number]


@stage
def put(context: Context[int]) -> Do[str, Never, Context[Box[int]]]:
    return context.to(Box((yield from pure(context.state))))


def doubled(context: Context[N]) -> Eff[Context[N], Never, Never]:
    return pure(context)


@pure_stage
def unpacked(context: Context[Box[T]]) -> Context[T]:
    return context.to(context.state.inside)


def test_a_stage_says_what_it_takes_and_gives() -> None:
    assert shape_of(put).unwrap() == Shape(takes=int, gives=Box[int])
    assert shape_of(build_supervised_dataset).unwrap() == Shape(
        takes=Tokenized[SupervisedConfig], gives=SupervisedState
    )


def test_so_does_a_plain_function_and_a_pure_stage() -> None:
    assert shape_of(doubled).unwrap() == Shape(takes=N, gives=N)
    assert shape_of(unpacked).unwrap() == Shape(takes=generic(Box), gives=ANY)
    assert shape_of(get_batch).unwrap().takes == Iteration[SupervisedState, tuple[int, ...]]


def test_a_composition_and_a_function_of_something_else_say_nothing() -> None:
    assert "composition" in shape_of(supervised).failure()
    assert "Context" in shape_of(len).failure() or "annotations" in shape_of(len).failure()
    assert isinstance(shape_of(shown), Failure)


def test_an_annotation_that_cannot_be_read_says_so() -> None:
    def lost(context: "Context[Nowhere]") -> "Eff[Context[int], Never, Never]":  # type: ignore[name-defined]  # noqa: F821  # on purpose
        raise NotImplementedError

    assert "cannot be read" in shape_of(lost).failure()


@pytest.mark.parametrize(
    ("pattern", "actual", "fits"),
    [
        (int, bool, True),
        (bool, int, False),
        (Box[int], Box[bool], True),  # states are covariant
        (Box[bool], Box[int], False),
        (Box[int], IntBox, True),
        (Box[str], IntBox, False),
        (generic(Box), IntBox, True),
        (N, str, False),
        (int | str, bool, True),
        (int | str, float, False),
        (Any, float, True),
        (object, float, True),
        (Loaded[TrainingConfig], Loaded[SupervisedConfig], True),
        (TrainingState[TrainingConfig], SupervisedState, True),
        (TrainingState[SupervisedConfig], SupervisedState, True),
        (SupervisedState, TrainingState[SupervisedConfig], False),
        (Batched[SupervisedState], Batched[SupervisedState], True),
    ],
)
def test_a_state_fits_a_pattern_as_a_checker_would_say(pattern: Form, actual: Form, *, fits: bool) -> None:
    assert (matched(pattern, actual, {}) is not None) is fits


def test_a_variable_carries_the_state_through() -> None:
    assert shape_of(unpacked).unwrap().after(IntBox) is int
    assert shape_of(doubled).unwrap().after(bool) is bool
    assert shape_of(doubled).unwrap().after(str) is None
    assert shape_of(log_epoch_metrics).unwrap().after(SupervisedState) is SupervisedState
    assert shown(shape_of(forward_backward).unwrap().after(Batched[SupervisedState])) == "Submitted[SupervisedState]"


def test_the_same_variable_means_the_same_state() -> None:
    twice = generic(dict, 2)
    assert matched(twice, dict[int, int], {}) == {ANY: int}
    assert matched(twice, dict[int, str], {}) is None


def test_states_are_written_as_a_person_would() -> None:
    assert shown(Iteration[SupervisedState, tuple[int, ...]]) == "Iteration[SupervisedState, tuple[int, Ellipsis]]"
    assert (shown(int | str), shown(N), shown(ANY)) == ("int or str", "int", "any state")
