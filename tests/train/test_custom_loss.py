"""Custom losses: their linearisation has their gradient."""

import math
from collections.abc import Sequence

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.train.algorithms.preference import Dpo, Pairs
from crucible.train.custom_loss import CustomLossOutput, check_output, linearised, selected, weights_of
from crucible.train.errors import InvalidRequest, NonFiniteLoss
from crucible.train.types import Datum, ModelInput, TensorData

WEIGHTS = ((0.0, 1.0, 2.0), (1.0, 0.0, 1.0))
VOCABULARY = 4


def datum(weights: Sequence[float], **others: TensorData) -> Datum:
    targets = TensorData.ints(range(len(weights)))
    inputs = {"target_tokens": targets, "weights": TensorData.floats(weights), **others}
    return Datum(model_input=ModelInput.from_tokens([1] * len(weights)), loss_fn_inputs=inputs)


DATA = tuple(map(datum, WEIGHTS))


@given(st.lists(st.floats(-3, 3), min_size=6 * VOCABULARY, max_size=6 * VOCABULARY), st.floats(0.05, 3))
def test_its_linearisation_moves_a_model_as_the_loss_does(numbers: list[float], beta: float) -> None:
    logits = torch.tensor(numbers, dtype=torch.float64).reshape(2, 3, VOCABULARY).requires_grad_()
    logprobs = torch.log_softmax(logits, -1)[:, torch.arange(3), torch.arange(3)]
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    scores = (logprobs * weights).sum(-1)
    (expected,) = torch.autograd.grad(
        -torch.nn.functional.logsigmoid(beta * (scores[0] - scores[1])), logits, retain_graph=True
    )
    loss = Dpo(pairs=Pairs(weights_NT=weights_of(DATA)), beta=beta)
    shown = linearised(DATA, loss([tuple(row) for row in logprobs.tolist()]))
    slopes = torch.tensor([one.loss_fn_inputs["weights"].data for one in shown], dtype=torch.float64)
    (found,) = torch.autograd.grad(-(slopes * logprobs).sum(), logits)  # weighted cross-entropy
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)


def test_what_other_losses_need_is_left_out() -> None:
    data = [datum(WEIGHTS[0], logprobs=TensorData.floats([-1, -2, -3]))]
    output = CustomLossOutput(loss=0.0, gradients=((1.0, 1.0, 0.0),))
    assert [set(one.loss_fn_inputs) for one in (*linearised(data, output), *selected(data).unwrap())] == [
        {"target_tokens", "weights"}
    ] * 2
    assert linearised(data, output)[0].loss_fn_inputs["weights"].data == (0.0, -1.0, 0.0)
    assert selected(data).unwrap()[0].loss_fn_inputs["weights"].data == (0.0, 1.0, 1.0)


def test_several_targets_are_refused() -> None:
    twice = TensorData(data=(0, 1), dtype="int64", shape=(1, 2))
    wide = Datum(model_input=ModelInput.from_tokens([1]), loss_fn_inputs={"target_tokens": twice})
    error = selected([DATA[0], wide]).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 1


@pytest.mark.parametrize("gradients", [(), ((1.0,) * 3,), ((1.0,) * 2, (1.0,) * 3)])
def test_derivatives_of_another_shape_are_refused(gradients: tuple[tuple[float, ...], ...]) -> None:
    result = check_output(DATA, CustomLossOutput(loss=0.0, gradients=gradients))
    assert isinstance(result, Failure)
    assert isinstance(result.failure(), InvalidRequest)


def test_what_is_not_finite_is_refused_and_named() -> None:
    fine = CustomLossOutput(loss=0.0, gradients=((0.0,) * 3,) * 2)
    assert check_output(DATA, fine).unwrap() == fine
    assert isinstance(check_output(DATA, attrs.evolve(fine, loss=math.nan)).failure(), NonFiniteLoss)
    error = check_output(DATA, attrs.evolve(fine, gradients=((0.0,) * 3, (0.0, math.inf, 0.0)))).failure()
    assert error == NonFiniteLoss(loss=0.0, indices=(1,))
