"""What `crucible run` answers, as a process, where a run did nothing of what was asked: never success."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from crucible.cli import main
from tests.cli.test_specs import crucible

ANSWERED = [{"prompt": f"{number}?", "completion": "no model says this"} for number in range(4)]
ASKED = [{"messages": [{"role": "user", "content": f"{number}?"}]} for number in range(4)]
EQUAL = {"prompt": "0?", "chosen": "yes", "rejected": "yes"}
PAIRS = [{"prompt": f"{number}?", "chosen": f"yes {number}", "rejected": f"no {number}"} for number in range(3)]
EPISODES = {"method": "reinforcement", "batch_size": 2, "group_size": 2, "max_tokens": 4, "register_as": "model"}


def spec_in(folder: Path, training: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], **fields: Any) -> Path:
    """Write an experiment on nothing, and its rows."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = {"dataset": {"name": str(data), "provider": "file"}} if rows else {}
    spec = {"schema": 1, "id": "it", "model": {"id": "m"}, "backend": {"id": "noop"}, "training": dict(training)}
    file = folder / "it.yaml"
    file.write_text(yaml.safe_dump({**spec, **dataset, **fields}))
    return file


@pytest.mark.parametrize(
    ("training", "rows", "said"),
    [
        pytest.param(
            {**EPISODES, "environment": {"needs_answer": False}},
            ASKED,
            "no episode of round 0 was finished: 4 of 4 failed, 4 of them because: the answer was not judged: the row has no answer",
            id="every episode fails",
        ),
        pytest.param(
            {**EPISODES, "environment": {"needs_answer": False}, "asynchronous": True},
            ASKED,
            "no episode of round 0 was finished",
            id="every episode fails beside the training",
        ),
        pytest.param(
            {**EPISODES, "environment": {"format_coef": 0}},
            ANSWERED,
            "no optimizer step was taken in 2 of 2 batches: the rewards of every group are equal (from 0 to 0",
            id="nothing can be learned",
        ),
        pytest.param(
            {**EPISODES, "environment": {"format_coef": 0}, "algorithm": {"name": "grpo"}},
            ANSWERED,
            "the gradient was 0 in all 2 optimizer steps: the rewards of every group are equal",
            id="steps without a gradient",
        ),
        pytest.param(
            {"method": "preference", "register_as": "model"},
            [EQUAL, EQUAL],
            "all 2 pairs of",
            id="all pairs are equal",
        ),
    ],
)
def test_a_run_that_did_nothing_ends_in_failure_and_leaves_no_model(
    training: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], said: str, tmp_path: Path
) -> None:
    done = crucible("run", spec_in(tmp_path, training, rows), "--runs", tmp_path / "runs")
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    page, events = looked_at(tmp_path)
    assert said.partition(":")[0] in page
    assert '"crucible_kitchen.artifact.saved"' not in events
    assert '"crucible_kitchen.model.registered"' not in events


def looked_at(folder: Path) -> tuple[str, str]:
    """Give the report of the one run, and its events as they are exported."""
    runs, report, events = folder / "runs", folder / "report.html", folder / "events.jsonl"
    [run_id] = [path.name for path in runs.iterdir() if path.is_dir()]
    assert main(["report", run_id, "--runs", str(runs), "--to", str(report)]) == 0
    assert main(["export", run_id, "--events", "--runs", str(runs), "--to", str(events)]) == 0
    return report.read_text(), events.read_text()


def test_why_episodes_fail_is_shown_while_the_run_goes_on_and_afterwards(tmp_path: Path) -> None:
    rows: list[Mapping[str, Any]] = [
        *ASKED[:1],
        *({"prompt": f"{number}?", "completion": "e a"} for number in range(4)),
    ]
    training = {**EPISODES, "batch_size": 5, "group_size": 6, "environment": {"needs_answer": False}}
    done = crucible("run", spec_in(tmp_path, training, rows), "--runs", tmp_path / "runs")
    assert "6 episodes failed, first on row 0 {'messages': " in " ".join(done.stderr.split())
    page, events = looked_at(tmp_path)
    assert "6 episodes failed, first on row 0 {&#39;messages&#39;: " in page
    [told] = [json.loads(line) for line in events.splitlines() if "rl.episodes_failed" in line]
    assert "the row has no answer to compare with" in str(told)


def test_a_run_that_leaves_some_pairs_out_says_so_and_succeeds(tmp_path: Path) -> None:
    done = crucible("run", spec_in(tmp_path, {"method": "preference"}, [*PAIRS, EQUAL]), "--runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert "1 of 4 pairs of" in " ".join(done.stderr.split())
    assert "first row 3, left out: two equal answers" in " ".join(done.stderr.split())


def test_a_feedback_loop_without_a_reason_to_train_is_a_success(tmp_path: Path) -> None:
    loop = {
        "method": "feedback_loop",
        "deployment_id": "any",
        "export": {"path": "curated.jsonl"},
        "thresholds": {"num_examples": 10_000},
    }
    spec = spec_in(tmp_path, loop, [], feedback={"storage": "noop"})
    done = crucible("run", spec, "--runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
