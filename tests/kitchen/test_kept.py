"""What a checkpoint keeps of a state comes back exactly, and a field that is not kept is one that says why here."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.kitchen.kept import KEPT, keep, names_kept, read_kept
from crucible.kitchen.stages.distillation import DistillationState
from crucible.kitchen.stages.preference import PreferenceState
from crucible.kitchen.stages.reinforcement import ReinforcementState
from crucible.kitchen.stages.supervised import SupervisedState

MADE_AGAIN = {"config", "session", "tokenizer", "optimization", "num_examples", "data_digest", "batches", "reference"}
"""From the configuration, the rows and the model, before the first step."""

OF_THE_PROCESS = {"divergence_told"}
"""What each process says once."""

SAVED_ELSEWHERE = {"checkpoint", "final_weights"}
BY_WORKFLOW = {
    SupervisedState: {"data"},
    PreferenceState: {"pairs", "held_out"},
    ReinforcementState: {"problems", "first_batch", "policy", *OF_THE_PROCESS},
    DistillationState: {"prompts", "teachers", "answers", "lessons", "policy", *OF_THE_PROCESS},
}


@attrs.frozen(kw_only=True)
class Walk:
    place: str = "here"
    metres: float = attrs.field(default=0.0, metadata=KEPT)
    steps: int = attrs.field(default=0, metadata=KEPT)
    seen: dict[str, float] = attrs.field(factory=dict, metadata=KEPT)
    heights: tuple[float, ...] = attrs.field(default=(), metadata=KEPT)
    last: int | None = attrs.field(default=None, metadata=KEPT)
    name: str | None = attrs.field(default=None, metadata=KEPT)
    is_over: bool = attrs.field(default=False, metadata=KEPT)


walks = st.builds(
    Walk,
    metres=st.floats(),
    steps=st.integers(),
    seen=st.dictionaries(st.text(), st.floats()),
    heights=st.lists(st.floats()).map(tuple),
    last=st.none() | st.integers(),
    name=st.none() | st.text(),
    is_over=st.booleans(),
)


@given(walks)
def test_what_is_kept_comes_back_bit_for_bit(walk: Walk) -> None:
    found = read_kept(Walk, keep(walk)).unwrap()
    again = attrs.evolve(Walk(), **found)  # type: ignore[arg-type]  # of the fields' types
    assert repr(again) == repr(walk)  # NaN, -0.0 and the infinities too


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"metres": "far"}, "metres is 'far'"),
        ({"metres": '"far"'}, "metres is '\"far\"'"),
        ({"steps": "1.5"}, "steps is '1.5'"),
        ({"steps": "true"}, "steps is 'true'"),
        ({"seen": "[1.0]"}, "seen is '[1.0]'"),
        ({"heights": '["high"]'}, "heights is '[\"high\"]'"),
        ({"last": "[]"}, "last is '[]'"),
    ],
)
def test_what_no_field_of_that_kind_holds_is_named(kept: dict[str, str], said: str) -> None:
    assert read_kept(Walk, kept).failure() == said


def test_what_was_not_kept_is_left_out() -> None:
    assert read_kept(Walk, {"steps": "3", "place": "there", "another's": "{"}).unwrap() == {"steps": 3}


@pytest.mark.parametrize("kind", BY_WORKFLOW)
def test_every_field_of_a_state_is_kept_or_made_again(
    kind: type[SupervisedState | PreferenceState | ReinforcementState | DistillationState],
) -> None:
    others = MADE_AGAIN | SAVED_ELSEWHERE | BY_WORKFLOW[kind]
    kept = set(names_kept(kind))
    assert not kept & others
    assert {field.name for field in attrs.fields(kind)} == kept | others
    assert {"epoch_loss", "epoch_steps", "metrics", "measured_step", "step_before", "started_from"} <= kept
