"""`Evaluator` on nothing: it compares texts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from crucible.effects import Failure, Handlers, Result
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop._losses import nearest
from crucible.kitchen.ports import EvaluationReport, EvaluationRequest, Evaluator, expected_answers
from crucible.train.errors import InvalidRequest


def evaluator() -> Handlers[Evaluator]:
    """Handle evaluation by comparing texts: `accuracy` is the share of exact matches, `word_f1` the mean word overlap.

    White space around a text does not count. The score of an example is 1.0 for an exact match and 0.0 otherwise.
    """
    return Evaluator.handled_by(_Evaluator())


def exact_match(answer: str, expected: str) -> float:
    """Tell whether two texts are the same.

    >>> exact_match(" 42 ", "42"), exact_match("41", "42")
    (1.0, 0.0)
    """
    return float(answer.strip() == expected.strip())


def word_f1(answer: str, expected: str) -> float:
    """Give the harmonic mean of the shares of words in common (as in SQuAD, Rajpurkar et al. 2016).

    >>> word_f1("the cat", "a cat"), word_f1("", "")
    (0.5, 1.0)
    """
    found, wanted = Counter(answer.lower().split()), Counter(expected.lower().split())
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


_METRICS: Mapping[str, Callable[[str, str], float]] = MappingProxyType({"accuracy": exact_match, "word_f1": word_f1})


class _Evaluator(Evaluator):
    """An `Evaluator` that holds no state."""

    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        if not request.examples:
            return Failure(InvalidRequest(message="there is nothing to judge", fix="give at least one example"))
        for name in request.metrics:
            if name not in _METRICS:
                return Failure(InvalidRequest(message=f"unknown metric {name!r}", fix=nearest(name, _METRICS)))
        return expected_answers(request.examples).map(lambda expected: _report(request, expected))


def _report(request: EvaluationRequest, expected: Sequence[str]) -> EvaluationReport:
    pairs = [(example.answer, wanted) for example, wanted in zip(request.examples, expected, strict=True)]
    means = {name: sum(_METRICS[name](*pair) for pair in pairs) / len(pairs) for name in request.metrics}
    return EvaluationReport(metrics=means, scores=tuple(exact_match(*pair) for pair in pairs))
