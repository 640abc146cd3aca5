"""What runs did, in numbers: summaries, comparisons with the right test, drift, durations. Needs the extra `analysis`."""

from crucible.telemetry.analysis.comparison import Comparison, Correction, Test, compare, corrected
from crucible.telemetry.analysis.drift import Drift, drift
from crucible.telemetry.analysis.fairness import (
    FAIRNESS_METRICS,
    Decision,
    Fairness,
    FairnessMetric,
    Gap,
    GroupRates,
    Rate,
    Verdict,
    fairness_of,
)
from crucible.telemetry.analysis.spans import Reliability, Span, latency, reliability, spans_of, token_cost
from crucible.telemetry.analysis.streaming import RunningStatistics
from crucible.telemetry.analysis.summary import Summary, summarize, summarize_series
from crucible.telemetry.analysis.windows import (
    EventWindow,
    Window,
    windows_by_step,
    windows_by_time,
    windows_of_events,
    within,
)

__all__ = [
    "FAIRNESS_METRICS",
    "Comparison",
    "Correction",
    "Decision",
    "Drift",
    "EventWindow",
    "Fairness",
    "FairnessMetric",
    "Gap",
    "GroupRates",
    "Rate",
    "Reliability",
    "RunningStatistics",
    "Span",
    "Summary",
    "Test",
    "Verdict",
    "Window",
    "compare",
    "corrected",
    "drift",
    "fairness_of",
    "latency",
    "reliability",
    "spans_of",
    "summarize",
    "summarize_series",
    "token_cost",
    "windows_by_step",
    "windows_by_time",
    "windows_of_events",
    "within",
]
