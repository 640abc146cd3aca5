"""What runs were told to do, as a table of dotted names: where they differ, and all of it."""

import json
from collections.abc import Iterator, Mapping, Sequence

import attrs

from crucible.effects import Json, encode
from crucible.telemetry.types import RunInfo

_ABSENT = "—"
_NO_SETTINGS = {"config", "started_at"}


@attrs.frozen(kw_only=True)
class Setting:
    """One value of the configuration in each run."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs do not agree."""
        return len(set(self.values)) > 1


def flattened(value: Json, prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Give the values of nested mappings under dotted names; lists stay whole.

    >>> dict(flattened({"adam": {"beta1": 0.9}, "seed": 1, "tags": ["a"]}))
    {'adam.beta1': 0.9, 'seed': 1, 'tags': ['a']}
    """
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from flattened(each, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def settings_of(infos: Sequence[RunInfo]) -> tuple[Setting, ...]:
    """Give every setting of some runs, in the order in which their configurations have them.

    >>> ada, bob = (RunInfo(run_id="r", metadata={"config": {"seed": seed, "lr": 0.1}}) for seed in (0, 1))
    >>> [(setting.key, setting.values, setting.differs) for setting in settings_of([ada, bob])]
    [('seed', ('0', '1'), True), ('lr', ('0.1', '0.1'), False)]
    """
    return _settings([info.metadata.get("config", {}) for info in infos])


def surroundings_of(infos: Sequence[RunInfo]) -> tuple[Setting, ...]:
    """Give what else is kept of some runs: code, machine, versions, tags; when they began is no such thing.

    >>> [
    ...     it.key
    ...     for it in surroundings_of(
    ...         [RunInfo(run_id="r", metadata={"config": {"lr": 0.1}, "packages": {"torch": "2"}})]
    ...     )
    ... ]
    ['packages.torch']
    """
    return _settings([{key: each for key, each in info.metadata.items() if key not in _NO_SETTINGS} for info in infos])


def apart_from_seeds(info: RunInfo) -> str:
    """Give a text that is the same for runs that differ in nothing but seeds.

    >>> ada, bob = (RunInfo(run_id="r", metadata={"config": {"seed": seed, "lr": 0.1}}) for seed in (0, 1))
    >>> apart_from_seeds(ada) == apart_from_seeds(bob)
    True
    """
    if not info.metadata.get("config"):
        return info.run_id  # nothing is known of what it was told to do
    flat = flattened(info.metadata["config"])
    kept = {key: value for key, value in flat if key.rpartition(".")[2] != "seed"}
    return json.dumps([info.metadata.get("recipe"), encode(kept)], sort_keys=True, default=str)


def _settings(values: Sequence[Json]) -> tuple[Setting, ...]:
    flat = [dict(flattened(value)) for value in values]
    keys = dict.fromkeys(key for each in flat for key in each if key)
    return tuple(Setting(key=key, values=tuple(_text(each, key) for each in flat)) for key in keys)


def _text(flat: Mapping[str, Json], key: str) -> str:
    if key not in flat:
        return _ABSENT
    value = flat[key]
    return value if isinstance(value, str) else json.dumps(encode(value), ensure_ascii=False)
