"""The contract of `Evaluator`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Do, Failure, Handlers, attempt, do, perform
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import AnsweredRow, EvaluationRequest, Evaluator
from crucible.testing._laws import obey, refused, require, require_close, require_equal
from crucible.train.errors import InvalidRequest, Unsupported

Law: TypeAlias = Do[KitchenError, Evaluator, None]


def check_evaluator(
    make: Callable[[], Handlers[Evaluator]],
    *,
    right: Sequence[AnsweredRow],
    wrong: Sequence[AnsweredRow],
    dataset: str = "contract",
) -> None:
    """Put the handlers that `make` gives through the contract of `Evaluator`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        right: rows answered rightly, at least one.
        wrong: rows answered wrongly, at least one.
        dataset: where they are from.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    mixed = EvaluationRequest(dataset=dataset, examples=(*right, *wrong), metrics=("accuracy",))
    laws = {
        "accuracy is the share of right answers, example by example": _judging(mixed, len(right)),
        "the order of the examples does not matter": _order(mixed),
        "nothing to judge and unknown metrics are errors, not zeros": _bad_requests(mixed),
        "a row that expects no answer is judged by itself or refused by its index": _without_answers(mixed, len(right)),
    }
    obey(make, laws)


@do
def _judging(request: EvaluationRequest, num_right: int) -> Law:
    report = yield from perform(Evaluator.evaluate, request)
    num_wrong = len(request.examples) - num_right
    require_equal(len(report.scores), len(request.examples), "the number of scores")
    require(all(0 <= score <= 1 for score in report.scores), f"a score of {report.scores} is not from 0 to 1")
    require_equal(report.scores[:num_right], (1.0,) * num_right, "the scores of right answers")
    require(all(score < 1 for score in report.scores[num_right:]), f"a wrong answer is among {report.scores}")
    require_equal(set(report.metrics), set(request.metrics), "the metrics")
    require(all(map(math.isfinite, report.metrics.values())), f"the metrics are {report.metrics}")
    share = num_right / (num_right + num_wrong)
    require_close(report.metrics["accuracy"], share, "the accuracy", tolerance=1e-9)


@do
def _order(request: EvaluationRequest) -> Law:
    report = yield from perform(Evaluator.evaluate, request)
    turned = yield from perform(Evaluator.evaluate, attrs.evolve(request, examples=request.examples[::-1]))
    require_equal(turned.scores, report.scores[::-1], "the scores of the examples turned round")
    for name, value in report.metrics.items():
        require_close(turned.metrics[name], value, f"{name} of the examples turned round", tolerance=1e-9)


@do
def _bad_requests(request: EvaluationRequest) -> Law:
    empty = perform(Evaluator.evaluate, attrs.evolve(request, examples=()))
    yield from refused("nothing to judge", empty, InvalidRequest)
    odd = perform(Evaluator.evaluate, attrs.evolve(request, metrics=("no-such-metric",)))
    yield from refused("a metric that nobody knows", odd, InvalidRequest, Unsupported)


@do
def _without_answers(request: EvaluationRequest, num_right: int) -> Law:
    *others, last = request.examples
    bare = attrs.evolve(request, examples=(*others, attrs.evolve(last, expected=None)))
    outcome = yield from attempt(perform(Evaluator.evaluate, bare))
    if isinstance(outcome, Failure):
        error = outcome.failure()
        index = error.index if isinstance(error, InvalidRequest) else None
        require_equal(index, len(request.examples) - 1, "the index in the error")
        return
    scores = outcome.unwrap().scores
    require_equal(scores[:num_right], (1.0,) * num_right, "the scores of right answers")
    require(scores[-1] < 1, "a wrong answer to a row without one to compare with is right")
