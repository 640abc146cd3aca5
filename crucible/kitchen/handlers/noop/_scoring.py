"""What the bigram model makes of training data: losses, log-probabilities and a gradient."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crucible.effects import Failure, Result
from crucible.kitchen.handlers.noop._bigram import VOCAB_SIZE, Policy
from crucible.kitchen.handlers.noop._losses import Loss
from crucible.train.errors import InvalidRequest, SequenceTooLong, TrainError, Unsupported
from crucible.train.finite import finite_data
from crucible.train.types import AdamParams, Datum, TensorData, TokenId

LOGITS_PER_LEARNING_RATE = 1000.0
"""How far a unit of learning rate moves a logit: so that 1e-4, good for a large model, is a good rate here too."""


class Slope(NamedTuple):
    """The derivative of the loss by one log-probability: of `target` after `previous`."""

    previous: TokenId
    target: TokenId
    value: float


class Scored(NamedTuple):
    """One datum under one policy; `logprobs` are 0.0 at the positions that no loss is taken of."""

    loss: float
    logprobs: tuple[float, ...]
    slopes: tuple[Slope, ...]


def checked(data: Sequence[Datum], loss: Loss, *, max_length: int) -> Result[None, TrainError]:
    """Refuse what cannot be trained on, naming the first datum at fault."""
    if not data:
        return Failure(InvalidRequest(message="the batch is empty", fix="leave the step out, or give it data"))
    problems = (_problem(datum, index, loss, max_length) for index, datum in enumerate(data))
    error = next((problem for problem in problems if problem is not None), None)
    return finite_data(data) if error is None else Failure(error)


def score(policy: Policy, datum: Datum, loss: Loss) -> Scored:
    """Compute the loss of one datum, and its derivatives."""
    inputs = datum.loss_fn_inputs
    targets = tuple(map(int, inputs["target_tokens"].data))
    size = len(targets)
    old = inputs["logprobs"].data if loss.inputs else (0.0,) * size
    advantages = inputs["advantages"].data if loss.inputs else (0.0,) * size
    weights = _weights(inputs, loss, size)
    total, logprobs, slopes = 0.0, [0.0] * size, []
    for i, previous in enumerate(datum.model_input.tokens):
        if weights[i] != 0:
            logprobs[i] = policy.logprobs(previous)[targets[i]]
            token = loss.formula(logprobs[i], old[i], advantages[i])
            total += weights[i] * token.loss
            slopes.append(Slope(previous, targets[i], weights[i] * token.slope))
    return Scored(total, tuple(logprobs), tuple(slopes))


class Gradient:
    """The sum of the slopes since the last optimizer step, by the tokens that they follow."""

    def __init__(self) -> None:
        self._sums: dict[TokenId, dict[TokenId, float]] = {}
        self._masses: dict[TokenId, float] = {}

    def add(self, slopes: Sequence[Slope]) -> None:
        """Add the slopes of one datum."""
        for previous, target, value in slopes:
            row = self._sums.setdefault(previous, {})
            row[target] = row.get(target, 0.0) + value
            self._masses[previous] = self._masses.get(previous, 0.0) + abs(value)

    def of(self, policy: Policy) -> dict[TokenId, tuple[float, ...]]:
        """Give the derivative of the loss by each logit of `policy` that it depends on."""
        return {previous: _row(row, policy.logprobs(previous)) for previous, row in self._sums.items()}

    def step(self, policy: Policy, adam: AdamParams) -> tuple[Policy, float]:
        """Give the policy one step down the gradient, and the norm of the gradient.

        Each row is divided by its mass and moves by at most 1: cross-entropy then goes down with every step on the
        same batch, whatever the learning rate.
        """
        gradient = self.of(policy)
        norm = math.sqrt(sum(g * g for row in gradient.values() for g in row))
        clip = adam.grad_clip_norm / norm if 0 < adam.grad_clip_norm < norm else 1.0
        rate = min(1.0, LOGITS_PER_LEARNING_RATE * adam.learning_rate) * clip
        decay = max(0.0, 1.0 - adam.learning_rate * adam.weight_decay)
        changes = {token: tuple([decay * c for c in row]) for token, row in policy.changes.items()}
        for token, row in gradient.items():
            reach = rate / (self._masses[token] or 1.0)
            before = changes.get(token) or (0.0,) * VOCAB_SIZE
            changes[token] = tuple([c - reach * g for c, g in zip(before, row, strict=True)])
        return policy.moved(changes), norm


def _row(slopes: Mapping[TokenId, float], logprobs: Sequence[float]) -> tuple[float, ...]:
    total = sum(slopes.values())
    row = [-total * math.exp(logprob) for logprob in logprobs]
    for target, value in slopes.items():
        row[target] += value
    return tuple(row)


def _weights(inputs: Mapping[str, TensorData], loss: Loss, size: int) -> tuple[float, ...]:
    """Give the weight of each position: 1 where none is given, but 0 where a policy loss has nothing to compare."""
    given = inputs["weights"].data if "weights" in inputs else (1.0,) * size
    if not loss.inputs:
        return given
    sampled = zip(given, inputs["logprobs"].data, inputs["advantages"].data, strict=True)
    return tuple(weight if old != 0 or advantage != 0 else 0.0 for weight, old, advantage in sampled)


def _problem(datum: Datum, index: int, loss: Loss, max_length: int) -> TrainError | None:
    size = len(datum.model_input)
    if size > max_length:
        return SequenceTooLong(index=index, length=size, limit=max_length)
    inputs = datum.loss_fn_inputs
    for name in ("target_tokens", *loss.inputs):
        if name not in inputs:
            fix = f"give one number for each token as loss_fn_inputs[{name!r}]"
            return InvalidRequest(message=f"this loss needs {name}", fix=fix, index=index)
    if any(len(tensor.shape) > 1 for tensor in inputs.values()):
        return Unsupported(feature="several targets for one position", backend="noop")
    if not all(0 <= token < VOCAB_SIZE for token in (*datum.model_input.tokens, *inputs["target_tokens"].data)):
        fix = "encode text with the session's own tokenizer (get_tokenizer)"
        return InvalidRequest(message=f"a token is not from 0 to {VOCAB_SIZE - 1}", fix=fix, index=index)
    return None
