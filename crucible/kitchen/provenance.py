"""What a run was made of: its configuration as plain values, and the code and machine it ran on."""

import enum
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

from crucible.effects import Json, encode

PACKAGES = ("crucible-llm", "torch", "transformers", "tinker", "datasets", "huggingface_hub")
"""Those whose versions change what a run gives."""


def described(value: object) -> Json:
    """Give a configuration as plain values: what two runs are compared by. Fields hidden from `repr` are left out.

    >>> @attrs.frozen
    ... class Login:
    ...     user: str
    ...     key: str = attrs.field(repr=False)
    >>> described(Login("ada", "secret")), described((1, {"a": len}))
    ({'user': 'ada'}, [1, {'a': 'builtins.len'}])
    """
    if isinstance(value, enum.Enum):
        return described(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [described(each) for each in value]
    kind: type = type(value)
    if attrs.has(kind):
        shown = [field.name for field in attrs.fields(kind) if field.repr is not False]
        return {name: described(getattr(value, name)) for name in shown}
    named = value if hasattr(value, "__qualname__") else kind
    return f"{named.__module__}.{named.__qualname__}"


def fingerprint(value: Json) -> str:
    """Give a short name that only the same value has.

    >>> fingerprint({"a": 1, "b": 2.0}) == fingerprint({"b": 2.0, "a": 1}) != fingerprint({"a": 1, "b": 2})
    True
    """
    text = json.dumps(encode(value), sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def configuration(config: object) -> Mapping[str, Json]:
    """Give what a run keeps of its configuration: its plain values, and their fingerprint."""
    plain = described(config)
    return {"config": plain, "fingerprint": fingerprint(plain)}


def surroundings() -> Mapping[str, Json]:
    """Give what this process runs on: Python, machine, versions of packages, and the git revision of the working folder."""
    versions: dict[str, Json] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": versions, "git": _git()}


def _git() -> Json:
    """Give the revision, and whether files differ from it; None where there is no git, or no repository."""
    revision = _said_by_git("rev-parse", "HEAD")
    if revision is None:
        return None
    return {"revision": revision, "changed": bool(_said_by_git("status", "--porcelain", "--untracked-files=no"))}


def _said_by_git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=5, cwd=Path.cwd()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
