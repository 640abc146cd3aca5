"""Learning-rate schedules: their shape, and where they agree with those of transformers."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.schedules import Schedule, ScheduleKind, learning_rate

KINDS: tuple[ScheduleKind, ...] = ("constant", "linear", "cosine")

schedules = st.builds(
    Schedule,
    kind=st.sampled_from(KINDS),
    peak=st.floats(0, 1),
    warmup_steps=st.integers(0, 20),
    total_steps=st.integers(0, 60),
    final_fraction=st.floats(0, 1),
)
longer = schedules.filter(lambda schedule: schedule.total_steps > schedule.warmup_steps)


@given(schedules, st.integers(0, 200))
def test_a_rate_is_never_negative_nor_above_the_peak(schedule: Schedule, step: int) -> None:
    assert 0 <= learning_rate(schedule, step) <= schedule.peak * (1 + 1e-12)


@given(schedules)
def test_it_rises_in_the_warm_up_to_the_peak(schedule: Schedule) -> None:
    rates = [learning_rate(schedule, step) for step in range(schedule.warmup_steps)]
    assert rates == sorted(rates)
    if rates:
        assert rates[0] == pytest.approx(schedule.peak / schedule.warmup_steps)
        assert rates[-1] == pytest.approx(schedule.peak)
    assert learning_rate(schedule, schedule.warmup_steps) == pytest.approx(schedule.peak)


@given(schedules)
def test_it_never_rises_after_the_warm_up(schedule: Schedule) -> None:
    rates = [learning_rate(schedule, step) for step in range(schedule.warmup_steps, 100)]
    assert rates == sorted(rates, reverse=True)


@given(longer, st.integers(0, 100))
def test_it_ends_at_the_final_fraction_and_stays_there(schedule: Schedule, further: int) -> None:
    share = 1.0 if schedule.kind == "constant" else schedule.final_fraction
    assert learning_rate(schedule, schedule.total_steps + further) == pytest.approx(schedule.peak * share)


@given(longer)
def test_the_first_step_moves(schedule: Schedule) -> None:
    assert learning_rate(schedule, 0) > 0 or schedule.peak * (1 / max(schedule.warmup_steps, 1)) == 0


@pytest.mark.parametrize("kind", KINDS)
@given(warmup=st.integers(0, 10), decay=st.integers(1, 30))
def test_it_agrees_with_transformers(kind: ScheduleKind, warmup: int, decay: int) -> None:
    """After the warm-up step for step; in the warm-up ours is one step ahead, since theirs wastes a step at rate 0."""
    total = warmup + decay
    theirs = transformers_rates(kind, warmup, total)
    ours = Schedule(kind=kind, peak=0.5, warmup_steps=warmup, total_steps=total)
    for step in range(total + 1):
        at = step + 1 if step < warmup else step
        assert learning_rate(ours, step) == pytest.approx(theirs[at], abs=1e-15)


def transformers_rates(kind: ScheduleKind, warmup: int, total: int) -> list[float]:
    import torch
    from transformers import (
        get_constant_schedule_with_warmup,
        get_cosine_schedule_with_warmup,
        get_linear_schedule_with_warmup,
    )

    make: Any = {
        "constant": lambda optimizer: get_constant_schedule_with_warmup(optimizer, warmup),
        "linear": lambda optimizer: get_linear_schedule_with_warmup(optimizer, warmup, total),
        "cosine": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, warmup, total),
    }[kind]
    scheduler = make(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5))
    return [0.5 * scheduler.lr_lambdas[0](step) for step in range(total + 2)]


@pytest.mark.parametrize(
    "wrong", [{"kind": "square"}, {"peak": -1.0}, {"warmup_steps": -1}, {"total_steps": -1}, {"final_fraction": 1.1}]
)
def test_what_is_no_schedule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        attrs.evolve(Schedule(), **wrong)
