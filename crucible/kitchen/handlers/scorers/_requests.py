"""What every evaluator of scores refuses."""

from collections.abc import Collection

from crucible.kitchen.ports import EvaluationRequest
from crucible.train.errors import InvalidRequest


def request_problem(request: EvaluationRequest, metrics: Collection[str]) -> InvalidRequest | None:
    """Say why a request cannot be answered by these metrics; None when it can."""
    unknown = [name for name in request.metrics if name not in metrics]
    if unknown:
        fix = f"the metrics are {', '.join(sorted(metrics))}"
        return InvalidRequest(message=f"there is no metric {unknown[0]!r}", fix=fix)
    if not request.examples:
        return InvalidRequest(message="there is nothing to judge", fix="give at least one example")
    return None
