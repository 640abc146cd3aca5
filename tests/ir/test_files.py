"""Specs in files: old ones are read, new ones are whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.effects import Failure, Success
from crucible.ir import (
    MIGRATIONS,
    VERSION,
    BackendRef,
    DatasetRef,
    DeploymentSpec,
    Experiment,
    ModelRef,
    StageDef,
    SupervisedSpec,
    decode,
    encode,
    load,
    loads,
    save,
)
from tests.ir.examples import EVERYTHING
from tests.sources import ROOT

GOLDEN = Path(__file__).parent / "golden"
EARLY = Experiment(
    id="early",
    description="The early form.",
    model=ModelRef(id="HuggingFaceTB/SmolLM2-135M"),
    dataset=DatasetRef(name="chain_sum", provider="reasoning_gym"),
    backend=BackendRef(id="torch"),
    training=SupervisedSpec(epochs=2),
    pipeline=(StageDef(name="load_dataset"), StageDef(name="train", enabled=False)),
)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*")), ids=lambda path: path.name)
def test_files_of_earlier_days_are_read(path: Path) -> None:
    assert load(path) == Success(EARLY if path.stem == "early" else EVERYTHING[path.stem])


def test_every_older_version_has_a_way_to_the_next() -> None:
    assert sorted(MIGRATIONS) == list(range(VERSION))


def test_a_file_without_a_version_may_say_what_version_1_says() -> None:
    data = encode(EVERYTHING["reinforcement"])
    assert decode({key: value for key, value in data.items() if key != "schema"}) == Success(
        EVERYTHING["reinforcement"]
    )


def test_an_early_name_beside_the_one_of_today_is_a_problem() -> None:
    failure = decode({**encode(EARLY), "schema": 0, "training_config": {}}).failure()
    assert [problem.path for problem in failure.problems] == ["training_config"]


def test_only_experiments_had_an_early_form() -> None:
    assert decode({"id": "d", "model": "adder"}, DeploymentSpec) == Success(DeploymentSpec(id="d", model="adder"))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (2, "is 2, and this version of crucible reads files up to 1"),
        (10**30, "is 1" + "0" * 30 + ", and this version of crucible reads files up to 1"),
        ("1", "must be the number of a version, not the text '1'"),
        (True, "must be the number of a version, not true"),
        (1.0, "must be the number of a version, not 1.0"),
        (-1, "must be the number of a version, not -1"),
        (None, "must be the number of a version, not null"),
    ],
)
def test_a_version_that_is_not_known_is_one_problem(version: object, message: str) -> None:
    (problem,) = decode({**encode(EARLY), "schema": version, "unknown": 1}).failure().problems
    assert (problem.path, problem.message) == ("schema", message)


@pytest.mark.parametrize("ending", ["json", "yaml", "yml", "toml"])
def test_a_saved_spec_is_loaded_from_its_file_alone(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"run.{ending}"
    path.write_text("what was there")
    assert save(EVERYTHING["supervised"], path) == Success(None)
    assert load(path) == Success(EVERYTHING["supervised"])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "run.yaml"
    save(EARLY, path)
    monkeypatch.setattr(os, "fsync", full)
    failure = save(EVERYTHING["supervised"], path).failure()
    assert str(failure).startswith(f"{path} has 1 problem:\n  - the file cannot be written: No space left on device")
    assert load(path) == Success(EARLY)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_spec_with_problems_is_not_saved(tmp_path: Path) -> None:
    failure = save(ModelRef(id=""), tmp_path / "model.json").failure()
    assert (failure.source, [problem.path for problem in failure.problems]) == (str(tmp_path / "model.json"), ["id"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_a_problem_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.yaml").mkdir()
    told = {
        "absent.yaml": "the file cannot be read: No such file or directory",
        "binary.json": "the file is no text in UTF-8",
        "folder.yaml": "the file cannot be read: Is a directory",
        "run.txt": "the name of the file must end in",
        "run": "the name of the file must end in",
    }
    for name, message in told.items():
        result = load(tmp_path / name)
        assert isinstance(result, Failure)
        assert f"{tmp_path / name} has 1 problem" in str(result.failure())
        assert message in str(result.failure())
    assert "must end in" in str(save(EARLY, tmp_path / "run.ini").failure())


def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text('\ufeff{"schema": 1, "name": "s"}', encoding="utf-8")
    assert load(tmp_path / "stage.json", StageDef) == Success(StageDef(name="s"))


@pytest.mark.parametrize(("package", "text"), [("yaml", "PyYAML"), ("tomli_w", "tomli_w")])
def test_a_format_without_its_package_says_what_to_install(
    package: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    ending = "yaml" if package == "yaml" else "toml"
    with pytest.raises(ImportError, match=rf"{text} is not installed: pip install 'crucible-llm\[specs\]'"):
        save(EARLY, tmp_path / f"run.{ending}")
    if package == "yaml":
        with pytest.raises(ImportError, match="PyYAML is not installed"):
            loads("a: 1", "yaml")


def test_reading_without_cattrs_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['cattrs'] = None\n"
        "from crucible.ir import ModelRef, decode, problems_of\n"
        "assert problems_of(ModelRef(id='')) != ()\n"
        "decode({'id': 'a'})"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "ImportError: cattrs is not installed: pip install 'crucible-llm[specs]'"
