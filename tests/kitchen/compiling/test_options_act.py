"""Every field of a spec acts, or is refused: one at a time is changed, and something else is compiled, or a problem is named.

What is compiled is the configuration, the workflow, and the handlers with all that they hold; that configurations act is for
`tests/kitchen/workflows/test_options.py` to show. Where that is the same, what a run leaves is looked at: outputs, comparison, findings.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import attrs
import pytest

from crucible.effects import Failure, Json
from crucible.fields import Limits, limits_of, value_problems
from crucible.ir import (
    AggregationSpec,
    AlgorithmSpec,
    BackendRef,
    BudgetSpec,
    CircuitBreakerSpec,
    DeadlineSpec,
    EnvironmentSpec,
    EvaluatorRef,
    Experiment,
    FairnessSpec,
    HedgingSpec,
    ModelRef,
    OutputSpec,
    RateLimitSpec,
    ReliabilitySpec,
    RetrySpec,
    RolloutLimitsSpec,
    StatsSpec,
    SupervisedSpec,
    decode,
    encode,
)
from crucible.kitchen.compiling import Compiled, Finished, compile_experiment
from crucible.kitchen.compiling.backends import _TAKERS
from crucible.kitchen.compiling.observing import Observed
from crucible.kitchen.compiling.options import kinds_of
from crucible.kitchen.compiling.supplies import Places
from tests.kitchen.changes import changed, is_one_of_many, leaves, others, variants
from tests.kitchen.compiling.experiments import (
    DISTILLATION,
    EVALUATION,
    HELD_OUT,
    PREFERENCE,
    REINFORCEMENT,
    SUPERVISED,
    loop,
    problems,
    rehearsal,
    sound,
)
from tests.kitchen.compiling.parts import parts

PLACES = Places(runs=Path("runs"), run=Path("runs/one"))


MEASURED = attrs.evolve(EVALUATION, dataset=attrs.evolve(HELD_OUT, num_rows=2), num_examples=2)


def with_all(training: Any) -> Experiment:
    """Give an experiment in which everything that can be measured, saved and named is."""
    more = {"evaluation": MEASURED, "register_as": "trained", "eval_every": 1, "save_every": 1, "warmup_steps": 1}
    return rehearsal(attrs.evolve(training, epochs=2, truncate=True, max_length=64, **more))


RELIABLE = ReliabilitySpec(
    hedging=HedgingSpec(percentile=90.0),
    fairness=FairnessSpec(group_by="split"),
    stats=StatsSpec(metrics=("learning_rate", "loss", "grad_norm")),
    retry=RetrySpec(),
    deadline=DeadlineSpec(seconds=100.0),
    rate_limit=RateLimitSpec(most=1000.0),
    circuit_breaker=CircuitBreakerSpec(),
    budget=BudgetSpec(limit=5000.0),
)
OUTPUTS = (OutputSpec(name="all", formats=("markdown", "csv"), options={"what": "points"}),)
REINFORCED = attrs.evolve(
    REINFORCEMENT,
    group_size=3,
    kl_coef=0.1,
    algorithm=AlgorithmSpec(name="grpo", aggregation=AggregationSpec(kind="fixed_length", max_tokens=9)),
    environment=EnvironmentSpec(extract="boxed"),
    limits=RolloutLimitsSpec(max_turns=2),
)
TEACHER_OF_SAMPLES = attrs.evolve(DISTILLATION, group_size=3, kl_discount=0.5)
CASES: Mapping[str, Experiment] = {
    "supervised": with_all(SUPERVISED),
    "preference": with_all(attrs.evolve(PREFERENCE, held_out=HELD_OUT)),
    "reinforcement": with_all(REINFORCED),
    "reinforcement_async": with_all(attrs.evolve(REINFORCED, asynchronous=True, max_staleness=2)),
    "distillation": with_all(TEACHER_OF_SAMPLES),
    "distillation_off_policy": with_all(attrs.evolve(DISTILLATION, mode="off_policy", group_size=3)),
    "distillation_forward_kl": with_all(attrs.evolve(DISTILLATION, mode="forward_kl", num_top=2)),
    "feedback_loop": attrs.evolve(
        loop(), training=changed(loop().training, ("retraining",), with_all(SUPERVISED).training)
    ),
    "around": attrs.evolve(
        with_all(SUPERVISED),
        reliability=RELIABLE,
        outputs=OUTPUTS,
        baseline="earlier",
        evaluator=EvaluatorRef(provider="scorers", options={"score": "contains"}),
    ),
}
LABELS = frozenset({"id", "description", "owner", "tags", "metadata", "experiment_type", "created_at"})
"""What an experiment is called and is for: kept with the run, and read by people."""

OF_METHODS = ("training", "model", "dataset", "seed")
"""What each method reads; the rest is the same for all, and swept once."""

WITHOUT_EFFECT: Mapping[str, str] = {
    "model.provider": "where the id is looked up: checked against the backend and the disk, and the id is what handlers take",
    "training.teachers.[0].model.provider": "the same",
    "reliability.fairness.threshold": "the groups of a rehearsal do not differ; test_handlers has some that do",
    "reliability.fairness.fail_on_violation": "the same",
}

SWEPT = [
    (name, path)
    for name, experiment in CASES.items()
    for path in leaves(experiment)
    if (path[0] in OF_METHODS) != (name == "around") and path[0] not in LABELS
]


AFTER_RUNS = ("outputs", "baseline", "stats")
"""What is read when a run has ended."""

LEFT = [path for name, path in SWEPT if name == "around" and set(path) & set(AFTER_RUNS)]


def _values(taker: Callable[..., object], name: str, kind: object) -> list[object]:
    """Give another value of each kind that an option may have, within the limits of its field."""
    usually = signature(taker).parameters[name].default
    field = getattr(attrs.fields(taker), name) if attrs.has(taker) else None  # type: ignore[arg-type]  # asked just now
    limits = Limits(at_least=1) if field is None else limits_of(field)
    values = [*others(usually, kind), *([3600] if usually is None and field is not None else [])]
    return [value for value in values if not any(limits.violated_by(value)) and not any(value_problems(value, kind))]


def compiled(experiment: Experiment) -> Compiled | None:
    """Compile an experiment as it stands in a file; None when a problem is named."""
    read = decode(encode(experiment))
    made = read.bind(compile_experiment)
    return None if isinstance(made, Failure) else made.unwrap()


PARTS: tuple[Callable[[Compiled], object], ...] = (
    lambda whole: whole.recipe.default_config,
    lambda whole: whole.handlers_at(PLACES, Observed()),
    lambda whole: whole.recipe.workflow,
)
"""What is compiled, the quickest to compare first."""


@cache
def usual(name: str) -> tuple[object, ...]:
    """Give the parts of what an experiment is compiled to."""
    made = compiled(CASES[name])
    assert made is not None, decode(encode(CASES[name])).bind(compile_experiment)
    return tuple(parts(part(made)) for part in PARTS)


def is_the_same(whole: Compiled, name: str) -> bool:
    """Tell whether this was compiled to the same as the experiment of that name."""
    return all(parts(part(whole)) == then for part, then in zip(PARTS, usual(name), strict=True))


def left(experiment: Experiment, runs: Path) -> object:
    """Give what a run leaves, as far as it is the same each time: names and beginnings of outputs, the comparison, findings."""
    made = compiled(attrs.evolve(experiment, outputs=tuple(_below(runs, it) for it in experiment.outputs)))
    if made is None:
        return "refused"
    done = made.run(runs, run_id=f"now{len(list(runs.iterdir()))}")
    if isinstance(done, Failure):
        return str(done.failure())
    finished: Finished = done.unwrap()
    outputs = [
        (
            it.name,
            it.path and it.path.parent.name.rstrip("0123456789"),
            (it.path.read_bytes() if it.path else it.text)[:40],
        )
        for it in finished.outputs
    ]
    return outputs, str(finished.comparison), finished.findings


def _below(folder: Path, output: OutputSpec) -> OutputSpec:
    return output if output.path is None else attrs.evolve(output, path=str(folder.parent / output.path))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of runs, with one that others are compared with."""
    folder = tmp_path_factory.mktemp("all") / "runs"
    earlier = attrs.evolve(CASES["around"], id="earlier", baseline=None, reliability=ReliabilitySpec(), seed=7)
    earlier = changed(earlier, ("training", "learning_rate"), 2e-3)
    other = attrs.evolve(earlier, id="earlierx", seed=8)
    for each in (earlier, other):
        sound(each).run(folder, run_id=each.id).unwrap()
    return folder


@pytest.mark.parametrize("path", LEFT, ids=".".join)
def test_what_comes_after_a_run_acts_too(path: tuple[str, ...], runs: Path) -> None:
    plain = left(CASES["around"], runs)
    same = [left(other, runs) == plain for _, other in variants(CASES["around"], path)]
    assert same
    assert not (all(same) if is_one_of_many(CASES["around"], path) else any(same))


def is_without_effect(name: str, path: tuple[str, ...]) -> bool:
    """Tell whether the same is compiled whatever a field says; for one of many, whether it is with all of the others."""
    tried = [compiled(other) for _, other in variants(CASES[name], path)]
    same = (whole is not None and is_the_same(whole, name) for whole in tried)
    return bool(tried) and (all(same) if is_one_of_many(CASES[name], path) else any(same))


@pytest.mark.parametrize("name", CASES)
def test_the_experiment_that_is_changed_compiles_to_the_same_each_time(name: str) -> None:
    made = compiled(CASES[name])
    assert made is not None
    assert is_the_same(made, name)


@pytest.mark.parametrize(
    ("name", "path"),
    [it for it in SWEPT if it[1] not in LEFT],
    ids=lambda it: ".".join(it) if isinstance(it, tuple) else it,
)
def test_every_field_of_a_spec_acts_or_is_refused(name: str, path: tuple[str, ...]) -> None:
    assert is_without_effect(name, path) == (".".join(path) in WITHOUT_EFFECT)


OPTIONS = [
    (backend, name, value)
    for backend, (taker, hidden) in _TAKERS.items()
    for name, kind in kinds_of(taker, hidden=hidden).items()
    for value in _values(taker, name, kind)
]


@pytest.mark.parametrize(("backend", "name", "value"), OPTIONS)
def test_every_option_of_a_backend_reaches_its_handlers(backend: str, name: str, value: Json) -> None:
    plain = attrs.evolve(CASES["supervised"], backend=BackendRef(id=backend))  # type: ignore[arg-type]  # one of the names
    usually, whole = compiled(plain), compiled(changed(plain, ("backend", "options"), {name: value}))
    assert usually is not None
    assert whole is not None
    assert parts(PARTS[1](whole)) != parts(PARTS[1](usually))


@pytest.mark.parametrize("label", sorted(LABELS))
def test_a_label_is_kept_with_the_run(label: str) -> None:
    experiment = CASES["supervised"]
    value = datetime(2026, 1, 1, tzinfo=UTC) if label == "created_at" else next(variants(experiment, (label,)))[0]
    made = compiled(attrs.evolve(experiment, **{label: value}, baseline="earlier"))  # type: ignore[arg-type]  # by its name
    assert made is not None
    spec = made.about()["spec"]
    assert isinstance(spec, dict)
    assert spec[label] == encode(made.experiment)[label]
    assert spec[label] != encode(experiment).get(label)


def test_a_teacher_and_a_member_of_an_ensemble_are_models_like_any_other() -> None:
    """Their providers, revisions and options were read by nobody, unless the backend was torch."""
    asked = ModelRef(id="teacher", revision="main", options={"quantized": True})
    taught = changed(CASES["distillation"], ("training", "teachers", "[0]", "model"), asked)
    path = "training.teachers[0].model"
    assert set(problems(taught)) == {f"{path}.revision", f"{path}.options.quantized"}
    elsewhere = changed(taught, ("training", "teachers", "[0]", "model"), ModelRef(id="teacher", provider="local"))
    assert list(problems(changed(elsewhere, ("backend",), BackendRef(id="tinker")))) == [f"{path}.provider"]


def test_an_evaluator_that_nobody_asks_is_refused() -> None:
    experiment = attrs.evolve(rehearsal(SupervisedSpec()), evaluator=EvaluatorRef(provider="scorers"))
    assert "no answers are judged" in problems(experiment)["evaluator"]


def test_options_of_a_fallback_are_checked_where_it_is_not_taken_too() -> None:
    fallback = BackendRef(id="torch", options={"dtyp": "float32"})
    experiment = changed(rehearsal(), ("backend",), BackendRef(id="noop", fallback=fallback))
    assert list(problems(experiment)) == ["backend.fallback.options.dtyp"]
