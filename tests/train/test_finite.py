"""What is not finite is named: the datum, the array, the position, the step."""

import math

import attrs
import pytest

from crucible.effects import Success
from crucible.train.custom_loss import CustomLossOutput, evaluated
from crucible.train.errors import BackendFailed, InvalidRequest, NonFiniteLoss
from crucible.train.finite import finite_data, finite_pass, finite_update, not_finite
from crucible.train.types import Datum, ForwardBackwardOutput, ModelInput, OptimStepOutput, TensorData

ODD = (math.nan, math.inf, -math.inf)
PASS = ForwardBackwardOutput(loss=1.0, logprobs=((-1.0, 0.0), (-2.0, -math.inf)))
UPDATE = OptimStepOutput(step=3, learning_rate=0.1, grad_norm=1.0)


def datum(**arrays: list[float]) -> Datum:
    inputs = {name: TensorData.floats(values) for name, values in arrays.items()}
    return Datum(model_input=ModelInput.from_tokens([1, 2]), loss_fn_inputs=inputs)


@pytest.mark.parametrize("odd", ODD)
def test_data_are_named_by_item_array_and_position(odd: float) -> None:
    good = datum(weights=[1.0, 0.0])
    assert finite_data([good, good]) == Success(None)
    error = finite_data([good, datum(weights=[1.0, 1.0], advantages=[0.0, odd])]).failure()
    assert error.indices == (1,)
    assert f"(advantages of item 1 is {odd} at position 1)" in str(error)


@pytest.mark.parametrize("odd", ODD)
def test_a_pass_whose_loss_is_no_number_is_an_error_of_its_step(odd: float) -> None:
    assert finite_pass(PASS, step=1) == Success(PASS)
    error = finite_pass(attrs.evolve(PASS, loss=odd), step=7).failure()
    assert str(error).startswith(f"the loss of optimizer step 7 is {odd}: lower the learning rate")


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_log_probability_that_is_none_names_its_datum(odd: float) -> None:
    error = finite_pass(attrs.evolve(PASS, logprobs=((-1.0, 0.0), (-2.0, odd))), step=7).failure()
    assert isinstance(error, NonFiniteLoss)
    assert error.indices == (1,)


def test_a_norm_that_is_not_told_is_no_error_and_one_that_is_no_number_is() -> None:
    for told in (UPDATE, attrs.evolve(UPDATE, grad_norm=None)):
        assert finite_update(told, step=3) == Success(told)
    for odd in ODD:
        error = finite_update(attrs.evolve(UPDATE, grad_norm=odd), step=3).failure()
        assert isinstance(error, BackendFailed)
        assert f"the gradient norm of optimizer step 3 is {odd}" in str(error)


def test_the_first_of_some_numbers_that_is_none_is_named() -> None:
    assert not_finite({}) is None
    assert not_finite({"a": 1.0, "b": -math.inf, "c": math.nan}) == "b is -inf"
    assert not_finite({"a": 3.4e38, "b": -1e300}) == "b is -1e+300, more than a float32 holds"


@attrs.frozen
class Gives:
    """A loss that gives what it was told to."""

    output: CustomLossOutput

    def __call__(self, logprobs: object, /) -> CustomLossOutput:
        return self.output


def test_a_custom_loss_names_the_data_that_it_has_no_value_at() -> None:
    data = [datum(), datum()]
    fine = CustomLossOutput(loss=1.0, gradients=((0.0, 1.0), (0.0, 1.0)))
    endless = attrs.evolve(fine, loss=math.inf)
    assert evaluated(Gives(fine), data, ((-1.0, 0.0), (-math.inf, 0.0))) == Success(fine)
    nan = evaluated(Gives(fine), data, ((-1.0, 0.0), (math.nan, 0.0))).failure()
    impossible = evaluated(Gives(endless), data, ((-1.0, 0.0), (0.0, -math.inf))).failure()
    for error in (nan, impossible):
        assert isinstance(error, NonFiniteLoss)
        assert error.indices == (1,)
    assert "tokens of probability 0" in str(impossible)
    broken = attrs.evolve(fine, gradients=((0.0, math.nan), (0.0, 1.0)))
    error = evaluated(Gives(broken), data, ((-1.0, 0.0), (-1.0, 0.0))).failure()
    assert isinstance(error, NonFiniteLoss)
    assert error.indices == (0,)
    short = attrs.evolve(fine, gradients=((0.0,), (0.0, 1.0)))
    assert isinstance(evaluated(Gives(short), data, ((-1.0, 0.0), (-1.0, 0.0))).failure(), InvalidRequest)
