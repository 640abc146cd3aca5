"""A handler that breaks a promise of `TopLogprobsClient` is found out."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import pytest

from crucible.effects import Call, Handlers, Proceed, Result, Success
from crucible.kitchen.handlers import noop
from crucible.testing import ContractViolationError, check_top_logprobs_client
from crucible.train.ports import SamplingClient, TopLogprobsClient
from crucible.train.types import TokenLogprob

Place: TypeAlias = tuple[TokenLogprob, ...]


def with_places(change: Callable[[Place], Place]) -> Handlers[SamplingClient | TopLogprobsClient]:
    """Change what is found in the place of each token but the first."""
    return broken(lambda found: tuple((*places[:1], *map(change, places[1:])) for places in found))


def broken(change: Callable[[Any], Any]) -> Handlers[SamplingClient | TopLogprobsClient]:
    """Change what likeliest tokens are found."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        return result.map(change) if call.name == "TopLogprobsClient.compute_top_logprobs" else result

    return noop.sampling(max_length=256).wrap(around)


def asked(change: Callable[[Sequence[Any], int], tuple[Sequence[Any], int]]) -> Handlers[Any]:
    """Change what is asked for."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.name != "TopLogprobsClient.compute_top_logprobs":
            return await proceed(call)
        session, inputs = call.arguments
        assert isinstance(inputs, Sequence)
        inputs, count = change(inputs, int(str(call.keywords["num_top"])))
        return await proceed(attrs.evolve(call, arguments=(session, inputs), keywords={"num_top": count}))

    return noop.sampling(max_length=256).wrap(around)


@pytest.mark.parametrize(
    ("promise", "make"),
    [
        ("as many tokens as asked for", lambda: with_places(lambda place: place[:-1])),
        ("as many tokens as asked for", lambda: broken(lambda found: tuple(places[1:] for places in found))),
        ("none in the first", lambda: broken(lambda found: tuple((p[-1], *p[1:]) if p else p for p in found))),
        ("the likeliest come first", lambda: with_places(lambda place: place[::-1])),
        ("the likeliest come first", lambda: with_places(lambda place: (place[0],) * len(place))),
        ("a token has the log-probability", lambda: with_places(lambda place: tuple(shifted(place)))),
        ("a token has the log-probability", lambda: broken(lambda found: tuple((*p[:1], *p[:0:-1]) for p in found))),
        ("the likeliest token is the one", lambda: with_places(second_first)),
        ("gets all of it", lambda: asked(lambda inputs, count: (inputs, min(count, 250)))),
        ("no inputs", lambda: asked(lambda inputs, count: ([one for one in inputs if len(one)], count))),
        ("bad requests are refused", lambda: asked(lambda inputs, count: (inputs, max(count, 1)))),
        ("the numbers of places", lambda: asked(lambda inputs, count: (inputs[:1], count))),
    ],
)
def test_likeliest_tokens_that_are_not_are_found_out(promise: str, make: Callable[[], Handlers[Any]]) -> None:
    with pytest.raises(ContractViolationError, match=promise):
        check_top_logprobs_client(make, model="noop")


def shifted(place: Place) -> Sequence[TokenLogprob]:
    return [TokenLogprob(one.token, one.logprob - 0.5) for one in place]


def second_first(place: Place) -> Place:
    """Swap the tokens of the first two, with the numbers where they were."""
    if len(place) != 1:
        return place
    return (TokenLogprob((place[0].token + 1) % 257, place[0].logprob),)


def test_a_session_that_stays_open_is_found_out() -> None:
    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        return Success(None) if call.name == "SamplingClient.close_session" else await proceed(call)

    with pytest.raises(ContractViolationError, match="a closed session is closed"):
        check_top_logprobs_client(lambda: noop.sampling(max_length=256).wrap(around), model="noop")
