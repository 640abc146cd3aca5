"""A context is a frozen value: giving on another state leaves it as it was."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.kitchen import Context, Iteration


@given(st.integers(), st.text(), st.text())
def test_the_next_context_is_of_the_same_run_and_the_first_is_unchanged(before: int, after: str, run_id: str) -> None:
    context = Context.start(before, run_id=run_id)
    following = context.to(after)
    assert following == Context(state=after, run_id=run_id)
    assert context == Context(state=before, run_id=run_id)


def test_a_context_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Context.start(1).state = 2  # type: ignore[misc]  # what is tested
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Iteration(state=1, item=2, index=0).index = 1  # type: ignore[misc]  # what is tested
