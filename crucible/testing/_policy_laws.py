"""What the policy losses of any `TrainingClient` keep to: a batch is the sum of its parts, and no ratio is without bound."""

import math
from collections.abc import Callable
from typing import TypeAlias

from crucible.effects import Do, Eff, do
from crucible.testing._laws import Laws, require, require_close
from crucible.testing._training_data import filled, judged, learned, looked, stepped, stepped_norm, with_inputs
from crucible.train.custom_loss import weights_of
from crucible.train.errors import TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import Datum, LossFn, TrainingSession

Law: TypeAlias = Do[TrainError, TrainingClient, None]
Opened: TypeAlias = Callable[[], Eff[tuple[TrainingSession, tuple[Datum, ...]], TrainError, TrainingClient]]

LOSSES: tuple[LossFn, ...] = ("importance_sampling", "ppo")


def policy_laws(opened: Opened, rate: float, tolerance: float) -> Laws[TrainingClient]:
    """Give the laws; `opened` begins a session, and makes two data for it."""
    return {
        "a positive advantage makes tokens likelier": follows_its_advantage(opened, rate, advantage=1.0),
        "a negative advantage makes tokens less likely": follows_its_advantage(opened, rate, advantage=-1.0),
        "weights that one datum has are not another's": mixed_weights(opened, tolerance),
        "a log ratio of hundreds has a finite loss and gradient": large_ratios(opened),
    }


@do
def follows_its_advantage(opened: Opened, rate: float, *, advantage: float) -> Law:
    """Take three steps on tokens that are all worth the same."""
    session, data = yield from opened()
    before = yield from looked(session, data)
    for _ in range(3):
        now = yield from looked(session, data)
        yield from learned(session, judged(data, now.logprobs, advantage), loss_fn="importance_sampling")
        yield from stepped(session, rate)
    after = yield from looked(session, data)
    gain = sum(map(sum, after.logprobs)) - sum(map(sum, before.logprobs))
    require(gain * advantage > 0, f"with advantage {advantage} the log-probability changed by {gain}")


@do
def mixed_weights(opened: Opened, tolerance: float) -> Law:
    """Train on two data of which one has weights: loss and gradient are the sums of those of each alone."""
    (whole, data), (parts, _) = (yield from opened()), (yield from opened())
    now = yield from looked(whole, data)
    bare, other = judged(data, [[logprob - 0.1 if logprob else 0.0 for logprob in row] for row in now.logprobs], 1.0)
    batch = [bare, with_inputs(other, {**other.loss_fn_inputs, "weights": filled(other, 0.5)})]
    for loss_fn in LOSSES:
        together = (yield from learned(whole, batch, loss_fn=loss_fn)).loss
        first = (yield from learned(parts, batch[:1], loss_fn=loss_fn)).loss
        second = (yield from learned(parts, batch[1:], loss_fn=loss_fn)).loss
        require_close(together, first + second, f"the loss of {loss_fn}", tolerance=tolerance)
    found, expected = (yield from stepped_norm(whole, 0.0)), (yield from stepped_norm(parts, 0.0))
    require_close(found, expected, "the gradient norm", tolerance=tolerance)


@do
def large_ratios(opened: Opened) -> Law:
    """Train on tokens that were next to impossible when they were sampled."""
    session, data = yield from opened()
    for loss_fn in LOSSES:
        for advantage in (1.0, -1.0):
            far = judged(data, [[-500.0 * (weight != 0) for weight in row] for row in weights_of(data)], advantage)
            loss = (yield from learned(session, far, loss_fn=loss_fn)).loss
            require(math.isfinite(loss), f"the loss of {loss_fn} is {loss}")
    yield from stepped_norm(session, 0.0)
