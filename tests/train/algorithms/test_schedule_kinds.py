"""The exponential and the polynomial schedule."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.schedules import Schedule, ScheduleKind, learning_rate

KINDS: tuple[ScheduleKind, ...] = ("linear", "cosine", "exponential", "polynomial")


@pytest.mark.parametrize("kind", KINDS)
@given(warmup=st.integers(0, 5), steps=st.integers(1, 40), floor=st.floats(0.01, 1))
def test_a_schedule_falls_from_the_peak_to_its_final_fraction(
    kind: ScheduleKind, warmup: int, steps: int, floor: float
) -> None:
    total = warmup + steps
    schedule = Schedule(kind=kind, peak=2.0, warmup_steps=warmup, total_steps=total, final_fraction=floor)
    rates = [learning_rate(schedule, step) for step in range(warmup, total + 3)]
    assert rates[0] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(2.0 * floor)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates))


def test_exponential_steps_have_the_same_share_of_the_one_before() -> None:
    schedule = Schedule(kind="exponential", peak=1.0, total_steps=10, final_fraction=0.01)
    rates = [learning_rate(schedule, step) for step in range(11)]
    shares = [b / a for a, b in itertools.pairwise(rates)]
    assert shares == pytest.approx([0.01**0.1] * 10)


def test_a_polynomial_of_power_1_is_linear() -> None:
    one, other = (Schedule(kind=kind, peak=1.0, total_steps=9, power=1.0) for kind in ("polynomial", "linear"))
    assert [learning_rate(one, s) for s in range(10)] == pytest.approx([learning_rate(other, s) for s in range(10)])


def test_an_exponential_schedule_to_0_is_refused() -> None:
    with pytest.raises(ValueError, match="never reaches 0"):
        Schedule(kind="exponential")
