"""Datasets of several stores behind one port: each call goes to the store that its dataset is of."""

from collections.abc import Mapping, Sequence

import attrs

from crucible.effects import Call, Handlers, Proceed, Result
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig

_MARK = "|"


def routed(
    stores: Mapping[str, Handlers[DatasetStore]], routes: Sequence[tuple[DatasetConfig, str]], default: str
) -> Handlers[DatasetStore]:
    """Handle datasets by the store that their configuration is routed to; the others by the default one.

    A handle says which store it is of, so that it means the same in another process.

    Args:
        stores: by name.
        routes: configurations, whatever their split, with the names of stores.
        default: the name of the store for a configuration that has no route.
    """
    first = stores[default]

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        name = _store_of(call, routes) or default
        unmarked = attrs.evolve(
            call,
            arguments=tuple(map(_unmarked, call.arguments)),
            keywords={key: _unmarked(value) for key, value in call.keywords.items()},
        )
        answer = await (proceed(unmarked) if name == default else stores[name].answer(unmarked))
        return answer.map(lambda value: _marked(value, name))

    return first.wrap(around)


def _store_of(call: Call, routes: Sequence[tuple[DatasetConfig, str]]) -> str | None:
    for value in (*call.arguments, *call.keywords.values()):
        if isinstance(value, Dataset) and _MARK in value.id:
            return value.id.partition(_MARK)[0]
        if isinstance(value, DatasetConfig):
            return next((name for config, name in routes if _is_of(config, value)), None)
    return None


def _is_of(config: DatasetConfig, asked: DatasetConfig) -> bool:
    return attrs.evolve(config, split=asked.split) == asked


def _marked(value: object, name: str) -> object:
    return attrs.evolve(value, id=f"{name}{_MARK}{value.id}") if isinstance(value, Dataset) else value


def _unmarked(value: object) -> object:
    return attrs.evolve(value, id=value.id.partition(_MARK)[2]) if isinstance(value, Dataset) else value
