"""What is kept of a configuration and of its surroundings."""

import enum
import subprocess
from functools import partial
from pathlib import Path

import attrs
import pytest

from crucible.kitchen.provenance import described, fingerprint, surroundings
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.train.types import DatasetConfig, SessionConfig


class Colour(enum.Enum):
    RED = "red"


class Size(enum.StrEnum):
    BIG = "big"


@attrs.frozen
class Odd:
    colour: Colour = Colour.RED
    size: Size = Size.BIG
    key: str = attrs.field(default="canary", repr=False)
    action: object = len
    half: object = partial(max, 1)


def test_every_kind_of_value_is_plain_and_secrets_are_left_out() -> None:
    found = described(Odd())
    assert found == {"colour": "red", "size": "big", "action": "builtins.len", "half": "functools.partial"}
    assert "canary" not in str(found)


def test_a_configuration_of_ours_has_a_fingerprint_that_each_field_changes() -> None:
    config = SupervisedConfig(session=SessionConfig(model="m"), dataset=DatasetConfig(name="d"))
    changed = [attrs.evolve(config, seed=1), attrs.evolve(config, learning_rate=1e-3)]
    assert len({fingerprint(described(it)) for it in (config, *changed)}) == 3
    assert fingerprint(described(config)) == fingerprint(described(attrs.evolve(config)))


def test_the_git_revision_is_that_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert surroundings()["git"] is None
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True, cwd=tmp_path)
    revision = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert surroundings()["git"] == {"revision": revision, "changed": False}
    (tmp_path / "file").write_text("two")
    assert surroundings()["git"] == {"revision": revision, "changed": True}


def test_without_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert surroundings()["git"] is None
