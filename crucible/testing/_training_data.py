"""Small batches that a contract suite trains on, made with the handler's own tokenizer."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from crucible.effects import Do, do, perform
from crucible.testing._laws import require
from crucible.train.errors import TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    ForwardBackwardOutput,
    LossFn,
    ModelInput,
    OptimStepOutput,
    TensorData,
    TokenId,
    Tokenizer,
    TrainingSession,
)

T = TypeVar("T")

TEXTS = ("The cat sat on the mat.", "A wise man builds his house upon the rock, and the rain came down.")
KEPT = {"epoch_loss": "10.745800000000001", "said": '«ü» \n "quoted"'}


def datum(tokens: Sequence[TokenId], *, untrained: int = 1) -> Datum:
    """Make the example that predicts each token from those before it; the first `untrained` positions have weight 0."""
    size = len(tokens) - 1
    weights = [0.0 if i < untrained else 1.0 for i in range(size)]
    inputs = {"target_tokens": TensorData.ints(tokens[1:]), "weights": TensorData.floats(weights)}
    return Datum(model_input=ModelInput.from_tokens(tokens[:-1]), loss_fn_inputs=inputs)


def examples(tokenizer: Tokenizer) -> tuple[Datum, ...]:
    """Make one example of each of `TEXTS`."""
    return tuple(datum(tokenizer.encode(text)) for text in TEXTS)


def with_inputs(example: Datum, inputs: Mapping[str, TensorData]) -> Datum:
    """Give the same example with other arrays for the loss."""
    return Datum(model_input=example.model_input, loss_fn_inputs=inputs)


def judged(data: Sequence[Datum], logprobs: Sequence[Sequence[float]], advantage: float) -> tuple[Datum, ...]:
    """Make policy-loss examples of supervised ones: every trained position was sampled and is worth `advantage`."""
    return tuple(
        with_inputs(
            item,
            {
                "target_tokens": item.loss_fn_inputs["target_tokens"],
                "logprobs": TensorData.floats(old),
                "advantages": TensorData.floats([advantage if logprob else 0.0 for logprob in old]),
            },
        )
        for item, old in zip(data, logprobs, strict=True)
    )


def filled(item: Datum, number: float) -> TensorData:
    """Make an array for a loss that is the same number everywhere."""
    return TensorData.floats([number] * len(item.model_input))


@do
def learned(
    session: TrainingSession, data: Sequence[Datum], *, loss_fn: LossFn = "cross_entropy"
) -> Do[TrainError, TrainingClient, ForwardBackwardOutput]:
    """Submit `forward_backward` and wait for it."""
    future = yield from perform(TrainingClient.forward_backward, session, data, loss_fn=loss_fn)
    return (yield from perform(TrainingClient.await_, future))


@do
def looked(session: TrainingSession, data: Sequence[Datum]) -> Do[TrainError, TrainingClient, ForwardBackwardOutput]:
    """Submit `forward` and wait for it."""
    future = yield from perform(TrainingClient.forward, session, data)
    return (yield from perform(TrainingClient.await_, future))


@do
def stepped(session: TrainingSession, rate: float) -> Do[TrainError, TrainingClient, OptimStepOutput]:
    """Submit `optim_step` and wait for it."""
    future = yield from perform(TrainingClient.optim_step, session, AdamParams(learning_rate=rate))
    return (yield from perform(TrainingClient.await_, future))


@do
def stepped_norm(session: TrainingSession, rate: float) -> Do[TrainError, TrainingClient, float]:
    """Submit `optim_step`, wait for it, and give the norm of the gradient, which must be told."""
    norm = (yield from stepped(session, rate)).grad_norm
    require(norm is not None and math.isfinite(norm), f"the gradient norm is {norm}")
    return norm or 0.0


@do
def trained(
    session: TrainingSession, data: Sequence[Datum], rate: float, steps: int
) -> Do[TrainError, TrainingClient, tuple[float, ...]]:
    """Take some steps on one batch, and give the loss before each, and after the last."""
    losses = []
    for _ in range(steps):
        output = yield from learned(session, data)
        losses.append(output.loss)
        yield from stepped(session, rate)
    last = yield from looked(session, data)
    return (*losses, last.loss)
