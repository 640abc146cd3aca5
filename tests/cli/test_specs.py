"""`crucible check`, `plan`, `run` and `schema`, by running the command itself."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from crucible.cli import main
from crucible.cli._specs import changed
from crucible.cookbook.models import smollm2

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "experiment.yaml"
ON_NOOP = ("--set", "backend.id=noop", "--set", "backend.options={}")


def crucible(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crucible", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
    )


def test_a_sound_experiment_can_be_run() -> None:
    done = crucible("check", EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{EXAMPLE}: the experiment sl_basic can be run\n"


def test_all_problems_of_a_file_come_at_once_each_with_its_place(tmp_path: Path) -> None:
    spec = yaml.safe_load(EXAMPLE.read_text())
    spec["pipeline"] = [{"name": "load_dataset"}, {"name": "trian"}]
    spec["training"]["learning_rate"] = 1e-3  # which a reader of YAML 1.1 takes for a text
    spec["dataset"]["name"] = "chan_sum"
    spec["backend"]["options"] = {"dtyp": "float32"}
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(spec))
    done = crucible("check", file)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{file} has 3 problems:" in done.stderr
    for part in ("pipeline[1].name: ", "did you mean train?", "dataset.name: ", "chain_sum", "backend.options.dtyp: "):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            '{"prompt": "é", "completion": "b"}\n'.encode("latin-1"),
            "line 1 is no UTF-8: if it is Latin-1, write it as UTF-8",
        ),
        ('{"prompt": "é", "completion": "b"}\n'.encode("utf-16"), "it is UTF-16: write it as UTF-8"),
        (b"", "there is no row in it"),
        (b'{"prompt": "a", "completion": "b"}\n{"prompt": ', "line 2 is no JSON"),
    ],
    ids=["latin-1", "utf-16", "empty", "cut"],
)
def test_a_run_on_a_damaged_file_ends_with_a_sentence_and_no_traceback(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    (tmp_path / "spec.yaml").write_text(
        "id: damaged\nmodel: {id: any}\nbackend: {id: noop}\ndataset: {provider: file, name: rows.jsonl}\n"
        "training: {method: supervised}\n"
    )
    done = crucible("run", "spec.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert "rows.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_change_is_checked_as_the_file_is() -> None:
    misspelt = crucible("run", EXAMPLE, "--set", "training.lerning_rate=1e-3")
    assert misspelt.returncode == 1
    assert "training.lerning_rate: is no key that is known here (did you mean learning_rate?)" in misspelt.stderr
    wrong = crucible("check", EXAMPLE, "--set", "training.epochs=two", "--set", "dataset.num_rows=2.5")
    assert wrong.returncode == 1
    assert "training.epochs: must be a whole number" in wrong.stderr
    assert "dataset.num_rows: must be a whole number" in wrong.stderr


def test_a_plan_shows_stages_ports_and_configuration_and_makes_nothing(tmp_path: Path) -> None:
    done = crucible("plan", EXAMPLE, "--set", "training.learning_rate=5e-4", cwd=tmp_path)
    assert done.returncode == 0
    for part in (
        "workflow supervised",
        "TrainingClient: torch on this machine",
        "learning_rate: 0.0005",
        "at most 640",
    ):
        assert part in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_plan_shows_what_preferences_are_held_against() -> None:
    start = ("--set", "training={method: preference, start_from: runs/sft}")
    done = crucible("plan", EXAMPLE, *ON_NOOP, *start)
    assert done.returncode == 0, done.stderr
    assert "reference\n  the weights of the checkpoint runs/sft, with which training begins\n" in done.stdout


def test_a_run_says_what_it_reached_and_where_its_things_are(tmp_path: Path) -> None:
    printed = "{name: shown, sink: stdout, formats: [markdown]}"
    done = crucible(
        *("run", EXAMPLE, *ON_NOOP, "--set", "dataset.num_rows=32", "--set", f"outputs[0]={printed}"),
        *("--runs", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "32 rows of chain_sum" in done.stderr
    assert done.stdout.startswith("| metric |")
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert done.stdout.splitlines()[-1].startswith(f"{folder.name}: {folder}")
    listed = crucible("runs", "--runs", tmp_path)
    assert folder.name in listed.stdout


def test_a_run_that_fails_says_where_and_why(tmp_path: Path) -> None:
    limit = ("--set", "reliability.budget.limit=3", "--set", "dataset.num_rows=4")
    done = crucible("run", EXAMPLE, *ON_NOOP, *limit, "--runs", tmp_path)
    assert done.returncode == 1
    assert "failed in supervised/" in done.stderr
    assert "0 of 3 calls are left" in done.stderr


def test_the_schema_accepts_the_example_and_refuses_a_misspelt_key(tmp_path: Path) -> None:
    printed = crucible("schema")
    written = crucible("schema", "--to", tmp_path / "experiment.schema.json")
    schema = json.loads(printed.stdout)
    assert written.returncode == 0
    assert json.loads((tmp_path / "experiment.schema.json").read_text()) == schema
    spec = yaml.safe_load(EXAMPLE.read_text())
    spec["training"]["learning_rate"] = 1e-3
    jsonschema.validate(spec, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**spec, "modle": spec["model"]}, schema)


def test_a_file_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", str(tmp_path / "no.yaml")]) == 1
    assert "no.yaml has 1 problem" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "no.txt")]) == 1
    assert ".yaml" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_as_what_it_says_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("{")
    assert main(["plan", str(tmp_path / "bad.json")]) == 1
    assert "bad.json has 1 problem" in capsys.readouterr().err
    (tmp_path / "latin.yaml").write_bytes("id: caf\xe9".encode("latin-1"))
    assert main(["check", str(tmp_path / "latin.yaml")]) == 1
    assert "save it as UTF-8" in capsys.readouterr().err
    assert main(["schema", "--to", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_the_commands_answer_in_this_process_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [str(EXAMPLE), *ON_NOOP, "--set", "dataset.num_rows=16"]
    assert main(["check", *words]) == 0
    assert main(["plan", *words]) == 0
    assert main(["run", *words, "--runs", str(tmp_path)]) == 0
    assert main(["run", *words, "--set", "training.epoch=2"]) == 1
    assert main(["check", *words, "--set", "training"]) == 1
    assert main(["schema"]) == 0
    shown = capsys.readouterr()
    assert "training.epoch: is no key" in shown.err
    assert "write it as key=value" in shown.err
    assert "results.md: " in shown.out


def test_a_change_can_make_what_is_not_there_and_reach_into_lists() -> None:
    data = {"outputs": [{"name": "a"}], "id": "x"}
    assert changed(data, "reliability.retry.attempts=3") is None
    assert changed(data, "outputs.0.name=b") is None
    assert changed(data, "outputs[0]={name: c}") is None
    assert changed(data, "tags=[a, b]") is None
    assert changed(data, "description=a: b") is None
    assert changed(data, "outputs[1].name=d") is None
    assert changed(data, "pipeline[0].name=train") is None
    assert changed(data, "training.evaluation.metadata.größe=1") is None
    assert data == {
        "id": "x",
        "outputs": [{"name": "c"}, {"name": "d"}],
        "pipeline": [{"name": "train"}],
        "training": {"evaluation": {"metadata": {"größe": 1}}},
        "reliability": {"retry": {"attempts": 3}},
        "tags": ["a", "b"],
        "description": "a: b",
    }


@pytest.mark.parametrize(
    "change", ["id.more=1", "outputs[3].name=x", "outputs.first=x", "id.a.b=1", "id[0]=1", "outputs[2]=x"]
)
def test_a_change_of_what_cannot_be_there_is_a_problem(change: str) -> None:
    problem = changed({"outputs": [{"name": "a"}], "id": "x"}, change)
    assert problem is not None
    assert "nothing in the file can be changed there" in problem.message


@pytest.mark.parametrize(
    "change",
    ["training.epochs", "=3", "training..epochs=2", "training epochs=2", ".id=x", "id.=x", "outputs[a]=x", "a[0=x"],
)
def test_a_key_that_is_no_path_changes_nothing(change: str) -> None:
    data = {"training": {"epochs": 1}, "outputs": [], "id": "x"}
    problem = changed(data, change)
    assert problem is not None
    assert problem.message == f"--set {change!r} is no change"
    assert data == {"training": {"epochs": 1}, "outputs": [], "id": "x"}


def test_all_wrong_changes_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLE), "--set", "training", "--set", "id.more=1", "--set", "seed=1"]) == 1
    assert "experiment.yaml has 2 problems" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_run_says_where_its_things_are(tmp_path: Path) -> None:
    program = (
        "import signal, sys; from crucible.cli import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # which a shell may have told us to ignore
        "sys.exit(main())"
    )
    words = ("run", EXAMPLE, *ON_NOOP, "--set", "training.epochs=100000", "--set", "training.evaluation=null")
    running = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words), "--runs", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "tokens" in line:  # it has begun to train
            break
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert f"crucible: {folder.name} was interrupted; what it told and saved is in {folder}" in told


@pytest.mark.slow
def test_the_example_trains_a_real_model(tmp_path: Path) -> None:
    small = {
        "model.id": smollm2(),
        "model.provider": "local",
        "dataset.num_rows": "8",
        "training.batch_size": "4",
        "training.evaluation.num_examples": "2",
    }
    changes = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    done = crucible("run", EXAMPLE, *changes, "--runs", tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert (folder / "weights" / "final_weights").is_dir()
    assert "| loss | 2 |" in (folder / "results.md").read_text()


def test_a_command_that_needs_no_experiment_does_not_wait_for_what_trains() -> None:
    code = "import sys, crucible.cli._commands; print([it for it in sys.modules if it.startswith('crucible.kitchen')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_a_package_that_is_missing_is_one_sentence_that_names_its_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["check", str(EXAMPLE)]) == 1
    assert capsys.readouterr().err == "crucible: PyYAML is not installed: pip install 'crucible-llm[specs]'\n"
