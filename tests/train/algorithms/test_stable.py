"""Exponentials: equal to torch's, and finite everywhere."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.stable import (
    log_odds,
    log_odds_slope,
    log_sigmoid,
    log_sum_exp,
    policy_ratio,
    sigmoid,
)

numbers = st.floats(-700, 700)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers)
def test_sigmoids_are_those_of_torch(x: float) -> None:
    at = torch.tensor(x, dtype=torch.float64)
    assert sigmoid(x) == pytest.approx(torch.sigmoid(at).item(), rel=1e-12)
    assert log_sigmoid(x) == pytest.approx(torch.nn.functional.logsigmoid(at).item(), rel=1e-12, abs=1e-300)


@given(st.lists(numbers, min_size=1, max_size=5))
def test_log_sum_exp_is_that_of_torch(values: list[float]) -> None:
    expected = torch.logsumexp(torch.tensor(values, dtype=torch.float64), 0).item()
    assert log_sum_exp(values) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.floats(-50, -1e-6))
def test_log_odds_are_the_logit_of_the_probability(logprob: float) -> None:
    at = torch.tensor(logprob, dtype=torch.float64, requires_grad=True)
    expected = at - torch.log(-torch.expm1(at))
    expected.backward()
    assert at.grad is not None
    assert log_odds(logprob) == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)
    assert log_odds_slope(logprob) == pytest.approx(at.grad.item(), rel=1e-9)


@given(finite)
def test_everything_is_finite(x: float) -> None:
    assert all(map(math.isfinite, (sigmoid(x), log_sigmoid(x), *policy_ratio(x), log_sum_exp([x, x / 2]))))
    assert all(map(math.isfinite, (log_odds(-abs(x)), log_odds_slope(-abs(x)))))
