"""What a plan estimates, and how runs are compared."""

import math
from datetime import UTC, datetime

import attrs

from crucible.ir import DatasetRef, StatsSpec
from crucible.kitchen.compiling.baselines import compared
from crucible.kitchen.compiling.estimates import estimates
from crucible.telemetry.types import MetricPoint
from tests.kitchen.compiling.experiments import DISTILLATION, EVALUATION, REINFORCEMENT, SUPERVISED, loop, rehearsal

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def points(name: str, *values: float) -> list[MetricPoint]:
    return [
        MetricPoint(name=name, value=value, step=step, timestamp=NOW, sequence=step)
        for step, value in enumerate(values)
    ]


def test_what_is_sampled_counts_every_sample_of_every_epoch() -> None:
    training = attrs.evolve(REINFORCEMENT, epochs=2, policy_epochs=2, num_minibatches=3)
    assert estimates(rehearsal(training)) == {
        "rows": "at most 6",
        "optimizer steps": "at most 24",  # 2 epochs of 2 rounds of 6 steps
        "sampled tokens": "at most 96",  # 6 rows, 2 epochs, 2 samples of 4 tokens
    }
    assert estimates(rehearsal(DISTILLATION))["sampled tokens"] == "at most 48"


def test_nothing_is_said_of_what_is_not_known() -> None:
    unsized = attrs.evolve(rehearsal(SUPERVISED), dataset=DatasetRef(name="rows"))
    assert list(estimates(unsized)) == ["tokens of one evaluation"]
    assert estimates(loop()) == {}
    assert estimates(attrs.evolve(rehearsal(None, "own"), dataset=None)) == {}
    assert estimates(attrs.evolve(rehearsal(SUPERVISED), dataset=None)) == {
        "tokens of one evaluation": f"at most {EVALUATION.num_examples * EVALUATION.max_tokens}"
    }


def test_a_task_has_as_many_rows_as_it_says_or_a_thousand() -> None:
    task = DatasetRef(name="chain_sum", provider="reasoning_gym")
    assert estimates(attrs.evolve(rehearsal(), dataset=task))["rows"] == "at most 1,000"
    sized = attrs.evolve(task, options={"size": 40}, num_rows=64)
    assert estimates(attrs.evolve(rehearsal(), dataset=sized))["rows"] == "at most 40"


def test_metrics_that_both_runs_have_are_compared_and_corrected_together() -> None:
    before = [*points("loss", 3.0, 3.1, 2.9, 3.2), *points("reward", 0.1, 0.2, 0.15, 0.12), *points("old", 1.0, 2.0)]
    after = [*points("loss", 2.0, 2.1, 1.9, 2.2), *points("reward", 0.1, 0.2, 0.15, 0.12), *points("new", 1.0, 2.0)]
    found = compared(before, after, StatsSpec(correction="bonferroni"), baseline="b")
    assert sorted(found.metrics) == ["loss", "reward"]
    assert found.metrics["loss"].difference == -1.0
    assert math.isclose(found.metrics["loss"].p_corrected, 2 * found.metrics["loss"].p_value)
    assert str(found).startswith("compared with b\n  loss: 3.05 -> 2.05")


def test_what_cannot_be_compared_is_said() -> None:
    before = [*points("loss", 1.0, math.nan, 2.0), *points("one", 1.0)]
    found = compared(before, [*points("loss", 1.0, 2.0, 4.0), *points("one", 1.0)], StatsSpec(), baseline="b")
    assert list(found.metrics) == ["loss"]
    assert "loss: values that are not finite are left out" in found.problems
    assert any(problem.startswith("one: sample a has 1 values") for problem in found.problems)
