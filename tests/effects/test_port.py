"""Ports: what they declare, and what they refuse."""

from abc import abstractmethod

import pytest

from crucible.effects import Port, Result, Success, is_repeatable, not_repeatable, port_of


class Store(Port):
    """A port with two operations, a plain method and a helper."""

    @abstractmethod
    async def read(self, key: str) -> Result[str, str]: ...

    @not_repeatable
    @abstractmethod
    async def append(self, text: str) -> Result[None, str]: ...

    def shown(self) -> str:
        return "a store"


class Blank(Store):
    """A handler."""

    async def read(self, key: str) -> Result[str, str]:
        return Success("")

    async def append(self, text: str) -> Result[None, str]:
        return Success(None)


class TestOperations:
    def test_are_the_abstract_methods_in_their_order(self) -> None:
        assert Store.operations() == ("read", "append")

    def test_of_a_handler_are_those_of_its_port(self) -> None:
        assert Blank.operations() == ("read", "append")

    def test_know_their_port(self) -> None:
        assert port_of(Store.read) is Store

    def test_of_a_handler_belong_to_no_port(self) -> None:
        assert port_of(Blank.read) is None
        assert port_of(Store.shown) is None

    def test_that_are_not_async_are_refused(self) -> None:
        with pytest.raises(TypeError, match=r"Wrong.read must be an `async def` method"):

            class Wrong(Port):
                @abstractmethod
                def read(self) -> Result[str, str]: ...

    def test_that_are_not_abstract_are_refused_where_they_are_written(self) -> None:
        with pytest.raises(TypeError, match=r"Forgetful.read has a body of its own.*write @abstractmethod above it"):

            class Forgetful(Port):
                async def read(self) -> Result[str, str]:
                    return Success("")


class TestRepetition:
    def test_is_harmless_unless_marked(self) -> None:
        assert is_repeatable(Store.read)
        assert not is_repeatable(Store.append)

    def test_the_mark_keeps_the_operation(self) -> None:
        assert port_of(Store.append) is Store


def test_a_handler_that_misses_an_operation_cannot_be_made() -> None:
    class Half(Store):
        async def read(self, key: str) -> Result[str, str]:
            return Success("")

    with pytest.raises(TypeError, match="append"):
        Half()  # type: ignore[abstract]  # what the test is about
