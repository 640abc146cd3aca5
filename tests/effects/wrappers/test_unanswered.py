"""Every port of crucible has an error for a call that a layer leaves unanswered, and it is one of its own."""

import inspect
import typing
from types import UnionType

import pytest
from returns.result import Result

from crucible.effects import (
    Call,
    Failure,
    Port,
    Unanswered,
    circuit_breaker,
    expecting,
)
from crucible.kitchen.handlers import noop
from tests.effects.fakes import Work, Worker, add, refuse

PORTS = sorted(noop.all().ports, key=lambda port: port.__name__)


def errors_of(operation: object) -> set[type]:
    """Read the closed union of the errors of an operation off its annotation."""
    answer = inspect.get_annotations(operation, eval_str=True)["return"]  # type: ignore[arg-type]  # a function
    assert str(typing.get_origin(answer)) == str(Result)
    error = typing.get_args(answer)[1]
    return set(typing.get_args(error)) if isinstance(error, UnionType) else {error}


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.__name__)
def test_a_port_answers_in_its_own_errors(port: type[Port]) -> None:
    assert port.error_when_unanswered is not None
    for name in port.operations():
        operation = getattr(port, name)
        call = Call(path=("#1",), operation=operation, arguments=(), keywords={})
        error = port.error_when_unanswered(Unanswered(call, "was not answered", retry_after_seconds=2))
        assert type(error) in errors_of(operation)
        assert "was not answered" in str(error)


def test_a_port_that_does_not_say_how_raises() -> None:
    handlers = circuit_breaker(Work.handled_by(Worker()), failures=1, reset_seconds=60, when=bool)
    tripped = expecting(add(1, 2), Unanswered).bind(lambda _: add(1, 2))
    assert handlers.run(tripped).unwrap() == 3
    assert handlers.run(refuse("no")) == Failure("no")
    with pytest.raises(Unanswered, match=r"Work\.add at #1 was not made: Work failed 1 times in a row"):
        handlers.run(add(1, 2))
