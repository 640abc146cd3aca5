"""An evaluation as a text to read: pure, so no port needs an operation for it."""

import html
import json
from typing import Literal, TypeAlias, assert_never

from crucible.effects import encode
from crucible.kitchen.ports.evaluator import EvaluationReport

ReportFormat: TypeAlias = Literal["markdown", "json", "html"]


def generate_report(report: EvaluationReport, *, format: ReportFormat = "markdown") -> str:  # noqa: A002  # its name
    """Write a report.

    >>> print(generate_report(EvaluationReport(metrics={"accuracy": 0.5}, scores=(1.0, 0.0))))
    # Evaluation
    <BLANKLINE>
    2 examples.
    <BLANKLINE>
    | metric | value |
    | --- | --- |
    | accuracy | 0.5000 |
    """
    rows = sorted(report.metrics.items())
    count = f"{len(report.scores)} example{'' if len(report.scores) == 1 else 's'}."
    match format:
        case "markdown":
            lines = [f"| {name.replace('|', '&#124;')} | {value:.4f} |" for name, value in rows]
            return "\n".join(["# Evaluation", "", count, "", "| metric | value |", "| --- | --- |", *lines])
        case "json":
            content = {"num_examples": len(report.scores), "metrics": dict(rows), "scores": list(report.scores)}
            return json.dumps(encode(content), allow_nan=False)
        case "html":
            cells = (f"<tr><td>{html.escape(name)}</td><td>{value:.4f}</td></tr>" for name, value in rows)
            table = "<table><tr><th>metric</th><th>value</th></tr>" + "".join(cells) + "</table>"
            return f"<h1>Evaluation</h1><p>{count}</p>{table}"
        case _:
            assert_never(format)
