"""Losses on pairs: their formulas in torch, and their laws."""

import math
from collections.abc import Callable

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from crucible.effects import decode, encode
from crucible.train.algorithms.kto import Kto, KtoOnPairs, KtoRole
from crucible.train.algorithms.preference import BradleyTerry, Dpo, Ipo, Orpo, Pairs, SimPo
from crucible.train.custom_loss import CustomLoss, evaluated
from crucible.train.errors import NonFiniteLoss
from crucible.train.types import Datum, ModelInput
from tests.train.algorithms.autograd import Rows, assert_differentiates, extreme, rows_like, sane, tensors

SHAPE = (3, 2, 4, 3)
WEIGHTS: Rows = ((0.0, 1.0, 1.0), (0.0, 1.0), (0.0, 0.0, 1.0, 0.5), (1.0, 1.0, 1.0))
LENGTHS = torch.tensor([2.0, 1.0, 1.5, 3.0], dtype=torch.float64)

at = rows_like(SHAPE, sane)
references = st.tuples(*([st.floats(-10, 0)] * 4))

Scores = Callable[[list[Tensor]], Tensor]


def sums(rows: list[Tensor]) -> Tensor:
    return torch.stack([(row * weights).sum() for row, weights in zip(rows, tensors(WEIGHTS), strict=True)])


def means(rows: list[Tensor]) -> Tensor:
    return sums(rows) / LENGTHS


def pairs(reference: tuple[float, ...] | None = None) -> Pairs:
    return Pairs(weights_NT=WEIGHTS) if reference is None else Pairs(weights_NT=WEIGHTS, reference_N=reference)


def logits(scores: Tensor) -> Tensor:
    return scores[::2] - scores[1::2]


@given(at, references, st.floats(0.01, 5), st.floats(0, 0.49))
def test_dpo(at: Rows, reference: tuple[float, ...], beta: float, smoothing: float) -> None:
    def formula(rows: list[Tensor]) -> Tensor:
        margin = beta * logits(sums(rows) - torch.tensor(reference, dtype=torch.float64))
        return (-(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)).mean()

    assert_differentiates(Dpo(pairs=pairs(reference), beta=beta, label_smoothing=smoothing), formula, at)


@given(at, references, st.floats(0.01, 5), st.booleans())
def test_ipo(at: Rows, reference: tuple[float, ...], beta: float, average: bool) -> None:
    def formula(rows: list[Tensor]) -> Tensor:
        ratios = sums(rows) - torch.tensor(reference, dtype=torch.float64)
        return ((logits(ratios / LENGTHS if average else ratios) - 1 / (2 * beta)) ** 2).mean()

    assert_differentiates(Ipo(pairs=pairs(reference), beta=beta, average=average), formula, at)


@given(at, st.floats(0.1, 5), st.floats(0, 3))
def test_simpo(at: Rows, beta: float, gamma: float) -> None:
    def formula(rows: list[Tensor]) -> Tensor:
        return -logsigmoid(beta * logits(means(rows)) - gamma).mean()

    assert_differentiates(SimPo(weights_NT=WEIGHTS, beta=beta, gamma=gamma), formula, at)


@given(rows_like(SHAPE, st.floats(-5, -1e-3)), st.floats(0, 3))
def test_orpo(at: Rows, coef: float) -> None:
    def formula(rows: list[Tensor]) -> Tensor:
        scores = means(rows)
        odds = scores - torch.log(-torch.expm1(scores))
        return (-scores[::2] - coef * logsigmoid(logits(odds))).mean()

    assert_differentiates(Orpo(weights_NT=WEIGHTS, coef=coef), formula, at)


@given(at, st.floats(0.1, 5), st.floats(0, 3), st.floats(0, 1))
def test_bradley_terry(at: Rows, scale: float, margin: float, centring: float) -> None:
    def formula(rows: list[Tensor]) -> Tensor:
        rewards = scale * sums(rows)
        total = rewards[::2] + rewards[1::2]
        return (-logsigmoid(logits(rewards) - margin) + centring * total**2).mean()

    assert_differentiates(BradleyTerry(weights_NT=WEIGHTS, scale=scale, margin=margin, centring=centring), formula, at)


ROLES: tuple[KtoRole, ...] = ("desirable", "undesirable", "baseline", "desirable")


@given(at, references, st.floats(0.01, 5), st.floats(0, 2), st.floats(0, 2))
def test_kto(at: Rows, reference: tuple[float, ...], beta: float, good: float, bad: float) -> None:
    def formula(rows: list[Tensor]) -> Tensor:
        ratios = sums(rows) - torch.tensor(reference, dtype=torch.float64)
        shift = ratios[2].detach().clamp(min=0)
        wanted = good * (1 - torch.sigmoid(beta * (ratios[[0, 3]] - shift)))
        unwanted = bad * (1 - torch.sigmoid(beta * (shift - ratios[[1]])))
        return torch.cat([wanted, unwanted]).mean()

    kto = Kto(weights_NT=WEIGHTS, reference_N=reference, roles_N=ROLES, beta=beta)
    assert_differentiates(attrs.evolve(kto, desirable_weight=good, undesirable_weight=bad), formula, at)


# Laws


def swapped(rows: Rows) -> Rows:
    return (rows[1], rows[0], rows[3], rows[2])


@given(at, references, st.floats(0.01, 5))
def test_swapping_the_answers_turns_rewards_and_labels_around(
    at: Rows, reference: tuple[float, ...], beta: float
) -> None:
    dpo = Dpo(pairs=pairs(reference), beta=beta, label_smoothing=0.25)
    r = reference
    other = Dpo(
        pairs=Pairs(weights_NT=swapped(WEIGHTS), reference_N=(r[1], r[0], r[3], r[2])), beta=beta, label_smoothing=0.25
    )
    here, there = dpo(at), other(swapped(at))
    assert there.metrics["margin"] == pytest.approx(-here.metrics["margin"])
    assert there.metrics["chosen_reward"] == pytest.approx(here.metrics["rejected_reward"])
    # -log s(x) + log s(-x) = -x, and so the two losses differ by the mean margin, times how sure the labels are.
    assert here.loss - there.loss == pytest.approx(-(1 - 2 * 0.25) * here.metrics["margin"], abs=1e-9)


@given(at, st.floats(0.01, 5), st.floats(0, 0.49))
def test_a_policy_that_is_its_reference_has_loss_log_2(at: Rows, beta: float, smoothing: float) -> None:
    reference = tuple(sums(tensors(at)).tolist())
    output = Dpo(pairs=pairs(reference), beta=beta, label_smoothing=smoothing)(at)
    assert output.loss == pytest.approx(math.log(2), abs=1e-9)
    assert output.metrics["margin"] == pytest.approx(0, abs=1e-9)


@given(at, references)
def test_a_step_down_the_gradient_raises_the_margin(at: Rows, reference: tuple[float, ...]) -> None:
    dpo = Dpo(pairs=pairs(reference))
    before = dpo(at)
    moved = tuple(
        tuple(value - 0.1 * slope for value, slope in zip(*row, strict=True))
        for row in zip(at, before.gradients, strict=True)
    )
    after = dpo(moved)
    assert after.metrics["margin"] > before.metrics["margin"]
    assert after.loss <= before.loss


def test_metrics_are_of_the_rewards_that_the_loss_gives() -> None:
    output = Dpo(pairs=Pairs(weights_NT=((1.0,),) * 4, reference_N=(-1.0,) * 4), beta=0.5)(
        ((0.0,), (-2.0,), (-3.0,), (-2.0,))
    )
    assert {name: output.metrics[name] for name in ("accuracy", "chosen_reward", "rejected_reward", "margin")} == {
        "accuracy": 0.5,
        "chosen_reward": -0.25,
        "rejected_reward": -0.5,
        "margin": 0.25,
    }


LOSSES: list[CustomLoss] = [
    Dpo(pairs=pairs(), label_smoothing=0.1),
    Ipo(pairs=pairs()),
    Ipo(pairs=pairs(), average=False),
    SimPo(weights_NT=WEIGHTS),
    Orpo(weights_NT=WEIGHTS),
    BradleyTerry(weights_NT=WEIGHTS, centring=0.1),
    Kto(weights_NT=WEIGHTS, reference_N=(0.0,) * 4, roles_N=ROLES),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
class TestEveryLoss:
    @given(at=rows_like(SHAPE, extreme | st.sampled_from([0.0, -1e-300, -1e12])))
    def test_is_finite_at_any_log_probabilities(self, loss: CustomLoss, at: Rows) -> None:
        output = loss(at)
        numbers = [output.loss, *output.metrics.values(), *(slope for row in output.gradients for slope in row)]
        assert all(map(math.isfinite, numbers))

    def test_does_not_look_where_the_weight_is_0(self, loss: CustomLoss) -> None:
        at = tuple(tuple(-1.0 if weight else math.nan for weight in row) for row in WEIGHTS)
        output = loss(at)
        assert math.isfinite(output.loss)
        assert all(not slope for row, weights in zip(output.gradients, WEIGHTS, strict=True)
                   for slope, weight in zip(row, weights, strict=True) if not weight)  # fmt: skip

    def test_can_be_recorded(self, loss: CustomLoss) -> None:
        assert decode(encode(loss)) == loss

    def test_refuses_log_probabilities_of_another_shape(self, loss: CustomLoss) -> None:
        with pytest.raises(ValueError, match="zip"):
            loss(((-1.0,),) * 4)


ONE_PAIR: Rows = ((1.0,), (1.0,))
SATURATING: list[CustomLoss] = [
    Dpo(pairs=Pairs(weights_NT=ONE_PAIR)),
    SimPo(weights_NT=ONE_PAIR),
    Orpo(weights_NT=ONE_PAIR),
    Orpo(weights_NT=ONE_PAIR, coef=0.0),
    BradleyTerry(weights_NT=ONE_PAIR),
    Kto(weights_NT=ONE_PAIR, reference_N=(0.0,) * 2, roles_N=("desirable", "undesirable")),
]


@pytest.mark.parametrize("loss", SATURATING, ids=lambda loss: type(loss).__name__)
def test_a_rejected_sequence_that_cannot_be_has_the_limit_of_the_loss_and_no_slope(loss: CustomLoss) -> None:
    limit, far = loss(((-1.0,), (-math.inf,))), loss(((-1.0,), (-1e9,)))
    assert limit.loss == pytest.approx(far.loss, abs=1e-12)
    assert limit.gradients[1] == (0.0,)
    assert limit.gradients[0] == pytest.approx(far.gradients[0], abs=1e-12)
    assert not any(map(math.isnan, limit.metrics.values()))


@pytest.mark.parametrize(
    "loss",
    [
        *(each for each in SATURATING if not isinstance(each, Kto)),
        Ipo(pairs=Pairs(weights_NT=ONE_PAIR)),
        Dpo(pairs=Pairs(weights_NT=ONE_PAIR), label_smoothing=0.1),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_pair_that_no_loss_has_a_value_at_is_named_and_never_a_gradient(loss: CustomLoss) -> None:
    datum = Datum(model_input=ModelInput.from_tokens([5]), loss_fn_inputs={})
    for at in (((-math.inf,), (-1.0,)), ((-math.inf,), (-math.inf,)), ((math.nan,), (-1.0,)), ((-1.0,), (math.nan,))):
        error = evaluated(loss, [datum, datum], at).failure()
        assert isinstance(error, NonFiniteLoss)
        assert set(error.indices) >= {index for index, row in enumerate(at) if not math.isfinite(row[0])}


@given(st.tuples(*[st.one_of(st.floats(-1e4, 0), st.sampled_from([-1e4, 0.0]))] * 2), st.floats(0.01, 5))
def test_saturated_losses_have_the_derivatives_of_autograd(at: tuple[float, float], beta: float) -> None:
    rows = tuple((each,) for each in at)

    def saturating(scale: float, shift: float) -> Scores:
        return lambda rows: -logsigmoid(scale * (rows[0] - rows[1]) - shift).sum()

    for loss, formula in (
        (Dpo(pairs=Pairs(weights_NT=ONE_PAIR), beta=beta), saturating(beta, 0.0)),
        (SimPo(weights_NT=ONE_PAIR, beta=beta, gamma=0.5), saturating(beta, 0.5)),
        (BradleyTerry(weights_NT=ONE_PAIR, scale=beta), saturating(beta, 0.0)),
    ):
        assert_differentiates(loss, formula, rows)


def test_pairs_refuse_what_is_no_pairs() -> None:
    with pytest.raises(ValueError, match="not 1 sequences"):
        Pairs(weights_NT=((1.0,),))
    with pytest.raises(ValueError, match="not 0 sequences"):
        Pairs(weights_NT=())
    with pytest.raises(ValueError, match="1 reference scores for 2"):
        Pairs(weights_NT=((1.0,), (1.0,)), reference_N=(0.0,))


@given(at, references, st.floats(0.05, 2))
def test_kto_on_pairs_is_kto_of_their_answers_and_ranks_the_pairs(
    at: Rows, reference: tuple[float, ...], beta: float
) -> None:
    seen = Pairs(weights_NT=WEIGHTS[:2], reference_N=reference[:2])
    paired = KtoOnPairs(pairs=seen, baselines_NT=WEIGHTS[2:], baseline_reference_N=reference[2:], beta=beta)
    roles: tuple[KtoRole, ...] = ("desirable", "undesirable", "baseline", "baseline")
    plain = Kto(weights_NT=WEIGHTS, reference_N=reference, roles_N=roles, beta=beta)(at)
    output = paired(at)
    assert (output.loss, output.gradients) == (plain.loss, plain.gradients)
    ranked = sums(tensors(at)) - torch.tensor(reference, dtype=torch.float64)
    assert output.metrics == {**plain.metrics, "accuracy": float(ranked[0] > ranked[1])}


def test_kto_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(ValueError, match="desirable or undesirable"):
        Kto(weights_NT=((1.0,),), reference_N=(0.0,), roles_N=("baseline",))
    with pytest.raises(ValueError, match="2 roles"):
        Kto(weights_NT=((1.0,),), reference_N=(0.0,), roles_N=("desirable", "desirable"))
