"""The contract of `CustomLossClient`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import Laws, obey, refused, require, require_close, require_equal
from crucible.testing._training_data import examples, learned, looked, stepped, stepped_norm, with_inputs
from crucible.train.algorithms.preference import Dpo, Pairs
from crucible.train.custom_loss import CustomLoss, CustomLossOutput, linearised, weights_of
from crucible.train.errors import InvalidRequest, NonFiniteLoss, SessionClosed, TrainError
from crucible.train.ports import CustomLossClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    ForwardBackwardOutput,
    SessionConfig,
    TensorData,
    TrainingSession,
)

Training: TypeAlias = TrainingClient | CustomLossClient
Law: TypeAlias = Do[TrainError, Training, None]


def check_custom_loss_client(
    make: Callable[[], Handlers[Training]], *, model: str, learning_rate: float = 1e-3, tolerance: float = 1e-3
) -> None:
    """Put the handlers that `make` gives through the contract of `CustomLossClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        model: a model that they can train.
        learning_rate: one at which a step on two sentences changes what the model says of them.
        tolerance: how far numbers may be apart, relative or absolute, that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    suite = _Suite(config=SessionConfig(model=model, needs=("custom_losses",)), rate=learning_rate, tolerance=tolerance)
    obey(make, suite.laws())


@attrs.frozen(kw_only=True)
class NegativeLogLikelihood:
    """Weighted cross-entropy, told as a custom loss."""

    weights_NT: tuple[tuple[float, ...], ...]

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        rows = [list(zip(weights, row, strict=True)) for weights, row in zip(self.weights_NT, logprobs, strict=True)]
        loss = -sum(weight * logprob for row in rows for weight, logprob in row)
        gradients = tuple(tuple(-weight for weight in weights) for weights in self.weights_NT)
        return CustomLossOutput(loss=loss, gradients=gradients, metrics={"num_data": float(len(rows))})


@attrs.frozen(kw_only=True)
class Told:
    """A loss that gives what it was told to, whatever the log-probabilities."""

    output: CustomLossOutput

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Give the output."""
        return self.output


@attrs.frozen(kw_only=True)
class _Suite:
    config: SessionConfig
    rate: float
    tolerance: float

    def laws(self) -> Laws[Training]:
        return {
            "cross-entropy told as a custom loss is cross-entropy": self.like_a_known_loss(),
            "a custom loss trains as its linearisation does": self.like_its_linearisation(),
            "preferences are learned": self.preferences(),
            "gradients of custom and other losses add up": self.accumulation(),
            "where a weight is 0 nothing is scored or trained": self.unscored(),
            "a request reads the weights that the requests before it made": self.order(),
            "a loss without a slope is no error": self.flat(),
            "a closed session is closed": self.closing(),
            "bad losses and batches are refused and do no harm": self.refusals(),
        }

    @do
    def opened(self) -> Do[TrainError, Training, tuple[TrainingSession, tuple[Datum, ...]]]:
        session = yield from perform(TrainingClient.start_session, self.config)
        tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
        return session, examples(tokenizer)

    def close(self, found: float, expected: float, what: str) -> None:
        require_close(found, expected, what, tolerance=self.tolerance)

    @do
    def like_a_known_loss(self) -> Law:
        (custom, data), (plain, _) = (yield from self.opened()), (yield from self.opened())
        known = yield from learned(plain, data)
        found = yield from submitted(custom, data, NegativeLogLikelihood(weights_NT=weights_of(data)))
        self.close(found.loss, known.loss, "the loss")
        require_equal(found.metrics.get("num_data"), 2.0, "the metric that the loss gave")
        for row, other in zip(found.logprobs, known.logprobs, strict=True):
            for logprob, expected in zip(row, other, strict=True):
                self.close(logprob, expected, "a log-probability")
        yield from self.same_step(custom, plain, data)

    @do
    def like_its_linearisation(self) -> Law:
        (custom, data), (plain, _) = (yield from self.opened()), (yield from self.opened())
        loss = preferring(data)
        seen = yield from looked(plain, data)
        yield from learned(plain, linearised(data, loss(seen.logprobs)))
        found = yield from submitted(custom, data, loss)
        self.close(found.loss, loss(seen.logprobs).loss, "the loss")
        yield from self.same_step(custom, plain, data)

    @do
    def preferences(self) -> Law:
        session, data = yield from self.opened()
        loss, losses = preferring(data), []
        for _ in range(4):
            losses.append((yield from submitted(session, data, loss)).loss)
            yield from stepped(session, self.rate)
        require(losses[-1] < losses[0], f"the loss of a pair did not go down: {losses}")

    @do
    def accumulation(self) -> Law:
        (mixed, data), (plain, _) = (yield from self.opened()), (yield from self.opened())
        yield from learned(plain, data)
        yield from learned(mixed, data[:1])
        yield from submitted(mixed, data[1:], NegativeLogLikelihood(weights_NT=weights_of(data[1:])))
        yield from self.same_step(mixed, plain, data)

    @do
    def unscored(self) -> Law:
        (custom, data), (plain, _) = (yield from self.opened()), (yield from self.opened())
        weights_NT = weights_of(data)
        everywhere = NegativeLogLikelihood(weights_NT=tuple((1.0,) * len(weights) for weights in weights_NT))
        found = yield from submitted(custom, data, everywhere)
        for row, weights in zip(found.logprobs, weights_NT, strict=True):
            scored = [logprob for logprob, weight in zip(row, weights, strict=True) if weight == 0]
            require(not any(scored), f"where the weight is 0 the log-probabilities are {scored}")
        yield from learned(plain, data)
        yield from self.same_step(custom, plain, data)

    @do
    def order(self) -> Law:
        (late, data), (early, _) = (yield from self.opened()), (yield from self.opened())
        loss = preferring(data)
        expected = []
        for _ in range(2):
            expected.append((yield from submitted(early, data, loss)).loss)
            yield from stepped(early, self.rate)
        futures = []
        for _ in range(2):
            futures.append((yield from perform(CustomLossClient.forward_backward_custom, late, data, loss)))
            yield from perform(TrainingClient.optim_step, late, AdamParams(learning_rate=self.rate))
        for future, wanted in zip(reversed(futures), reversed(expected), strict=True):
            self.close((yield from perform(TrainingClient.await_, future)).loss, wanted, "a loss awaited late")

    @do
    def flat(self) -> Law:
        session, data = yield from self.opened()
        level = CustomLossOutput(loss=2.0, gradients=tuple((0.0,) * len(datum.model_input) for datum in data))
        self.close((yield from submitted(session, data, Told(output=level))).loss, 2.0, "the loss")

    @do
    def closing(self) -> Law:
        session, data = yield from self.opened()
        yield from perform(TrainingClient.close_session, session)
        yield from refused(
            "a custom loss of a closed session", submitted(session, data, preferring(data)), SessionClosed
        )

    @do
    def refusals(self) -> Law:
        (session, data), (clean, _) = (yield from self.opened()), (yield from self.opened())
        slopes = tuple((1.0,) * len(datum.model_input) for datum in data)
        for what, bad in (("short rows", tuple(row[:-1] for row in slopes)), ("few rows", slopes[:1])):
            told = Told(output=CustomLossOutput(loss=0.0, gradients=bad))
            yield from refused(f"derivatives of {what}", submitted(session, data, told), InvalidRequest)
        broken = tuple((math.nan,) * len(row) for row in slopes)
        for output in (
            CustomLossOutput(loss=math.inf, gradients=slopes),
            CustomLossOutput(loss=0.0, gradients=broken),
        ):
            yield from refused("what is not finite", submitted(session, data, Told(output=output)), NonFiniteLoss)
        nothing = Told(output=CustomLossOutput(loss=0.0, gradients=()))
        yield from refused("an empty batch", submitted(session, (), nothing), InvalidRequest)
        unscored = [_weighted(datum, 0.0) for datum in data]
        yield from refused(
            "a batch without a scored position", submitted(session, unscored, preferring(data)), InvalidRequest
        )
        aimless = [with_inputs(data[0], {}), data[1]]
        yield from refused("a datum without targets", submitted(session, aimless, preferring(data)), InvalidRequest)
        several = [data[0], _with_two_targets(data[1])]
        error = yield from refused("two targets", submitted(session, several, preferring(data)), InvalidRequest)
        require_equal(getattr(error, "index", None), 1, "the index of the datum with two targets")
        for each in (session, clean):
            yield from learned(each, data)
        yield from self.same_step(session, clean, data)

    @do
    def same_step(self, found: TrainingSession, expected: TrainingSession, data: Sequence[Datum]) -> Law:
        """Step both sessions: their gradients must have the same norm, and lead to the same loss."""
        norms, losses = [], []
        for session in (found, expected):
            norms.append((yield from stepped_norm(session, self.rate)))
            losses.append((yield from looked(session, data)).loss)
        self.close(norms[0], norms[1], "the gradient norm")
        self.close(losses[0], losses[1], "the loss after the step")


@do
def submitted(
    session: TrainingSession, data: Sequence[Datum], loss: CustomLoss
) -> Do[TrainError, Training, ForwardBackwardOutput]:
    """Submit `forward_backward_custom` and wait for it."""
    future = yield from perform(CustomLossClient.forward_backward_custom, session, data, loss)
    return (yield from perform(TrainingClient.await_, future))


def preferring(data: Sequence[Datum]) -> Dpo:
    """Make the loss that prefers the first of two sentences, against a reference that likes both the same."""
    return Dpo(pairs=Pairs(weights_NT=weights_of(data)), beta=0.05)


def _weighted(datum: Datum, weight: float) -> Datum:
    return with_inputs(datum, {**datum.loss_fn_inputs, "weights": TensorData.floats([weight] * len(datum.model_input))})


def _with_two_targets(datum: Datum) -> Datum:
    size = len(datum.model_input)
    twice = {
        name: TensorData(data=(1.0,) * (2 * size), dtype=datum.loss_fn_inputs[name].dtype, shape=(size, 2))
        for name in ("target_tokens", "weights")
    }
    return with_inputs(datum, twice)
