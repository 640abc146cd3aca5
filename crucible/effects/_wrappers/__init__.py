"""Handlers on top of handlers: each takes `Handlers[R]` and gives `Handlers[R]`; the workflow never knows."""

from crucible.effects._wrappers._budget import Budget, OverBudget, spend
from crucible.effects._wrappers._cache import CacheStore, cache
from crucible.effects._wrappers._circuit import circuit_breaker
from crucible.effects._wrappers._costs import Cost, each_call, working_seconds
from crucible.effects._wrappers._deadline import deadline
from crucible.effects._wrappers._faults import Fault, InjectedCrash, crashing, delayed, failing, hanging, inject
from crucible.effects._wrappers._hedging import Hedging, SlowerThan, hedge
from crucible.effects._wrappers._lockstep import IDENTIFIERS, Difference, Disagreed, lockstep
from crucible.effects._wrappers._rate import Rate, rate_limit
from crucible.effects._wrappers._recording import InDoubt, record, resume
from crucible.effects._wrappers._redaction import redact, reveal
from crucible.effects._wrappers._replaying import Diverged, NotRecorded, replay, unrecorded
from crucible.effects._wrappers._retry import backoff, retry
from crucible.effects._wrappers._trace import TracedCall, trace

__all__ = [
    "IDENTIFIERS",
    "Budget",
    "CacheStore",
    "Cost",
    "Difference",
    "Disagreed",
    "Diverged",
    "Fault",
    "Hedging",
    "InDoubt",
    "InjectedCrash",
    "NotRecorded",
    "OverBudget",
    "Rate",
    "SlowerThan",
    "TracedCall",
    "backoff",
    "cache",
    "circuit_breaker",
    "crashing",
    "deadline",
    "delayed",
    "each_call",
    "failing",
    "hanging",
    "hedge",
    "inject",
    "lockstep",
    "rate_limit",
    "record",
    "redact",
    "replay",
    "resume",
    "retry",
    "reveal",
    "spend",
    "trace",
    "unrecorded",
    "working_seconds",
]
