"""`fold` reads a result with its types."""

from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure, Result, Success, fold

results: st.SearchStrategy[Result[int, str]] = st.one_of(
    st.builds(Success, st.integers()), st.builds(Failure, st.text())
)


@given(results)
def test_folding_with_the_constructors_gives_the_result_back(result: Result[int, str]) -> None:
    again: Result[int, str] = fold(result, Success, Failure)
    assert again == result


@given(results)
def test_only_the_side_that_is_there_is_asked(result: Result[int, str]) -> None:
    asked: list[str] = []
    fold(result, lambda _: asked.append("ok"), lambda _: asked.append("err"))
    assert asked == (["ok"] if result == Success(result.value_or(None)) else ["err"])


@given(results)
def test_it_agrees_with_value_or(result: Result[int, str]) -> None:
    assert fold(result, lambda n: n, lambda _: 0) == result.value_or(0)
