"""What is looked at while an experiment runs: texts by guardrails, answers by whether groups are treated alike."""

from collections.abc import Collection, Iterator
from typing import Literal, Never

import attrs

from crucible.effects import Call, Handlers, Port, Proceed, Result, Success, show_path
from crucible.ir import Experiment, FairnessSpec, FeedbackLoopSpec, GuardrailSpec, Problem
from crucible.kitchen.compiling.supplies import missing_extra
from crucible.kitchen.handlers.guardrails import (
    Check,
    GuardrailTripped,
    Strictness,
    guarded,
    jailbreaks,
    personal_data,
    prompt_injection,
)
from crucible.kitchen.ports import Completer, EvaluationReport, EvaluationRequest, Evaluator
from crucible.train.ports import LLMClient

_STRICTNESS: dict[str, Strictness] = {
    "default": "moderate",
    "moderate": "moderate",
    "permissive": "permissive",
    "strict": "strict",
}


def observing_problems(experiment: Experiment, needed: Collection[type[Port]]) -> Iterator[Problem]:
    """Name what is to be looked at and cannot be in a workflow that needs these ports."""
    guardrail, fairness = experiment.reliability.guardrail, experiment.reliability.fairness
    if guardrail is not None and not {LLMClient, Completer} & set(needed):
        message = "no stage of this pipeline talks to a chat model"
        yield Problem(path="reliability.guardrail", message=message, fix="leave it out")
    if guardrail is not None and "content" in guardrail.checks:
        message = "nothing here judges contents"
        yield Problem(path="reliability.guardrail.checks", message=message, fix="leave content out")
    if fairness is None:
        return
    training = experiment.training
    measured = training.retraining if isinstance(training, FeedbackLoopSpec) else training
    if measured is None or measured.evaluation is None or Evaluator not in needed:
        message = "no answers are judged, so groups cannot be compared"
        yield Problem(path="reliability.fairness", message=message, fix="give training.evaluation, or leave it out")
    if set(fairness.metrics) - {"demographic_parity"}:
        message = "answers are right or wrong, and no decisions about people: only their rates can be compared"
        yield Problem(path="reliability.fairness.metrics", message=message, fix="keep demographic_parity alone")
    missing = missing_extra("analysis", "scipy", "numpy", "datasketches", path="reliability.fairness")
    if missing is not None:
        yield missing


def checks_of(spec: GuardrailSpec) -> tuple[Check, ...]:
    """Make the checks that are asked for.

    >>> [check.name for check in checks_of(GuardrailSpec(checks=("jailbreak",)))]
    ['jailbreak']
    """
    does: Literal["refuse", "tell"] = "refuse" if spec.fail_on_detection else "tell"
    strictness = _STRICTNESS[spec.profile]
    made: tuple[Check, ...] = ()
    if "prompt_injection" in spec.checks:
        made += prompt_injection(does, strictness=strictness)
    if "jailbreak" in spec.checks:
        made += jailbreaks(does, strictness=strictness)
    if "pii" in spec.checks:
        made += personal_data("redact" if spec.redact_pii else does)
    return made


@attrs.define(kw_only=True)
class Observed:
    """What was seen in one run.

    Args:
        tripped: what guardrails found, without the texts.
        judged: of the newest evaluation, the group of each row that names one, and whether its answer was right.
    """

    tripped: list[GuardrailTripped] = attrs.field(factory=list)
    judged: list[tuple[str, bool]] = attrs.field(factory=list)

    def watching(self, handlers: Handlers[Never], experiment: Experiment) -> Handlers[Never]:
        """Look at the calls to these handlers as the experiment asks."""
        guardrail, fairness = experiment.reliability.guardrail, experiment.reliability.fairness
        if guardrail is not None:
            handlers = guarded(handlers, checks_of(guardrail), into=self.tripped.append)
        return handlers if fairness is None else handlers.wrap(_Judging(self, fairness.group_by))

    @property
    def findings(self) -> tuple[str, ...]:
        """What guardrails found, as texts."""
        return tuple(
            f"guardrails, in {each.where} of {each.call}: "
            + ", ".join(f"{name} ({count})" for name, count in each.counts.items())
            for each in self.tripped
        )

    def unfairness(self, spec: FairnessSpec) -> str:
        """Say how groups differ by more than they may; nothing where they do not."""
        from crucible.telemetry.analysis.fairness import Decision, fairness_of  # noqa: PLC0415  # it needs an extra

        if len({group for group, _ in self.judged}) < 2:
            return f"no two groups of {spec.group_by!r} were judged"
        decisions = [Decision(group=group, label=True, prediction=right) for group, right in self.judged]
        verdict = fairness_of(decisions).verdict(spec.metrics, most_difference=spec.threshold)
        return "" if verdict.is_fair else str(verdict)


@attrs.frozen
class _Judging:
    """A layer that notes what evaluations gave."""

    observed: Observed
    group_by: str

    async def __call__(self, call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        if call.operation is Evaluator.evaluate and "evaluate" in show_path(call.path) and isinstance(result, Success):
            request, report = call.by_name["request"], result.unwrap()
            assert isinstance(request, EvaluationRequest)
            assert isinstance(report, EvaluationReport)
            self.observed.judged[:] = [
                (str(example.row[self.group_by]), score == 1.0)
                for example, score in zip(request.examples, report.scores, strict=True)
                if self.group_by in example.row
            ]
        return result
