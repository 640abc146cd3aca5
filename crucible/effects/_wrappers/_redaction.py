"""`redact` and `reveal`: secrets are seen by who needs them, and by nobody between."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

import attrs
from returns.result import Result

from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._wrappers._values import rebuilt

R = TypeVar("R")

_SHORTEST = 4


def redact(handlers: Handlers[R], secrets: Mapping[str, str]) -> Handlers[R]:
    """Let `handlers`, and the program, see a secret only as `<its name>`: in arguments, answers, errors and exceptions.

    Args:
        handlers: a journal, a trace, a store: whoever needs no secret.
        secrets: the secrets by name, `{"API_KEY": os.environ["API_KEY"]}`.

    Raises: ValueError for a secret shorter than 4 characters, which could be any text.
    """
    hidden = _by_length({secret: _mark(name) for name, secret in secrets.items()})
    for name, secret in secrets.items():
        if len(secret) < _SHORTEST:
            raise ValueError(
                f"the secret {name} is shorter than {_SHORTEST} characters: hiding it would hide other text"
            )

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        return await _scrubbed(_with(call, hidden), proceed, hidden)

    return handlers.wrap(around)


def reveal(handlers: Handlers[R], secrets: Mapping[str, str]) -> Handlers[R]:
    """Let `handlers` see the secrets that a `redact` outside of them hides; what they answer is hidden again.

    `redact(record(reveal(service, secrets), journal), secrets)` gives the service the key and the journal its name.
    """
    hidden = _by_length({secret: _mark(name) for name, secret in secrets.items()})
    shown = _by_length({_mark(name): secret for name, secret in secrets.items()})

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        return await _scrubbed(_with(call, shown), proceed, hidden)

    return handlers.wrap(around)


def _mark(name: str) -> str:
    return f"<{name}>"


def _by_length(texts: dict[str, str]) -> dict[str, str]:
    """Put the longest first: a secret may be a part of another."""
    return dict(sorted(texts.items(), key=lambda pair: -len(pair[0])))


def _with(call: Call, texts: Mapping[str, str]) -> Call:
    arguments = tuple(_replaced(value, texts) for value in call.arguments)
    return attrs.evolve(
        call, arguments=arguments, keywords={name: _replaced(value, texts) for name, value in call.keywords.items()}
    )


async def _scrubbed(call: Call, proceed: Proceed, hidden: Mapping[str, str]) -> Result[object, object]:
    try:
        result = await proceed(call)
    except Exception as error:
        _scrub(error, hidden, set())
        raise
    return result.map(lambda value: _replaced(value, hidden)).alt(lambda error: _replaced(error, hidden))


def _scrub(error: BaseException | None, hidden: Mapping[str, str], seen: set[int]) -> None:
    """Replace the secrets in an exception, and in those that led to it."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    error.args = tuple(_replaced(value, hidden) for value in error.args)
    for name, value in vars(error).items():
        with suppress(AttributeError):  # a frozen one; its arguments are done
            setattr(error, name, _replaced(value, hidden))
    _scrub(error.__cause__, hidden, seen)
    _scrub(error.__context__, hidden, seen)


def _replaced(value: object, texts: Mapping[str, str]) -> object:
    def leaf(name: str, part: object) -> object:
        if type(part) is str:
            for old, new in texts.items():
                part = part.replace(old, new)
        elif type(part) is bytes:
            for old, new in texts.items():
                part = part.replace(old.encode(), new.encode())
        return part

    return rebuilt(value, leaf)
