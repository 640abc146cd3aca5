"""What a row's metadata says, as words that a database can look for. They are hexadecimal digits, whatever was given."""

import hashlib
from collections.abc import Mapping, Sequence

from crucible.train.types import Condition, MetadataValue


def key_of(row_id: str) -> str:
    """Write an id in hexadecimal digits.

    >>> key_of("it's")
    '69742773'
    """
    return row_id.encode("utf-8", "surrogatepass").hex()


def marks_of(metadata: Mapping[str, MetadataValue]) -> list[str]:
    """Give the words of all keys, and of all keys with their values."""
    return [word for key, value in metadata.items() for word in (_word(key), _word(key, _written(value)))]


def meeting(where: Sequence[Condition]) -> str | None:
    """Write in SQL what every row has that meets all conditions; None for no conditions. Other rows may have it too."""
    words = {
        _word(condition.key, _written(condition.value)) if condition.op == "eq" else _word(condition.key)
        for condition in where
    }
    return " AND ".join(f"array_has(marks, '{word}')" for word in sorted(words)) or None


def _word(*parts: str) -> str:
    whole = b"".join(
        len(part.encode("utf-8", "surrogatepass")).to_bytes(8) + part.encode("utf-8", "surrogatepass") for part in parts
    )
    return hashlib.blake2b(whole, digest_size=16).hexdigest()


def _written(value: MetadataValue) -> str:
    """Write a value so that equal ones, such as 1, 1.0 and True, are written alike."""
    if isinstance(value, str):
        return f"text {value}"
    is_whole = isinstance(value, int) or value.is_integer()
    return f"number {int(value):x}" if is_whole else f"number {value!r}"
