"""`fingerprint`: a short text that is the same for specs that ask for the same."""

from collections.abc import Mapping

import attrs

from crucible.effects import Json, digest
from crucible.ir.codec import encode
from crucible.ir.experiment import Experiment

NOT_COUNTED = frozenset({"id", "description", "owner", "tags", "metadata", "created_at", "outputs", "baseline"})
"""The fields of an experiment that do not count: they say nothing about what is computed."""


def fingerprint(spec: attrs.AttrsInstance) -> str:
    """Give the fingerprint of a spec: equal in every process, whatever the order of keys, and whether defaults are written out.

    Of an experiment the fields in `NOT_COUNTED` do not count. The version of the schema does, for defaults belong to it.

    >>> from crucible.ir import LoraSpec
    >>> (
    ...     fingerprint(LoraSpec()) == fingerprint(LoraSpec(rank=16)),
    ...     fingerprint(LoraSpec()) == fingerprint(LoraSpec(rank=8)),
    ... )
    (True, False)

    Raises: ImportError without the extra `specs`.
    """
    skipped = NOT_COUNTED if isinstance(spec, Experiment) else frozenset()
    data = {key: _normal(value) for key, value in encode(spec).items() if key not in skipped}
    return digest({"spec": type(spec).__name__, **data})


def _normal(data: Json) -> Json:
    """Write equal numbers alike: 1.0 as 1."""
    if isinstance(data, Mapping):
        return {key: _normal(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_normal(item) for item in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data
