"""Learning-rate schedules: the step's number to its learning rate."""

import math
from typing import Literal, TypeAlias

import attrs

from crucible.fields import ABOVE_0, AT_LEAST_0, FRACTION, checked

ScheduleKind: TypeAlias = Literal["constant", "linear", "cosine", "exponential", "polynomial"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class Schedule:
    """A learning rate over `total_steps` steps.

    It rises linearly over `warmup_steps`, then follows `kind` down to `final_fraction` of the peak. With p from 0 to 1 for
    the way from the end of the warm-up to the last step, what is left of the way from peak to final rate is

    - constant: all of it, always;
    - linear: 1 - p;
    - cosine: (1 + cos(pi p)) / 2 (Loshchilov & Hutter 2016, arXiv 1608.03983, one half period);
    - polynomial: (1 - p)^power;

    and exponential is final_fraction^p of the peak: each step has the same share of the one before it, so its
    `final_fraction` is above 0.

    Raises: ValueError when a number is out of its range.
    """

    kind: ScheduleKind = "linear"
    peak: float = attrs.field(default=1e-4, metadata=AT_LEAST_0)
    warmup_steps: int = attrs.field(default=0, metadata=AT_LEAST_0)
    total_steps: int = attrs.field(default=1, metadata=AT_LEAST_0)
    final_fraction: float = attrs.field(default=0.0, metadata=FRACTION)
    power: float = attrs.field(default=2.0, metadata=ABOVE_0)

    def __attrs_post_init__(self) -> None:
        if self.kind == "exponential" and self.final_fraction == 0:
            raise ValueError("an exponential schedule never reaches 0: give it a final_fraction above 0, such as 0.01")


def learning_rate(schedule: Schedule, step: int) -> float:
    """Give the learning rate of step number `step`, the first being 0; never negative, also past the end.

    >>> schedule = Schedule(kind="linear", peak=1.0, warmup_steps=2, total_steps=6)
    >>> [learning_rate(schedule, step) for step in range(7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    >>> learning_rate(Schedule(kind="exponential", peak=1.0, total_steps=2, final_fraction=0.25), 1)
    0.5
    """
    if step < schedule.warmup_steps:
        return schedule.peak * (step + 1) / schedule.warmup_steps
    decay_steps = max(schedule.total_steps - schedule.warmup_steps, 1)
    progress = min((step - schedule.warmup_steps) / decay_steps, 1.0)
    if schedule.kind == "exponential":
        return float(schedule.peak * schedule.final_fraction**progress)
    floor = schedule.final_fraction
    return schedule.peak * (floor + (1 - floor) * _remaining(schedule, progress))


def _remaining(schedule: Schedule, progress: float) -> float:
    """Give the share of the way down that is left, from 1 at progress 0."""
    match schedule.kind:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        case "polynomial":
            return float((1.0 - progress) ** schedule.power)
        case _:
            return 1.0 - progress
