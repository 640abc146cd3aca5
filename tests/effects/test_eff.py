"""`Eff` is a functor and a monad in its value and in its error, by what it gives and by what it does."""

from collections.abc import Callable
from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Do,
    Eff,
    Failure,
    Handlers,
    Result,
    Success,
    attempt,
    current_path,
    do,
    fail,
    from_result,
    perform,
    pure,
    scoped,
)
from tests.effects.fakes import Work, Worker, add, observe, refuse, say, working
from tests.effects.programs import (
    Program,
    continuations,
    functions,
    numbers,
    programs,
    recoveries,
    words,
)

results: st.SearchStrategy[Result[int, str]] = st.one_of(st.builds(Success, numbers), st.builds(Failure, words))


class TestFunctor:
    @given(programs())
    def test_mapping_the_identity_changes_nothing(self, eff: Program) -> None:
        assert observe(eff.map(lambda n: n)) == observe(eff)

    @given(programs(), functions(), functions())
    def test_mapping_twice_is_mapping_the_composition(
        self, eff: Program, f: Callable[[int], int], g: Callable[[int], int]
    ) -> None:
        assert observe(eff.map(f).map(g)) == observe(eff.map(lambda n: g(f(n))))

    @given(programs(), functions())
    def test_map_is_bind_to_pure(self, eff: Program, f: Callable[[int], int]) -> None:
        assert observe(eff.map(f)) == observe(eff.bind(lambda n: pure(f(n))))

    @given(programs())
    def test_alt_of_the_identity_changes_nothing(self, eff: Program) -> None:
        assert observe(eff.alt(lambda why: why)) == observe(eff)

    @given(programs())
    def test_alt_twice_is_alt_of_the_composition(self, eff: Program) -> None:
        assert observe(eff.alt(str.upper).alt(len)) == observe(eff.alt(lambda why: len(why.upper())))

    @given(programs())
    def test_alt_is_lash_to_fail(self, eff: Program) -> None:
        assert observe(eff.alt(len)) == observe(eff.lash(lambda why: fail(len(why))))


class TestMonad:
    @given(numbers, continuations())
    def test_pure_is_a_left_identity_of_bind(self, n: int, f: Callable[[int], Program]) -> None:
        assert observe(pure(n).bind(f)) == observe(f(n))

    @given(programs())
    def test_pure_is_a_right_identity_of_bind(self, eff: Program) -> None:
        assert observe(eff.bind(pure)) == observe(eff)

    @given(programs(), continuations(), continuations())
    def test_bind_is_associative(self, eff: Program, f: Callable[[int], Program], g: Callable[[int], Program]) -> None:
        assert observe(eff.bind(f).bind(g)) == observe(eff.bind(lambda n: f(n).bind(g)))

    @given(words, recoveries())
    def test_fail_is_a_left_identity_of_lash(self, why: str, f: Callable[[str], Program]) -> None:
        assert observe(fail(why).lash(f)) == observe(f(why))

    @given(programs())
    def test_fail_is_a_right_identity_of_lash(self, eff: Program) -> None:
        assert observe(eff.lash(fail)) == observe(eff)

    @given(programs(), recoveries(), recoveries())
    def test_lash_is_associative(self, eff: Program, f: Callable[[str], Program], g: Callable[[str], Program]) -> None:
        assert observe(eff.lash(f).lash(g)) == observe(eff.lash(lambda why: f(why).lash(g)))

    @given(words, continuations())
    def test_nothing_follows_a_failure(self, why: str, f: Callable[[int], Program]) -> None:
        assert observe(refuse(why).bind(f)) == observe(refuse(why))

    @given(numbers, recoveries())
    def test_a_success_needs_no_recovery(self, n: int, f: Callable[[str], Program]) -> None:
        assert observe(pure(n).lash(f)) == observe(pure(n))


class TestAttempt:
    @given(programs())
    def test_from_result_undoes_it(self, eff: Program) -> None:
        assert observe(attempt(eff).bind(from_result)) == observe(eff)

    @given(results)
    def test_it_undoes_from_result(self, result: Result[int, str]) -> None:
        assert Handlers.none().run(attempt(from_result(result))) == Success(result)

    @given(results)
    def test_from_result_gives_the_result_back(self, result: Result[int, str]) -> None:
        assert Handlers.none().run(from_result(result)) == result


class TestRunning:
    @given(programs())
    def test_a_program_can_be_run_many_times(self, eff: Program) -> None:
        assert observe(eff) == observe(eff) == observe(eff)

    @given(programs())
    def test_a_do_block_of_one_step_is_that_step(self, eff: Program) -> None:
        @do
        def block() -> Do[str, Work, int]:
            return (yield from eff)

        assert observe(block()) == observe(eff)

    def test_making_a_program_does_nothing(self) -> None:
        worker = Worker()
        eff = say("hello").bind(say)
        assert worker.log == []
        assert Work.handled_by(worker).run(eff) == Success("hello")
        assert worker.log == ["hello", "hello"]

    def test_positional_and_keyword_arguments_reach_the_handler(self) -> None:
        assert working().run(perform(Work.add, 1, b=5)) == Success(6)
        assert working().run(perform(Work.add, a=3)) == Success(4)

    def test_await_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"<Perform Work.say> cannot be awaited: write `yield from`"):
            say("hello").__await__()

    def test_a_program_says_what_it_is(self) -> None:
        @do
        def block() -> Do[Never, Never, int]:
            return (yield from pure(1))

        assert repr(block()) == "<Block TestRunning.test_a_program_says_what_it_is.<locals>.block>"
        assert repr(pure(1)) == "<Pure>"


class TestScopes:
    def run_paths(self, *names: str) -> list[tuple[str, ...]]:
        @do
        def all_paths() -> Do[Never, Never, list[tuple[str, ...]]]:
            paths: list[tuple[str, ...]] = []
            for name in names:
                path = yield from scoped(name, current_path())
                paths.append(path)
            return paths

        return Handlers.none().run(all_paths()).unwrap()

    def test_nest(self) -> None:
        inner: Eff[tuple[str, ...], Never, Never] = scoped("a", scoped("b", current_path()))
        assert Handlers.none().run(inner) == Success(("a", "b"))

    def test_a_name_used_again_gets_a_number(self) -> None:
        assert self.run_paths("a", "a", "b", "a") == [("a",), ("a~2",), ("b",), ("a~3",)]

    @given(st.lists(st.sampled_from(["a", "a~2", "a~2~2", "b"]), max_size=8))
    def test_no_two_scopes_in_one_place_have_the_same_path(self, names: list[str]) -> None:
        paths = self.run_paths(*names)
        assert len(set(paths)) == len(names)
        assert paths == self.run_paths(*names)

    def test_a_scope_is_left_with_its_program_also_by_failure(self) -> None:
        recovered = scoped("a", refuse("no")).lash(lambda _: current_path())
        assert working().run(recovered) == Success(())

    @given(programs(), words)
    def test_a_scope_changes_no_result(self, eff: Program, name: str) -> None:
        assert observe(scoped(name, eff)) == observe(eff)


def test_a_do_block_may_perform_another_port_operation_after_each_answer() -> None:
    @do
    def twice(n: int) -> Do[str, Work, int]:
        n = yield from add(n, n)
        return (yield from add(n, n))

    assert observe(twice(3)).trace == ("3 + 3", "6 + 6")
