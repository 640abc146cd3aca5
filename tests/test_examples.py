"""The programs of examples/ and the README run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.kitchen.workflows import supervised

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run_example(path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:crucible", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_says_something(path: Path) -> None:
    assert run_example(path).strip()


@pytest.mark.slow
def test_the_same_recipe_trains_a_real_model_on_this_machine_and_on_a_tinker_server() -> None:
    shown = run_example(ROOT / "examples" / "three_backends.py", "torch", "tinker")
    losses = {line.split()[0]: [float(it) for it in re.findall(r"\d+\.\d+", line)] for line in shown.splitlines()}
    assert list(losses) == ["torch", "tinker"]
    for values in losses.values():
        assert len(values) == 4
        assert values[-1] < values[0]


def test_an_own_stage_is_fifteen_lines() -> None:
    source = (ROOT / "examples" / "own_stage.py").read_text()
    stage = source[source.index("@stage") : source.index("\n\n\n", source.index("@stage"))]
    assert len(stage.splitlines()) <= 15


def test_the_code_of_the_readme_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        if "supervised = (" not in block:  # an excerpt of the workflow's own module
            exec(block.replace("runs/mine", str(tmp_path)), names)  # the reader would run it as well
    shown = capsys.readouterr().out
    assert "<Success: Context(" in shown
    assert "init_session" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_quick_start_is_at_most_twenty_lines() -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 20


def test_the_diagram_of_the_readme_is_the_workflow() -> None:
    [diagram] = re.findall(r"```mermaid\n(.*?)\n```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert diagram == supervised.mermaid()
