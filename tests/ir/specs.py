"""Strategies for specs, made from their fields: a field that is added is generated from then on."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, get_args, get_origin

import attrs
from hypothesis import strategies as st

import crucible.ir
from crucible.fields import Limits, alternatives, field_types, limits_of
from crucible.ir import (
    AggregationSpec,
    AlgorithmSpec,
    BackendRef,
    DatasetRef,
    DeploymentSpec,
    DistillationSpec,
    EnsembleSpec,
    Experiment,
    FeedbackLoopSpec,
    FeedbackSpec,
    GuardrailSpec,
    HedgingSpec,
    LoraSpec,
    ModelRef,
    OutputSpec,
    PreferenceSpec,
    RateLimitSpec,
    ReinforcementSpec,
    ReliabilitySpec,
    RetrySpec,
    StatsSpec,
    SupervisedSpec,
)

KINDS: tuple[type[attrs.AttrsInstance], ...] = tuple(
    it
    for it in (getattr(crucible.ir, name) for name in crucible.ir.__all__)
    if isinstance(it, type) and attrs.has(it) and it.__name__ not in {"ExperimentBuilder", "InvalidSpec", "Problem"}
)
"""Every class of specs."""

TRICKY = (
    "",
    " ",
    "no",
    "Yes",
    "on",
    "~",
    "null",
    "1e-4",
    "0755",
    "0o7",
    "0x1F",
    "1_000",
    "1:30",
    ".5",
    "-.inf",
    ".NaN",
    "2026-01-31",
    "2026-01-31 10:00:00",
    "<<",
    "=",
    "- a",
    "a: b",
    "# c",
    " d ",
    "*e",
    "&f",
    "!g",
    "line\nbreak\r\n\ttab",
    "\x00\x07\x85\u2028\ufeff\ufffe",
    "'\"\\",
    '"""',
    "ü 😀",
    "\x85",
    "\u2028",
    "a\x85b",
    "%YAML 1.1",
    "---",
    "{{}}",
)
TEXTS = st.sampled_from(TRICKY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WHOLE_NUMBERS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone))


def plain(*, nulls: bool) -> st.SearchStrategy[Any]:
    """Give plain data, with or without null."""
    leaves = st.booleans() | WHOLE_NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    return st.recursive(
        leaves | st.none() if nulls else leaves,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
        max_leaves=4,
    )


def specs(kind: Any, *, nulls: bool = True) -> st.SearchStrategy[Any]:
    """Give valid specs of a class."""
    types = field_types(kind)
    fields = {
        field.name: _values(types[field.name], limits_of(field), nulls) for field in attrs.fields(kind) if field.init
    }
    made: st.SearchStrategy[Any] = st.fixed_dictionaries(fields).map(lambda values: kind(**values))
    return made.map(_REPAIRS[kind]) if kind in _REPAIRS else made


def any_spec(*, nulls: bool = True) -> st.SearchStrategy[Any]:
    """Give valid specs of all classes but the largest."""
    return st.sampled_from([kind for kind in KINDS if kind is not Experiment]).flatmap(
        lambda it: specs(it, nulls=nulls)
    )


def _values(kind: Any, limits: Limits, nulls: bool) -> st.SearchStrategy[Any]:
    kinds = alternatives(kind)
    real = [it for it in kinds if it is not type(None)]
    value: st.SearchStrategy[Any]
    if real == [BackendRef]:
        value = st.builds(BackendRef, id=st.sampled_from(["noop", "tinker", "torch"]))
    else:
        value = st.one_of(*(_value(it, limits, nulls) for it in real)) if len(real) < 8 else plain(nulls=nulls)
    return st.none() | value if len(real) < len(kinds) else value


def _value(kind: Any, limits: Limits, nulls: bool) -> st.SearchStrategy[Any]:
    if attrs.has(kind):
        return st.deferred(lambda: specs(kind, nulls=nulls))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        items = _values(arguments[0], Limits(), nulls)
        unique: dict[str, Any] = {"unique": True} if limits.unique else {}
        return st.lists(items, min_size=limits.min_length, max_size=limits.min_length + 2, **unique).map(tuple)
    if origin is not None:
        inner = _values(arguments[1], Limits(), nulls) if arguments[1] in {str, float} else plain(nulls=nulls)
        return st.dictionaries(TEXTS, inner, max_size=2)
    return _leaf(kind, limits)


def _leaf(kind: Any, limits: Limits) -> st.SearchStrategy[Any]:
    if kind is str:
        whole = st.characters(exclude_categories=["Cs"])
        named = st.from_regex(limits.pattern or "", fullmatch=True, alphabet=whole)
        return named if limits.pattern else TEXTS.filter(lambda text: len(text) >= limits.min_length)
    if kind is int:
        most = 2**63 - 1 if limits.at_most is None else int(limits.at_most)
        return st.integers(-(2**63) if limits.at_least is None else int(limits.at_least), most)
    if kind is float:
        low = limits.at_least if limits.above is None else limits.above
        high = limits.at_most if limits.below is None else limits.below
        return st.floats(
            low,
            high,
            exclude_min=limits.above is not None,
            exclude_max=limits.below is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    simple: Mapping[Any, st.SearchStrategy[Any]] = {bool: st.booleans(), datetime: TIMES}
    return simple[kind]


def _where(condition: bool, spec: Any, **changes: object) -> Any:
    return attrs.evolve(spec, **changes) if condition else spec


def _model(it: ModelRef) -> ModelRef:
    return attrs.evolve(it, provider="huggingface")  # which every backend has


def _dataset(it: DatasetRef) -> DatasetRef:
    return it if it.provider == "huggingface" else attrs.evolve(it, config=None, revision=None)


def _backend(it: BackendRef) -> BackendRef:
    options = {key: value for key, value in it.options.items() if key != "api_key"}
    fallback = None if it.fallback is None or it.fallback.id == it.id else it.fallback
    return attrs.evolve(it, options=options, fallback=fallback)


def _output(it: OutputSpec) -> OutputSpec:
    return it if it.sink == "file" else attrs.evolve(it, path=None, formats=("csv",))


def _lora(it: LoraSpec) -> LoraSpec:
    return it if it.train_mlp or it.train_attn or it.train_unembed else attrs.evolve(it, train_mlp=True)


def _training(it: Any) -> Any:
    it = _where(it.start_from is not None, it, resume_from=None)
    it = _where(not it.held_out_datasets, it, eval_every=0)
    if isinstance(it, ReinforcementSpec):
        it = attrs.evolve(it, group_size=max(it.group_size, 2), kl_coef=it.kl_coef or 0.1)
        it = _where(not it.asynchronous, it, max_staleness=1)
    if isinstance(it, DistillationSpec):
        it = _where(it.mode != "on_policy", it, kl_coef=1.0, kl_discount=0.0)
        it = _where(it.mode != "forward_kl", it, num_top=8, tail="renormalise")
    return attrs.evolve(it, label_smoothing=0.0) if getattr(it, "loss", "dpo") != "dpo" else it


def _aggregation(it: AggregationSpec) -> AggregationSpec:
    return it if it.kind == "fixed_length" else attrs.evolve(it, max_tokens=None)


def _algorithm(it: AlgorithmSpec) -> AlgorithmSpec:
    return attrs.evolve(it, aggregation=AggregationSpec(kind="token_sum")) if it.loss_fn == "dro" else it


def _deployment(it: DeploymentSpec) -> DeploymentSpec:
    return attrs.evolve(it, traffic=(it.traffic or 0.05) if it.strategy == "canary" else None)


def _feedback(it: FeedbackSpec) -> FeedbackSpec:
    it = attrs.evolve(it, path=(it.path or "feedback.db") if it.storage == "sqlite" else None)
    return it if "edit" in it.feedback_types or it.curation is None else attrs.evolve(it, feedback_types=("edit",))


def _loop(it: FeedbackLoopSpec) -> FeedbackLoopSpec:
    return attrs.evolve(it, min_examples=min(it.min_examples, it.curation.limit))


def _ensemble(it: EnsembleSpec) -> EnsembleSpec:
    return attrs.evolve(it, weights=(0.5,) * len(it.models) if it.strategy == "weighted" else ())


def _hedging(it: HedgingSpec) -> HedgingSpec:
    by_rank = it.strategy == "percentile"
    return attrs.evolve(
        it, percentile=95.0 if by_rank else None, delay_seconds=None if by_rank else it.delay_seconds or 1.0
    )


def _guardrail(it: GuardrailSpec) -> GuardrailSpec:
    return it if "pii" in it.checks else attrs.evolve(it, redact_pii=False)


def _stats(it: StatsSpec) -> StatsSpec:
    return it if it.test in {None, "fisher"} else attrs.evolve(it, paired=it.test in {"paired_t", "wilcoxon"})


def _retry(it: RetrySpec) -> RetrySpec:
    return attrs.evolve(it, most_seconds=max(it.most_seconds, it.first_seconds))


def _rate(it: RateLimitSpec) -> RateLimitSpec:
    return it if it.unit == "tokens" else attrs.evolve(it, most=it.most + 1)


def _reliability(it: ReliabilitySpec) -> ReliabilitySpec:
    hedged = it.ensemble is not None and it.ensemble.execution_mode == "hedged"
    return attrs.evolve(it, hedging=it.hedging or HedgingSpec(percentile=90.0)) if hedged else it


def _experiment(it: Experiment) -> Experiment:
    training = it.training or SupervisedSpec()
    loop = isinstance(training, FeedbackLoopSpec)
    dataset = it.dataset or DatasetRef(name="d")
    measured = () if isinstance(training, FeedbackLoopSpec) else training.held_out_datasets.values()
    if any(other.has_the_rows_of(dataset) for other in measured):
        dataset = attrs.evolve(dataset, split=dataset.split + "2")
    return attrs.evolve(
        it,
        training=training,
        dataset=dataset,
        model=attrs.evolve(it.model, provider="huggingface"),
        outputs=tuple({output.name: output for output in it.outputs}.values()),
        baseline=f"{it.id}0",
        feedback=attrs.evolve(it.feedback, thresholds=None, curation=None) if loop and it.feedback else it.feedback,
    )


_REPAIRS: Mapping[type, Callable[[Any], Any]] = {
    ModelRef: _model,
    DatasetRef: _dataset,
    BackendRef: _backend,
    OutputSpec: _output,
    LoraSpec: _lora,
    SupervisedSpec: _training,
    PreferenceSpec: _training,
    ReinforcementSpec: _training,
    DistillationSpec: _training,
    AggregationSpec: _aggregation,
    AlgorithmSpec: _algorithm,
    DeploymentSpec: _deployment,
    FeedbackSpec: _feedback,
    FeedbackLoopSpec: _loop,
    EnsembleSpec: _ensemble,
    HedgingSpec: _hedging,
    GuardrailSpec: _guardrail,
    StatsSpec: _stats,
    RetrySpec: _retry,
    RateLimitSpec: _rate,
    ReliabilitySpec: _reliability,
    Experiment: _experiment,
}
