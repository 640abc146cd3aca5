"""Estimates of the KL: their means, their derivatives, and what they do to advantages."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.aggregation import Aggregation, aggregated
from crucible.train.algorithms.kl import KlEstimator, kl_estimate, kl_penalised, reverse_kl_advantages
from crucible.train.algorithms.policy_metrics import policy_metrics
from crucible.train.types import PolicyDatum
from tests.train.algorithms.autograd import Rows, rows_like
from tests.train.algorithms.policies import SHAPE, policy_data, policy_datum

logprobs = st.floats(-30, 0)
ESTIMATORS: tuple[KlEstimator, ...] = ("k1", "k2", "k3")


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(logprob=logprobs, other=logprobs)
def test_estimates_and_slopes_are_those_of_torch(estimator: KlEstimator, logprob: float, other: float) -> None:
    at = torch.tensor(logprob, dtype=torch.float64, requires_grad=True)
    gap = other - at
    held = gap.clamp(max=20)
    expected = {"k1": -gap, "k2": gap**2 / 2, "k3": torch.expm1(held) - held}[estimator]
    expected.backward()
    found = kl_estimate(logprob, other, estimator)
    assert at.grad is not None
    assert found.value == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    assert found.slope == pytest.approx(at.grad.item(), rel=1e-9, abs=1e-12)


@given(st.floats(-1e100, 0), st.floats(-1e100, 0))
def test_k2_and_k3_are_never_negative_and_none_is_ever_infinite(logprob: float, other: float) -> None:
    assert kl_estimate(logprob, other, "k2").value >= 0
    assert kl_estimate(logprob, other, "k3").value >= 0
    assert all(math.isfinite(part) for name in ESTIMATORS for part in kl_estimate(logprob, other, name))


@given(logprobs)
def test_a_policy_is_not_far_from_itself(logprob: float) -> None:
    assert [kl_estimate(logprob, logprob, name).value for name in ESTIMATORS] == [0, 0, 0]


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_k1_and_k3_have_the_kl_as_mean(policy: list[float], other: list[float]) -> None:
    p, q = (torch.log_softmax(torch.tensor(x, dtype=torch.float64), 0) for x in (policy, other))
    exact = (p.exp() * (p - q)).sum().item()
    for name in ("k1", "k3"):
        pairs = zip(p.tolist(), q.tolist(), strict=True)
        mean = sum(math.exp(a) * kl_estimate(a, b, name).value for a, b in pairs)
        assert mean == pytest.approx(exact, abs=1e-9)


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_as_losses_k2_follows_the_kl_and_k3_the_opposite_one(policy: list[float], other: list[float]) -> None:
    logits = torch.tensor(policy, dtype=torch.float64, requires_grad=True)
    q = torch.log_softmax(torch.tensor(other, dtype=torch.float64), 0)
    p = torch.log_softmax(logits, 0)

    def mean_gradient(name: KlEstimator) -> torch.Tensor:
        slopes = torch.tensor([kl_estimate(a, b, name).slope for a, b in zip(p.tolist(), q.tolist(), strict=True)])
        surrogate = (p.detach().exp() * slopes.double() * p).sum()
        return torch.autograd.grad(surrogate, logits, retain_graph=True)[0]

    forward = torch.autograd.grad((p.exp() * (p - q)).sum(), logits, retain_graph=True)[0]
    backward = torch.autograd.grad((q.exp() * (q - p)).sum(), logits, retain_graph=True)[0]
    torch.testing.assert_close(mean_gradient("k1"), torch.zeros_like(logits), atol=1e-6, rtol=0)
    torch.testing.assert_close(mean_gradient("k2"), forward, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(mean_gradient("k3"), backward, atol=1e-6, rtol=1e-5)


others = rows_like(SHAPE, st.floats(-4, 0))


@given(policy_data(), others, st.floats(0, 2))
def test_the_kl_penalty_moves_advantages_and_not_their_sum(
    data: tuple[PolicyDatum, ...], base: Rows, coef: float
) -> None:
    found = kl_penalised(data, base, coef=coef)
    gaps = [q - p for d, row in zip(data, base, strict=True)
            for q, p, m in zip(d.logprobs, row, d.mask_N, strict=True) if m]  # fmt: skip
    assert found.kl == pytest.approx(sum(gaps) / len(gaps), abs=1e-12)
    before, after = (sum(sum(datum.advantages) for datum in made) for made in (data, found.data))
    assert after == pytest.approx(before, abs=1e-9)
    for old, new, row in zip(data, found.data, base, strict=True):
        for a, b, q, p, m in zip(old.advantages, new.advantages, old.logprobs, row, old.mask_N, strict=True):
            assert b == pytest.approx(a + coef * (found.kl - (q - p)) if m else a, abs=1e-9)
        assert (new.mask_N, new.logprobs) == (old.mask_N, old.logprobs)


@given(policy_data(), others, st.floats(0, 2), st.sampled_from([0.0, 0.5]))
def test_a_penalty_on_aggregated_advantages_is_aggregated_too(
    data: tuple[PolicyDatum, ...], base: Rows, coef: float, discount: float
) -> None:
    for kind in ("token_sum", "token_mean", "sequence_mean", "fixed_length"):
        aggregation = Aggregation(kind=kind, max_tokens=7)
        first = aggregated(kl_penalised(data, base, coef=coef, discount=discount).data, aggregation)
        last = kl_penalised(aggregated(data, aggregation), base, coef=coef, discount=discount, aggregation=aggregation)
        for one, other in zip(first, last.data, strict=True):
            assert one.advantages == pytest.approx(other.advantages, abs=1e-12)


@given(policy_data(), others, st.floats(0, 2))
def test_on_policy_distillation_rewards_what_the_teacher_would_say(
    data: tuple[PolicyDatum, ...], teacher: Rows, coef: float
) -> None:
    blank = [datum.with_advantages((0.0,) * len(datum.mask_N)) for datum in data]
    found = reverse_kl_advantages(blank, teacher, coef=coef)
    for new, row in zip(found.data, teacher, strict=True):
        expected = [-coef * (s - t) * m for s, t, m in zip(new.logprobs, row, new.mask_N, strict=True)]
        assert new.advantages == pytest.approx(expected, abs=1e-12)


def test_a_discount_makes_a_token_answer_for_the_sampled_ones_after_it() -> None:
    datum = policy_datum([-1, -1, -1, -1], [0, 0, 0, 0], [1, 0, 1, 1])
    found = reverse_kl_advantages([datum], [(-1.0, -9.0, -2.0, -3.0)], discount=0.5)
    assert found.data[0].advantages == (0 + 0.5 * (-1 + 0.5 * -2), 0.0, -1 + 0.5 * -2, -2.0)
    assert found.kl == pytest.approx(1.0)


@given(policy_data(), others)
def test_metrics_compare_sampler_and_trainer_over_sampled_tokens(data: tuple[PolicyDatum, ...], trained: Rows) -> None:
    pairs = [(s, t) for d, row in zip(data, trained, strict=True)
             for s, t, m in zip(d.logprobs, row, d.mask_N, strict=True) if m]  # fmt: skip
    s, t = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    found = policy_metrics(data, trained)
    assert found["logprob_gap_sample_train"] == pytest.approx((s - t).abs().mean().item(), abs=1e-9)
    assert found["kl_sample_train_v1"] == pytest.approx((s - t).mean().item(), abs=1e-9)
    assert found["kl_sample_train_v2"] == pytest.approx(((s - t) ** 2).mean().item() / 2, abs=1e-9)
    assert found["entropy"] == pytest.approx(-s.mean().item(), abs=1e-9)
    assert found["kl_sample_train_v3"] >= 0


def test_no_sampled_token_has_no_metrics() -> None:
    assert policy_metrics([], []) == {}
