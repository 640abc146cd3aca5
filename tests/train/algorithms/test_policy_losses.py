"""Policy losses: their formulas in torch, the backends' own losses, and their laws."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crucible.effects import decode, encode
from crucible.engine.losses import LOSSES
from crucible.train.algorithms.aggregation import Aggregation, AggregationKind, aggregated, token_weights
from crucible.train.algorithms.kl import KlEstimator
from crucible.train.algorithms.policy_gradient import BuiltInLoss, cispo_clip, importance_sampling, ppo_clip
from crucible.train.algorithms.policy_losses import ClippedSurrogate, Gspo, SampledTokens, sampled_tokens
from crucible.train.types import PolicyDatum
from tests.train.algorithms.autograd import Rows, assert_differentiates, extreme, rows_like, sane, tensors
from tests.train.algorithms.policies import MASKS, SHAPE, policy_data, policy_datum

at = rows_like(SHAPE, sane)
KINDS: tuple[AggregationKind, ...] = ("token_sum", "token_mean", "sequence_mean", "fixed_length")
aggregations = st.sampled_from(KINDS).map(lambda kind: Aggregation(kind=kind, max_tokens=7))
clips = st.floats(0, 0.9)

Each = list[tuple[Tensor, ...]]


def weighted(losses: list[Tensor], tokens: SampledTokens) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(losses, tensors(tokens.weights_NT), strict=True)]).sum()


def columns(rows: list[Tensor], tokens: SampledTokens) -> Each:
    return list(zip(rows, tensors(tokens.old_logprobs_NT), tensors(tokens.advantages_NT), strict=True))


@given(policy_data(), at, aggregations, clips, clips)
def test_ppo(data: tuple[PolicyDatum, ...], at: Rows, aggregation: Aggregation, low: float, high: float) -> None:
    tokens = sampled_tokens(data, aggregation)

    def formula(rows: list[Tensor]) -> Tensor:
        losses = []
        for row, old, advantage in columns(rows, tokens):
            ratio = (row - old).exp()
            losses.append(-torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage))
        return weighted(losses, tokens)

    assert_differentiates(ClippedSurrogate(tokens=tokens, clip_low=low, clip_high=high), formula, at)


@given(policy_data(), at, rows_like(SHAPE, sane), st.sampled_from(["k1", "k2", "k3"]), st.floats(0.01, 2))
def test_grpo_with_its_kl_term(
    data: tuple[PolicyDatum, ...], at: Rows, reference: Rows, estimator: KlEstimator, coef: float
) -> None:
    tokens = sampled_tokens(data, Aggregation(kind="sequence_mean"))

    def formula(rows: list[Tensor]) -> Tensor:
        losses = []
        for (row, old, advantage), base in zip(columns(rows, tokens), tensors(reference), strict=True):
            ratio, gap = (row - old).exp(), base - row
            kl = {"k1": -gap, "k2": gap**2 / 2, "k3": gap.exp() - 1 - gap}[estimator]
            losses.append(-torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) + coef * kl)
        return weighted(losses, tokens)

    loss = ClippedSurrogate(tokens=tokens, kl_coef=coef, kl_estimator=estimator, reference_NT=reference)
    assert_differentiates(loss, formula, at)
    assert "kl" in loss(at).metrics


@given(policy_data(), at, st.floats(1.1, 5))
def test_dual_clip(data: tuple[PolicyDatum, ...], at: Rows, bound: float) -> None:
    tokens = sampled_tokens(data)

    def formula(rows: list[Tensor]) -> Tensor:
        losses = []
        for row, old, advantage in columns(rows, tokens):
            ratio = (row - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            losses.append(-torch.where(advantage < 0, torch.maximum(gain, bound * advantage), gain))
        return weighted(losses, tokens)

    assert_differentiates(ClippedSurrogate(tokens=tokens, dual_clip=bound), formula, at)


def by_datum(data: tuple[PolicyDatum, ...]) -> tuple[PolicyDatum, ...]:
    """Let the advantage be the same for all tokens of a datum, and each datum be a trajectory."""
    return tuple(
        policy_datum(datum.logprobs, [max(datum.advantages) - 0.5] * len(mask), mask, trajectory=index)
        for index, (datum, mask) in enumerate(zip(data, MASKS, strict=True))
    )


@given(policy_data().map(by_datum), at, clips, clips)
def test_gspo(data: tuple[PolicyDatum, ...], at: Rows, low: float, high: float) -> None:
    tokens = sampled_tokens(data, Aggregation(kind="sequence_mean"))

    def formula(rows: list[Tensor]) -> Tensor:
        losses = []
        for (row, old, advantage), mask in zip(columns(rows, tokens), tensors(MASKS), strict=True):
            ratio = (((row - old) * mask).sum() / mask.sum()).exp()
            one = advantage[-1]
            losses.append(-torch.minimum(ratio * one, ratio.clamp(1 - low, 1 + high) * one))
        return torch.stack(losses).mean()

    assert_differentiates(Gspo(tokens=tokens, clip_low=low, clip_high=high), formula, at)


@given(policy_data(), at)
def test_gspo_with_an_advantage_for_each_token(data: tuple[PolicyDatum, ...], at: Rows) -> None:
    tokens = sampled_tokens(data, Aggregation(kind="sequence_mean"))

    def formula(rows: list[Tensor]) -> Tensor:
        losses = []
        for (row, old, advantage), mask in zip(columns(rows, tokens), tensors(MASKS), strict=True):
            whole = (((row - old) * mask).sum() / mask.sum()).exp()
            ratio = whole.detach() * (row - row.detach()).exp()
            losses.append(-torch.minimum(ratio * advantage, ratio.clamp(0.7, 1.3) * advantage))
        return weighted(losses, tokens)

    found, expected = Gspo(tokens=tokens, clip_low=0.3, clip_high=0.3), formula
    assert_differentiates(found, expected, at)


# What backends compute themselves


def built_in(loss: BuiltInLoss, data: tuple[PolicyDatum, ...], rows: list[Tensor]) -> Tensor:
    """Compute a loss as the torch engine does: a sum over tokens."""
    known = LOSSES[loss.loss_fn]
    config = known.configured(loss.loss_fn_config)
    total = torch.zeros((), dtype=torch.float64)
    for datum, row in zip(data, rows, strict=True):
        inputs = {"logprobs": tensors([datum.logprobs])[0], "advantages": tensors([datum.advantages])[0]}
        total = total + (known.token_loss(row, inputs, config) * tensors([datum.mask_N])[0]).sum()
    return total


@given(policy_data(), at, aggregations, clips, clips)
def test_aggregated_advantages_make_the_built_in_ppo_the_custom_one(
    data: tuple[PolicyDatum, ...], at: Rows, aggregation: Aggregation, low: float, high: float
) -> None:
    scaled = aggregated(data, aggregation)
    custom = ClippedSurrogate(tokens=sampled_tokens(data, aggregation), clip_low=low, clip_high=high)
    assert_differentiates(custom, lambda rows: built_in(ppo_clip(clip_low=low, clip_high=high), scaled, rows), at)


@pytest.mark.parametrize("loss", [importance_sampling(), ppo_clip(), cispo_clip()], ids=lambda loss: loss.loss_fn)
@given(data=policy_data(), at=at, aggregation=aggregations)
def test_aggregating_advantages_aggregates_the_loss(
    loss: BuiltInLoss, data: tuple[PolicyDatum, ...], at: Rows, aggregation: Aggregation
) -> None:
    rows = tensors(at)
    each = [
        built_in(loss, (policy_datum(d.logprobs, d.advantages, [m if i == j else 0 for j, m in enumerate(d.mask_N)]),),
                 [row]) * weights[i]
        for d, row, weights in zip(data, rows, token_weights(data, aggregation), strict=True)
        for i in range(len(d.mask_N))
    ]  # fmt: skip
    assert built_in(loss, aggregated(data, aggregation), rows).item() == pytest.approx(sum(each).item(), abs=1e-9)  # type: ignore[union-attr]  # not empty


@given(policy_data(), st.floats(0.01, 1))
def test_at_the_policy_that_sampled_all_clips_and_ratios_are_the_policy_gradient(
    data: tuple[PolicyDatum, ...], clip: float
) -> None:
    tokens = sampled_tokens(data, Aggregation(kind="token_sum"))
    here = tokens.old_logprobs_NT
    found = ClippedSurrogate(tokens=tokens, clip_low=clip, clip_high=clip)(here).gradients
    assert found == tuple(tuple(-advantage for advantage in row) for row in tokens.advantages_NT)


# Laws


@given(policy_data(), at, clips, clips)
def test_a_clipped_token_gains_no_more_than_the_clip_allows(
    data: tuple[PolicyDatum, ...], at: Rows, low: float, high: float
) -> None:
    tokens = sampled_tokens(data, Aggregation(kind="token_sum"))
    output = ClippedSurrogate(tokens=tokens, clip_low=low, clip_high=high)(at)
    most = sum(max(a, 0.0) * (1 + high) + min(a, 0.0) * (1 - low) for row in tokens.advantages_NT for a in row)
    assert -output.loss <= most + 1e-9


@given(policy_data(), aggregations)
def test_weights_sum_to_what_they_say(data: tuple[PolicyDatum, ...], aggregation: Aggregation) -> None:
    total = sum(map(sum, token_weights(data, aggregation)))
    expected = {"token_sum": 5.0, "token_mean": 1.0, "sequence_mean": 1.0, "fixed_length": 5 / (2 * 7)}
    assert total == pytest.approx(expected[aggregation.kind])


def test_a_trajectory_in_two_data_counts_as_one() -> None:
    data = [policy_datum([0], [1], [1]), policy_datum([0, 0], [1, 1], [1, 1], trajectory=1),
            policy_datum([0], [1], [1], trajectory=1)]  # fmt: skip
    weights = token_weights(data, Aggregation(kind="sequence_mean"))
    assert [round(weight, 9) for row in weights for weight in row] == [0.5, *([round(1 / 6, 9)] * 3)]


@given(policy_data(), rows_like(SHAPE, extreme), rows_like(SHAPE, extreme))
def test_losses_are_finite_at_any_log_probabilities(data: tuple[PolicyDatum, ...], at: Rows, reference: Rows) -> None:
    tokens = sampled_tokens(data)
    for loss in (
        ClippedSurrogate(tokens=tokens, kl_coef=0.1, reference_NT=reference, dual_clip=3.0),
        Gspo(tokens=tokens),
    ):
        output = loss(at)
        numbers = [output.loss, *output.metrics.values(), *(slope for row in output.gradients for slope in row)]
        assert all(map(math.isfinite, numbers))
        assert decode(encode(loss)) == loss


far = st.one_of(st.floats(-60, 0), st.sampled_from([-1e4, -20.0, -19.999, -100.0]))


@given(policy_data(), rows_like(SHAPE, far), rows_like(SHAPE, far), st.floats(1.1, 5))
def test_ratios_are_held_at_20_in_the_surrogate_and_its_kl(
    data: tuple[PolicyDatum, ...], at: Rows, reference: Rows, bound: float
) -> None:
    tokens = sampled_tokens(data)

    def formula(rows: list[Tensor]) -> Tensor:
        losses = []
        for (row, old, advantage), base in zip(columns(rows, tokens), tensors(reference), strict=True):
            ratio, gap = (row - old).clamp(max=20).exp(), (base - row).clamp(max=20)
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            gain = torch.where(advantage < 0, torch.maximum(gain, bound * advantage), gain)
            losses.append(0.1 * (gap.expm1() - gap) - gain)
        return weighted(losses, tokens)

    loss = ClippedSurrogate(tokens=tokens, kl_coef=0.1, reference_NT=reference, dual_clip=bound)
    assert_differentiates(loss, formula, at)


def test_what_was_not_sampled_does_not_count() -> None:
    tokens = sampled_tokens([policy_datum([-1, -1], [1, 1], [0, 1])])
    for loss in (ClippedSurrogate(tokens=tokens), Gspo(tokens=tokens)):
        output = loss([(-123.0, -1.0)])
        assert output.gradients[0][0] == 0
        assert output.loss == pytest.approx(-1)
        assert output.metrics["ratio_max"] == pytest.approx(1)


def test_a_datum_without_sampled_tokens_adds_nothing() -> None:
    tokens = sampled_tokens([policy_datum([0], [0], [0])])
    assert Gspo(tokens=tokens)([(-1.0,)]).loss == ClippedSurrogate(tokens=tokens)([(-1.0,)]).loss == 0


def test_losses_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        SampledTokens(old_logprobs_NT=((0.0,),), advantages_NT=((0.0,),), weights_NT=((0.0, 0.0),))
    with pytest.raises(ValueError, match="reference_NT"):
        ClippedSurrogate(tokens=sampled_tokens([policy_datum([0], [0], [1])]), kl_coef=0.1)
