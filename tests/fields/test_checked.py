"""Every configuration is checked by value, from the types and limits of its own fields."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import attrs
import pytest

import crucible.effects
import crucible.kitchen
import crucible.telemetry
import crucible.train
from crucible.fields import InvalidField, Limits, alternatives, checked, field_types, limits_of, within
from crucible.fields.checked import Checked
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.train.renderers import TrainOnWhat
from crucible.train.types import AdamParams, DatasetConfig, SamplingConfig, SamplingParams, SessionConfig

PACKAGES = (crucible.effects, crucible.kitchen, crucible.telemetry, crucible.train)

# What has limits or choices and is no configuration: values that backends, stores and runs give, of which there are many.
# A new class comes to none of these lists by itself.
GIVEN_BACK = {
    *("CodeRun", "ChatResponse", "Sample", "TensorData", "ImageChunk", "ImagePart", "Message", "Comparison"),
    *(
        "LabeledComparison",
        "VectorCollection",
        "VectorRow",
        "GuardrailTripped",
        "_Watch",
        "StoredCheckpoint",
        "About",
        "Outline",
    ),
    *("Completion", "Exchange", "Trigger", "CuratedExample", "FeedbackExport", "ModelArtifact", "Gap", "RunPlace"),
    *("Standing", "MetricPoint", "EventRecord", "Experiment", "ExperimentStarted"),
}
# Losses and environments hold the numbers of a whole batch; they check their settings alone.
OF_A_BATCH = {
    *("Kto", "KtoOnPairs", "ClippedSurrogate", "Gspo", "Dpo", "Ipo", "SimPo", "Orpo", "BradleyTerry"),
    *("ProblemEnv", "EnvironmentGroup", "ToolTask", "Optimization", "Loss", "Sent"),
}
# What checks itself as a whole, in its own words.
BY_ITSELF = {
    "Voting",
    "Poll",
    "Check",
    "Hedging",
    "Condition",
    "PerformedEvaluator",
    "ModelCard",
    "Anonymize",
    "Design",
    "EventFilter",
}


def classes() -> Iterator[type]:
    """Give every attrs class of the library, but those of specs, which `crucible.ir` checks whole."""
    for package in PACKAGES:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            for kind in vars(module).values():
                if inspect.isclass(kind) and attrs.has(kind) and kind.__module__ == info.name:
                    yield kind


CHECKED = [kind for kind in classes() if any(isinstance(field.validator, Checked) for field in attrs.fields(kind))]


def test_what_has_limits_or_choices_is_checked_from_its_types() -> None:
    limited = {
        kind.__name__
        for kind in classes()
        if kind not in CHECKED
        and any(it.validator is not None or get_origin(it.type) is Literal for it in attrs.fields(kind))
    }
    assert limited == GIVEN_BACK | OF_A_BATCH | BY_ITSELF


def test_what_is_named_as_a_configuration_is_checked() -> None:
    endings = ("Config", "Params", "Limits", "Options", "Thresholds", "Rules")
    named = {kind.__name__ for kind in classes() if kind.__name__.endswith(endings) and kind not in CHECKED}
    assert named == {"InvalidConfig"}  # an error


def value_of(kind: Any) -> object:
    """Give some value of a type."""
    kind = alternatives(kind)[0]
    plain: Mapping[object, object] = {str: "text", bool: True, int: 3, float: 0.5}
    if kind in plain:
        return plain[kind]
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is tuple:
        return (value_of(get_args(kind)[0]),)
    return made(kind) if attrs.has(kind) else len


def made(kind: type, changes: Mapping[str, object] = {}) -> object:
    """Make a value of a class, with values for what it needs."""
    types = field_types(kind)
    needed = {it.name: value_of(types[it.name]) for it in attrs.fields(kind) if it.default is attrs.NOTHING}
    return kind(**{**needed, **changes})


FIELDS = [(kind, field) for kind in CHECKED for field in attrs.fields(kind) if field.init]


def wrong_values(kind: object, limits: Limits) -> Iterator[object]:
    """Give values that a field of this type and these limits must refuse."""
    kinds = alternatives(kind)
    numbers = [bound for bound in (limits.at_least, limits.at_most) if bound is not None]
    if int in kinds or float in kinds:
        yield from (math.nan, math.inf, -math.inf)
        yield from (bound - 1 if bound == limits.at_least else bound + 1 for bound in numbers)
        yield from (bound for bound in (limits.above, limits.below) if bound is not None)
    if bool not in kinds and {int, float} & set(kinds):
        yield True
    if kinds == (int,):
        yield from (2.5, "1")
    if limits.min_length and str in kinds:
        yield ""
    if limits.min_length and str not in kinds:
        yield ()
    if any(get_origin(it) is Literal or (isinstance(it, type) and attrs.has(it)) for it in kinds if it is not NoneType):
        yield from ("no such choice", 7)
    if bool in kinds or float in kinds:
        yield "yes"
    if NoneType not in kinds and kinds != (object,):
        yield None


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=lambda it: getattr(it, "__name__", getattr(it, "name", "")))
def test_every_field_refuses_what_is_not_of_its_type_or_beyond_its_limits(
    kind: type, field: "attrs.Attribute[object]"
) -> None:
    wanted = field_types(kind)[field.name]
    if getattr(wanted, "_is_protocol", False) or get_origin(wanted) is frozenset:
        pytest.skip("looking does not tell")  # a protocol; a converter
    alias = field.alias or field.name
    for value in wrong_values(wanted, limits_of(field)):
        if bool in alternatives(wanted) and value is True:
            continue
        if str in alternatives(wanted) and isinstance(value, str) and value:
            continue
        with pytest.raises(InvalidField, match=rf"^{kind.__name__}\.{field.name}") as found:
            made(kind, {alias: value})
        assert found.value.owner is kind


@pytest.mark.parametrize("kind", CHECKED, ids=lambda kind: kind.__name__)
def test_every_default_is_a_value_that_its_field_takes(kind: type) -> None:
    made(kind)


SESSION, ROWS = SessionConfig(model="m"), DatasetConfig(name="d")
TEACHERS = (SamplingConfig(model="t"),)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: DistillationConfig(session=SESSION, dataset=ROWS, teachers=TEACHERS, mode="onpolicy"),  # type: ignore[arg-type]  # the point
            "DistillationConfig.mode: must be on_policy or off_policy, not the text 'onpolicy' (did you mean on_policy?)",
        ),
        (
            lambda: SupervisedConfig(session=SESSION, dataset=ROWS, train_on="all_messages"),  # type: ignore[arg-type]  # the point
            "did you mean TrainOnWhat.ALL_MESSAGES?",
        ),
        (lambda: SupervisedConfig(session=SESSION, dataset=ROWS, schedule="liner"), "did you mean linear?"),  # type: ignore[arg-type]  # the point
        (lambda: AdamParams(beta2=1.0), "AdamParams.beta2: must be below 1, not 1.0 (lower it)"),
        (lambda: SamplingParams(stop="\n"), "SamplingParams.stop: must be a list, not the text"),  # type: ignore[arg-type]  # the point
        (lambda: SamplingParams(max_tokens=2.5), "must be a whole number, not 2.5"),  # type: ignore[arg-type]  # the point
        (lambda: SamplingParams(temperature=math.nan), "must be a finite number, not nan"),
        (lambda: SessionConfig(model="m", metadata={"a": 1}), "SessionConfig.metadata.a: must be a text, not 1"),  # type: ignore[dict-item]  # the point
        (lambda: DistillationConfig(session=SESSION, dataset=ROWS, teachers=()), "teachers: must not be empty"),
    ],
)
def test_the_error_names_class_field_value_and_what_is_allowed(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match="must") as found:
        make()
    assert said in str(found.value)


def test_a_whole_number_is_a_number_and_numpys_are_both() -> None:
    numpy = pytest.importorskip("numpy")
    assert SamplingParams(temperature=1, max_tokens=numpy.int64(3)).max_tokens == 3
    assert AdamParams(eps=numpy.float32(0.5)).eps == 0.5


def test_fields_of_a_subclass_are_checked_with_those_it_inherits() -> None:
    @attrs.frozen(kw_only=True, field_transformer=checked)
    class Oven:
        degrees: int = attrs.field(default=200, metadata=within(Limits(at_least=50)))

    @attrs.frozen(kw_only=True, field_transformer=checked)
    class Grill(Oven):
        bars: tuple[int, ...] = ()

    assert Grill(bars=(1, 2)).bars == (1, 2)
    with pytest.raises(InvalidField, match=r"Grill.degrees: must be at least 50, not 3 \(raise it\)"):
        Grill(degrees=3)
    with pytest.raises(InvalidField, match=r"Grill.bars\[1\]: must be a whole number"):
        Grill(bars=(1, "2"))  # type: ignore[arg-type]  # the point


def test_a_value_that_was_changed_is_checked_again() -> None:
    config = SupervisedConfig(session=SESSION, dataset=ROWS, train_on=TrainOnWhat.ALL_TOKENS)
    with pytest.raises(InvalidField, match=r"SupervisedConfig\.epochs"):
        attrs.evolve(config, epochs=0)
