"""Learning-rate schedules: the step's number to its learning rate."""

import math
from typing import Literal, TypeAlias

import attrs

ScheduleKind: TypeAlias = Literal["constant", "linear", "cosine"]


@attrs.frozen(kw_only=True)
class Schedule:
    """A learning rate over `total_steps` steps.

    It rises linearly over `warmup_steps`, then follows `kind` down to `final_fraction` of the peak: `linear`, `cosine`
    (Loshchilov & Hutter 2016, arXiv 1608.03983, one half period), or `constant`, which stays at the peak.
    """

    kind: ScheduleKind = attrs.field(default="linear", validator=attrs.validators.in_(("constant", "linear", "cosine")))
    peak: float = attrs.field(default=1e-4, validator=attrs.validators.ge(0))
    warmup_steps: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    total_steps: int = attrs.field(default=1, validator=attrs.validators.ge(0))
    final_fraction: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])


def learning_rate(schedule: Schedule, step: int) -> float:
    """Give the learning rate of step number `step`, the first being 0; never negative, also past the end.

    >>> schedule = Schedule(kind="linear", peak=1.0, warmup_steps=2, total_steps=6)
    >>> [learning_rate(schedule, step) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if step < schedule.warmup_steps:
        return schedule.peak * (step + 1) / schedule.warmup_steps
    decay_steps = max(schedule.total_steps - schedule.warmup_steps, 1)
    progress = min((step - schedule.warmup_steps) / decay_steps, 1.0)
    return schedule.peak * (
        schedule.final_fraction + (1 - schedule.final_fraction) * _remaining(schedule.kind, progress)
    )


def _remaining(kind: ScheduleKind, progress: float) -> float:
    """Give the share of the peak that is left, from 1 at progress 0."""
    if kind == "constant":
        return 1.0
    return 1.0 - progress if kind == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
