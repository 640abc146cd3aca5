"""Environments: union, layers, and what is said when something is missing."""

from abc import abstractmethod
from typing import Never, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Around,
    Call,
    Eff,
    Handlers,
    Hooks,
    Port,
    Proceed,
    Result,
    Success,
    fail,
    gather,
    perform,
    pure,
    scoped,
)
from tests.effects.fakes import Work, Worker, add, observe, say, unchanged, working
from tests.effects.programs import Program, programs


class Who(Port):
    """Tells who handles it."""

    @abstractmethod
    async def name(self) -> Result[str, str]: ...


class Where(Port):
    """Tells where it is handled."""

    @abstractmethod
    async def place(self) -> Result[str, str]: ...


class Named(Who, Where):
    """Answers every port by its own name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def name(self) -> Result[str, str]:
        return Success(self._name)

    async def place(self) -> Result[str, str]:
        return Success(f"at {self._name}")


name = perform(Who.name)
place = perform(Where.place)


async def one_name(call: Call) -> Result[object, object]:
    """Answer every call of every port."""
    return Success(f"every {call.name}")


Environment = Handlers[Who | Where]


def as_if_full(handlers: Handlers[Never]) -> Environment:
    """Hide from the type checker what is missing."""
    return cast(Environment, handlers)


def environments() -> st.SearchStrategy[Environment]:
    """Draw environments that handle one port, or both, or every port, or none."""
    of: list[Handlers[Never]] = [
        Handlers.none(),
        Handlers.of_every_port(one_name),
        Who.handled_by(Named("a")),
        Who.handled_by(Named("b")),
        Where.handled_by(Named("c")),
        Who.handled_by(Named("d")) | Where.handled_by(Named("e")),
    ]
    layered = [handlers.wrap(unchanged) for handlers in of]
    return st.sampled_from([as_if_full(handlers) for handlers in [*of, *layered]])


def answers(handlers: Environment) -> list[object]:
    """Ask everything there is to ask."""

    def ask(eff: Eff[str, str, Who | Where]) -> object:
        try:
            return handlers.run(eff)
        except LookupError as missing:
            return str(missing)

    return [ask(name), ask(place), handlers.ports]


class TestUnion:
    @given(environments(), environments(), environments())
    def test_is_associative(self, a: Environment, b: Environment, c: Environment) -> None:
        assert answers((a | b) | c) == answers(a | (b | c))

    @given(environments())
    def test_has_none_as_its_identity(self, a: Environment) -> None:
        assert answers(a | Handlers.none()) == answers(a) == answers(Handlers.none() | a)

    @given(environments())
    def test_with_itself_changes_nothing(self, a: Environment) -> None:
        assert answers(a | a) == answers(a)

    @given(environments(), environments())
    def test_prefers_the_right(self, a: Environment, b: Environment) -> None:
        for ours, right in zip(answers(a | b)[:2], answers(b)[:2], strict=True):
            assert ours == right or "no handler" in str(right)

    def test_changes_neither_side(self) -> None:
        a, b = Who.handled_by(Named("a")), Where.handled_by(Named("b"))
        _ = a | b
        assert (a.ports, b.ports) == (frozenset({Who}), frozenset({Where}))


class TestLayers:
    def test_the_last_is_the_outermost(self) -> None:
        seen: list[str] = []

        def layer(name: str) -> Around:
            async def around(call: Call, proceed: Proceed) -> Result[object, object]:
                seen.append(name)
                return await proceed(call)

            return around

        working().wrap(layer("first")).wrap(layer("second")).run(add(1, 2))
        assert seen == ["second", "first"]

    def test_may_change_a_call(self) -> None:
        async def doubled(call: Call, proceed: Proceed) -> Result[object, object]:
            return await proceed(attrs.evolve(call, arguments=(10, 20)))

        assert working().wrap(doubled).run(add(1, 2)) == Success(30)

    def test_may_answer_alone(self) -> None:
        worker = Worker()

        async def cached(call: Call, proceed: Proceed) -> Result[object, object]:
            return Success(7)

        assert Work.handled_by(worker).wrap(cached).run(add(1, 2)) == Success(7)
        assert worker.log == []

    def test_apply_only_to_the_handlers_they_were_put_on(self) -> None:
        seen: list[str] = []

        async def noting(call: Call, proceed: Proceed) -> Result[object, object]:
            seen.append(str(call))
            return await proceed(call)

        handlers = Who.handled_by(Named("a")).wrap(noting) | Where.handled_by(Named("b"))
        eff = place.bind(lambda _: scoped("x", name))
        assert handlers.run(eff) == Success("a")
        assert seen == ["Who.name at x/#1"]

    @given(programs())
    def test_that_change_nothing_change_nothing(self, eff: Program) -> None:
        worker = Worker()
        assert observe(eff, worker, Work.handled_by(worker).wrap(unchanged)) == observe(eff)

    def test_see_each_call_of_a_scope_numbered(self) -> None:
        seen: list[str] = []

        async def noting(call: Call, proceed: Proceed) -> Result[object, object]:
            seen.append("/".join(call.path))
            return await proceed(call)

        eff = add(1, 1).bind(lambda _: scoped("a", say("x"))).bind(lambda _: gather([add(1, 2), add(3, 4)]))
        working().wrap(noting).run(eff.bind(lambda _: say("y")))
        assert seen == ["#1", "a/#1", "gather/[0]/#1", "gather/[1]/#1", "#2"]


class TestEveryPort:
    def test_is_told_when_a_run_begins_and_when_it_gave_a_result(self) -> None:
        told: list[str] = []
        handlers = Handlers.of_every_port(
            one_name, hooks=Hooks(at_start=lambda: told.append("start"), at_end=lambda: told.append("end"))
        )
        assert handlers.run(name) == Success("every Who.name")
        assert handlers.run(fail("no")).failure() == "no"
        assert told == ["start", "end"] * 2

    def test_is_not_told_of_the_end_of_a_run_that_broke_off(self) -> None:
        told: list[str] = []
        handlers = Handlers.of_every_port(one_name, hooks=Hooks(at_end=lambda: told.append("end")))
        with pytest.raises(ZeroDivisionError):
            handlers.run(pure(1).map(lambda n: n / 0))
        assert told == []


class TestMistakes:
    def test_a_missing_handler_is_named_with_the_fix(self) -> None:
        message = r"no handler for Who, needed by Who.name: add `Who.handled_by\(...\)` to the handlers with `\|`"
        with pytest.raises(LookupError, match=message):
            as_if_full(working()).run(name)

    def test_an_operation_of_no_port_is_named(self) -> None:
        with pytest.raises(TypeError, match=r"Named.name.* is not an operation of a port"):
            working().run(perform(Named.name))  # type: ignore[arg-type]  # what the test is about

    def test_a_handler_of_another_port_is_refused(self) -> None:
        with pytest.raises(TypeError, match="does not implement Who: subclass the port"):
            Who.handled_by(Worker())  # type: ignore[arg-type]  # what the test is about

    def test_a_handler_class_is_no_port(self) -> None:
        with pytest.raises(TypeError, match="is not a port: only a direct subclass of Port is"):
            Named.handled_by(Named("a"))

    @pytest.mark.anyio
    async def test_run_within_an_event_loop_says_what_to_write(self) -> None:
        with pytest.raises(RuntimeError, match=r"inside a running event loop: use `await handlers.arun\(...\)`"):
            working().run(add(1, 2))

    @pytest.mark.anyio
    async def test_arun_works_there(self) -> None:
        assert await working().arun(add(1, 2)) == Success(3)


def test_an_environment_says_what_it_handles() -> None:
    assert repr(Who.handled_by(Named("a")) | working()) == "<Handlers of Who, Work>"
    assert repr(Handlers.none()) == "<Handlers of nothing>"
